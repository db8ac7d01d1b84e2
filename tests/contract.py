"""What plugins are written against, as plain data: every protocol, record and hook.

`contract.json` holds it as it was last agreed on. ``python tests/contract.py`` says what has
changed since, and what each change asks for by the policy of docs/protocols.md;
``python tests/contract.py --write`` takes it down, once that is done. Knows no component.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import ragkit
from ragkit import compatibility, hookspecs, protocols

FILE = Path(__file__).with_name("contract.json")
CHANGELOG = Path(__file__).parents[1] / "CHANGELOG.md"
COMMAND = "python tests/contract.py --write"

Thing = dict[str, Any]


class Change(NamedTuple):
    """name: of the thing. breaking: whether a plugin that was right may be wrong now."""

    name: str
    breaking: bool
    said: str


# --------------------------------------------------------------------- as plain data


def contract() -> dict[str, Thing]:
    """Everything that a plugin may name, by its name."""
    found = {**_classes(protocols), **_classes(hookspecs)}
    for name, function in inspect.getmembers(hookspecs, inspect.isfunction):
        if name.startswith("ragkit_"):
            found[name] = {"kind": "hook", "members": {"": _signature(function)}}
    roles = {role: f"= {hook}" for role, hook in hookspecs.ROLES.items()}
    found["ROLES"] = {"kind": "table", "members": roles}
    return dict(sorted(found.items()))


def _classes(module: ModuleType) -> dict[str, Thing]:
    mine = inspect.getmembers(module, inspect.isclass)
    return {name: _thing(cls) for name, cls in mine if cls.__module__ == module.__name__}


def _thing(cls: type) -> Thing:
    bases = [one.__name__ for one in cls.__bases__ if one.__name__ not in ("object", "Protocol")]
    if getattr(cls, "_is_protocol", False):
        kind = "protocol"
    else:
        kind = "tuple" if issubclass(cls, tuple) else "record"
        bases = []
    members = {**_fields(cls), **_methods(cls)}
    return {"kind": kind, **({"bases": bases} if bases else {}), "members": members}


def _fields(cls: type) -> dict[str, str]:
    """Of a record ``hint``, or ``hint = default``; of a protocol the attributes."""
    written = inspect.get_annotations(cls).items()
    hints = {name: str(getattr(hint, "__forward_arg__", hint)) for name, hint in written}
    defaults = dict(getattr(cls, "_field_defaults", {}))
    if dataclasses.is_dataclass(cls):
        for one in dataclasses.fields(cls):
            if one.default is not dataclasses.MISSING:
                defaults[one.name] = one.default
            elif one.default_factory is not dataclasses.MISSING:
                defaults[one.name] = one.default_factory()
    return {
        name: f"{hint} = {defaults[name]!r}" if name in defaults else hint
        for name, hint in hints.items()
    }


def _methods(cls: type) -> dict[str, str]:
    found = {}
    for name, value in vars(cls).items():
        if name.startswith("_") and name not in ("__len__", "__call__"):
            continue
        if isinstance(value, property) and value.fget is not None:
            found[name] = f"property {_signature(value.fget)}"
        elif isinstance(value, classmethod):
            found[name] = f"classmethod {_signature(value.__func__)}"
        elif inspect.isfunction(value):
            found[name] = _signature(value)
    return found


def _signature(function: Callable[..., Any]) -> str:
    return str(inspect.signature(function)).replace("'", "")


# -------------------------------------------------------------------------- changes


def changes(before: Mapping[str, Thing], now: Mapping[str, Thing]) -> list[Change]:
    """What differs, each with whether it breaks a plugin."""
    found = []
    for name in sorted({*before, *now}):
        if name not in now:
            found.append(Change(name, True, f"{name} is gone"))
        elif name not in before:
            found.append(Change(name, False, f"{name} is new"))
        else:
            found += _within(name, before[name], now[name])
    return found


def _within(name: str, before: Thing, now: Thing) -> list[Change]:
    found = []
    for what in ("kind", "bases"):
        if before.get(what) != now.get(what):
            said = f"{name}: its {what} was {before.get(what)} and is {now.get(what)}"
            found.append(Change(name, True, said))
    old, new = before["members"], now["members"]
    for member, written in old.items():
        full = f"{name}.{member}" if member else name
        if member not in new:
            found.append(Change(name, True, f"{full} is gone"))
        elif new[member] != written:
            found.append(Change(name, True, f"{full} was `{written}` and is `{new[member]}`"))
    fields = [one for one, written in new.items() if "(self" not in written]
    last = len(fields) - len(set(fields) - set(old))
    for member, written in new.items():
        if member not in old:
            # A field amid others moves those after it, for who gives them by place.
            optional = " = " in written and member in fields[last:]
            fits = now["kind"] == "table" or (now["kind"] == "record" and optional)
            advice = "a new `Supports…` protocol, or a field at the end of a record with a default"
            said = f"{name}.{member} is new" + ("" if fits else f" (harmless would be {advice})")
            found.append(Change(name, not fits, said))
    kept = [member for member in new if member in old]
    if now["kind"] in ("tuple", "record") and kept != [one for one in old if one in new]:
        found.append(Change(name, True, f"the fields of {name} are in another order"))
    return found


# --------------------------------------------------------------------------- policy


def faults(
    held: Mapping[str, Any],
    found: list[Change],
    changelog: str,
    version: int,
    still_read: Mapping[int, str],
) -> list[str]:
    """What the policy asks for and is not done: a sentence each.

    held: `contract.json`. version: `PROTOCOL_VERSION` now. changelog: of the release in making.
    """
    missing = []
    breaking = [one for one in found if one.breaking]
    if breaking and version <= held["protocol"]:
        missing.append(
            f"plugins break ({'; '.join(one.said for one in breaking)}): take it back, or raise "
            f"ragkit.protocols.PROTOCOL_VERSION to {held['protocol'] + 1}"
        )
    if version > held["protocol"]:
        if held["protocol"] not in still_read:
            missing.append(
                f"plugins for protocol {held['protocol']} must work for one minor version more: "
                "name it in ragkit.compatibility.STILL_READ, with the release that ends it"
            )
        if f"protocol {version}" not in changelog:
            missing.append(f"say in CHANGELOG.md what 'protocol {version}' is")
    elif version < held["protocol"]:
        missing.append(f"PROTOCOL_VERSION fell from {held['protocol']} to {version}")
    unsaid = sorted({one.name for one in found if f"`{one.name}`" not in changelog})
    if unsaid:
        missing.append(
            f"write lines in CHANGELOG.md, in its topmost release, that name "
            f"{', '.join(f'`{one}`' for one in unsaid)}"
        )
    return missing


def section(release: str | None = None) -> str:
    """The part of the changelog about a release; by default the topmost."""
    parts = re.split(r"^## \[", CHANGELOG.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    for part in parts:
        if release is None or part.startswith(f"{release}]"):
            return part
    return ""


def report() -> list[str]:
    """What is to be done before the contract may be taken down; [] where nothing has changed."""
    held = json.loads(FILE.read_text(encoding="utf-8"))
    found = changes(held["things"], contract())
    version = protocols.PROTOCOL_VERSION
    missing = faults(held, found, section(), version, compatibility.STILL_READ)
    said = [one.said for one in found]
    if said or version != held["protocol"]:
        return [*said, *missing, f"then type: {COMMAND}"]
    return missing


def write() -> list[str]:
    """Take the contract down; what is not done instead, where something is not."""
    since: dict[str, str] = {}
    if FILE.is_file():
        held = json.loads(FILE.read_text(encoding="utf-8"))
        found = changes(held["things"], contract())
        version = protocols.PROTOCOL_VERSION
        missing = faults(held, found, section(), version, compatibility.STILL_READ)
        if missing:
            return missing
        since = held["since"] | {one.name: ragkit.__version__ for one in found}
    content = {
        "protocol": protocols.PROTOCOL_VERSION,
        "since": dict(sorted(since.items())),
        "things": contract(),
    }
    FILE.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return []


if __name__ == "__main__":
    said = write() if sys.argv[1:] == ["--write"] else report()
    print("\n".join(said) or "nothing is to be done")
    sys.exit(1 if said else 0)
