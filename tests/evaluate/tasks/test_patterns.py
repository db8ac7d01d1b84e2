"""Answers that are regular expressions: what is refused, and a text that they match."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragkit.errors import DataError
from ragkit.evaluate.tasks.patterns import FLAGS, checked, literal
from ragkit.evaluate.text import _PATTERN_FLAGS, matches_pattern

WORDS = st.text("abAB12é", min_size=1, max_size=3)
ATOMS = st.one_of(
    WORDS,
    WORDS.map(lambda word: f"[{word}]"),
    WORDS.map(lambda word: f"[^{word}]"),
    st.sampled_from([r"\s", r"\d", r"\w", r"\.", r"\(", "[0-9]", r"[\s,]", ".", r"\b", "-", " "]),
)
TIMES = st.sampled_from(["", "", "", "?", "*", "+", "*?", "+?", "??", "{2}", "{1,3}", "{0,2}"])


def quantified(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.tuples(inner.map(lambda one: f"({one})"), TIMES).map("".join)


def alternatives(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    sequences = st.lists(inner, min_size=1, max_size=3).map("".join)
    return st.lists(sequences, min_size=1, max_size=3).map("|".join)


PATTERNS = st.recursive(ATOMS, lambda inner: quantified(alternatives(inner)), max_leaves=6)


@settings(max_examples=150, deadline=None)
@given(alternatives(PATTERNS))
def test_a_literal_is_matched_by_the_whole_expression(pattern: str) -> None:
    found = literal(pattern)
    if found is not None:
        flags = re.IGNORECASE | re.UNICODE | re.MULTILINE
        assert re.fullmatch(pattern, found, flags), (pattern, found)
        assert matches_pattern(found, [pattern])


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("China", "China"),
        ("After the Fall|Finishing the Play", "After the Fall"),
        ("Sept?(ember)?|Feb(ruary)?", "September"),
        (r"20\s?,?\s?(32|40)0\s?-?\s?f(ee|oo)t", "20 320 feet"),
        (r"197[56]", "1975"),
        (r"(?:4\s*May)|(?:May\s*4)", "4 May"),
        (r"Ed(ward)?.*White", "Edward White"),
        (r"St. Elsewhere", "St. Elsewhere"),
        (r"St.*?Louis", "St Louis"),
        (r"Fran\çois", "François"),
        (r"9[^0-9]*Aug(ust)?", "9 August"),
        (r"((green|white|red)\s*,?\s*(and)?\s*){3}", "green and green and green and"),
        (r"\$1{0,2}|x", "$1"),
        (r"()|(a)", "a"),
        (r"[]a]b", "]b"),
        (r"[\]a]b", "]b"),
    ],
)
def test_literals(pattern: str, text: str) -> None:
    assert literal(pattern) == text
    assert matches_pattern(text, [pattern])


@pytest.mark.parametrize("pattern", [r"a(?=b)b", r"(a)\1", r"\p{Lu}x", "(?i)a"])
def test_what_is_not_spelled(pattern: str) -> None:
    assert literal(pattern) is None


def test_flags_are_those_of_the_metrics() -> None:
    assert FLAGS == _PATTERN_FLAGS
    assert checked("mount .*mckinley$", "here").search("x\nMOUNT  McKinley\ny")


@pytest.mark.parametrize("pattern", ["a(", "[a", "*", "a{2,1}", "(?P<x>a)(?P=y)", "\\"])
def test_no_expression(pattern: str) -> None:
    with pytest.raises(DataError, match=r"f, line 3: .* is no regular expression .*; correct it"):
        checked(pattern, "f, line 3")


@pytest.mark.parametrize("pattern", ["a|", "a?", ".*", "(a|b*)", r"\s*", "^", r"\bx?"])
def test_one_that_matches_everything(pattern: str) -> None:
    if pattern == r"\bx?":  # a border needs a word: nothing of it is in the empty text
        checked(pattern, "here")
        return
    with pytest.raises(DataError, match="matches the empty text"):
        checked(pattern, "here")
