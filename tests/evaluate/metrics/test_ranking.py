"""R-precision, nDCG and their kin against ir_measures (trec_eval), KILT's rules by hand."""

from __future__ import annotations

import math
from typing import Any

import ir_measures
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ir_measures import RR, R, Rprec, nDCG

from judging import gold, one, said
from ragkit.errors import ConfigError, DataError
from ragkit.evaluate.metrics import (
    NDCG,
    ExactMatch,
    GoldRecall,
    Kilt,
    ReciprocalRank,
    RPrecision,
)

IDS = "abcdefgh"
GRADES = st.dictionaries(st.sampled_from(IDS), st.integers(0, 3), min_size=1)


def theirs(measure: Any, order: list[str], grades: dict[str, int]) -> float:
    run = {"q": {id: -float(rank) for rank, id in enumerate(order)}}
    (found,) = ir_measures.iter_calc([measure], {"q": grades}, run)
    return float(found.value)


@settings(max_examples=60, deadline=None)
@given(st.permutations(IDS), st.integers(1, 8), GRADES, st.integers(1, 9))
def test_against_ir_measures(
    order: list[str], retrieved: int, grades: dict[str, int], k: int
) -> None:
    order = order[:retrieved]
    golds = [id for id, grade in grades.items() if grade > 0]
    if not golds:
        return
    prediction, plain = said("", *order), gold("x", ids=golds)
    graded = gold("x", ids=golds, extra={"relevance": grades})
    pairs = [
        (NDCG(k), graded, nDCG @ k),
        (NDCG(), graded, nDCG),
        (RPrecision(), plain, Rprec),
        (ReciprocalRank(k), plain, RR @ k),
        (GoldRecall(k), plain, R @ k),
    ]
    for metric, example, measure in pairs:
        # pytrec_eval holds numbers as its C code prints them
        expected = theirs(measure, order, grades)
        assert one(metric, prediction, example) == pytest.approx(expected, abs=1e-4), measure


def test_ndcg_by_hand() -> None:
    prediction = said("", "a", "b", "c")
    two = gold("x", ids=["b", "z"])
    best = 1 / math.log2(2) + 1 / math.log2(3)
    assert one(NDCG(), prediction, two) == pytest.approx((1 / math.log2(3)) / best)
    assert one(NDCG(1), prediction, two) == 0
    assert one(NDCG(), said(), two) == 0  # nothing was retrieved
    assert one(NDCG(2), said("", "b", "b", "z"), two) == pytest.approx(1)  # b counts once
    assert math.isnan(one(NDCG(), prediction, gold("x")))
    assert math.isnan(one(NDCG(), prediction, gold("x", extra={"relevance": {"a": 0}})))
    assert NDCG(10).label == "nDCG@10"


def test_an_id_that_stands_twice_takes_one_place() -> None:
    prediction, example = said("", "a", "a", "b"), gold("x", ids=["b", "c"])
    assert one(ReciprocalRank(), prediction, example) == 1 / 2
    assert one(ReciprocalRank(2), prediction, example) == 1 / 2
    assert one(GoldRecall(2), prediction, example) == 1 / 2
    assert one(RPrecision(), prediction, example) == 1 / 2


@pytest.mark.parametrize("wrong", [["a"], {"a": "2"}, {"a": None}, {"a": math.inf}])
def test_wrong_grades_are_named(wrong: object) -> None:
    with pytest.raises(DataError, match=r"example 'q': relevance is .*write an object"):
        one(NDCG(), said("", "a"), gold("x", extra={"relevance": wrong}))


def test_ndcg_needs_a_passage_to_count() -> None:
    with pytest.raises(ConfigError, match="metric ndcg: k is 0"):
        NDCG(0)


@pytest.mark.parametrize(
    ("order", "sets", "expected"),
    [
        (["1", "2"], [["1"]], 1),
        (["2", "1"], [["1"]], 0),  # R is 1: only the first page counts
        (["2", "1"], [["1", "2"]], 1),  # in any order
        (["1", "9", "2"], [["1", "2"]], 0.5),
        (["2", "9"], [["1", "3"], ["2"]], 1),  # the best of the sets
        (["1", "1", "2"], [["1", "2"]], 1),  # a page counts once, and takes one place
        ([], [["1"]], 0),
        (["1"], [[], ["1"]], 1),  # an output without evidence says nothing
    ],
)
def test_r_precision_as_kilt_has_it(
    order: list[str], sets: list[list[str]], expected: float
) -> None:
    example = gold("x", ids=sets[0], extra={"passage_sets": sets})
    assert one(RPrecision(), said("", *order), example) == expected


def test_r_precision_of_pages() -> None:
    example = gold("x", ids=["12", "7"])
    prediction = said("", "12:0", "12:3", "7:1")
    assert one(RPrecision(page=":"), prediction, example) == 1
    assert one(RPrecision(), prediction, example) == 0
    assert math.isnan(one(RPrecision(), prediction, gold("x")))


def test_wrong_sets_are_named() -> None:
    with pytest.raises(DataError, match="passage_sets is 'ab'; write a list of lists"):
        one(RPrecision(), said("", "a"), gold("x", extra={"passage_sets": "ab"}))


def test_kilt_counts_an_answer_where_its_evidence_was_found() -> None:
    right, example = said("Paris", "1", "2"), gold("paris", ids=["1"])
    assert one(Kilt(), right, example) == 1
    assert one(Kilt(), said("Rome", "1"), example) == 0
    assert one(Kilt(), said("Paris", "2", "1"), example) == 0  # evidence second of one
    assert one(Kilt(), said("Paris", "1", "2"), gold("paris", ids=["1", "3"])) == 0  # half of it
    assert math.isnan(one(Kilt(), right, gold("paris")))
    assert math.isnan(one(Kilt(), right, gold(ids=["1"])))
    assert Kilt().label == "KILT-EM"


def test_kilt_of_another_metric() -> None:
    class Half:
        label = "half"

        def __call__(self, predictions: list[Any], examples: list[Any]) -> list[float]:
            return [0.5 for _ in zip(predictions, examples, strict=True)]

    held = Kilt(Half())
    assert held.label == "KILT-half"
    assert one(held, said("x", "1:4"), gold("y", ids=["1:4"])) == 0.5
    assert one(Kilt(ExactMatch(), page=":"), said("y", "1:4"), gold("y", ids=["1"])) == 1
