"""BLEU against sacrebleu's own corpus figure, ROUGE-L against its definition."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence

import numpy as np
import pytest
import sacrebleu
from hypothesis import given, settings
from hypothesis import strategies as st

from judging import gold, one, said
from ragkit.errors import ConfigError, MissingDependency
from ragkit.evaluate.bootstrap import resampled_sums
from ragkit.evaluate.metrics import Bleu, RougeL, bleu_1

WORDS = ["the", "ferry", "leaves", "at", "nine", "Łódź", "北京", "U.S.", "a-b", "it's", ","]
SENTENCES = st.lists(st.sampled_from(WORDS), max_size=9).map(" ".join)
CORPORA = st.lists(
    st.tuples(SENTENCES, st.lists(SENTENCES.filter(bool), min_size=1, max_size=3)),
    min_size=1,
    max_size=6,
)
Corpus = list[tuple[str, list[str]]]


def theirs(corpus: Corpus, order: int, lowercase: bool = False) -> float:
    """sacrebleu's figure; it takes references by position, None where there is none."""
    most = max(len(golds) for _, golds in corpus)
    streams = [
        [golds[at] if at < len(golds) else None for _, golds in corpus] for at in range(most)
    ]
    made = sacrebleu.BLEU(max_ngram_order=order, lowercase=lowercase)
    return float(made.corpus_score([text for text, _ in corpus], streams).score) / 100


def rows(metric: Bleu, corpus: Corpus) -> np.ndarray:
    pairs = [(said(text), gold(*golds)) for text, golds in corpus]
    return metric.statistics([p for p, _ in pairs], [e for _, e in pairs])


@settings(max_examples=60, deadline=None)
@given(CORPORA, st.sampled_from([1, 2, 4]), st.booleans())
def test_bleu_is_sacrebleus(corpus: Corpus, order: int, lowercase: bool) -> None:
    metric = Bleu(order, lowercase=lowercase)
    found = metric.pooled(rows(metric, corpus).sum(axis=0, keepdims=True))
    assert found == pytest.approx([theirs(corpus, order, lowercase)], abs=1e-12)


@settings(max_examples=15, deadline=None)
@given(CORPORA, st.integers(0, 5))
def test_bleu_of_resamples_is_bleu_of_the_texts_drawn(corpus: Corpus, seed: int) -> None:
    metric = Bleu()
    found = metric.pooled(resampled_sums(rows(metric, corpus), resamples=4, seed=seed))
    drawn = np.random.default_rng(seed).integers(0, len(corpus), (4, len(corpus)))
    expected = [theirs([corpus[i] for i in some], order=4) for some in drawn]
    assert found == pytest.approx(expected, abs=1e-12)


def test_bleu_1_by_hand() -> None:
    # 3 of 4 words are in the gold ("the" once only), and the gold is longer by 2.
    prediction, example = said("the the ferry leaves"), gold("the ferry leaves at nine o'clock")
    expected = math.exp(1 - 6 / 4) * 3 / 4
    assert one(bleu_1(), prediction, example) == pytest.approx(expected)
    metric = bleu_1()
    assert metric.pooled(metric.statistics([prediction], [example])) == pytest.approx([expected])
    assert metric.label == "BLEU-1"
    assert Bleu().label == "BLEU"


def test_bleu_takes_the_nearest_gold_for_length_and_all_for_words() -> None:
    # Words of either gold count; the nearest length is 3, so there is no penalty.
    assert one(bleu_1(), said("a b c"), gold("a x y", "b c y z w")) == pytest.approx(1)


def test_bleu_of_one_text_leaves_out_orders_it_is_too_short_for() -> None:
    assert one(Bleu(), said("Ada Holm"), gold("Ada Holm")) == pytest.approx(1)
    metric = Bleu()  # all texts together are judged by all four orders
    assert metric.pooled(metric.statistics([said("Ada Holm")], [gold("Ada Holm")])) == 0


def test_bleu_of_nothing() -> None:
    metric = Bleu()
    assert one(metric, said(""), gold("a b")) == 0
    assert math.isnan(one(metric, said("a"), gold()))
    assert np.isnan(metric.statistics([said("a")], [gold()])).all()
    assert metric.statistics([], []).shape == (0, 10)


def test_bleu_refuses_what_sacrebleu_has_not() -> None:
    with pytest.raises(ConfigError, match=r"no tokenizer 'moses'; there are: .*13a"):
        Bleu(tokenize="moses")
    with pytest.raises(ConfigError, match="order is 0; type order=1 or more"):
        Bleu(order=0)


# ------------------------------------------------------------------------- ROUGE-L


def longest(a: Sequence[str], b: Sequence[str]) -> int:
    """The longest common subsequence, by its recursion."""
    if not a or not b:
        return 0
    if a[0] == b[0]:
        return 1 + longest(a[1:], b[1:])
    return max(longest(a[1:], b), longest(a, b[1:]))


SHORT = st.lists(st.sampled_from("abc"), max_size=6)


@settings(max_examples=60, deadline=None)
@given(SHORT, st.lists(SHORT, min_size=1, max_size=3))
def test_rouge_l_against_its_definition(text: list[str], golds: list[list[str]]) -> None:
    def f(words: list[str]) -> float:
        shared = longest(text, words)
        return 2 * shared / (len(text) + len(words)) if shared else 0.0

    found = one(RougeL(), said(" ".join(text)), gold(*map(" ".join, golds)))
    assert found == pytest.approx(max(map(f, golds)))


@pytest.mark.parametrize(
    ("text", "golds", "expected"),
    [
        ("The ferry leaves at nine.", ["the FERRY leaves, at nine"], 1),
        ("at nine the ferry leaves", ["the ferry leaves at nine"], 3 / 5),
        ("nine", ["the ferry leaves at nine"], 2 * 1 / 6),
        ("nine", ["ten", "nine"], 1),
        ("", ["nine"], 0),
        ("北京", ["北京"], 0),  # no letter from a to z
        ("café", ["caf"], 1),  # é is none either
    ],
)
def test_rouge_l_by_hand(text: str, golds: list[str], expected: float) -> None:
    assert one(RougeL(), said(text), gold(*golds)) == pytest.approx(expected)


def test_rouge_l_of_stems() -> None:
    assert one(RougeL(stemmer=True), said("leaving"), gold("leaves")) == 1
    assert one(RougeL(), said("leaving"), gold("leaves")) == 0
    assert math.isnan(one(RougeL(), said("x"), gold()))


@pytest.mark.parametrize(
    ("make", "module"), [(Bleu, "sacrebleu"), (bleu_1, "sacrebleu"), (RougeL, "rouge_score")]
)
def test_a_missing_package_says_what_to_type(
    make: type, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == module]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(
        MissingDependency, match=rf'needs {module}.*pip install "ragkit\[metrics\]"'
    ):
        make()
