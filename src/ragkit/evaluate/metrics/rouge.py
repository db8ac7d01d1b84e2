"""ROUGE-L by rouge-score (Lin 2004): the longest common subsequence with a gold.

The paper reports it of MS MARCO answers (Table 2). Knows nothing of passages.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ragkit.evaluate.metrics.each import each, needed
from ragkit.protocols import Example, Prediction


class RougeL:
    """F-measure of the longest common subsequence of words; the best over the golds.

    Words are rouge-score's: lower case, runs of a to z and digits, nothing else. A text in
    another script has no word, and the number 0.

    Args:
        stemmer: Whether words of more than three letters are cut to their stem (Porter).
    """

    label = "ROUGE-L"

    def __init__(self, stemmer: bool = False) -> None:
        scorer = needed("rouge_score.rouge_scorer", "rouge-l").RougeScorer
        self._scorer: Any = scorer(["rougeL"], use_stemmer=stemmer)

    def __call__(
        self, predictions: Sequence[Prediction], examples: Sequence[Example]
    ) -> list[float]:
        return each(self._one, predictions, examples)

    def _one(self, prediction: Prediction, example: Example) -> float:
        if not example.answers:
            return math.nan
        best = self._scorer.score_multi(list(example.answers), prediction.text)["rougeL"]
        return float(best.fmeasure)
