"""The generations of a knowledge base: immutable folders and a pointer to one of them.

``generations/000001`` and so on; ``current`` holds the number of the one to open and is
replaced in one step. A reader holds its generation with a shared lock until it lets go.
Knows nothing of what a generation contains, but that a manifest is in it.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from ragkit.errors import CorruptError, KnowledgeBaseError
from ragkit.knowledge import disk
from ragkit.knowledge.manifest import NAME

FOLDER = "generations"
CURRENT = "current"
BUILDING = "building"
_TRASH = ".trash"


def path(directory: Path, number: int) -> Path:
    """The folder of a generation."""
    return directory / FOLDER / f"{number:06d}"


def numbers(directory: Path) -> list[int]:
    """The generations that are there, ascending."""
    folder = directory / FOLDER
    if not folder.is_dir():
        return []
    return sorted(int(one.name) for one in folder.iterdir() if one.name.isdigit())


def current(directory: Path) -> int | None:
    """The generation that the pointer names, None where no build has ended yet.

    Raises `CorruptError` where the pointer holds no number.
    """
    try:
        text = (directory / CURRENT).read_text(encoding="utf-8", errors="replace").strip()
    except FileNotFoundError:
        return None
    if not text.isdigit():
        raise CorruptError(
            f"{directory / CURRENT} holds {text[:20]!r} and not the number of a generation; "
            f"write one of {numbers(directory)} into it"
        )
    return int(text)


def hold(directory: Path, number: int | None) -> tuple[int, disk.Hold]:
    """Take hold of a generation, by default the current one, so that `gc` leaves it.

    Raises `KnowledgeBaseError` where it is not there.
    """
    while True:
        wanted = _current(directory) if number is None else number
        file = path(directory, wanted) / NAME
        try:
            held = disk.Hold(file)
            same = held.still(file)
        except FileNotFoundError as error:
            if number is None and wanted != _current(directory):
                continue  # the pointer moved on and the old one was collected
            if file.parent.is_dir():
                raise CorruptError(
                    f"{NAME} of generation {wanted} of {str(directory)!r} is missing; restore it "
                    "from a copy or build the knowledge base again"
                ) from error
            raise KnowledgeBaseError(
                f"the knowledge base {str(directory)!r} has no generation {wanted}; it has "
                f"{numbers(directory)}"
            ) from error
        if same:
            return wanted, held


def _current(directory: Path) -> int:
    found = current(directory)
    if found is None:
        what = "holds no finished knowledge base" if directory.is_dir() else "is no folder"
        raise KnowledgeBaseError(
            f"{str(directory)!r} {what}; build one with KnowledgeBase.build or `ragkit kb build`"
        )
    return found


def switch(directory: Path, number: int) -> None:
    """Let the pointer name another generation, in one step."""
    disk.write_atomic(directory / CURRENT, f"{number}\n")


def place(folder: Path, directory: Path, number: int) -> None:
    """Move a finished folder to where generations are, in one step."""
    target = path(directory, number)
    target.parent.mkdir(exist_ok=True)
    os.replace(folder, target)
    disk.sync_folder(target.parent)
    disk.sync_folder(directory)


def copy(folder: Path, directory: Path) -> None:
    """A generation as the first of another knowledge base; hard links stay links."""
    making = directory / BUILDING
    linked: dict[int, Path] = {}

    def take(source: str, target: str) -> str:
        inode = os.stat(source).st_ino
        if inode in linked:
            os.link(linked[inode], target)
        else:
            shutil.copyfile(source, target)
            linked[inode] = Path(target)
        return target

    with disk.writing(directory):
        shutil.copytree(folder, making, copy_function=take)
        disk.sync_tree(making)
        place(making, directory, 1)
        switch(directory, 1)


def discard(folder: Path) -> None:
    """Remove a folder so that no half of it can be taken for the whole."""
    if not folder.exists():
        return
    trash = folder.with_name(f"{_TRASH}-{folder.name}-{os.getpid()}")
    shutil.rmtree(trash, ignore_errors=True)
    os.replace(folder, trash)
    shutil.rmtree(trash, ignore_errors=True)


def sweep(directory: Path) -> None:
    """Remove what an interrupted `discard` left; only for who holds the writer's lock."""
    for parent in (directory, directory / FOLDER):
        for one in parent.glob(f"{_TRASH}-*"):
            shutil.rmtree(one, ignore_errors=True)


def collect(directory: Path) -> list[int]:
    """Remove generations that are neither current nor held by a reader; their numbers.

    Raises `LockedError` while somebody builds.
    """
    with disk.writing(directory):
        sweep(directory)
        kept = _current(directory)
        removed = []
        for number in numbers(directory):
            if number == kept:
                continue
            folder = path(directory, number)
            with disk.sole(folder / NAME) as free:
                if free:
                    discard(folder)
                    removed.append(number)
        return removed
