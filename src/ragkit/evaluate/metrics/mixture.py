"""What the prior p(z|x) and the posterior p(z|x,y) look like, no gold being needed.

The same signs of collapse that training logs (appendix H of the paper): a prior that does
not choose has the entropy log K, and a posterior equal to a flat prior the rank (K+1)/2.
Knows nothing of answers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from ragkit.evaluate.metrics.each import each
from ragkit.protocols import Example, Prediction


class PriorEntropy:
    """-Σ p(z|x)·log p(z|x) over the passages that were retrieved.

    In nats: 0 where one passage has all the prior, log K where K share it evenly. NaN where
    the prediction has no prior.

    Args:
        share: Whether to divide by log K, for a number from 0 to 1.
    """

    def __init__(self, share: bool = False) -> None:
        self.share = share
        self.label = "prior entropy" + (" / log K" if share else "")
        self.unit = "share" if share else "nats"

    def __call__(
        self, predictions: Sequence[Prediction], examples: Sequence[Example]
    ) -> list[float]:
        return each(self._one, predictions, examples)

    def _one(self, prediction: Prediction, example: Example) -> float:
        prior = prediction.prior
        if not prior:
            return math.nan
        entropy = math.fsum(-p * math.log(p) for p in prior if p > 0.0)
        # Of one passage there is nothing to choose: 0, whichever way it is said.
        return entropy / math.log(max(2, len(prior))) if self.share else entropy


class PosteriorRank:
    """Rank of a passage, from 1 in the order of retrieval, averaged by p(z|x,y).

    1 where the answer is owed to the first passage alone. NaN where the prediction has no
    posterior.
    """

    label = "posterior rank"
    unit = "rank"

    def __call__(
        self, predictions: Sequence[Prediction], examples: Sequence[Example]
    ) -> list[float]:
        return each(self._one, predictions, examples)

    def _one(self, prediction: Prediction, example: Example) -> float:
        if not prediction.posterior:
            return math.nan
        return math.fsum(p * rank for rank, p in enumerate(prediction.posterior, start=1))
