"""JSON objects of a jsonl or jsonl.gz file, one at a time, with the line of any fault.

Knows nothing of what the objects mean.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ragkit.errors import DataError
from ragkit.evaluate.opening import lines

LIKE = '{"question": "…", "answers": ["…"]}'


def records(path: Path, like: str = LIKE) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number from 1, object) of every line that is not empty.

    ``like`` is what a line should look like, for messages. Raises `DataError` with file and
    line where a line is not UTF-8 or no JSON object, or where the file is missing, is no
    gzip, or ends too early.
    """
    for number, line in lines(path):
        if line.strip():
            yield number, _object(path, number, line, like)


def _object(path: Path, number: int, line: str, like: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(
            f"{path}, line {number}: not JSON ({error.msg} at column {error.colno}); "
            f"write one object a line, {like}"
        ) from None
    except RecursionError:
        raise DataError(f"{path}, line {number}: JSON nested too deeply; write {like}") from None
    if not isinstance(found, dict):
        raise DataError(
            f"{path}, line {number}: a JSON {type(found).__name__}, not an object; write {like}"
        )
    return found
