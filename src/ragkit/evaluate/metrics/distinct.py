"""How varied the answers are: distinct over all n-grams (Li et al. 2016; Table 5).

A figure of all answers together, which falls as answers are added, since n-grams come back.
A plain bootstrap is wrong here: a question drawn twice brings no new n-gram, so that every
resample lies far below the figure. The statistics are therefore those of the figure
linearised at the whole set: of a question, the n-grams that it alone has (what the count of
distinct ones loses without it), and all it has. Without one question this is exact, and its
variance errs on the wide side (Efron and Stein 1981).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from ragkit.errors import ConfigError
from ragkit.evaluate.metrics.each import each
from ragkit.evaluate.text import dpr_tokens
from ragkit.protocols import Example, Prediction


class Distinct:
    """Distinct n-grams over n-grams, of all answers together; 0 to 1.

    Tokens are those of DPR's tokenizer: words and marks, in lower case. An answer shorter
    than n has none and does not count. The number of a question is the ratio within its own
    answer.

    Args:
        n: Tokens in an n-gram; Table 5 of the paper counts trigrams.
        golds: Whether to count the first gold in place of the answer: the row "Gold".
    """

    def __init__(self, n: int = 3, golds: bool = False) -> None:
        if n < 1:
            raise ConfigError(f"metric distinct: n is {n}; type n=1 or more")
        self.n = n
        self.golds = golds
        self.label = f"distinct-{n}" + (" of golds" if golds else "")

    def __call__(
        self, predictions: Sequence[Prediction], examples: Sequence[Example]
    ) -> list[float]:
        return each(self._one, predictions, examples)

    def statistics(
        self, predictions: Sequence[Prediction], examples: Sequence[Example]
    ) -> NDArray[np.float64]:
        """(N,2): distinct n-grams and all n-grams, in shares that add up to the whole set's.

        A question has the n-grams that it alone has, and an even share of those that several
        have. NaN where it has no n-gram.
        """
        within = [Counter(self._ngrams(*pair)) for pair in zip(predictions, examples, strict=True)]
        holders = Counter(gram for one in within for gram in one)
        alone = np.array([sum(holders[gram] == 1 for gram in one) for one in within])  # (N,)
        written = np.array([one.total() for one in within])  # (N,)
        counted = written > 0
        even = (len(holders) - alone.sum()) / max(1, counted.sum())
        rows = np.stack([alone + even, written], axis=1).astype(np.float64)  # (N,2)
        rows[~counted] = np.nan
        return rows.reshape(len(within), 2)

    def pooled(self, totals: NDArray[np.float64]) -> NDArray[np.float64]:
        """Ratios (R,) of sums (R,2)."""
        return totals[:, 0] / totals[:, 1]

    def _one(self, prediction: Prediction, example: Example) -> float:
        grams = list(self._ngrams(prediction, example))
        return len(set(grams)) / len(grams) if grams else math.nan

    def _ngrams(self, prediction: Prediction, example: Example) -> Iterator[tuple[str, ...]]:
        text = prediction.text if not self.golds else "".join(example.answers[:1])
        tokens = dpr_tokens(text)
        return zip(*(tokens[start:] for start in range(self.n)), strict=False)
