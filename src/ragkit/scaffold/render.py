"""Fills templates in: plain text with ``$names``, nothing in it is run.

A template of a role is one module and one test; what holds all of them together (project file,
entry module, README, changelog) is made from parts. Knows files and text.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from string import Template

from ragkit.errors import ConfigError, UnknownName, nearest
from ragkit.hookspecs import ROLES
from ragkit.protocols import PROTOCOL_VERSION
from ragkit.scaffold.names import Names, names

NEEDS = "ragkit>=0.1,<1"
"""The releases of ragkit whose protocols and kit the templates were written for."""

_SUMMARIES = {
    "encoder": "words, hashed and averaged; the question side learns",
    "index": "exact search by inner product, in numpy",
    "retriever": "passages by the words that they share with the question",
    "generator": "the next byte from the one before, as passage and question have it",
    "marginalizer": "a passage for every token",
    "objective": "-log p(y|x), less a reward for a prior that stays open",
    "task": "small sums",
    "metric": "whether a prediction begins with an answer",
}
_LIBRARY = {"index": "numpy", "task": "", "metric": ""}
"""What must be importable: torch, where nothing else is said."""

_OPTIONS = {"retriever": ', knowledge_base="kb/"'}


def render(distribution: str, roles: Sequence[str]) -> dict[str, str]:
    """The files of a new package: relative path to text, the same every time.

    Raises `ConfigError` for a name that cannot be and where there are no roles, `UnknownName`
    for a role that does not exist.
    """
    called, chosen = names(distribution), checked(roles)
    package, common = called.package, _common(called, chosen)
    files = {one: _fill(one, common) for one in ("pyproject.toml", "README.md", "CHANGELOG.md")}
    files["LICENSE"] = _text("LICENSE")
    hooks = [_fill("hook", _of_role(called, role)) for role in chosen]
    files[f"src/{package}/__init__.py"] = _fill("entry", common) + "".join(hooks)
    files[f"src/{package}/py.typed"] = ""
    for role in chosen:
        values = _of_role(called, role)
        files[f"src/{package}/{role}.py"] = _fill(role, values)
        files[f"tests/test_{role}.py"] = _fill(f"test_{role}", values)
    return files


def write(files: Mapping[str, str], folder: Path) -> None:
    """Make a folder of rendered files, whole or not at all.

    Raises `ConfigError` where something of that name exists, or where its parent does not.
    """
    if folder.exists() or folder.is_symlink():
        raise ConfigError(f"{folder} exists already; choose another name, or move it away")
    if not folder.parent.is_dir():
        raise ConfigError(f"{folder.parent} is no folder; make it first")
    work = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
    try:
        for name, text in files.items():
            target = work / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8", newline="\n")
        work.chmod(0o777 & ~_umask())
        work.rename(folder)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise


def checked(roles: Sequence[str]) -> list[str]:
    """Roles without repetition, in the order of `ROLES`. Raises as `render` does."""
    for role in roles:
        if role not in ROLES:
            near = nearest(role, ROLES) or "."
            raise UnknownName(f"no role is named {role!r}{near} Roles: {', '.join(ROLES)}")
    if not roles:
        raise ConfigError(
            f"a plugin has at least one role: --role index. Roles: {', '.join(ROLES)}"
        )
    return [role for role in ROLES if role in roles]


def _common(called: Names, roles: Sequence[str]) -> dict[str, str]:
    shown = [f"the {role} `{called.component}` ({_SUMMARIES[role]})" for role in roles]
    made = [
        f'{role} = ragkit.make("{role}", "{called.component}"{_OPTIONS.get(role, "")})'
        for role in roles
    ]
    what = "a plugin" if len(roles) > 2 else " and ".join(_a(role) for role in roles)
    return {
        "distribution": called.distribution,
        "package": called.package,
        "requires": NEEDS,
        "what": f"{what[0].upper()}{what[1:]}",
        "examples": "\n".join(made),
        "offered": "\n".join(f"- {one[0].upper()}{one[1:]}." for one in shown),
    }


def _of_role(called: Names, role: str) -> dict[str, str]:
    library = _LIBRARY.get(role, "torch")
    needs = f'needs=("{library}",),\n            install="pip install {called.distribution}",'
    return {
        "distribution": called.distribution,
        "package": called.package,
        "name": called.component,
        "role": role,
        "cls": called.cls(role),
        "hook": ROLES[role],
        "summary": _SUMMARIES[role],
        "needs": f"{needs}\n            " if library else "",
        "protocol": str(PROTOCOL_VERSION),
    }


def _fill(name: str, values: Mapping[str, str]) -> str:
    return Template(_text(name)).substitute(values)


def _text(name: str) -> str:
    folder = resources.files("ragkit.scaffold") / "templates"
    return (folder / f"{name}.txt").read_text(encoding="utf-8")


def _a(role: str) -> str:
    return f"an {role}" if role[0] in "aeiou" else f"a {role}"


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
