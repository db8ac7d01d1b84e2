"""Metrics on cases computed by hand, and the laws that hold for all texts."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ragkit.errors import ConfigError
from ragkit.evaluate.metrics import F1, AnswerRecall, ExactMatch, GoldRecall, ReciprocalRank
from ragkit.evaluate.text import squad_normalise
from ragkit.protocols import Example, Metric, Passage, Prediction

TEXTS = st.text(alphabet="ab the.Aé", max_size=12)


def prediction(text: str = "", *passages: tuple[str, str]) -> Prediction:
    found = tuple(Passage(id, f"title of {id}", body) for id, body in passages)
    return Prediction("q", "question?", text, -1.0, found)


def example(*answers: str, golds: tuple[str, ...] = ()) -> Example:
    return Example("q", "question?", answers, golds)


def one(metric: Metric, said: Prediction, gold: Example) -> float:
    (value,) = metric([said], [gold])
    return value


@pytest.mark.parametrize(
    ("said", "golds", "em", "f1"),
    [
        ("the Eiffel Tower!", ["Eiffel tower"], 1, Fraction(1)),
        ("Eiffel Tower", ["Tower", "the Eiffel tower"], 1, Fraction(1)),  # best of the golds
        ("tall Eiffel Tower in Paris", ["Eiffel Tower"], 0, Fraction(4, 7)),  # p 2/5, r 1
        ("x x y", ["x y y"], 0, Fraction(2, 3)),  # words count as often as in both
        ("", ["Paris"], 0, Fraction(0)),
        ("", ["the"], 1, Fraction(0)),  # both without a word: equal, but nothing shared
        ("Ångström", ["A\u030angström"], 0, Fraction(0)),  # SQuAD does not decompose
        ("café", ["CAFÉ."], 1, Fraction(1)),
        ("1,000", ["1000"], 1, Fraction(1)),
    ],
)
def test_em_and_f1_by_hand(said: str, golds: list[str], em: int, f1: Fraction) -> None:
    assert one(ExactMatch(), prediction(said), example(*golds)) == em
    assert one(F1(), prediction(said), example(*golds)) == pytest.approx(float(f1))


@given(TEXTS, TEXTS)
def test_f1_is_symmetric_and_a_share(a: str, b: str) -> None:
    forth, back = one(F1(), prediction(a), example(b)), one(F1(), prediction(b), example(a))
    assert forth == back
    assert 0.0 <= forth <= 1.0


@given(TEXTS, st.lists(TEXTS, min_size=1, max_size=3))
def test_em_never_exceeds_f1_where_words_are_left(said: str, golds: list[str]) -> None:
    assume(squad_normalise(said))
    em, f1 = (one(metric, prediction(said), example(*golds)) for metric in (ExactMatch(), F1()))
    assert em <= f1
    assert (f1 == 1.0) >= (em == 1.0)


@given(TEXTS, st.lists(TEXTS, min_size=1, max_size=4), st.randoms())
def test_the_order_of_golds_does_not_matter(said: str, golds: list[str], random: object) -> None:
    for metric in (ExactMatch(), F1()):
        values = {one(metric, prediction(said), example(*order)) for order in (golds, golds[::-1])}
        assert len(values) == 1
        single = [one(metric, prediction(said), example(gold)) for gold in golds]
        assert values == {max(single)}


@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=5))
def test_every_question_is_measured_alone(pairs: list[tuple[str, str]]) -> None:
    said = [prediction(text, ("p", text)) for text, _ in pairs]
    golds = [example(gold, golds=("p",)) for _, gold in pairs]
    for metric in (ExactMatch(), F1(), AnswerRecall(), GoldRecall(), ReciprocalRank()):
        together = metric(said, golds)
        assert together == [one(metric, *pair) for pair in zip(said, golds, strict=True)]
        assert metric(said[::-1], golds[::-1]) == together[::-1]


def test_em_with_patterns() -> None:
    gold = example(r"(Mount\s)?Everest", "(")
    assert one(ExactMatch(regex=True), prediction("everest, Nepal"), gold) == 1
    assert one(ExactMatch(regex=True), prediction("at Everest"), gold) == 0
    assert one(ExactMatch(), prediction("everest"), gold) == 0


def test_answer_recall_counts_the_first_k() -> None:
    said = prediction("?", ("1", "a stone"), ("2", "nothing"), ("3", "the U.S. Senate"))
    gold = example("u.s.", "absent")
    assert [one(AnswerRecall(k), said, gold) for k in (1, 2, 3, None)] == [0, 0, 1, 1]
    assert one(AnswerRecall(), prediction("u.s."), gold) == 0  # no passage, nothing recalled


def test_answer_recall_looks_into_titles_only_when_asked() -> None:
    said = prediction("?", ("7", "nothing here"))
    assert one(AnswerRecall(), said, example("title of 7")) == 0
    assert one(AnswerRecall(title=True), said, example("title of 7")) == 1


def test_answer_recall_with_patterns() -> None:
    said = prediction("?", ("1", "It opened in\n1889."))
    assert one(AnswerRecall(regex=True), said, example(r"^18\d9\.$")) == 1
    assert one(AnswerRecall(regex=True), said, example("[")) == 0
    assert one(AnswerRecall(), said, example(r"18\d9")) == 0


def test_gold_recall_and_rank() -> None:
    said = prediction("?", ("a", ""), ("b", ""), ("c", ""), ("d", ""))
    two = example("x", golds=("c", "d", "z", "d"))  # three distinct, two of them found
    assert one(GoldRecall(), said, two) == pytest.approx(2 / 3)
    assert one(GoldRecall(3), said, two) == pytest.approx(1 / 3)
    assert one(GoldRecall(2), said, two) == 0
    assert one(ReciprocalRank(), said, two) == pytest.approx(1 / 3)
    assert one(ReciprocalRank(2), said, two) == 0
    assert one(ReciprocalRank(1), said, example("x", golds=("a",))) == 1


@given(
    st.permutations("abcdef"),
    st.sets(st.sampled_from("abcdefyz"), min_size=1),
    st.integers(1, 8),
)
def test_rank_metrics_against_their_definition(order: list[str], golds: set[str], k: int) -> None:
    said = prediction("?", *((id, "") for id in order))
    gold = example("x", golds=tuple(sorted(golds)))
    relevant = [id in golds for id in order][:k]
    assert one(GoldRecall(k), said, gold) == pytest.approx(sum(relevant) / len(golds))
    best = max((hit / rank for rank, hit in enumerate(relevant, 1)), default=0.0)
    assert one(ReciprocalRank(k), said, gold) == pytest.approx(best)


def test_a_metric_without_meaning_is_nan() -> None:
    said = prediction("x", ("1", "x"))
    for metric in (GoldRecall(), ReciprocalRank()):
        assert math.isnan(one(metric, said, example("x")))
    for metric in (ExactMatch(), F1(), AnswerRecall()):
        assert math.isnan(one(metric, said, example(golds=("1",))))


def test_labels_name_the_cut() -> None:
    cuts = (AnswerRecall(20), GoldRecall(5), ReciprocalRank(10), GoldRecall())
    assert [metric.label for metric in cuts] == ["answer R@20", "gold R@5", "RR@10", "gold R"]


@pytest.mark.parametrize("metric", [AnswerRecall, GoldRecall, ReciprocalRank])
@pytest.mark.parametrize("k", [0, -3])
def test_k_must_be_positive(metric: type[AnswerRecall], k: int) -> None:
    with pytest.raises(ConfigError, match=rf"k is {k}.*type k=1 or more"):
        metric(k)


def test_predictions_and_examples_must_be_as_many() -> None:
    with pytest.raises(ValueError, match="shorter"):
        F1()([prediction("x"), prediction("y")], [example("x")])
