"""Q-BLEU-1 against the figures of its authors' tests, and its parts by hand."""

from __future__ import annotations

import math

import pytest

from judging import gold, one, said
from ragkit.errors import ConfigError
from ragkit.evaluate.metrics import QBleu1
from ragkit.evaluate.metrics.q_bleu import kinds, tokens


def test_against_the_authors_figure() -> None:
    # Their tests have 0.765 for these two with a fluency of 0.8, which BLEU-1 is as well.
    found = one(QBleu1(), said("Is this a great question?"), gold("Is this a good question?"))
    assert found == pytest.approx(0.765, abs=5e-4)


def test_kinds_of_words() -> None:
    assert kinds("What country did Marie Curie of Warsaw leave in 1891 ?") == {
        "type": ["what", "country"],
        "entities": ["marie", "curie", "warsaw"],
        "relevant": ["leave", "1891"],  # "country" belongs to the type, "?" falls away
        "stop": ["did", "of", "in"],
    }
    # Not capitalised at the beginning, and not a question word: an entity.
    assert kinds("In which year was it")["entities"] == ["in"]
    assert kinds("In which year was it")["type"] == ["which", "year"]
    assert kinds("WHAT is it")["entities"] == []  # a question word in whatever case
    assert kinds("") == {"relevant": [], "entities": [], "type": [], "stop": []}


def test_a_whole_question_by_hand() -> None:
    text, example = "Who wrote Dracula", gold("Who wrote the novel Dracula")
    answerability = 0.6 * 1 + 0.2 * 1  # dracula; who
    # relevant: [wrote] against [wrote, novel]: p = e^(1-2), r = 1/2
    p, r = math.exp(-1), 1 / 2
    answerability += 0.1 * 2 * p * r / (p + r)
    # stop words: [] against [the]: 0. BLEU-1: 3 of 3, shorter by 2
    expected = 0.7 * answerability + 0.3 * math.exp(1 - 5 / 3)
    assert one(QBleu1(), said(text), example) == pytest.approx(expected)
    plain = 0.7 * (0.8 + 0.1 * 2 / 3) + 0.3 * math.exp(1 - 5 / 3)  # F1 of the words instead
    assert one(QBleu1(penalty=False), said(text), example) == pytest.approx(plain)


def test_several_golds_and_none() -> None:
    prediction = said("Who wrote Dracula?")
    near, far = gold("Who wrote Dracula?"), gold("When was it?")
    both = gold(*far.answers, *near.answers)
    # A question that is its own gold lacks only kinds of words that it has not: stop words.
    assert one(QBleu1(), prediction, near) == pytest.approx(0.7 * 0.9 + 0.3)
    assert one(QBleu1(), prediction, both) == one(QBleu1(), prediction, near)
    assert math.isnan(one(QBleu1(), prediction, gold()))
    assert one(QBleu1(), said(""), near) == 0
    assert one(QBleu1(), said("?"), near) == 0


def test_delta_weighs_the_two() -> None:
    prediction, example = said("nine at leaves"), gold("leaves at nine")
    assert one(QBleu1(delta=0.0), prediction, example) == pytest.approx(1)  # BLEU-1 alone
    assert one(QBleu1(delta=1.0), prediction, example) == pytest.approx(0.1 + 0.1)
    with pytest.raises(ConfigError, match="delta is 2; type a number from 0 to 1"):
        QBleu1(delta=2)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Don't it's John’s", ["do", "n't", "it", "'s", "john", "'s"]),
        (
            "the well-known U.S. sold 1,000 (one) -- ...",
            ["the", "well-known", "u.s", "sold", "1,000", "one"],
        ),
        ("Łódź 北京 naïve", ["łódź", "北京", "naïve"]),
        ("?! .", []),
    ],
)
def test_tokens(text: str, words: list[str]) -> None:
    assert tokens(text) == words
