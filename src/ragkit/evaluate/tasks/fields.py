"""Fields of a record: taken by name, checked, and named with their place where they are wrong.

``where`` is always "file, line n". Knows nothing of files and tasks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ragkit.errors import DataError, nearest


def mapping(record: Any, where: str, like: str) -> Mapping[str, Any]:
    """The record, which must be an object; ``like`` is what it should look like."""
    if not isinstance(record, Mapping):
        raise DataError(f"{where}: a JSON {type(record).__name__}, not an object; write {like}")
    return record


def required(record: Mapping[str, Any], name: str, where: str, like: str = '"…"') -> Any:
    """The value of a field that must be there."""
    if name not in record:
        others = f"; there are: {', '.join(map(str, record))}" if record else ""
        near = nearest(name, map(str, record))
        raise DataError(f'{where}: no field {name!r}{near}{others}; write "{name}": {like}')
    return record[name]


def text(record: Mapping[str, Any], name: str, where: str) -> str:
    """A text that is not empty."""
    value = required(record, name, where)
    if not isinstance(value, str) or not value.strip():
        raise DataError(f'{where}: {name} is {value!r:.80}; write a text, "{name}": "…"')
    return value


def texts(record: Mapping[str, Any], name: str, where: str) -> tuple[str, ...]:
    """A list of one or more texts, none of them empty."""
    value = required(record, name, where, '["…"]')
    if not isinstance(value, list) or not value:
        raise DataError(
            f'{where}: {name} is {value!r:.80}; write a list of at least one, "{name}": ["…"]'
        )
    return each_text(value, name, where)


def each_text(value: list[Any], name: str, where: str) -> tuple[str, ...]:
    """The texts of a list, each checked."""
    for one in value:
        if not isinstance(one, str) or not one.strip():
            raise DataError(f"{where}: {one!r:.80} among the {name} is not a text; take it out")
    return tuple(value)


def identifier(value: Any, what: str) -> str:
    """A text or whole number as text; ``what`` is the place and name of the field."""
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise DataError(f'{what} is {value!r:.80}; write a text, such as "p12"')
    return str(value)


def identifiers(record: Mapping[str, Any], one: str, several: str, where: str) -> tuple[str, ...]:
    """Ids that stand under one of two fields, a single one or a list; () where under neither."""
    single, many = record.get(one), record.get(several)
    if single is not None and many is not None:
        raise DataError(f"{where}: both {one} and {several}; keep {several} alone")
    if single is not None:
        return (identifier(single, f"{where}: {one}"),)
    if many is None:
        return ()
    if not isinstance(many, list):
        raise DataError(f'{where}: {several} is {many!r:.80}; write a list, "{several}": ["…"]')
    return tuple(identifier(value, f"{where}: {several}") for value in many)
