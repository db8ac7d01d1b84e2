"""Text conventions against the definitions written out by hand, and against oracles."""

from __future__ import annotations

import re
import string
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ragkit.evaluate.text import (
    dpr_tokens,
    has_answer,
    has_pattern,
    matches_pattern,
    squad_normalise,
)

WORDS = st.text(alphabet="aA the.,-'éß\u0301\t\u00a0\u4e2dth1", max_size=30)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("The", ""),
        ("a-an-the", "aanthe"),  # punctuation goes first and leaves no space
        ("U.S.", "us"),
        ("an apple, the pear", "apple pear"),
        ("  New\u00a0York\n City ", "new york city"),
        ("“curly”", "“curly”"),  # only ASCII punctuation is deleted
        ("Éa", "éa"),
        ("theatre and anthem", "theatre and anthem"),
        ("$12", "12"),
    ],
)
def test_squad_normalise_by_hand(text: str, expected: str) -> None:
    assert squad_normalise(text) == expected


def _squad_by_states(text: str) -> str:
    """The same definition, character by character and word by word, without any regex."""
    kept = [c for c in text.lower() if c not in string.punctuation]
    pieces, word = [], ""
    for c in [*kept, " "]:
        if c.isalnum() or c == "_":
            word += c
        else:
            pieces.append(" " if word in ("a", "an", "the") else word)
            pieces.append(c)
            word = ""
    return " ".join("".join(pieces).split())


@example("\u0301A\u0301")
@given(st.text(alphabet="aAnthe ,.-T\n12éß\u0301中", max_size=30))
def test_squad_normalise_against_a_hand_written_scanner(text: str) -> None:
    assert squad_normalise(text) == _squad_by_states(text)


@given(WORDS)
def test_squad_normalise_leaves_nothing_that_it_deletes(text: str) -> None:
    once = squad_normalise(text)
    assert once == " ".join(once.split())
    assert not set(once) & set(string.punctuation)
    assert not re.search(r"\b(a|an|the)\b", once)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" \t\u200b\u00a0", []),  # separators and control or format characters
        ("don't", ["don", "'", "t"]),
        ("1,250.5", ["1", ",", "250", ".", "5"]),
        ("São Paulo", ["sa\u0303o", "paulo"]),  # decomposed; the mark stays in the word
        ("中国 Ⅻ", ["中国", "ⅻ"]),
        ("$12\u201315", ["$", "12", "\u2013", "15"]),
        ("snake_case", ["snake", "_", "case"]),
    ],
)
def test_dpr_tokens_by_hand(text: str, expected: list[str]) -> None:
    assert dpr_tokens(text) == expected


def _tokens_by_category(text: str) -> list[str]:
    """DPR's tokens from unicode categories alone."""
    tokens: list[str] = []
    word = ""
    for c in [*unicodedata.normalize("NFD", text), " "]:
        kind = unicodedata.category(c)[0]
        if kind in "LNM":
            word += c
            continue
        if word:
            tokens.append(word.lower())
            word = ""
        if kind not in "ZC":
            tokens.append(c.lower())
    return tokens


@given(st.text(alphabet=st.characters(max_codepoint=0x2FF), max_size=40))
def test_dpr_tokens_against_unicode_categories(text: str) -> None:
    assert dpr_tokens(text) == _tokens_by_category(text)


def _found(text: str, answer: str) -> bool:
    haystack, needle = _tokens_by_category(text), _tokens_by_category(answer)
    ends = range(len(haystack) - len(needle) + 1)
    return bool(needle) and any(haystack[i : i + len(needle)] == needle for i in ends)


@given(
    st.text(alphabet="ab.é ", max_size=20),
    st.lists(st.text(alphabet="ab.é ", max_size=4), max_size=3),
)
def test_has_answer_is_a_run_of_tokens(text: str, answers: list[str]) -> None:
    assert has_answer(text, answers) == any(_found(text, answer) for answer in answers)


def test_has_answer_does_not_match_inside_words_and_sees_through_accents_forms() -> None:
    assert not has_answer("The category", ["cat"])
    assert has_answer("A CAT-like animal", ["cat"])
    assert has_answer("in Malmo\u0308, Sweden", ["MALMÖ"])
    assert not has_answer("in Malmo, Sweden", ["Malmö"])
    assert not has_answer("anything", ["", " \t"])
    assert not has_answer("one two", ["two three"])


def test_patterns_are_searched_ignoring_case_and_line_by_line() -> None:
    assert has_pattern("It was\nHong Kong", [r"^hong\s+kong$"])
    assert has_pattern("born in 1912.", [r"19\d\d"])
    assert has_pattern("Malmö", ["malmo\u0308"])
    assert not has_pattern("born in 12", [r"19\d\d"])
    assert not has_pattern("(", ["("])  # not a valid expression: never matches
    assert has_pattern("x", ["(", "x"])
    assert not has_pattern("x", [])


def test_predictions_match_patterns_from_their_beginning() -> None:
    assert matches_pattern("Long Island, NY", [r"long\s?island"])
    assert not matches_pattern("on Long Island", [r"long\s?island"])
    assert not matches_pattern("(", ["("])
