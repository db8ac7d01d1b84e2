"""Whether p(y|x) says how often the answer is right: calibration error and Brier score.

Confidence is p(y|x), the marginal likelihood of the answer that was given (section 2.1 of
the paper), and "right" is exact match, or another metric whose numbers are 0 to 1. Knows
nothing of passages.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ragkit.errors import ConfigError
from ragkit.evaluate.metrics.answers import ExactMatch
from ragkit.protocols import Example, Metric, Prediction


class Brier:
    """Mean square of p(y|x) minus right (Brier 1950); 0 to 1, less is better.

    Args:
        of: The metric that says what is right; by default ``em``.
    """

    label = "Brier"

    def __init__(self, of: Metric | None = None) -> None:
        self._of: Metric = ExactMatch() if of is None else of

    def __call__(
        self, predictions: Sequence[Prediction], examples: Sequence[Example]
    ) -> list[float]:
        right = self._of(predictions, examples)
        return [
            (confidence(prediction) - number) ** 2
            for prediction, number in zip(predictions, right, strict=True)
        ]


class CalibrationError:
    """Expected calibration error over bins of one width (Guo et al. 2017); less is better.

    The mean over questions of the gap, in the bin (m/bins, (m+1)/bins] of their confidence,
    between mean confidence and share of right answers. The number of a question is its own
    gap. It errs upwards: a model that is perfectly calibrated does not have 0 on a finite
    set of questions, and more bins or fewer questions make it larger.

    Args:
        bins: How many.
        of: The metric that says what is right; by default ``em``.
    """

    label = "ECE"

    def __init__(self, bins: int = 10, of: Metric | None = None) -> None:
        if bins < 1:
            raise ConfigError(f"metric ece: bins is {bins}; type bins=1 or more")
        self.bins = bins
        self._of: Metric = ExactMatch() if of is None else of

    def __call__(
        self, predictions: Sequence[Prediction], examples: Sequence[Example]
    ) -> list[float]:
        right = self._of(predictions, examples)
        return [
            abs(confidence(prediction) - number)
            for prediction, number in zip(predictions, right, strict=True)
        ]

    def statistics(
        self, predictions: Sequence[Prediction], examples: Sequence[Example]
    ) -> NDArray[np.float64]:
        """(N, 1 + bins): 1, and in the column of its bin confidence minus right."""
        pairs = zip(predictions, examples, strict=True)
        # One at a time: predictions may lie on disk because memory does not hold them.
        known = [(confidence(said), self._of([said], [gold])[0]) for said, gold in pairs]
        p, right = np.array(known, dtype=np.float64).reshape(-1, 2).T  # (N,) each
        columns = np.clip(np.ceil(p * self.bins).astype(np.int64), 1, self.bins)  # (N,)
        rows = np.zeros((len(p), 1 + self.bins))
        rows[:, 0] = 1.0
        rows[np.arange(len(p)), columns] = p - right
        rows[np.isnan(right)] = np.nan
        return rows

    def pooled(self, totals: NDArray[np.float64]) -> NDArray[np.float64]:
        """Errors (R,) of sums (R, 1 + bins)."""
        gaps: NDArray[np.float64] = np.abs(totals[:, 1:]).sum(axis=1)  # (R,)
        return gaps / totals[:, 0]

    def ends(
        self, totals: NDArray[np.float64], resampled: NDArray[np.float64], tail: float
    ) -> tuple[float, float]:
        """Ends that hold also for a model which is well calibrated.

        Resampling adds noise to every gap, and gaps count without sign: percentiles lie too
        high, those of a calibrated model all above its true 0. The upper end may err that
        way. The lower end is by the triangle inequality: the true error is at least the one
        found less the error of the noise, which the resamples measure around what was found.
        """
        noise = self.pooled(np.column_stack([resampled[:, :1], resampled[:, 1:] - totals[1:]]))
        found = float(self.pooled(totals[None])[0])
        low = max(0.0, found - float(np.quantile(noise, 1.0 - tail)))
        return low, max(found, float(np.quantile(self.pooled(resampled), 1.0 - tail)))


def confidence(prediction: Prediction) -> float:
    """p(y|x), at most 1 whatever was rounded."""
    return min(1.0, math.exp(min(0.0, prediction.log_likelihood)))
