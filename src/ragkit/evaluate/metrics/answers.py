"""Is the answer right: exact match and F1 as SQuAD has them, and labels for classification.

Section 3 of the paper measures question answering by EM and fact verification by label
accuracy. This module knows nothing of passages.
"""

from __future__ import annotations

import math
import unicodedata
from collections import Counter
from collections.abc import Sequence

from ragkit.evaluate.metrics.each import each
from ragkit.evaluate.text import matches_pattern, squad_normalise, squad_tokens
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
        return each(self._one, predictions, examples)

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
        return each(self._one, predictions, examples)

    def _one(self, prediction: Prediction, example: Example) -> float:
        if not example.answers:
            return math.nan
        said = squad_tokens(prediction.text)
        return max(_f1(said, squad_tokens(gold)) for gold in example.answers)


class LabelAccuracy:
    """1 where the prediction is one of the example's labels, else 0 (FEVER, section 3.4).

    Case, the width of spaces and the way that letters are composed do not matter; everything
    else does, articles and punctuation too, for a label is a name and no phrase.
    """

    label = "accuracy"

    def __call__(
        self, predictions: Sequence[Prediction], examples: Sequence[Example]
    ) -> list[float]:
        return each(self._one, predictions, examples)

    def _one(self, prediction: Prediction, example: Example) -> float:
        if not example.answers:
            return math.nan
        return float(_plain(prediction.text) in map(_plain, example.answers))


def _f1(said: Sequence[str], gold: Sequence[str]) -> float:
    shared = (Counter(said) & Counter(gold)).total()
    # 2·p·r/(p+r) with p = shared/|said| and r = shared/|gold|
    return 2.0 * shared / (len(said) + len(gold)) if shared else 0.0


def _plain(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).casefold().split())
