"""Judgements on disk: one JSON line each, added at the end and synced before it counts.

Who changes their mind adds a line: the last one stands. A line that was torn by a crash is
not read, and cut off before the next is written. Knows nothing of pairs and of pages.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO, NamedTuple

from ragkit.errors import CorruptError, DataError
from ragkit.evaluate.predictions import to_line

CHOICES = ("left", "right", "both", "neither")
VERDICTS = ("first", "second", "both", "neither")
_FRONT, _END = "judgements-", ".jsonl"


class Judgement(NamedTuple):
    """choice: as it was shown, left or right; verdict: the model meant, first or second."""

    pair: str
    aspect: str
    choice: str
    verdict: str
    at: str


def made(pair: str, aspect: str, choice: str, first_is_left: bool) -> Judgement:
    """A judgement of now; raises `DataError` where there is no such choice."""
    if choice not in CHOICES:
        raise DataError(f"the choice is {choice!r}; it is one of {', '.join(CHOICES)}")
    verdict = choice
    if choice in ("left", "right"):
        verdict = "first" if (choice == "left") == first_is_left else "second"
    return Judgement(pair, aspect, choice, verdict, time.strftime("%Y-%m-%dT%H:%M:%S%z"))


def annotators(directory: Path) -> list[str]:
    """The names of those who have a file."""
    return sorted(
        path.name[len(_FRONT) : -len(_END)] for path in directory.glob(f"{_FRONT}*{_END}")
    )


def add(directory: Path, annotator: str, judgement: Judgement) -> None:
    """Write a judgement so that it is there when this returns."""
    with _path(directory, annotator).open("a+b") as file:
        _lock(file)
        file.seek(0)
        held = file.read()
        file.truncate(held.rfind(b"\n") + 1)
        file.write(to_line(judgement._asdict()))
        file.flush()
        os.fsync(file.fileno())


def load(directory: Path, annotator: str) -> dict[tuple[str, str], Judgement]:
    """(pair, aspect) to the last judgement; raises `CorruptError` at a line that is none."""
    path = _path(directory, annotator)
    found: dict[tuple[str, str], Judgement] = {}
    if not path.exists():
        return found
    for number, line in enumerate(path.read_bytes().splitlines(keepends=True), start=1):
        if not line.endswith(b"\n"):
            break  # torn by a crash
        one = _judgement(path, number, line)
        found[one.pair, one.aspect] = one
    return found


def _judgement(path: Path, number: int, line: bytes) -> Judgement:
    try:
        record: Mapping[str, str] = json.loads(line)
        found = Judgement(**record)
        if found.choice in CHOICES and found.verdict in VERDICTS:
            return found
    except (ValueError, TypeError):
        pass
    raise CorruptError(f"{path}, line {number}: not a judgement; take the line out")


def _path(directory: Path, annotator: str) -> Path:
    return directory / f"{_FRONT}{annotator}{_END}"


def _lock(file: BinaryIO) -> None:
    """Wait until no other process writes there; released when the file is closed."""
    try:
        import fcntl
    except ImportError:  # no such lock on this system
        return
    fcntl.flock(file, fcntl.LOCK_EX)
