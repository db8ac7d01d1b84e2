"""Objects of a JSON list, or of JSON lines, whichever a file is; one at a time.

Knows nothing of what the objects mean.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ragkit.convert.place import check_file
from ragkit.errors import DataError
from ragkit.evaluate.opening import opened
from ragkit.evaluate.records import records
from ragkit.evaluate.tasks.json_items import items

_LIKE = '{"question": "…", "answers": ["…"], "ctxs": […]}'
_SPACE = b" \t\r\n\xef\xbb\xbf"


def objects(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(where, object) of every record: ``file.json, record 3``, counted from 1.

    Raises `DataError` where the file is no JSON, holds something else than objects, or ends
    before its time.
    """
    check_file(path, "the file")
    found: Iterator[tuple[int, Any]] = items(path) if _is_list(path) else records(path, _LIKE)
    number = 0
    for number, (_, value) in enumerate(found, start=1):
        where = f"{path.name}, record {number}"
        if not isinstance(value, dict):
            raise DataError(f"{where} is a JSON {type(value).__name__}, not an object like {_LIKE}")
        yield where, value
    if not number:
        raise DataError(f"{path.name} has no records; give a list of objects like {_LIKE}")


def _is_list(path: Path) -> bool:
    with opened(path) as file:
        while byte := file.read(1):
            if byte not in _SPACE:
                return byte == b"["
    return False
