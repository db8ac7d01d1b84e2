"""From examples to batches of questions, in an order that a restart can find again.

Knows texts and row numbers, nothing of models and losses.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypedDict

import torch
from torch.utils.data import Dataset, Sampler

from ragkit.errors import DataError
from ragkit.protocols import Example

Source = Iterable[Example | Mapping[str, Any]]
"""Examples, or dicts with ``question`` and ``target``, ``answers`` or ``answer``."""


class Batch(TypedDict):
    """B questions with their targets. The first ``count`` are real.

    In distributed training the last batch of an epoch may be filled up, so that no
    process waits for another; what fills it up does not count.
    """

    questions: list[str]
    targets: list[str]
    count: int


def as_example(record: object, place: int) -> Example:
    """An example as it is, or one from a dict. Raises `DataError` naming the record."""
    if isinstance(record, Example):
        return record
    if not isinstance(record, Mapping):
        raise DataError(
            f"example {place} is {type(record).__name__}; give ragkit.Example or dicts with "
            "question and answers"
        )
    question = record.get("question")
    if not isinstance(question, str):
        raise DataError(f"example {place} has no question (keys: {', '.join(map(str, record))})")
    answers = record.get("answers", record.get("answer", ()))
    answers = (answers,) if isinstance(answers, str) else tuple(answers or ())
    target = record.get("target")
    for name, texts in (("answers", answers), ("target", () if target is None else (target,))):
        for text in texts:
            if not isinstance(text, str):
                raise DataError(
                    f"example {place} has {text!r:.60} ({type(text).__name__}) in {name}; give text"
                )
    return Example(
        id=str(record.get("id", place)),
        question=question,
        answers=answers,
        passage_ids=tuple(record.get("passage_ids") or ()),
        target=target,
    )


def target_of(example: Example, place: int) -> str:
    """The text to be learnt. Raises `DataError` where there is none."""
    if example.target is not None:
        return example.target
    if not example.answers:
        raise DataError(
            f"example {place} ({example.id!r}) has neither target nor answers, so there is "
            "nothing to learn from it; give one, or leave it out of the training set"
        )
    return example.answers[0]


class Questions(Dataset[tuple[str, str]]):
    """(question, target) by number; reads dicts of a `datasets.Dataset` when asked.

    Args:
        source: anything iterable; what has no length or index is read at once.
        each_answer: a row for each answer of an example, as the paper trains on Natural
            Questions and WebQuestions.

    Raises:
        DataError: no examples, or one without question or target.
    """

    def __init__(self, source: Source, each_answer: bool = False) -> None:
        lazy = hasattr(source, "column_names") and hasattr(source, "__getitem__")
        rows: Any = source if lazy else [as_example(r, i) for i, r in enumerate(source)]
        if each_answer:
            rows = [
                Example(e.id, e.question, target=answer)
                for e in (as_example(r, i) for i, r in enumerate(rows))
                for answer in (e.answers or (e.target,))
            ]
        self._rows = rows
        self._lazy = lazy and not each_answer
        if len(rows) == 0:
            raise DataError("the training set is empty; give at least one example")
        if not self._lazy:
            for place in range(len(rows)):
                self[place]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, place: int) -> tuple[str, str]:
        example = as_example(self._rows[place], place)
        return example.question, target_of(example, place)

    def fingerprint(self) -> str:
        """Of the texts and their order, or of their number where they are read lazily."""
        if self._lazy:
            return f"{len(self)} rows {getattr(self._rows, '_fingerprint', '')}"
        check = 0
        for place in range(len(self)):
            check = zlib.crc32("\x1f".join(self[place]).encode(), check)
        return f"{len(self)} rows {check:08x}"


def collate(rows: Sequence[tuple[str, str]]) -> Batch:
    """Rows to a batch."""
    questions, targets = zip(*rows, strict=True)
    return Batch(questions=list(questions), targets=list(targets), count=len(rows))


class EpochOrder(Sampler[int]):
    """A shuffle that depends on the seed and the epoch alone.

    Not on the global random state, which dropout also draws from: so a restart finds
    the same order, and so does a run on another number of processes.
    """

    def __init__(self, length: int, seed: int) -> None:
        self.length = length
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        yield from torch.randperm(self.length, generator=generator).tolist()
