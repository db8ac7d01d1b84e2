"""Thorough leaves out candidates that cannot win: the outcome is that of scoring all."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import pairs
import tiny
from ragkit.generate.seq2seq import Seq2SeqGenerator
from ragkit.marginalize import rag_sequence
from ragkit.marginalize.rag_sequence import RagSequence

MODELS = {"bart": tiny.bart, "t5": tiny.t5, "bert2bert": tiny.bert2bert}


def decoded(generator, n_best, forced=None, seed=0):
    """Hypotheses, and how many (candidate, pair) rows were scored in a second pass."""
    found = pairs.retrieved(3, 4, absent=1, seed=seed)
    reading = generator.read(pairs.QUESTIONS, found)
    scored = []
    plain = reading.score

    def counting(targets, rows):
        scored.append(int((rows >= 0).sum()))
        return plain(targets, rows)

    reading.score = counting
    options = generator.generation_config
    options.num_beams, options.num_return_sequences, options.max_new_tokens = 3, n_best, 6
    options.max_length, options.forced_bos_token_id = None, forced
    return RagSequence().decode(reading, found.prior(), options), sum(scored)


@pytest.mark.parametrize("forced", [None, 7])
@pytest.mark.parametrize("n_best", [1, 3])
@pytest.mark.parametrize("name", MODELS)
def test_outcome_is_that_of_scoring_every_candidate(name, n_best, forced, monkeypatch):
    generator = Seq2SeqGenerator(MODELS[name](), tiny.tokenizer())
    for seed in range(4):
        pruned, few = decoded(generator, n_best, forced, seed)
        with monkeypatch.context() as patch:
            patch.setattr(rag_sequence, "_may_win", lambda known, *_: [True] * len(known))
            whole, many = decoded(generator, n_best, forced, seed)
        assert few <= many
        for ours, theirs in zip(pruned, whole, strict=True):
            assert [one.tokens.tolist() for one in ours] == [one.tokens.tolist() for one in theirs]
            for one, other in zip(ours, theirs, strict=True):
                assert one.log_likelihood == pytest.approx(other.log_likelihood, abs=1e-4)
                torch.testing.assert_close(one.posterior, other.posterior, atol=1e-4, rtol=1e-4)


def test_something_is_left_out():
    """A generator that is sure of itself: others' candidates need no second pass."""
    generator = Seq2SeqGenerator(tiny.bart(scale=2.0), tiny.tokenizer())
    few = many = 0
    with pytest.MonkeyPatch.context() as patch:
        few = sum(decoded(generator, 1, seed=seed)[1] for seed in range(4))
        patch.setattr(rag_sequence, "_may_win", lambda known, *_: [True] * len(known))
        many = sum(decoded(generator, 1, seed=seed)[1] for seed in range(4))
    assert few < 0.8 * many


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 8), st.integers(1, 5), st.integers(1, 4), st.integers(0, 10_000))
def test_the_n_best_always_stay(n_candidates, n_passages, n_best, seed):
    """Whatever the unknown values are below their bounds, the true n best are kept."""
    random = torch.Generator().manual_seed(seed)
    prior = torch.randn(n_passages, generator=random).log_softmax(-1)
    truth = -torch.rand(n_candidates, n_passages, generator=random) * 8
    bounds = (truth + torch.rand(truth.shape, generator=random) * 3).clamp(max=0.0)
    hidden = torch.rand(truth.shape, generator=random) < 0.6
    known = list(truth.masked_fill(hidden, torch.nan))
    kept = rag_sequence._may_win(known, prior, bounds, n_best)
    order = (prior + truth).logsumexp(-1).argsort(descending=True)[:n_best]
    assert all(kept[int(i)] for i in order)
