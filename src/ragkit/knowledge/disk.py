"""Files that are whole or absent: atomic writes, checksums, locks between processes.

Knows nothing of what is in the files.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from ragkit.errors import KnowledgeBaseError, LockedError

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows: no locks between processes there
    fcntl = None  # type: ignore[assignment]


LOCK = "lock"


def write_atomic(path: Path, text: str) -> None:
    """Replace a file in one step; after a crash the old or the new one is there."""
    temporary = path.with_name(f".{path.name}.new")  # writers hold the lock: there is but one
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make renames in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:  # pragma: no cover - some file systems cannot
        pass
    finally:
        os.close(descriptor)


def sync_file(file: Path) -> None:
    """Force a file to the disk."""
    with file.open("rb") as handle:
        os.fsync(handle.fileno())


def sync_tree(folder: Path) -> None:
    """Force every file below a folder to the disk."""
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            sync_file(file)
    for directory in [*filter(Path.is_dir, folder.rglob("*")), folder]:
        sync_folder(directory)


def checksum(path: Path) -> str:
    """sha256 of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def writing(directory: Path) -> Iterator[None]:
    """Be the only writer of a knowledge base. Raises `LockedError`; a kill lets go."""
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / LOCK).open("a") as file:
        if not _take(file, exclusive=True):
            raise LockedError(
                f"another process is writing to {str(directory)!r}; wait for it to end, or "
                "build into another directory"
            )
        yield


class Hold:
    """Keeps others from being the `sole` user of a file, while it lives."""

    def __init__(self, file: Path) -> None:
        self._descriptor = os.open(file, os.O_RDONLY)
        weakref.finalize(self, os.close, self._descriptor)
        _take(self._descriptor, exclusive=False)

    def still(self, file: Path) -> bool:
        """Whether the path leads to the file that is held, and to no later one."""
        return os.path.samestat(os.fstat(self._descriptor), file.stat())


@contextlib.contextmanager
def sole(file: Path) -> Iterator[bool]:
    """Whether nobody else holds a file; if so, nobody can while the block runs."""
    try:
        handle = file.open("rb")
    except FileNotFoundError:
        yield True
        return
    with handle:
        yield _take(handle, exclusive=True)


def _take(file: IO[str] | IO[bytes] | int, exclusive: bool) -> bool:
    if fcntl is None:  # pragma: no cover
        return True
    try:
        fcntl.flock(file, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:  # a file system without locks: there reading is free, writing not
        if exclusive:
            raise KnowledgeBaseError(
                f"the file system cannot lock files ({error}), so two writers could not be told "
                "apart; build on a local disk and copy the folder"
            ) from error
    return True
