"""Objects of a JSON array, or of lines, one at a time: such files have gigabytes.

Knows nothing of what the objects mean.
"""

from __future__ import annotations

import codecs
import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

from ragkit.convert.place import check_file
from ragkit.errors import DataError

_PIECE = 1 << 20
_SPACE = " \t\r\n"


def objects(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(where, object) of every record: ``file.json, record 3``, counted from 1.

    Raises `DataError` where the file is no JSON, holds something else than objects, or ends
    before its time.
    """
    check_file(path, "the file")
    number = 0
    try:
        for number, found in enumerate(_values(path), start=1):
            where = f"{path.name}, record {number}"
            if not isinstance(found, dict):
                raise DataError(f"{where} is a JSON {type(found).__name__}, not an object")
            yield where, found
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path.name}, after record {number}: no UTF-8 text; save it as UTF-8"
        ) from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(
            f"{path.name}, after record {number}: {error}; is the download complete?"
        ) from error
    if not number:
        raise DataError(f"{path.name} has no records")


def _values(path: Path) -> Iterator[Any]:
    decoder = json.JSONDecoder()
    text, end, more = "", 0, _pieces(path)
    array: bool | None = None
    number = 0
    while True:
        while end < len(text) and text[end] in _SPACE:
            end += 1
        if end == len(text):
            piece = next(more, None)
            if piece is None:
                if array:
                    raise _cut(path, number)
                return
            text, end = piece, 0
            continue
        if array is None:
            array = text[end] == "["
            end += array
            comma = False
            continue
        if array and text[end] == "]":
            return
        if array and comma:
            if text[end] != ",":
                raise DataError(
                    f"{path.name}, after record {number}: {text[end]!r} where ',' or ']' must be"
                )
            end, comma = end + 1, False
            continue
        found, text, end = _value(path, decoder, text, end, more, number)
        number, comma = number + 1, True
        yield found


def _value(
    path: Path, decoder: json.JSONDecoder, text: str, end: int, more: Iterator[str], number: int
) -> tuple[Any, str, int]:
    """One value from a place on; as much text is read as it needs."""
    while True:
        try:
            found, stop = decoder.raw_decode(text, end)
        except json.JSONDecodeError as error:
            fault = error
        else:
            if stop < len(text) or isinstance(found, (dict, list)):
                return found, text, stop
            fault = json.JSONDecodeError("cut off", text, stop)  # a number may go on
        # Twice as much each time, so that a long record is not looked at again and again.
        wanted, got = max(_PIECE, len(text) - end), 0
        pieces = [text[end:]]
        for piece in more:
            pieces.append(piece)
            got += len(piece)
            if got >= wanted:
                break
        if not got:
            if fault.pos >= len(text.rstrip()) - 1 or "Unterminated" in fault.msg:
                raise _cut(path, number)
            raise DataError(
                f"{path.name}, record {number + 1} is no JSON: {fault.msg} at "
                f"{text[max(fault.pos - 10, 0) : fault.pos + 10]!r}"
            )
        text, end = "".join(pieces), 0


def _cut(path: Path, number: int) -> DataError:
    return DataError(f"{path.name} ends after record {number}; is the download complete?")


def _pieces(path: Path) -> Iterator[str]:
    decode = codecs.getincrementaldecoder("utf-8-sig")()
    zipped = path.suffix == ".gz"
    with cast(BinaryIO, gzip.open(path, "rb") if zipped else path.open("rb")) as file:
        while raw := file.read(_PIECE):
            if piece := decode.decode(raw):
                yield piece
        if rest := decode.decode(b"", final=True):
            yield rest
