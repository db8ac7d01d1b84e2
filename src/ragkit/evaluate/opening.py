"""Files of data as people have them: plain or gzip, whole or cut off, or no data at all.

Opens a file for reading and hands out its lines as text, each with its number. What is not
what its name says (a web page saved in place of a download, gzip without gzip, UTF-16) is
named before the first line. Knows nothing of what the lines mean.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from ragkit.errors import DataError

_GZIP = b"\x1f\x8b"
_PEEK = 64


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """The bytes of a file, unpacked where it is named ``.gz``.

    Raises `DataError` for what cannot be data, also while the bytes are read, as long as
    they are read within the context.
    """
    try:
        with cast(BinaryIO, path.open("rb")) as raw:
            _refuse_packing(path, raw.read(_PEEK))
            raw.seek(0)
            packed = path.suffix == ".gz"
            with cast(BinaryIO, gzip.open(raw)) if packed else raw as file:
                _refuse_content(path, file.read(_PEEK))
                file.seek(0)
                yield file
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file; type the path of a file") from None
    except IsADirectoryError:
        raise DataError(f"{path} is a folder; type the path of a file in it") from None
    except (gzip.BadGzipFile, EOFError, zlib.error):
        raise DataError(f"{path} is cut off or damaged; fetch it again") from None


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """(number from 1, text with its line end) of every line; a byte order mark is left out.

    Raises `DataError` with file and line where the text is not UTF-8, and where the file is
    missing, is no gzip though so named, or ends too early.
    """
    number = 0
    with opened(path) as file:
        try:
            for number, line in enumerate(file, start=1):
                yield number, decoded(path, number, line)
        except (gzip.BadGzipFile, EOFError, zlib.error):
            raise DataError(
                f"{path} is cut off or damaged after line {number}; fetch it again"
            ) from None


def decoded(path: Path, number: int, line: bytes) -> str:
    """A line as text; raises `DataError` naming it where it is not UTF-8."""
    try:
        return line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}, line {number}: not UTF-8 (byte {error.start + 1}); "
            f"save the file again as UTF-8"
        ) from None


def plain_name(path: Path) -> str:
    """The name of a file without ``.gz``."""
    return path.name.removesuffix(".gz")


def _refuse_packing(path: Path, start: bytes) -> None:
    packed = start.startswith(_GZIP)
    if path.suffix == ".gz" and not packed:
        raise DataError(
            f"{path} is named .gz but is not gzip; rename it without .gz, or fetch it again"
        )
    if path.suffix != ".gz" and packed:
        raise DataError(f"{path} is gzip but is not named so; rename it to {path.name}.gz")
    if start.startswith(b"PK\x03\x04"):
        raise DataError(f"{path} is a zip archive; unpack it and give the file in it")


def _refuse_content(path: Path, start: bytes) -> None:
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html")):
        raise DataError(f"{path} is a web page, not data; fetch it again, and look at the page")
    if text.startswith(b"version https://git-lfs"):
        raise DataError(f"{path} is a pointer to data, not data; type git lfs pull, or fetch it")
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(f"{path} is UTF-16; save the file again as UTF-8")
