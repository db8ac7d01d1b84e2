"""Are somebody's files what a task takes them for: every split read to its end, and counted.

Works on any `Task`; of one that knows its files (`FileTask`) it says which are there and how
many questions they should have. Knows no format.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ragkit.errors import DataError
from ragkit.evaluate.tasks.files import FileTask, Found, IncompleteWarning
from ragkit.protocols import Example, Task

SPLITS = ("train", "dev", "test")


@dataclass(frozen=True, slots=True)
class Checked:
    """What a split was found to be.

    files: names of its files, () where the task does not say. questions: how many were read,
    to the first fault. known: how many there should be. answered: those with golds.
    targets: those with a text to learn. first: the first example. fault: what is wrong, "".
    """

    split: str
    files: tuple[str, ...]
    questions: int
    known: tuple[int, ...]
    answered: int
    targets: int
    first: Example | None
    fault: str

    def as_dict(self) -> dict[str, Any]:
        """Plain Python for JSON."""
        first = self.first
        return {
            "split": self.split,
            "files": list(self.files),
            "questions": self.questions,
            "known": list(self.known),
            "answered": self.answered,
            "targets": self.targets,
            "first": None
            if first is None
            else {
                "id": first.id,
                "question": first.question,
                "answers": list(first.answers[:5]),
                "target": first.target,
                "passage_ids": list(first.passage_ids[:5]),
            },
            "fault": self.fault,
        }


def check(task: Task, splits: Sequence[str] = ()) -> Iterator[Checked]:
    """Read splits to their end, by default all that are there.

    Raises `DataError` where a task knows its files and has none of them.
    """
    there = task.there() if isinstance(task, FileTask) and task.path.is_dir() else {}
    chosen = list(splits) or list(there)
    if not chosen and isinstance(task, FileTask):
        if task.path.is_dir():
            task.found(next(iter(task.about.layouts[0].files), "train"))  # raises: nothing is there
        chosen = [task.named() or "all"]
    for split in chosen or SPLITS:
        yield _read(task, split)


def _read(task: Task, split: str) -> Checked:
    found = Found((), ())
    count = answered = targets = 0
    first, fault = None, ""
    try:
        if isinstance(task, FileTask):
            found = task.found(split)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", IncompleteWarning)
            for example in task.examples(split):
                first = example if count == 0 else first
                count += 1
                answered += bool(example.answers or example.passage_ids)
                targets += bool(example.answers or example.target)
        fault = found.complaint(count)
    except DataError as error:
        fault = str(error)
    names = tuple(path.name for path in found.files)
    return Checked(split, names, count, found.known, answered, targets, first, fault)
