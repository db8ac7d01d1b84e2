"""Folders that are whole or absent: written beside their place and moved there at the end.

Also the faults of what is given: no such file, half a download. Knows nothing of what is
written.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ragkit.errors import ConfigError, DataError

_POINTER = b"version https://git-lfs"


def check_free(out: str | Path) -> Path:
    """Where something new shall lie; raises `ConfigError` where there is something already."""
    target = Path(out)
    if target.exists() and not target.is_dir():
        raise ConfigError(f"{str(out)!r} is a file; give the name of a new folder")
    if target.is_dir() and any(target.iterdir()):
        raise ConfigError(f"{str(out)!r} is not empty; give the name of a new folder")
    return target


@contextmanager
def whole(out: str | Path) -> Iterator[Path]:
    """A folder to write into, which takes its place ``out`` when the block ends well.

    It lies beside ``out``, so relative paths within it stay right. After an error or an
    interrupt there is nothing.
    """
    target = Path(os.path.abspath(check_free(out)))  # "." has a name, too
    target.parent.mkdir(parents=True, exist_ok=True)
    making = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir()
    try:
        yield making
        if target.exists():
            target.rmdir()  # empty, or it would have been refused
        os.replace(making, target)
    finally:
        shutil.rmtree(making, ignore_errors=True)


def check_file(path: Path, what: str) -> Path:
    """A file that is there and is no placeholder of git-lfs. Raises `DataError`."""
    if not path.is_file():
        kind = "is a folder" if path.is_dir() else "is not there"
        raise DataError(f"{what} {str(path)!r} {kind}; give the path of the file")
    with path.open("rb") as file:
        start = file.read(len(_POINTER))
    if not start:
        raise DataError(f"{what} {str(path)!r} is empty; is the download complete?")
    if start == _POINTER:
        raise DataError(
            f"{what} {str(path)!r} is a pointer of git-lfs, not the file itself; type "
            "`git lfs pull` in that folder, or download the file"
        )
    return path
