"""Is a right answer held up by what was retrieved.

Section 4.1 of the paper: a generator may be right though no retrieved passage holds the
answer, where a reader that extracts cannot be. KILT asks the opposite: an answer counts only
where its evidence was found. Composes metrics of answers and of passages.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from ragkit.errors import ConfigError
from ragkit.evaluate.metrics.answers import ExactMatch
from ragkit.evaluate.metrics.each import at, checked
from ragkit.evaluate.metrics.passages import AnswerRecall, RPrecision
from ragkit.protocols import Example, Metric, Prediction

AMONG = ("absent", "right", "all")


class AnswerAbsent:
    """1 where none of the first k passages holds an answer, else 0: 1 - answer recall.

    Args:
        k: Passages that count; by default all that were retrieved.
        regex: Golds are regular expressions.
        title: Titles are looked into as well.
    """

    def __init__(self, k: int | None = None, regex: bool = False, title: bool = False) -> None:
        self.k = checked(k, "answer-absent")
        self.label = at("answer absent", k)
        self._recall = AnswerRecall(k, regex=regex, title=title)

    def __call__(
        self, predictions: Sequence[Prediction], examples: Sequence[Example]
    ) -> list[float]:
        return [1.0 - found for found in self._recall(predictions, examples)]


class Unsupported:
    """1 where the answer is right (EM) though no passage holds it, else 0.

    Args:
        among: Of which questions the share is: ``"absent"``, those whose answer no passage
            holds (the paper's 11.8 % on Natural Questions); ``"right"``, those answered
            right; ``"all"``. Other questions have no number.
        regex: Golds are regular expressions.
        title: Titles are looked into as well.
    """

    def __init__(
        self,
        among: Literal["absent", "right", "all"] = "absent",
        regex: bool = False,
        title: bool = False,
    ) -> None:
        if among not in AMONG:
            raise ConfigError(
                f"metric unsupported: among is {among!r}; type one of {', '.join(AMONG)}"
            )
        self.among = among
        self.label = "right, absent" if among == "absent" else f"right, absent / {among}"
        self._right = ExactMatch(regex=regex)
        self._absent = AnswerAbsent(regex=regex, title=title)

    def __call__(
        self, predictions: Sequence[Prediction], examples: Sequence[Example]
    ) -> list[float]:
        right = self._right(predictions, examples)
        absent = self._absent(predictions, examples)
        return [self._one(*pair) for pair in zip(right, absent, strict=True)]

    def _one(self, right: float, absent: float) -> float:
        if math.isnan(right):
            return math.nan
        counted = {"absent": absent, "right": right, "all": 1.0}[self.among]
        return right * absent if counted else math.nan


class Kilt:
    """The number of another metric where R-precision is 1, else 0 (KILT-EM, KILT-F1, …).

    NaN where no gold passage is known, or where the other metric has no meaning.

    Args:
        of: The metric that is to be held up by evidence.
        page: What ends the id of a page in the ids of passages, as in ``r-precision``.
    """

    def __init__(self, of: Metric | None = None, page: str | None = None) -> None:
        self._of: Metric = ExactMatch() if of is None else of
        self.label = f"KILT-{getattr(self._of, 'label', type(self._of).__name__)}"
        self._evidence = RPrecision(page)

    def __call__(
        self, predictions: Sequence[Prediction], examples: Sequence[Example]
    ) -> list[float]:
        found = self._evidence(predictions, examples)
        numbers = self._of(predictions, examples)
        return [
            math.nan if math.isnan(share) else number if share == 1.0 else 0.0 * number
            for share, number in zip(found, numbers, strict=True)
        ]
