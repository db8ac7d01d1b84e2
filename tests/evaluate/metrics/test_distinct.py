"""Distinct n-grams by counting, and an interval that holds where the plain bootstrap fails."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from judging import gold, one, said
from ragkit.errors import ConfigError
from ragkit.evaluate.bootstrap import pooled_interval
from ragkit.evaluate.metrics import Distinct

TEXTS = st.lists(st.lists(st.sampled_from("abcd"), max_size=6).map(" ".join), max_size=6)


def brute(texts: list[str], n: int) -> float:
    grams = [
        tuple(words[at : at + n])
        for words in map(str.split, texts)
        for at in range(len(words) - n + 1)
    ]
    return len(set(grams)) / len(grams) if grams else math.nan


def rows(metric: Distinct, texts: list[str]) -> np.ndarray:
    return metric.statistics([said(text) for text in texts], [gold("x")] * len(texts))


@given(TEXTS, st.integers(1, 3))
def test_the_figure_is_distinct_over_all(texts: list[str], n: int) -> None:
    metric = Distinct(n)
    found = pooled_interval(rows(metric, texts), metric.pooled, resamples=2).mean
    assert found == pytest.approx(brute(texts, n), nan_ok=True)


@given(TEXTS, st.integers(1, 2))
def test_without_one_question_the_linearised_figure_is_exact(texts: list[str], n: int) -> None:
    texts = [text for text in texts if len(text.split()) >= n]
    if len(texts) < 2:
        return
    statistics = rows(Distinct(n), texts)
    sets = [set(zip(*(t.split()[s:] for s in range(n)), strict=False)) for t in texts]
    shared = {g for i, a in enumerate(sets) for b in sets[i + 1 :] for g in a & b}
    even = len(shared) / len(texts)  # what every row holds of n-grams that several have
    for at in range(len(texts)):
        found = (statistics.sum(axis=0) - statistics[at] + [even, 0])[None]
        expected = brute(texts[:at] + texts[at + 1 :], n)
        assert Distinct(n).pooled(found) == pytest.approx([expected])


def test_by_hand() -> None:
    assert one(Distinct(1), said("the cat, the dog"), gold("x")) == 4 / 5  # the comma is a token
    assert one(Distinct(3), said("a b a b a"), gold("x")) == 2 / 3
    assert one(Distinct(1), said("Ä ä a\u0308"), gold("x")) == 1 / 3  # one letter, three ways
    assert math.isnan(one(Distinct(3), said("a b"), gold("x")))
    assert one(Distinct(1, golds=True), said("a a"), gold("b c", "d d")) == 1
    assert math.isnan(one(Distinct(1, golds=True), said("a a"), gold()))
    assert [Distinct(2).label, Distinct(golds=True).label] == ["distinct-2", "distinct-3 of golds"]
    with pytest.raises(ConfigError, match="n is 0; type n=1 or more"):
        Distinct(0)


def test_answers_too_short_do_not_count() -> None:
    found = pooled_interval(rows(Distinct(2), ["a b", "a", "a b c"]), Distinct(2).pooled)
    assert (found.mean, found.n) == (pytest.approx(2 / 3), 2)


def test_the_interval_covers_what_other_questions_would_give() -> None:
    rng = np.random.default_rng(4)
    share = 1 / np.arange(1, 1001)

    def corpus(n: int = 60) -> list[str]:
        return [
            " ".join(f"w{i}" for i in rng.choice(1000, rng.integers(3, 9), p=share / share.sum()))
            for _ in range(n)
        ]

    expected = float(np.mean([brute(corpus(), 1) for _ in range(300)]))
    covered = plain = 0
    for seed in range(60):
        texts = corpus()
        found = pooled_interval(
            rows(Distinct(1), texts), Distinct(1).pooled, resamples=300, seed=seed
        )
        covered += found.low <= expected <= found.high
        if seed < 15:
            drawn = rng.integers(0, 60, (60, 60))
            plain += np.quantile([brute([texts[i] for i in d], 1) for d in drawn], 0.975) < expected
    assert covered >= 51  # of Binomial(60, 0.95), with probability above 0.9999
    assert plain == 15  # drawing texts twice lies below, every time
