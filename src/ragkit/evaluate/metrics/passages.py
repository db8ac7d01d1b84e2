"""Were the right passages retrieved: by the answer they hold, or by their ids.

Answer recall is DPR's (Figure 3 of the paper); the others are those of ir_measures and
trec_eval, over the ids of the passages in the order in which they were retrieved. An id that
stands twice counts once, where it stands first. ``k`` says how many of the retrieved passages
count, best first; None means all. This module knows nothing of the answer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import islice

from ragkit.errors import DataError
from ragkit.evaluate.metrics.each import at, checked, each
from ragkit.evaluate.text import has_answer, has_pattern
from ragkit.protocols import Example, Prediction


class AnswerRecall:
    """1 where one of the first k passages holds an answer, else 0 (DPR, Figure 3).

    ``regex=True`` takes the golds as regular expressions. ``title=True`` looks into the
    title as well; DPR looks into the text alone.
    """

    def __init__(self, k: int | None = None, regex: bool = False, title: bool = False) -> None:
        self.k = checked(k, "answer-recall")
        self.regex = regex
        self.title = title
        self.label = at("answer R", k)

    def __call__(
        self, predictions: Sequence[Prediction], examples: Sequence[Example]
    ) -> list[float]:
        return each(self._one, predictions, examples)

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
        self.k = checked(k, "gold-recall")
        self.label = at("gold R", k)

    def __call__(
        self, predictions: Sequence[Prediction], examples: Sequence[Example]
    ) -> list[float]:
        return each(self._one, predictions, examples)

    def _one(self, prediction: Prediction, example: Example) -> float:
        golds = set(example.passage_ids)
        if not golds:
            return math.nan
        order = list(dict.fromkeys(passage.id for passage in prediction.passages))
        found = golds.intersection(order[: self.k])
        return len(found) / len(golds)


class ReciprocalRank:
    """1 / rank of the first gold passage among the first k, 0 where there is none.

    Its mean is MRR@k (RR@k of ir_measures). NaN where no gold is known.
    """

    def __init__(self, k: int | None = None) -> None:
        self.k = checked(k, "rr")
        self.label = at("RR", k)

    def __call__(
        self, predictions: Sequence[Prediction], examples: Sequence[Example]
    ) -> list[float]:
        return each(self._one, predictions, examples)

    def _one(self, prediction: Prediction, example: Example) -> float:
        golds = set(example.passage_ids)
        if not golds:
            return math.nan
        order = dict.fromkeys(passage.id for passage in prediction.passages)
        for rank, id in enumerate(islice(order, self.k), start=1):
            if id in golds:
                return 1.0 / rank
        return 0.0


class RPrecision:
    """The share of golds among the first R, R being the number of golds (Rprec; KILT).

    Where an example knows several sets of passages each of which is enough (as KILT's
    ``provenance`` has it), in ``extra["passage_sets"]``, the best of them counts.

    Args:
        page: What stands between the id of a page and the rest of a passage's id: with
            ``":"``, passages ``12:0`` and ``12:3`` are both page ``12``. KILT judges pages.
    """

    label = "Rprec"

    def __init__(self, page: str | None = None) -> None:
        self.page = page

    def __call__(
        self, predictions: Sequence[Prediction], examples: Sequence[Example]
    ) -> list[float]:
        return each(self._one, predictions, examples)

    def _one(self, prediction: Prediction, example: Example) -> float:
        sets = [{self._unit(id) for id in golds} for golds in _sets(example)]
        if not any(sets):
            return math.nan
        order = list(dict.fromkeys(self._unit(one.id) for one in prediction.passages))
        return max(len(one.intersection(order[: len(one)])) / len(one) for one in sets if one)

    def _unit(self, id: str) -> str:
        return id.partition(self.page)[0] if self.page else id


class NDCG:
    """Discounted gain of the first k over that of the best order (nDCG of ir_measures).

    A gold at rank r gains its grade / log2(1 + r). The grade is 1, or what the example says
    of that id in ``extra["relevance"]``, an object of ids to numbers; whatever is in there
    with more than 0 is a gold. NaN where no gold is known.
    """

    def __init__(self, k: int | None = None) -> None:
        self.k = checked(k, "ndcg")
        self.label = at("nDCG", k)

    def __call__(
        self, predictions: Sequence[Prediction], examples: Sequence[Example]
    ) -> list[float]:
        return each(self._one, predictions, examples)

    def _one(self, prediction: Prediction, example: Example) -> float:
        grades = _grades(example)
        order = list(dict.fromkeys(one.id for one in prediction.passages))
        found = _gain([grades.get(id, 0.0) for id in order[: self.k]])
        best = _gain(sorted(grades.values(), reverse=True)[: self.k])
        return found / best if best else math.nan


def _gain(grades: Sequence[float]) -> float:
    return sum(grade / math.log2(1 + rank) for rank, grade in enumerate(grades, start=1))


def _grades(example: Example) -> dict[str, float]:
    said = example.extra.get("relevance")
    if said is None:
        return dict.fromkeys(example.passage_ids, 1.0)
    if not isinstance(said, Mapping) or not all(
        isinstance(grade, int | float) and math.isfinite(grade) for grade in said.values()
    ):
        raise DataError(
            f"example {example.id!r}: relevance is {said!r:.80}; write an object of passage ids "
            f'to numbers, "relevance": {{"p12": 2}}'
        )
    grades = dict.fromkeys(example.passage_ids, 1.0) | {str(id): float(g) for id, g in said.items()}
    return {id: grade for id, grade in grades.items() if grade > 0}


def _sets(example: Example) -> list[tuple[str, ...]]:
    said = example.extra.get("passage_sets")
    if said is None:
        return [example.passage_ids]
    if not isinstance(said, list | tuple) or not all(isinstance(one, list | tuple) for one in said):
        raise DataError(
            f"example {example.id!r}: passage_sets is {said!r:.80}; write a list of lists of "
            f'passage ids, "passage_sets": [["p12", "p13"], ["p40"]]'
        )
    return [tuple(map(str, one)) for one in said]
