"""Configurations: tables to components, by signature.

YAML tables, dotted overrides (``index.factory=HNSW32``) and Python keywords are the same
thing. All faults of a configuration come at once, each with its path and the nearest right
name; a configuration can be filled in with its defaults, to be saved beside results. Knows
nothing of what components do.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Mapping
from pathlib import Path
from typing import Any, cast

import yaml

from ragkit import registry, signature
from ragkit.errors import ConfigError, RagkitError
from ragkit.signature import REQUIRED, Option

Table = dict[str, Any]


# ----------------------------------------------------------------- reading, writing


class _Loader(yaml.SafeLoader):
    """Safe, and a key that stands twice is an error rather than a silent last-wins."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        # At once, not later: so that an alias inside its own anchor is an error.
        self.deep_construct = True

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: dict[Any, int] = {}
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":  # `<<` is no key of its own
                continue
            key = self.construct_object(key_node, deep=True)
            line = key_node.start_mark.line + 1
            if not isinstance(key, Hashable):
                raise ConfigError(f"line {line}: the key {key!r} must be a name")
            if key in seen:
                raise ConfigError(
                    f"line {line}: {key!r} stands a second time (first in line {seen[key]}); "
                    "remove one"
                )
            seen[key] = line
        return cast(dict[Any, Any], super().construct_mapping(node, deep))


class _Dumper(yaml.SafeDumper):
    """Safe, and quotes what `_Loader` would take for a number."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


# YAML 1.1 reads 1e-3 as text for want of a dot; whoever types a learning rate means a number.
for _kind in (_Loader, _Dumper):
    _kind.add_implicit_resolver(
        "tag:yaml.org,2002:float",
        re.compile(r"[-+]?([0-9][0-9_]*)(\.[0-9_]*)?[eE][-+]?[0-9]+$"),
        list("-+0123456789"),
    )


def read(text: str, source: str = "configuration") -> Table:
    """A table from YAML text. Raises `ConfigError` with the line of a fault."""
    try:
        found = yaml.load(text, _Loader)  # a SafeLoader: plain data only
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error)
        raise ConfigError(f"{source}{where}: no YAML: {problem}") from error
    except ConfigError as error:
        raise ConfigError([f"{source}, {fault}" for fault in error.faults]) from error
    except ValueError as error:  # a date such as 2020-99-99
        raise ConfigError(f"{source}: a value cannot be read: {error}; quote it") from error
    except RecursionError:
        raise ConfigError(f"{source}: it is nested too deeply") from None
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise ConfigError(f"{source} is {type(found).__name__}; it must be a table of options")
    return found


def load(path: str | Path, overrides: Iterable[str] = ()) -> Table:
    """A table from a YAML file, with dotted overrides applied."""
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"no configuration can be read from {str(file)!r}: {error.strerror}; give a YAML file"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{str(file)!r} is no UTF-8 text; give a YAML file") from error
    return override(read(text, str(file)), overrides)


def override(table: Mapping[str, Any], overrides: Iterable[str]) -> Table:
    """The table with ``a.b=value`` applied in order; values are read as YAML.

    A component given by its bare name becomes a table when an option of it is set.
    Raises `ConfigError` with every override that is malformed.
    """
    out, faults = _copy(table), []
    for text in overrides:
        path, equals, value = text.partition("=")
        keys = path.strip().split(".")
        if not equals or not all(keys):
            faults.append(f"override {text!r} must be PATH=VALUE, as in index.factory=HNSW32")
            continue
        try:
            parsed = yaml.load(value, _Loader)
        except ConfigError as error:
            faults += [f"override {text!r}: {fault}" for fault in error.faults]
            continue
        except (yaml.YAMLError, ValueError, RecursionError):
            faults.append(f"override {text!r}: {value!r} is no YAML value; quote it")
            continue
        at = out
        for depth, key in enumerate(keys[:-1]):
            inner = at.setdefault(key, {})
            if isinstance(inner, str):
                inner = at[key] = {"name": inner}
            if not isinstance(inner, dict):
                place = ".".join(keys[: depth + 1])
                faults.append(f"override {text!r}: {place} is {inner!r}, not a table")
                break
            at = inner
        else:
            at[keys[-1]] = parsed
    if faults:
        raise ConfigError(faults)
    return out


def dump(table: Mapping[str, Any]) -> str:
    """YAML text of a table, in its order."""
    return str(yaml.dump(_plain(table), Dumper=_Dumper, sort_keys=False, allow_unicode=True))


def save(table: Mapping[str, Any], path: str | Path) -> None:
    """Write a table as YAML."""
    Path(path).write_text(dump(table), encoding="utf-8")


# ------------------------------------------------------------- tables to components


def build(role: str, table: str | Mapping[str, Any] | object, path: str | None = None) -> Any:
    """A component from its name, its table or itself.

    Tables may hold tables, where an option takes a component. Raises `ConfigError` with
    every fault at once, or the registry's errors for a single unknown or missing name.

    Examples:
        >>> import ragkit
        >>> ragkit.build("marginalizer", {"name": "rag-sequence", "decoding": "fast"}).decoding
        'fast'
    """
    place = path or role
    faults = check(role, table, place)
    if faults:
        raise ConfigError(faults)
    return _build(role, table, place)


def check(role: str, table: str | Mapping[str, Any] | object, path: str | None = None) -> list[str]:
    """Every fault of a component's table, without building anything."""
    place = path or role
    if not isinstance(table, (str, Mapping)):
        plain = table is None or isinstance(table, (int, float, list, tuple))
        return [f"{place}: {table!r} is no {role}; give a name or a table"] if plain else []
    try:
        name, given = _split(table, place)
        target = registry.find(role, name)
    except ConfigError as error:
        return error.faults
    except RagkitError as error:
        return [f"{place}: {error}"]
    nested = {
        option.name: option
        for option in signature.options(target)
        if option.name in given and _is_nested(option, given[option.name])
    }
    faults = signature.faults(target, given, place, nested)
    for key, option in nested.items():
        faults += check(cast(str, option.role), given[key], f"{place}.{key}")
    return faults


def resolve(role: str, table: str | Mapping[str, Any]) -> Table:
    """The table with every default filled in, to be saved beside a result.

    Raises `ConfigError` as `build` does.
    """
    faults = check(role, table)
    if faults:
        raise ConfigError(faults)
    return cast(Table, _resolve(role, table))


def schema(role: str, name: str) -> list[Option]:
    """The options of a component: what `ragkit config` prints."""
    return signature.options(registry.find(role, name))


def _build(role: str, table: Any, path: str) -> Any:
    if not isinstance(table, (str, Mapping)):
        return table
    name, given = _split(table, path)
    target = registry.find(role, name)
    for option in signature.options(target):
        value = given.get(option.name)
        if option.name in given and _is_nested(option, value):
            given[option.name] = _build(cast(str, option.role), value, f"{path}.{option.name}")
    return target(**signature.converted(target, given))


def _resolve(role: str, table: Any) -> Any:
    if not isinstance(table, (str, Mapping)):
        return f"<{type(table).__module__}.{type(table).__qualname__}>"
    name, given = _split(table, role)
    out: Table = {"name": name}
    options = signature.options(registry.find(role, name))
    for option in options:
        value = given.pop(option.name, option.default)
        if value is REQUIRED:
            continue
        nested = _is_nested(option, value)
        out[option.name] = _resolve(cast(str, option.role), value) if nested else value
    return out | given


def _is_nested(option: Option, value: Any) -> bool:
    """Whether a value stands for a component that is still to be built."""
    if option.role is None:
        return False
    if isinstance(value, Mapping):
        return True
    # `str | Marginalizer`: the component itself takes names.
    return isinstance(value, str) and not option.takes_text


def _split(table: str | Mapping[str, Any], path: str) -> tuple[str, Table]:
    if isinstance(table, str):
        return table, {}
    given = dict(table)
    name = given.pop("name", None)
    if not isinstance(name, str):
        raise ConfigError(f"{path}: a table needs a name, as in {{name: …, option: value}}")
    odd = [key for key in given if not isinstance(key, str)]
    if odd:
        raise ConfigError(
            [f"{path}: {key!r} ({type(key).__name__}) is no option's name; quote it" for key in odd]
        )
    return name, given


def _copy(table: Mapping[str, Any]) -> Table:
    return {k: _copy(v) if isinstance(v, Mapping) else v for k, v in table.items()}


def _plain(value: Any) -> Any:
    """What YAML can write: paths as text, tuples as lists, objects by their class."""
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    if isinstance(value, Path):
        return value.as_posix()
    return f"<{type(value).__module__}.{type(value).__qualname__}>"
