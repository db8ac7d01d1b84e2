"""Percentile bootstrap intervals of means and pooled figures, and of paired differences.

Resampling the questions with replacement says how much a figure would move with other
questions of the same kind. It says nothing of other training seeds, and where all
values are equal (EM of 0 or 100 %) the interval has no width, however few they are.

A pooled figure (BLEU) is no mean: it is made of sums of a row of statistics per question,
so a resample of questions is a sum of resampled rows, and its figure is made anew. With one
seed all of these draw the same questions. This module knows arrays of numbers and
nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ragkit.errors import DataError

_BLOCK = 1 << 22  # drawn positions held at once: 32 MiB of int64


Pooled = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""Figures (R,) of sums (R,S), as `ragkit.protocols.SupportsPooling` has it."""
Ends = Callable[[NDArray[np.float64], NDArray[np.float64], float], tuple[float, float]]
"""As `ragkit.protocols.SupportsEnds` has it."""


class Interval(NamedTuple):
    """A mean or pooled figure with the ends of its interval; NaN where nothing is known."""

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


def pooled_interval(
    statistics: NDArray[np.float64],
    pooled: Pooled,
    *,
    ends: Ends | None = None,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Figure and interval of statistics (n,S); rows that hold a NaN are left out.

    ends: makes the interval in place of percentiles.
    """
    check(confidence, resamples)
    kept = statistics[~np.isnan(statistics).any(axis=1)]
    if not len(kept):
        return Interval(float("nan"), float("nan"), float("nan"), 0)
    totals = kept.sum(axis=0)  # (S,)
    sums = resampled_sums(kept, resamples=resamples, seed=seed)  # (R,S)
    tail = (1.0 - confidence) / 2.0
    if ends is None:
        low, high = np.quantile(pooled(sums), [tail, 1.0 - tail])
    else:
        low, high = ends(totals, sums, tail)
    return Interval(float(pooled(totals[None])[0]), float(low), float(high), len(kept))


def paired_pooled_interval(
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    pooled: Pooled,
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Figure of first minus that of second, statistics (n,S) of the same questions in order.

    A question counts where both are known. Raises `DataError` where the two are not of
    one shape.
    """
    if first.shape != second.shape:
        raise DataError(
            f"a paired comparison needs the same questions and metric on both sides, but the "
            f"statistics are {first.shape} and {second.shape}; evaluate both on the same task"
        )
    width = first.shape[1]
    return pooled_interval(
        np.concatenate([first, second], axis=1),
        lambda sums: pooled(sums[:, :width]) - pooled(sums[:, width:]),
        confidence=confidence,
        resamples=resamples,
        seed=seed,
    )


def resampled_means(
    values: NDArray[np.float64], *, resamples: int, seed: int
) -> NDArray[np.float64]:
    """The means (R,) of R samples of values (n,), each of n drawn with replacement."""
    return np.concatenate(
        [values[drawn].mean(axis=1) for drawn in _draws(values.size, resamples, seed)]
    )


def resampled_sums(
    statistics: NDArray[np.float64], *, resamples: int, seed: int
) -> NDArray[np.float64]:
    """The sums (R,S) of R samples of rows (n,S), each of n drawn with replacement."""
    n = len(statistics)
    sums = []
    for drawn in _draws(n, resamples, seed):
        # How often each question was drawn, (r,n): one matrix product in place of r·n·S reads.
        flat = drawn + n * np.arange(len(drawn))[:, None]
        times = np.bincount(flat.ravel(), minlength=n * len(drawn)).reshape(len(drawn), n)
        sums.append(times.astype(np.float64) @ statistics)
    return np.concatenate(sums)


def _draws(n: int, resamples: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """Positions (r,n) of R resamples, a block at a time."""
    rng = np.random.default_rng(seed)
    step = max(1, _BLOCK // n)
    for start in range(0, resamples, step):
        yield rng.integers(0, n, (min(step, resamples - start), n))


def _known(values: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64).ravel()
    return array[~np.isnan(array)]


def check(confidence: float, resamples: int) -> None:
    """Raise `DataError` where no interval can be made with these."""
    if not 0.0 < confidence < 1.0:
        raise DataError(f"confidence is {confidence}; type a share between 0 and 1, such as 0.95")
    if resamples < 1:
        raise DataError(f"resamples is {resamples}; type a positive number, such as 2000")
