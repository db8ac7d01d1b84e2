"""ragkit's metrics: predictions and examples to one number for each.

Those that look at the answer (EM, F1) and those that look at the passages (answer
recall, gold recall, reciprocal rank), as section 3 and Figure 3 of the paper use them.
A number is NaN where the metric has no meaning: gold recall of an example whose gold
passage nobody knows. This module knows nothing of models, files or averages.

``k`` says how many of the retrieved passages count, best first; None means all.
``label`` is the name that a table shows.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence

from ragkit.errors import ConfigError
from ragkit.evaluate.text import (
    has_answer,
    has_pattern,
    matches_pattern,
    squad_normalise,
    squad_tokens,
)
from ragkit.protocols import Example, Prediction


class ExactMatch:
    """1 where the prediction equals a gold after SQuAD's normalisation, else 0.

    ``regex=True`` takes the golds as regular expressions that must match the prediction
    from its beginning (CuratedTrec).
    """

    label = "EM"

    def __init__(self, regex: bool = False) -> None:
        self.regex = regex

    def __call__(
        self, predictions: Sequence[Prediction], examples: Sequence[Example]
    ) -> list[float]:
        return _each(self._one, predictions, examples)

    def _one(self, prediction: Prediction, example: Example) -> float:
        if not example.answers:
            return math.nan
        if self.regex:
            return float(matches_pattern(prediction.text, example.answers))
        said = squad_normalise(prediction.text)
        return float(any(said == squad_normalise(gold) for gold in example.answers))


class F1:
    """Harmonic mean of precision and recall of words; the best over the golds.

    SQuAD v1.1's definition: words count as often as they occur in both, and where no
    word is shared the value is 0, also where neither text has a word left.
    """

    label = "F1"

    def __call__(
        self, predictions: Sequence[Prediction], examples: Sequence[Example]
    ) -> list[float]:
        return _each(self._one, predictions, examples)

    def _one(self, prediction: Prediction, example: Example) -> float:
        if not example.answers:
            return math.nan
        said = squad_tokens(prediction.text)
        return max(_f1(said, squad_tokens(gold)) for gold in example.answers)


class AnswerRecall:
    """1 where one of the first k passages holds an answer, else 0 (DPR, Figure 3).

    ``regex=True`` takes the golds as regular expressions. ``title=True`` looks into the
    title as well; DPR looks into the text alone.
    """

    def __init__(self, k: int | None = None, regex: bool = False, title: bool = False) -> None:
        self.k = _checked(k, "answer-recall")
        self.regex = regex
        self.title = title
        self.label = _at("answer R", k)

    def __call__(
        self, predictions: Sequence[Prediction], examples: Sequence[Example]
    ) -> list[float]:
        return _each(self._one, predictions, examples)

    def _one(self, prediction: Prediction, example: Example) -> float:
        if not example.answers:
            return math.nan
        found = has_pattern if self.regex else has_answer
        texts = (
            f"{passage.title} . {passage.text}" if self.title else passage.text
            for passage in prediction.passages[: self.k]
        )
        return float(any(found(text, example.answers) for text in texts))


class GoldRecall:
    """The share of an example's gold passages among the first k: R@k of ir_measures.

    With one gold passage, as in SQuAD, it is 1 or 0. NaN where no gold is known.
    """

    def __init__(self, k: int | None = None) -> None:
        self.k = _checked(k, "gold-recall")
        self.label = _at("gold R", k)

    def __call__(
        self, predictions: Sequence[Prediction], examples: Sequence[Example]
    ) -> list[float]:
        return _each(self._one, predictions, examples)

    def _one(self, prediction: Prediction, example: Example) -> float:
        golds = set(example.passage_ids)
        if not golds:
            return math.nan
        found = golds.intersection(passage.id for passage in prediction.passages[: self.k])
        return len(found) / len(golds)


class ReciprocalRank:
    """1 / rank of the first gold passage among the first k, 0 where there is none.

    Its mean is MRR@k (RR@k of ir_measures). NaN where no gold is known.
    """

    def __init__(self, k: int | None = None) -> None:
        self.k = _checked(k, "rr")
        self.label = _at("RR", k)

    def __call__(
        self, predictions: Sequence[Prediction], examples: Sequence[Example]
    ) -> list[float]:
        return _each(self._one, predictions, examples)

    def _one(self, prediction: Prediction, example: Example) -> float:
        if not example.passage_ids:
            return math.nan
        for rank, passage in enumerate(prediction.passages[: self.k], start=1):
            if passage.id in example.passage_ids:
                return 1.0 / rank
        return 0.0


def _f1(said: Sequence[str], gold: Sequence[str]) -> float:
    shared = (Counter(said) & Counter(gold)).total()
    # 2·p·r/(p+r) with p = shared/|said| and r = shared/|gold|
    return 2.0 * shared / (len(said) + len(gold)) if shared else 0.0


def _each(
    one: Callable[[Prediction, Example], float],
    predictions: Sequence[Prediction],
    examples: Sequence[Example],
) -> list[float]:
    return [one(*pair) for pair in zip(predictions, examples, strict=True)]


def _at(name: str, k: int | None) -> str:
    return name if k is None else f"{name}@{k}"


def _checked(k: int | None, name: str) -> int | None:
    if k is not None and k < 1:
        raise ConfigError(
            f"metric {name}: k is {k}, but at least one passage must count; "
            f"type k=1 or more, or leave k out for all that were retrieved"
        )
    return k
