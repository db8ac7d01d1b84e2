"""Laws of splitting: nothing is lost, nothing stands twice, nothing is too long."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragkit.errors import DataError
from ragkit.knowledge import split_sentences, split_words
from ragkit.protocols import Passage

sentences = st.lists(
    st.lists(st.sampled_from(["one", "Two", "3", "e.g.", "“Four”", "fünf"]), min_size=1, max_size=9)
    .map(" ".join)
    .map(lambda words: words + "."),
    max_size=20,
)
texts = sentences.map(" \n".join)


@settings(max_examples=100, deadline=None)
@given(text=texts, words=st.integers(1, 12))
@pytest.mark.parametrize("split", [split_words, split_sentences])
def test_nothing_is_lost_and_nothing_stands_twice(split, text, words):
    parts = list(split([Passage("a", "Title", text)], words))
    assert " ".join(" ".join(one.text.split()) for one in parts).split() == text.split()
    assert {one.title for one in parts} == {"Title"}
    assert len({one.id for one in parts}) == len(parts)
    if len(parts) == 1:
        assert parts[0].id == "a"
    else:
        assert [one.id for one in parts] == [f"a#{i}" for i in range(len(parts))]


@settings(max_examples=60, deadline=None)
@given(text=texts, words=st.integers(1, 12))
def test_passages_of_words_are_full_but_the_last(text, words):
    sizes = [len(one.text.split()) for one in split_words([Passage("a", "", text)], words)]
    assert all(size == words for size in sizes[:-1])
    assert sizes[-1] <= words


@settings(max_examples=60, deadline=None)
@given(text=texts, words=st.integers(1, 12))
def test_passages_of_sentences_are_as_full_as_can_be(text, words):
    parts = list(split_sentences([Passage("a", "", text)], words))
    for one in parts:
        if len(one.text.split()) > words:  # a single long sentence, whole
            assert len(list(split_sentences([one], words))) == 1
    for one, other in itertools.pairwise(parts):
        first = next(split_sentences([Passage("b", "", other.text)], 1)).text
        assert len(one.text.split()) + len(first.split()) > words


def test_sentences_end_where_readers_see_them_end():
    text = 'It is 3.5 metres high. "Is it?" he asked. Łódź grew fast… And then? Yes!\n\nnew part'
    texts = [one.text for one in split_sentences([Passage("a", "", text)], 1)]
    assert texts[0] == "It is 3.5 metres high."
    assert texts[-2:] == ["Yes!", "new part"]


def test_the_papers_passages():
    """Section 3: disjoint chunks of 100 words."""
    words = [f"w{i}" for i in range(250)]
    parts = list(split_words([Passage("a", "T", " ".join(words))]))
    assert [one.text.split() for one in parts] == [words[:100], words[100:200], words[200:]]


@pytest.mark.parametrize("words", [0, -1, 2.5, True])
@pytest.mark.parametrize("split", [split_words, split_sentences])
def test_words_must_be_a_number(split, words):
    with pytest.raises(DataError, match=f"words is {words}"):
        list(split([Passage("a", "", "text")], words))
