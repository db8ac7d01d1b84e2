"""Answers that are in no passage, and answers that are right without one."""

from __future__ import annotations

import math

import pytest

from judging import gold, one, said
from ragkit.errors import ConfigError
from ragkit.evaluate.metrics import AnswerAbsent, Unsupported

HELD = {"texts": ["It is in Łódź.", "Nothing."]}


def test_absent_is_what_recall_is_not() -> None:
    prediction = said("?", "1", "2", texts=["Nothing.", "It is in Łódź."])
    assert one(AnswerAbsent(), prediction, gold("łódź")) == 0
    assert one(AnswerAbsent(1), prediction, gold("łódź")) == 1
    assert one(AnswerAbsent(), prediction, gold("Paris", "łódź")) == 0  # one of several is enough
    assert one(AnswerAbsent(), said("?"), gold("Paris")) == 1  # no passage holds nothing
    assert one(AnswerAbsent(regex=True), prediction, gold("[LŁ]ód.")) == 0
    assert one(AnswerAbsent(), prediction, gold("title of 1")) == 1
    assert one(AnswerAbsent(title=True), prediction, gold("title of 1")) == 0
    assert math.isnan(one(AnswerAbsent(), prediction, gold()))
    assert AnswerAbsent(5).label == "answer absent@5"


@pytest.mark.parametrize(
    ("text", "answer", "absent", "right", "every"),
    [  # NaN: of another kind of question than is counted
        ("Łódź", "łódź", math.nan, 0, 0),  # right, and a passage holds it
        ("Paris", "paris", 1, 1, 1),  # right, and none does
        ("Rome", "paris", 0, math.nan, 0),  # wrong, and none does
        ("Rome", "łódź", math.nan, math.nan, 0),  # wrong, and a passage holds it
    ],
)
def test_right_without_support(
    text: str, answer: str, absent: float, right: float, every: float
) -> None:
    prediction = said(text, "1", "2", **HELD)
    for among, expected in (("absent", absent), ("right", right), ("all", every)):
        found = one(Unsupported(among), prediction, gold(answer))
        assert found == expected or (math.isnan(found) and math.isnan(expected)), among


def test_without_golds_there_is_nothing_to_say() -> None:
    assert math.isnan(one(Unsupported("all"), said("x", "1", **{"texts": ["x"]}), gold()))


def test_patterns() -> None:
    prediction = said("in 1889", "1", texts=["It opened in 1898."])
    assert one(Unsupported(regex=True), prediction, gold(r"in 18\d9")) == 1
    assert math.isnan(one(Unsupported(regex=True), prediction, gold(r"in 18\d\d")))


def test_among_is_one_of_three() -> None:
    with pytest.raises(ConfigError, match="among is 'some'; type one of absent, right, all"):
        Unsupported("some")  # type: ignore[arg-type]
