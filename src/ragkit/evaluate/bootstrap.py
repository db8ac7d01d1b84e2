"""Percentile bootstrap intervals of a mean, and of the difference of two paired means.

Resampling the questions with replacement says how much a figure would move with other
questions of the same kind. It says nothing of other training seeds, and where all
values are equal (EM of 0 or 100 %) the interval has no width, however few they are.
This module knows arrays of numbers and nothing else.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ragkit.errors import DataError

_BLOCK = 1 << 22  # drawn positions held at once: 32 MiB of int64


class Interval(NamedTuple):
    """A mean with the ends of its interval; NaN where there was nothing to average."""

    mean: float
    low: float
    high: float
    n: int


def interval(
    values: ArrayLike, *, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Interval:
    """Mean and percentile interval of values (n,); NaNs are left out and not counted."""
    check(confidence, resamples)
    kept = _known(values)
    if not kept.size:
        return Interval(float("nan"), float("nan"), float("nan"), 0)
    means = resampled_means(kept, resamples=resamples, seed=seed)
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(means, [tail, 1.0 - tail])
    return Interval(float(kept.mean()), float(low), float(high), int(kept.size))


def paired_interval(
    first: ArrayLike,
    second: ArrayLike,
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Mean of first minus second with its interval, both of the same questions in order.

    A question counts where both values are known. Raises `DataError` where the two are
    not equally long.
    """
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if a.shape != b.shape:
        raise DataError(
            f"a paired comparison needs the same questions on both sides, but there are "
            f"{a.size} and {b.size} values; evaluate both on the same task and split"
        )
    return interval(a - b, confidence=confidence, resamples=resamples, seed=seed)


def resampled_means(
    values: NDArray[np.float64], *, resamples: int, seed: int
) -> NDArray[np.float64]:
    """The means (R,) of R samples of values (n,), each of n drawn with replacement."""
    rng = np.random.default_rng(seed)
    means = np.empty(resamples)  # (R,)
    step = max(1, _BLOCK // values.size)
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        drawn = rng.integers(0, values.size, (rows, values.size))  # (r,n)
        means[start : start + rows] = values[drawn].mean(axis=1)
    return means


def _known(values: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64).ravel()
    return array[~np.isnan(array)]


def check(confidence: float, resamples: int) -> None:
    """Raise `DataError` where no interval can be made with these."""
    if not 0.0 < confidence < 1.0:
        raise DataError(f"confidence is {confidence}; type a share between 0 and 1, such as 0.95")
    if resamples < 1:
        raise DataError(f"resamples is {resamples}; type a positive number, such as 2000")
