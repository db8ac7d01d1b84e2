"""Krippendorff's alpha: his own example, the definition counted out, and his package."""

from __future__ import annotations

import itertools
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragkit.evaluate.annotate import krippendorff_alpha

UNITS = st.lists(st.lists(st.sampled_from("abcd"), max_size=4), max_size=8)


def by_definition(units: list[list[str]]) -> float:
    """Coincidences counted pair by pair, chance by drawing two votes of all that count."""
    kept = [votes for votes in units if len(votes) > 1]
    values = [vote for votes in kept for vote in votes]
    if len(set(values)) < 2:
        return math.nan
    observed = sum(
        sum(a != b for a, b in itertools.permutations(votes, 2)) / (len(votes) - 1)
        for votes in kept
    ) / len(values)
    chance = list(itertools.permutations(values, 2))
    return 1 - observed / (sum(a != b for a, b in chance) / len(chance))


def test_his_example() -> None:
    """Four observers, twelve units, votes missing: 0.743 (Krippendorff 2011, nominal data)."""
    rows = [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
        [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
    ]
    units = [[vote for vote in column if vote is not None] for column in zip(*rows, strict=True)]
    assert krippendorff_alpha(units) == pytest.approx(0.743, abs=5e-4)


def test_by_hand() -> None:
    # Votes aa, bb, ab: n = 6, three of each. D_o = (1/6)·2; D_e = 18/30; alpha = 1 − 5/9.
    assert krippendorff_alpha(["aa", "bb", "ab"]) == pytest.approx(4 / 9)
    assert krippendorff_alpha(["aa", "bb"]) == 1.0
    # Every pair disagrees: D_o = 1, D_e = 8/12.
    assert krippendorff_alpha(["ab", "ba"]) == pytest.approx(-0.5)


@settings(deadline=None)
@given(UNITS)
def test_the_definition(units: list[list[str]]) -> None:
    assert krippendorff_alpha(units) == pytest.approx(by_definition(units), nan_ok=True)


@settings(deadline=None)
@given(UNITS, st.randoms(use_true_random=False))
def test_order_and_names_are_nothing(units: list[list[str]], chance: random.Random) -> None:
    other = [[{"a": 1, "b": 2, "c": 3, "d": 4}[vote] for vote in votes] for votes in units]
    for votes in other:
        chance.shuffle(votes)
    chance.shuffle(other)
    expected = krippendorff_alpha(units)
    assert krippendorff_alpha(other) == pytest.approx(expected, nan_ok=True)
    # A vote that stands alone on its unit says nothing of agreement.
    assert krippendorff_alpha([*other, [9]]) == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize("units", [[], [["a"]], [["a", "a"], ["a", "a"]], [["a"], ["b"]]])
def test_where_there_is_no_chance_to_compare_with(units: list[list[str]]) -> None:
    assert math.isnan(krippendorff_alpha(units))


def test_his_package() -> None:
    package = pytest.importorskip("krippendorff", reason="krippendorff is not installed")
    chance = random.Random(4)
    for _ in range(40):
        n = chance.randint(2, 20)
        table = [[chance.choice([0, 1, 2, 3, None]) for _ in range(n)] for _ in range(3)]
        units = [
            [vote for vote in column if vote is not None] for column in zip(*table, strict=True)
        ]
        found = krippendorff_alpha(units)
        if not math.isnan(found):
            data = [[math.nan if vote is None else vote for vote in row] for row in table]
            expected = package.alpha(data, level_of_measurement="nominal")
            assert found == pytest.approx(expected)
