"""Targets looked for in retrieved passages: against counting by hand."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from ragkit.errors import ConfigError, DataError
from ragkit.evaluate.tasks import with_targets
from ragkit.evaluate.tasks.targets import most_matched
from ragkit.protocols import Example, Passage, Retrieved

TEXTS = {
    "tall": ["It is 20,320 feet.", "Some say 6,194-meter, some 20,320 feet.", "No number."],
    "who": ["The U.S. Senate", "the senate", "Congress"],
    "nothing": ["not a word of it"],
}


class Told:
    """Retrieves what it was told; a question with fewer than k has gaps."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, int]] = []

    def retrieve(self, questions: Sequence[str], k: int) -> Retrieved:
        self.asked.append((len(questions), k))
        rows = [TEXTS[question][:k] for question in questions]
        passages = [
            [Passage(str(i), "", text) for i, text in enumerate(row)] + [None] * (k - len(row))
            for row in rows
        ]
        shape = (len(rows), k)
        mask = torch.tensor([[one is not None for one in row] for row in passages])
        return Retrieved(passages, torch.zeros(shape, dtype=torch.int64), torch.zeros(shape), mask)


def test_the_most_frequent_match() -> None:
    examples = [
        Example("1", "tall", (r"6,194-meter|20,?320\s*f(oo|ee)?t",), target="a guess"),
        Example("2", "nothing", ("China",)),
    ]
    (one,) = with_targets(examples, Told(), regex=True, k=3)
    assert (one.id, one.target, one.answers) == ("1", "20,320 feet", examples[0].answers)
    (less,) = with_targets(examples[:1], Told(), regex=True, k=1)
    assert less.target == "20,320 feet"


def test_answers_that_do_not_occur_are_dropped() -> None:
    examples = [
        Example("1", "who", ("Parliament", "congress", "us senate", "U.S. senate")),
        Example("2", "who", ("Parliament", "Congress"), target="Parliament"),
        Example("3", "who", ("Congress", "Senate"), target="Senate"),
        Example("4", "nothing", ("Parliament",)),
    ]
    found = list(with_targets(examples, Told(), k=3))
    assert [(one.id, one.answers, one.target) for one in found] == [
        ("1", ("congress", "U.S. senate"), "congress"),
        ("2", ("Congress",), "Congress"),
        ("3", ("Congress", "Senate"), "Senate"),
    ]


def test_it_streams_in_batches() -> None:
    told = Told()
    examples = (Example(str(i), "who", ("Congress",)) for i in range(10**9))
    stream = with_targets(examples, told, k=3, batch_size=4)
    assert [next(stream).id for _ in range(5)] == ["0", "1", "2", "3", "4"]
    assert told.asked == [(4, 3), (4, 3)]


def test_most_matched() -> None:
    assert most_matched("ab?", ["a", "ab AB", "ab"]) == "ab"
    assert most_matched("x", ["a"]) is None
    assert most_matched(r"\bx?", ["a x"]) == "x"
    with pytest.raises(DataError, match="no regular expression"):
        most_matched("(", [])
    for options in ({"k": 0}, {"batch_size": 0}):
        with pytest.raises(ConfigError, match="must be 1 or more"):
            list(with_targets([], Told(), **options))
