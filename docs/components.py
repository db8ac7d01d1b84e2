"""The page of components, made from the registry, their signatures and their docstrings.

``python docs/components.py > docs/components.md``; a test compares the two. ragkit's own
components and those of the packages in ``plugins/``, which must be installed.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any, Protocol

from ragkit import elsewhere, hookspecs, protocols, registry, signature
from ragkit.hookspecs import ROLES

PACKAGES = ("ragkit", "ragkit-example", *sorted({one.distribution for one in elsewhere.KNOWN}))
"""Distributions whose components are on the page."""

HEAD = """# Components

What can be named in a configuration, role by role: ragkit's own components, and those of the
packages that are one `pip install` away. `ragkit components` lists what is installed where you are,
and `ragkit config show ROLE NAME` the options of one component.

Options are the keywords of the class behind the name. In a configuration they stand beside the
name, `index: {name: faiss, factory: HNSW32}`; on the command line they are overrides,
`index.factory=HNSW32`; in Python, `ragkit.make("index", "faiss", factory="HNSW32")`. Where an
option takes a component, it takes a name or a table again. Further abilities are the `Supports…`
protocols of `ragkit.protocols` whose methods a component has; with some options it may refuse one.
"""


def main() -> None:
    print("\n".join([HEAD, *sections().values()]), end="")


def sections() -> dict[str, str]:
    """A piece of the page for each role, by ``role``, and component, by ``role name``."""
    found = {}
    for role, hook in ROLES.items():
        found[role] = f"## {role.capitalize()}\n\n{_about(role, hook)}\n"
        for one in registry.components():
            if one.role == role and one.distribution in PACKAGES:
                found[f"{role} {one.component.name}"] = _section(one)
    return found


def _about(role: str, hook: str) -> str:
    (protocol,) = (one for one, name in signature.ROLE_OF.items() if name == role)
    summary = (inspect.getdoc(getattr(hookspecs, hook)) or "").partition(":")[0]
    return f"{summary}. Protocol `ragkit.protocols.{protocol.__name__}`, hook `{hook}`."


def _section(one: registry.Listing) -> str:
    component = one.component
    target = registry.find(one.role, component.name)
    from_ = "ragkit" if one.distribution == "ragkit" else f"`pip install {one.distribution}`"
    lines = [f"### {one.role}: `{component.name}`", "", _plain(component.summary), ""]
    lines += [f"* From: {from_}", f"* Class: `{component.target}`"]
    if component.needs:
        lines.append(f"* Needs: {', '.join(f'`{need}`' for need in component.needs)}")
    abilities = ", ".join(f"`{name}`" for name in _abilities(target))
    if abilities:
        lines.append(f"* Further abilities: {abilities}")
    return "\n".join([*lines, "", _options(target), ""])


def _options(target: Callable[..., Any]) -> str:
    options = signature.options(target)
    if not options:
        return "No options."
    said = _arguments(inspect.getdoc(target) or "")
    rows = ["| option | type | default | |", "|---|---|---|---|"]
    for option in options:
        required = option.default is signature.REQUIRED
        default = "required" if required else f"`{option.default!r}`".replace("|", "\\|")
        about = _plain(said.get(option.name, ""))
        rows.append(f"| `{option.name}` | {_plain(option.shown)} | {default} | {about} |")
    return "\n".join(rows)


def _arguments(docstring: str) -> dict[str, str]:
    """What the section ``Args:`` says of each; ``a, b: text`` says it of both."""
    section = re.search(r"^Args:\n((?:    .*\n?|\n)+)", docstring, re.MULTILINE)
    found = {}
    entries = re.findall(
        r"^    (\w+(?:, \w+)*): (.*(?:\n        .*)*)", section[1] if section else "", re.MULTILINE
    )
    for names, text in entries:
        for name in names.split(", "):
            found[name] = " ".join(text.split()).removesuffix(".")
    return found


def _abilities(target: Callable[..., Any]) -> list[str]:
    """The ``Supports…`` protocols whose members the class has."""
    named = {name: one for name, one in vars(protocols).items() if name.startswith("Supports")}
    return [
        name
        for name, protocol in named.items()
        if all(hasattr(target, member) for member in _members(protocol))
    ]


def _members(protocol: Any) -> set[str]:
    own = (one for one in protocol.__mro__ if getattr(one, "_is_protocol", False))
    names = {n for one in own if one is not Protocol for n in [*vars(one), *_annotated(one)]}
    return {name for name in names if not name.startswith("_")}


def _annotated(cls: type) -> list[str]:
    return list(vars(cls).get("__annotations__", ()))


def _plain(text: str) -> str:
    """One line of a table."""
    return text.replace("|", "\\|").replace("``", "`").replace("<", "&lt;")


if __name__ == "__main__":
    main()
