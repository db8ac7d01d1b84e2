"""Bootstrap intervals against scipy's, exact distributions and laws."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import stats

from ragkit.errors import DataError
from ragkit.evaluate import bootstrap
from ragkit.evaluate.bootstrap import (
    interval,
    paired_interval,
    paired_pooled_interval,
    pooled_interval,
    resampled_sums,
)

SHARES = st.floats(0, 1, allow_subnormal=False)
VALUES = arrays.arrays(np.float64, st.integers(1, 40), elements=SHARES)


@pytest.mark.parametrize("kind", ["zero-one", "skewed"])
def test_against_scipy(kind: str) -> None:
    rng = np.random.default_rng(3)
    values = rng.random(300) < 0.3 if kind == "zero-one" else rng.random(300) ** 6
    values = values.astype(np.float64)
    ours = interval(values, resamples=4000, confidence=0.9, seed=5)
    theirs = stats.bootstrap(
        (values,),
        np.mean,
        method="percentile",
        n_resamples=4000,
        confidence_level=0.9,
        rng=np.random.default_rng(11),
    ).confidence_interval
    # Two independent draws of 4,000: the ends wander by about 3 % of the spread.
    spread = values.std() / math.sqrt(values.size)
    assert ours.low == pytest.approx(theirs.low, abs=0.15 * spread)
    assert ours.high == pytest.approx(theirs.high, abs=0.15 * spread)


def test_against_the_exact_distribution_of_a_share() -> None:
    # The mean of a resample of zeros and ones is a binomial count over n.
    n, ones = 400, 100
    found = interval(np.repeat([0.0, 1.0], [n - ones, ones]), resamples=20_000)
    low, high = stats.binom.ppf([0.025, 0.975], n, ones / n) / n
    assert found.mean == 0.25
    assert found.low == pytest.approx(low, abs=1.01 / n)
    assert found.high == pytest.approx(high, abs=1.01 / n)


def test_it_covers_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for sample in range(200):
        values = (rng.random(150) < 0.4).astype(np.float64)
        found = interval(values, confidence=0.9, resamples=500, seed=sample)
        hits += found.low <= 0.4 <= found.high
    # Binomial(200, 0.9): within [165, 194] with probability above 0.9999.
    assert 165 <= hits <= 194


@settings(max_examples=60)
@given(VALUES)
def test_the_interval_holds_the_mean_and_stays_within_the_values(values: np.ndarray) -> None:
    found = interval(values, resamples=300)
    slack = 1e-9
    assert found.low <= found.mean + slack
    assert found.high >= found.mean - slack
    assert values.min() - slack <= found.low <= found.high <= values.max() + slack
    assert found.n == values.size


@settings(max_examples=40)
@given(VALUES, st.floats(0.1, 3), st.floats(-2, 2))
def test_it_moves_and_scales_with_the_values(values: np.ndarray, a: float, b: float) -> None:
    plain, moved = interval(values, resamples=200), interval(a * values + b, resamples=200)
    assert np.allclose(moved[:3], [a * x + b for x in plain[:3]], atol=1e-9)


@given(VALUES)
def test_the_same_seed_gives_the_same_interval(values: np.ndarray) -> None:
    assert interval(values, resamples=50, seed=4) == interval(values, resamples=50, seed=4)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(1).random(57)
    whole = interval(values, resamples=101)
    monkeypatch.setattr(bootstrap, "_BLOCK", 57 * 7)
    assert interval(values, resamples=101) == pytest.approx(whole)


def test_unknown_values_are_not_counted() -> None:
    found = interval([1.0, math.nan, 0.0, math.nan])
    assert (found.mean, found.n) == (0.5, 2)
    empty = interval([math.nan])
    assert empty.n == 0
    assert math.isnan(empty.mean)
    assert math.isnan(empty.low)


def test_paired_difference_sees_what_two_intervals_do_not() -> None:
    rng = np.random.default_rng(2)
    hard = rng.random(200)
    better = hard + 0.02 + 0.01 * rng.standard_normal(200)
    difference = paired_interval(better, hard)
    assert difference.mean == pytest.approx(float(np.mean(better - hard)))
    assert difference.low > 0
    assert interval(better).low < interval(hard).high  # unpaired, they overlap
    turned = paired_interval(hard, better)
    assert turned.mean == pytest.approx(-difference.mean)
    assert (turned.low, turned.high) == pytest.approx((-difference.high, -difference.low))


def test_paired_counts_questions_known_on_both_sides() -> None:
    assert paired_interval([1.0, math.nan, 0.0], [0.0, 1.0, math.nan]).n == 1


# -------------------------------------------------------------------- pooled figures


def ratio(sums: np.ndarray) -> np.ndarray:
    return sums[:, 0] / sums[:, 1]


def as_statistics(values: np.ndarray) -> np.ndarray:
    """Statistics (n,2) whose pooled ratio is the mean; NaN where a value is."""
    return np.stack([values, np.where(np.isnan(values), np.nan, 1.0)], axis=1)


@given(VALUES, st.integers(0, 3))
def test_a_mean_may_as_well_be_pooled(values: np.ndarray, seed: int) -> None:
    found = pooled_interval(as_statistics(values), ratio, resamples=100, seed=seed)
    assert found == pytest.approx(interval(values, resamples=100, seed=seed))


def test_a_pooled_ratio_against_scipy() -> None:
    rng = np.random.default_rng(9)
    rows = np.stack([rng.poisson(3, 200), rng.poisson(9, 200) + 1], axis=1).astype(np.float64)
    ours = pooled_interval(rows, ratio, resamples=4000, confidence=0.9)
    theirs = stats.bootstrap(
        (rows[:, 0], rows[:, 1]),
        lambda a, b, axis: a.sum(axis=axis) / b.sum(axis=axis),
        paired=True,
        method="percentile",
        n_resamples=4000,
        confidence_level=0.9,
        rng=np.random.default_rng(2),
    )
    assert ours.mean == pytest.approx(rows[:, 0].sum() / rows[:, 1].sum())
    spread = float(theirs.standard_error)
    assert ours.low == pytest.approx(theirs.confidence_interval.low, abs=0.15 * spread)
    assert ours.high == pytest.approx(theirs.confidence_interval.high, abs=0.15 * spread)


def test_resampled_sums_are_sums_of_the_rows_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.random.default_rng(1).random((23, 3))
    drawn = np.random.default_rng(5).integers(0, 23, (40, 23))
    whole = resampled_sums(rows, resamples=40, seed=5)
    assert whole == pytest.approx(rows[drawn].sum(axis=1))
    monkeypatch.setattr(bootstrap, "_BLOCK", 23 * 7)
    assert resampled_sums(rows, resamples=40, seed=5) == pytest.approx(whole)


def test_pooled_rows_that_are_not_known_are_not_counted() -> None:
    rows = as_statistics(np.array([1.0, math.nan, 0.0]))
    assert pooled_interval(rows, ratio)[3] == 2
    empty = pooled_interval(rows[1:2], ratio)
    assert empty.n == 0
    assert math.isnan(empty.mean)


def test_paired_pooled_differences() -> None:
    rng = np.random.default_rng(2)
    first, second = rng.random(80), rng.random(80)
    second[3] = math.nan
    found = paired_pooled_interval(as_statistics(first), as_statistics(second), ratio)
    assert found == pytest.approx(paired_interval(first, second))
    same = paired_pooled_interval(as_statistics(first), as_statistics(first), ratio)
    assert same[:3] == (0, 0, 0)
    with pytest.raises(DataError, match=r"are \(80, 2\) and \(79, 2\); evaluate both on the same"):
        paired_pooled_interval(as_statistics(first), as_statistics(second[1:]), ratio)


def test_a_metric_may_say_where_its_interval_ends() -> None:
    rows = as_statistics(np.array([0.0, 1.0, 1.0]))

    def ends(totals: np.ndarray, resampled: np.ndarray, tail: float) -> tuple[float, float]:
        assert (totals.tolist(), resampled.shape) == ([2, 3], (50, 2))
        return tail, 1 - tail

    found = pooled_interval(rows, ratio, ends=ends, resamples=50, confidence=0.8)
    assert found == pytest.approx((2 / 3, 0.1, 0.9, 3))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: interval([1.0], confidence=95), "confidence is 95; type a share"),
        (lambda: interval([1.0], confidence=0.0), "such as 0.95"),
        (lambda: interval([1.0], resamples=0), "resamples is 0; type a positive number"),
        (lambda: paired_interval([1.0], [1.0, 0.0]), "1 and 2 values; evaluate both on the same"),
    ],
)
def test_bad_arguments(call: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        call()
