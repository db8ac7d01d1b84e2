"""Tests of paired differences: how probable is so large a mean if neither were better.

**Permutation test.** If two runs were alike, each question's difference d_i might as well
have had the other sign. p is the share of all 2^n choices of signs whose |Σ ±d_i| is at
least |Σ d_i|. Only the magnitudes that differ matter: with c_j questions of magnitude m_j
the sum depends on how many of each are negative, so Π(c_j+1) cases with binomial weights
are counted in place of 2^n, all of them where there are no more than `CASES`. With EM there
is one magnitude, and p is that of the exact sign test (McNemar's). Otherwise signs are drawn,
and p = (1 + hits) / (1 + draws), which is never 0.

Knows arrays of numbers and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln

from ragkit.errors import DataError

CASES = 1 << 18
_ALL_SIDES = 1 << 12
_BLOCK = 1 << 22  # drawn signs held at once: 32 MiB of float64
_DIGITS = 12  # differences that agree in so many decimals are one magnitude


class Outcome(NamedTuple):
    """p of a two-sided test; NaN where there was nothing to compare.

    exact: every case was counted; False: signs were drawn.
    """

    p: float
    exact: bool


class Counts(NamedTuple):
    """Questions where the first value is higher, the same, lower."""

    wins: int
    ties: int
    losses: int


class Share(NamedTuple):
    """``cases`` of n with the ends of the exact interval of its share; NaN where n is 0."""

    cases: int
    n: int
    low: float
    high: float

    @property
    def share(self) -> float:
        return self.cases / self.n if self.n else math.nan

    def as_dict(self) -> dict[str, Any]:
        """Plain Python for JSON."""
        numbers = {"share": self.share, "low": self.low, "high": self.high}
        return {"count": self.cases, "of": self.n} | {
            name: None if math.isnan(value) else value for name, value in numbers.items()
        }


def permutation_test(differences: ArrayLike, *, draws: int = 10_000, seed: int = 0) -> Outcome:
    """Two-sided p of paired differences (n,), NaNs left out; 1 where all are zero.

    draws: of signs, where the cases are too many to count. Raises `DataError` where it is
    not positive.
    """
    if draws < 1:
        raise DataError(f"draws is {draws}; type a positive number, such as 10000")
    known = _known(differences)
    if not known.size:
        return Outcome(math.nan, True)
    moved = np.round(known[known != 0], _DIGITS)
    moved = moved[moved != 0]
    magnitudes, counts = np.unique(np.abs(moved), return_counts=True)  # (u,), (u,)
    observed = abs(math.fsum(moved))
    least = observed - 1e-9 * float(np.abs(moved).sum())  # equal but for rounding counts
    if math.log2(CASES) >= float(np.log2(counts + 1.0).sum()):
        return Outcome(_counted(magnitudes, counts, least), True)
    return Outcome(_drawn(np.abs(moved), least, draws, seed), False)


def pooled_permutation_test(
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    pooled: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    *,
    draws: int = 10_000,
    seed: int = 0,
) -> Outcome:
    """The same for a figure that is no mean: questions change sides, both figures are made anew.

    first, second: statistics (n,S) of the same questions; a question counts where both are
    known. pooled: figures (R,) of sums (R,S), as `ragkit.protocols.SupportsPooling` has it.
    """
    both = ~np.isnan(np.concatenate([first, second], axis=1)).any(axis=1)
    if not both.any():
        return Outcome(math.nan, True)
    ours, theirs = first[both], second[both]  # (n,S), (n,S)
    moved = (ours != theirs).any(axis=1)
    change = (theirs - ours)[moved]  # (m,S): what changing sides adds to ours
    sums, total = ours.sum(axis=0), ours.sum(axis=0) + theirs.sum(axis=0)  # (S,), (S,)
    observed = abs(float((pooled(sums[None]) - pooled((total - sums)[None]))[0]))
    least = observed * (1 - 1e-9) - 1e-12
    exact = len(change) <= math.log2(_ALL_SIDES)
    hits = cases = 0
    for sides in _sides(len(change), exact, draws, seed):  # (r,m), 1 where sides change
        there = sums + sides @ change  # (r,S)
        figures = np.abs(pooled(there) - pooled(total - there))
        hits += int((figures >= least).sum())
        cases += len(figures)
    return Outcome(hits / cases if exact else (1 + hits) / (1 + cases), exact)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction, in the order given; NaNs stay and are not counted.

    The i-th smallest of m (from 0) is multiplied by m − i; no corrected p is below that of
    a smaller one, or above 1.
    """
    known = sorted((p, i) for i, p in enumerate(p_values) if not math.isnan(p))
    corrected = list(p_values)
    highest = 0.0
    for rank, (p, i) in enumerate(known):
        highest = max(highest, min(1.0, (len(known) - rank) * p))
        corrected[i] = highest
    return corrected


def sign_test(wins: int, losses: int) -> float:
    """Exact two-sided p that wins and losses are equally probable; 1 where there are none."""
    if wins + losses == 0:
        return 1.0
    from scipy.stats import binomtest

    return float(binomtest(wins, wins + losses, 0.5).pvalue)


def share_of(cases: int, n: int, confidence: float) -> Share:
    """The share cases / n with its exact (Clopper–Pearson) interval; NaNs where n is 0."""
    if n == 0:
        return Share(cases, n, math.nan, math.nan)
    from scipy.stats import binomtest

    found = binomtest(cases, n).proportion_ci(confidence, method="exact")
    return Share(cases, n, float(found.low), float(found.high))


def effect_size(differences: ArrayLike) -> float:
    """Cohen's d of paired differences: their mean in units of their standard deviation.

    0 where all are zero; infinite where all are the same and not zero; NaN below two.
    """
    known = _known(differences)
    if known.size < 2:
        return math.nan
    mean, deviation = float(known.mean()), float(known.std(ddof=1))
    if deviation <= 1e-12 * abs(mean):
        return math.copysign(math.inf, mean) if mean else 0.0
    return mean / deviation if deviation else 0.0


def counts(differences: ArrayLike) -> Counts:
    """How many differences are above, at and below zero; NaNs left out."""
    known = np.round(_known(differences), _DIGITS)
    return Counts(int((known > 0).sum()), int((known == 0).sum()), int((known < 0).sum()))


def _counted(magnitudes: NDArray[Any], counts: NDArray[Any], least: float) -> float:
    """p from all Π(c_j+1) sums: a tail of the convolution of binomials."""
    sums, logs = np.zeros(1), np.zeros(1)  # (cases,), (cases,)
    for magnitude, count in zip(magnitudes, counts, strict=True):
        negative = np.arange(count + 1)
        weight = (
            gammaln(count + 1)
            - gammaln(negative + 1)
            - gammaln(count - negative + 1)
            - count * math.log(2)
        )
        sums = (sums[:, None] + magnitude * (count - 2 * negative)[None, :]).ravel()
        logs = (logs[:, None] + weight[None, :]).ravel()
    return float(min(1.0, np.exp(logs[np.abs(sums) >= least]).sum()))


def _drawn(magnitudes: NDArray[np.float64], least: float, draws: int, seed: int) -> float:
    """p from drawn signs; the magnitudes (n,) are sorted first, so their order is nothing."""
    magnitudes = np.sort(magnitudes)
    total = float(magnitudes.sum())
    hits = 0
    for signs in _bits(magnitudes.size, draws, seed):  # (r,n)
        sums = total - 2.0 * (signs @ magnitudes)  # (r,)
        hits += int((np.abs(sums) >= least).sum())
    return (1 + hits) / (1 + draws)


def _sides(n: int, exact: bool, draws: int, seed: int) -> Iterator[NDArray[np.uint8]]:
    """All 2^n rows of n zeros and ones, or some that are drawn."""
    if exact:
        numbers = np.arange(1 << n, dtype=np.uint32)[:, None]
        yield ((numbers >> np.arange(n, dtype=np.uint32)) & 1).astype(np.uint8)
    else:
        yield from _bits(n, draws, seed)


def _bits(n: int, draws: int, seed: int) -> Iterator[NDArray[np.uint8]]:
    """Rows of n fair zeros and ones, a block of rows at a time."""
    rng = np.random.default_rng(seed)
    step = max(1, _BLOCK // n)
    for start in range(0, draws, step):
        rows = min(step, draws - start)
        drawn = np.frombuffer(rng.bytes(rows * -(-n // 8)), dtype=np.uint8)
        yield np.unpackbits(drawn.reshape(rows, -1), axis=1, count=n)


def _known(values: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64).ravel()
    return array[~np.isnan(array)]
