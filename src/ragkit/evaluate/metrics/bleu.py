"""BLEU and BLEU-1 by sacrebleu (Papineni et al. 2002; Post 2018), as shares of 1.

The paper reports BLEU-1 of MS MARCO and Jeopardy questions (Table 2). BLEU is a figure of
all texts together: n-grams shared and written, and lengths, are added up before precisions
and the brevity penalty are taken. Counting is sacrebleu's; this module adds the sums of many
sets at once, for the bootstrap, and the number of a single text.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragkit.errors import ConfigError
from ragkit.evaluate.metrics.each import each, needed
from ragkit.protocols import Example, Prediction


class Bleu:
    """BLEU of sacrebleu's defaults, over 100: the same figure as ``sacrebleu --metrics bleu``.

    A text has every gold as a reference. The number of a single question is sacrebleu's
    sentence BLEU, which leaves out orders that the text is too short for; NaN where there
    is no gold.

    Args:
        order: The longest n-grams that count; of 1, BLEU-1.
        lowercase: Whether case is ignored. sacrebleu's default is that it is not.
        tokenize: The name of one of sacrebleu's tokenizers.
    """

    def __init__(self, order: int = 4, lowercase: bool = False, tokenize: str = "13a") -> None:
        if order < 1:
            raise ConfigError(f"metric bleu: order is {order}; type order=1 or more")
        self.order = order
        self.label = "BLEU" if order == 4 else f"BLEU-{order}"
        made = needed("sacrebleu.metrics", "bleu").BLEU
        if tokenize not in made.TOKENIZERS:
            raise ConfigError(
                f"metric bleu: sacrebleu has no tokenizer {tokenize!r}; "
                f"there are: {', '.join(made.TOKENIZERS)}"
            )
        options = {"max_ngram_order": order, "lowercase": lowercase, "tokenize": tokenize}
        self._corpus: Any = made(**options)
        self._sentence: Any = made(**options, effective_order=True)

    def __call__(
        self, predictions: Sequence[Prediction], examples: Sequence[Example]
    ) -> list[float]:
        return each(self._one, predictions, examples)

    def statistics(
        self, predictions: Sequence[Prediction], examples: Sequence[Example]
    ) -> NDArray[np.float64]:
        """(N, 2 + 2·order): lengths of text and nearest gold, n-grams shared, n-grams written."""
        rows = [self._row(*pair) for pair in zip(predictions, examples, strict=True)]
        return np.array(rows, dtype=np.float64).reshape(len(rows), 2 + 2 * self.order)

    def pooled(self, totals: NDArray[np.float64]) -> NDArray[np.float64]:
        """BLEU (R,) of sums (R, 2 + 2·order), smoothed as sacrebleu does (``exp``)."""
        length, gold = totals[:, 0], totals[:, 1]  # (R,)
        shared = totals[:, 2 : 2 + self.order]  # (R,order)
        written = totals[:, 2 + self.order :]  # (R,order)
        # An order of which nothing is shared counts 1/2, the next such order 1/4, …
        halves = np.exp2(-np.cumsum(shared == 0, axis=1))
        with np.errstate(divide="ignore", invalid="ignore"):
            precision = np.where(shared > 0, shared, halves) / written
            penalty = np.where(length < gold, np.exp(1.0 - gold / length), 1.0)
            score = penalty * np.exp(np.log(precision).mean(axis=1))
        # Nothing shared at all, or texts all shorter than the longest n-grams: 0.
        return np.where((shared[:, 0] > 0) & (written[:, -1] > 0), score, 0.0)

    def _row(self, prediction: Prediction, example: Example) -> list[float]:
        if not example.answers:
            return [math.nan] * (2 + 2 * self.order)
        # sacrebleu's own counts of one text against its references
        score = self._sentence.sentence_score(prediction.text, list(example.answers))
        return [score.sys_len, score.ref_len, *score.counts, *score.totals]

    def _one(self, prediction: Prediction, example: Example) -> float:
        if not example.answers:
            return math.nan
        score = self._sentence.sentence_score(prediction.text, list(example.answers))
        return float(score.score) / 100.0


def bleu_1(lowercase: bool = False, tokenize: str = "13a") -> Bleu:
    """BLEU of words alone, with BLEU's brevity penalty (Table 2 of the paper).

    Args:
        lowercase: Whether case is ignored. sacrebleu's default is that it is not.
        tokenize: The name of one of sacrebleu's tokenizers.
    """
    return Bleu(order=1, lowercase=lowercase, tokenize=tokenize)
