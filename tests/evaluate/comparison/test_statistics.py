"""The tests of differences against scipy, against counting every case, and their laws."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from ragkit.errors import DataError
from ragkit.evaluate.comparison import statistics
from ragkit.evaluate.comparison.statistics import (
    Counts,
    counts,
    effect_size,
    holm,
    permutation_test,
    share_of,
    sign_test,
)

NUMBERS = st.lists(st.sampled_from([-1.0, -0.5, -1 / 3, 0.0, 0.2, 0.5, 1.0]), max_size=9)


def every_sign(differences: list[float]) -> float:
    """p by the definition: all 2^n choices of signs."""
    observed = abs(sum(differences))
    sums = [
        abs(sum(sign * d for sign, d in zip(signs, differences, strict=True)))
        for signs in itertools.product((1, -1), repeat=len(differences))
    ]
    return sum(one >= observed - 1e-9 for one in sums) / len(sums)


@settings(deadline=None, max_examples=60)
@given(NUMBERS)
def test_p_is_the_share_of_all_signs(differences: list[float]) -> None:
    found = permutation_test(differences)
    if differences:
        assert found.exact
        assert found.p == pytest.approx(every_sign(differences), abs=1e-9)
    else:
        assert math.isnan(found.p)


def test_p_is_that_of_scipy() -> None:
    rng = np.random.default_rng(3)
    for n in (2, 5, 9):
        a, b = rng.normal(0.4, 1, n), rng.normal(0, 1, n)
        expected = scipy.stats.permutation_test(
            (a, b),
            lambda x, y, axis: np.mean(x - y, axis=axis),
            permutation_type="samples",
            vectorized=True,
            n_resamples=np.inf,
        )
        assert permutation_test(a - b).p == pytest.approx(expected.pvalue, abs=1e-12)


@pytest.mark.parametrize(
    ("wins", "losses", "ties"), [(8, 2, 5), (0, 0, 4), (1, 0, 0), (60, 40, 900), (3, 3, 1)]
)
def test_p_of_right_and_wrong_is_the_exact_sign_test(wins: int, losses: int, ties: int) -> None:
    found = permutation_test([1.0] * wins + [-1.0] * losses + [0.0] * ties)
    assert found.exact
    if wins + losses:
        expected = scipy.stats.binomtest(wins, wins + losses).pvalue
        assert found.p == pytest.approx(expected, rel=1e-9)
        assert sign_test(wins, losses) == pytest.approx(expected)
    else:
        assert found.p == sign_test(0, 0) == 1.0


def test_p_of_drawn_signs_is_near_the_exact_one(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(7)
    differences = rng.normal(0.35, 1, 15)
    exact = permutation_test(differences)
    monkeypatch.setattr(statistics, "CASES", 1)
    drawn = permutation_test(differences, draws=20_000)
    assert (exact.exact, drawn.exact) == (True, False)
    spread = math.sqrt(exact.p * (1 - exact.p) / 20_000)
    assert abs(drawn.p - exact.p) < 5 * spread
    assert permutation_test(np.full(40, 0.5), draws=99).p == pytest.approx(0.01)  # (1 + 0)/(1 + 99)
    assert drawn == permutation_test(differences, draws=20_000)
    assert drawn != permutation_test(differences, draws=20_000, seed=2)


@settings(deadline=None, max_examples=40)
@given(NUMBERS, st.randoms(use_true_random=False))
def test_p_knows_neither_side_nor_order_nor_scale(differences: list[float], random: object) -> None:
    here = permutation_test(differences)
    shuffled = list(differences)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    for other in ([-d for d in differences], shuffled, [3 * d for d in differences]):
        assert permutation_test(other).p == pytest.approx(here.p, nan_ok=True)
    with_unknown = [*differences, math.nan, 0.0]
    assert permutation_test(with_unknown).p == pytest.approx(here.p if differences else 1.0)


def test_p_is_uniform_where_nothing_differs() -> None:
    """Of many comparisons of equals, no more than 5 % and not far fewer are below 0.05."""
    rng = np.random.default_rng(0)
    below = sum(permutation_test(rng.normal(0, 1, 10)).p <= 0.05 for _ in range(600))
    assert scipy.stats.binomtest(below, 600, 0.05).pvalue > 1e-4


def test_draws_must_be_there() -> None:
    with pytest.raises(DataError, match="draws is 0"):
        permutation_test([1.0], draws=0)


# ---------------------------------------------------------------------------- Holm


def rejected(p_values: list[float], level: float) -> set[int]:
    """Holm's procedure as he states it: step down until one p is above level/(m − i)."""
    out: set[int] = set()
    for rank, i in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        if p_values[i] > level / (len(p_values) - rank) + 1e-12:
            break
        out.add(i)
    return out


@settings(deadline=None)
@given(st.lists(st.floats(0, 1).map(lambda p: round(p, 3)), max_size=7))
def test_holm_is_the_least_level_that_rejects(p_values: list[float]) -> None:
    corrected = holm(p_values)
    for level in [0.01, 0.05, 0.1, 0.5, *corrected]:
        if level < 1:
            assert rejected(p_values, level) == {
                i for i, p in enumerate(corrected) if p <= level + 1e-12
            }
    assert all(p <= c <= 1 for p, c in zip(p_values, corrected, strict=True))


def test_holm_by_hand() -> None:
    # 4·0.01, 3·0.02, 2·0.04 and 0.05, which may not be below 0.08.
    assert holm([0.04, 0.01, math.nan, 0.05, 0.02]) == pytest.approx(
        [0.08, 0.04, math.nan, 0.08, 0.06], nan_ok=True
    )
    assert holm([]) == []


# -------------------------------------------------------------- sizes, shares, counts


def test_the_effect_size_is_the_paired_t_without_n() -> None:
    rng = np.random.default_rng(5)
    a, b = rng.normal(1, 2, 30), rng.normal(0, 1, 30)
    t = scipy.stats.ttest_rel(a, b).statistic
    assert effect_size(a - b) == pytest.approx(t / math.sqrt(30))
    assert effect_size([0.0, 0.0]) == 0.0
    assert effect_size([-0.5, -0.5]) == -math.inf
    assert math.isnan(effect_size([1.0, math.nan]))


@pytest.mark.parametrize(("cases", "n"), [(0, 9), (3, 9), (9, 9), (200, 452)])
def test_the_interval_of_a_share_is_where_its_tails_are_small(cases: int, n: int) -> None:
    _, _, low, high = share_of(cases, n, 0.9)
    if cases:
        assert scipy.stats.binom.sf(cases - 1, n, low) == pytest.approx(0.05)
    else:
        assert low == 0.0
    if cases < n:
        assert scipy.stats.binom.cdf(cases, n, high) == pytest.approx(0.05)
    else:
        assert high == 1.0


def test_the_interval_of_nothing() -> None:
    found = share_of(0, 0, 0.95)
    assert all(map(math.isnan, (found.share, found.low, found.high)))


def test_rounding_wins_nothing() -> None:
    assert counts([0.1 + 0.2 - 0.3, 1.0, -0.5, math.nan, 2.0]) == Counts(2, 1, 1)
