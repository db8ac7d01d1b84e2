"""JSON objects of a jsonl or jsonl.gz file, one at a time, with the line of any fault.

Knows nothing of what the objects mean.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

from ragkit.errors import DataError


def records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number from 1, object) of every line that is not empty.

    Raises `DataError` with file and line where a line is not UTF-8 or no JSON object,
    or where the file is missing, is no gzip, or ends too early.
    """
    number = 0
    try:
        with _open(path) as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield number, _object(path, number, line)
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file; type the path of a .jsonl file") from None
    except IsADirectoryError:
        raise DataError(f"{path} is a folder; type the path of a .jsonl file in it") from None
    except gzip.BadGzipFile:
        raise DataError(
            f"{path} is named .gz but is not gzip; rename it without .gz, or fetch it again"
        ) from None
    except (EOFError, zlib.error):
        raise DataError(
            f"{path} is cut off or damaged after line {number}; fetch it again"
        ) from None


def _open(path: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path, "rb")) if path.suffix == ".gz" else path.open("rb")


def _object(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}, line {number}: not UTF-8 (byte {error.start + 1}); "
            f"save the file again as UTF-8"
        ) from None
    except json.JSONDecodeError as error:
        raise DataError(
            f"{path}, line {number}: not JSON ({error.msg} at column {error.colno}); "
            f'write one object a line, {{"question": "…", "answers": ["…"]}}'
        ) from None
    if not isinstance(found, dict):
        raise DataError(
            f"{path}, line {number}: a JSON {type(found).__name__}, not an object; "
            f'write {{"question": "…", "answers": ["…"]}}'
        )
    return found
