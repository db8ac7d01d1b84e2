"""Losses, gradients and outputs against transformers' RAG on the same random weights."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from transformers import RagSequenceForGeneration, RagTokenForGeneration

import pairs
import tiny
from ragkit.generate.seq2seq import Seq2SeqGenerator
from ragkit.marginalize.rag_sequence import RagSequence
from ragkit.marginalize.rag_token import RagToken

K = 3
START = 2


def started(tokens):
    """transformers' RAG takes labels as decoder inputs, so they begin with the start token."""
    return torch.cat([torch.full_like(tokens[:, :1], START), tokens], dim=1)


MODELS = {
    "sequence": (RagSequence(), RagSequenceForGeneration),
    "token": (RagToken(), RagTokenForGeneration),
}


EVEN = ["who wrote it", "where is she", "when was it?"]


def evenly(found):
    """The same passages, all of one length, so that no source has padding."""
    cut = [
        [p._replace(title="T", text=p.text[:4].ljust(4, ".")) for p in row]
        for row in found.passages
    ]
    return replace(found, passages=cut)


def setup(kind, n_questions=2, n_passages=K, seed=0, scale=0.6):
    model = tiny.bart(seed=seed, scale=scale)
    theirs = pairs.oracle(kind, deepcopy(model), n_passages)
    ours = Seq2SeqGenerator(model, tiny.tokenizer())
    found = pairs.retrieved(n_questions, n_passages, seed=seed)
    return ours, theirs, found, pairs.QUESTIONS[:n_questions]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("seed", range(3))
def test_loss_and_gradients(name, seed):
    marginalizer, kind = MODELS[name]
    ours, theirs, found, questions = setup(kind, seed=seed)
    targets = pairs.random_targets(2, 6, seed=seed)
    scores = found.scores.clone().requires_grad_()
    reading = ours.read(questions, found)
    token_logp = reading.score(targets, reading.rows)
    likelihood = marginalizer.log_likelihood(scores.log_softmax(-1), token_logp, targets.mask)

    context = pairs.contexts(ours, questions, found)
    their_scores = found.scores.clone().requires_grad_()
    context["doc_scores"] = their_scores
    nll = theirs(**context, labels=started(targets.tokens)).loss
    torch.testing.assert_close(-likelihood, nll, atol=1e-5, rtol=1e-5)

    likelihood.sum().neg().backward()
    nll.sum().backward()
    torch.testing.assert_close(scores.grad, their_scores.grad, atol=1e-4, rtol=1e-4)
    for (path, mine), (_, other) in zip(
        ours.model.named_parameters(), theirs.generator.named_parameters(), strict=True
    ):
        torch.testing.assert_close(mine.grad, other.grad, atol=1e-4, rtol=1e-4, msg=path)


def test_a_target_of_one_token_keeps_its_prior():
    """Where transformers is wrong: a one-token target loses p(z|x)."""
    ours, _, found, questions = setup(RagSequenceForGeneration)
    targets = pairs.random_targets(1, 1)
    targets = type(targets)(targets.tokens.expand(2, 1), targets.mask.expand(2, 1))
    reading = ours.read(questions, found)
    token_logp = reading.score(targets, reading.rows)
    prior = found.prior()
    sequence = RagSequence().log_likelihood(prior, token_logp, targets.mask)
    by_hand = (prior.exp() * token_logp[:, :, 0].exp()).sum(1).log()
    torch.testing.assert_close(sequence, by_hand)
    # With one token the two models are one (section 2.3, FEVER).
    torch.testing.assert_close(sequence, RagToken().log_likelihood(prior, token_logp, targets.mask))


OPTIONS = {
    "greedy": {"num_beams": 1},
    "beams": {"num_beams": 4},
    "penalty": {"num_beams": 3, "length_penalty": 2.0},
    "early": {"num_beams": 3, "early_stopping": True},
    "never": {"num_beams": 3, "early_stopping": "never", "length_penalty": 0.5},
    "ngrams": {"num_beams": 3, "no_repeat_ngram_size": 2},
    "least": {"num_beams": 2, "min_new_tokens": 5},
    "bad words": {"num_beams": 2, "bad_words_ids": [[40], [50, 51]]},
    "forced": {"num_beams": 3, "forced_bos_token_id": 7, "forced_eos_token_id": 2},
    "repetition": {"num_beams": 1, "repetition_penalty": 1.3},
    "suppressed": {"num_beams": 2, "suppress_tokens": [30, 31], "begin_suppress_tokens": [32]},
}


def options_of(generator, **options):
    # Not max_new_tokens: transformers' RAG-Token takes no notice of it.
    config = deepcopy(generator.generation_config)
    for name, value in {"max_length": 9, "early_stopping": False, **options}.items():
        setattr(config, name, value)
    return config


def trimmed(row):
    """Generated tokens without start and padding; up to and with the first EOS."""
    tokens = row.tolist()[1:]
    return tokens[: tokens.index(2) + 1] if 2 in tokens else tokens


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("seed", range(3))
def test_rag_token_outputs_are_identical(name, seed):
    ours, theirs, found, questions = setup(
        RagTokenForGeneration, n_questions=3, seed=seed, scale=0.3 + 0.15 * seed
    )
    options = {"early_stopping": False, **OPTIONS[name]}
    n_best = min(2, options["num_beams"])
    want = theirs.generate(
        **pairs.contexts(ours, questions, found),
        n_docs=K,
        generation_config=options_of(ours, **options, num_return_sequences=n_best),
    )
    reading = ours.read(questions, found)
    got = RagToken().decode(
        reading,
        found.prior(),
        options_of(ours, **options, num_return_sequences=n_best),
    )
    flat = [hypothesis.tokens.tolist() for beam in got for hypothesis in beam]
    assert flat == [trimmed(row) for row in want]


@pytest.mark.parametrize("num_beams", [1, 3])
@pytest.mark.parametrize("seed", range(3))
def test_thorough_outputs_are_identical(num_beams, seed):
    ours, theirs, found, questions = setup(
        RagSequenceForGeneration, n_questions=3, seed=seed, scale=0.3 + 0.15 * seed
    )
    # Its Thorough lets the generator attend to padding, so here there is none.
    found, questions = evenly(found), EVEN
    # A one-token candidate has no prior in transformers; two tokens and more are right.
    options = {"num_beams": num_beams, "min_new_tokens": 2, "max_length": 9}
    got = RagSequence("thorough").decode(
        ours.read(questions, found), found.prior(), options_of(ours, **options)
    )
    theirs.generator.generation_config.early_stopping = False
    want = theirs.generate(**pairs.contexts(ours, questions, found), n_docs=K, **options)
    assert [beam[0].tokens.tolist() for beam in got] == [trimmed(row) for row in want]
    for b, beam in enumerate(got):
        rows = slice(b * K, (b + 1) * K)
        context = pairs.contexts(ours, questions, found)
        for hypothesis in beam:
            loss = theirs(
                context_input_ids=context["context_input_ids"][rows],
                context_attention_mask=context["context_attention_mask"][rows],
                doc_scores=found.scores[b : b + 1],
                labels=started(hypothesis.tokens[None]),
            ).loss
            assert hypothesis.log_likelihood == pytest.approx(-loss.item(), abs=1e-4)


@pytest.mark.parametrize("num_beams", [1, 3])
def test_thorough_candidates_are_the_union_of_the_generators_beams(num_beams):
    ours, theirs, found, questions = setup(RagSequenceForGeneration, scale=0.45)
    options = options_of(ours, num_beams=num_beams, num_return_sequences=50)
    got = RagSequence("thorough").decode(ours.read(questions, found), found.prior(), options)
    context = pairs.contexts(ours, questions, found)
    for b in range(len(questions)):
        rows = slice(b * K, (b + 1) * K)
        written = theirs.generator.generate(
            context["context_input_ids"][rows],
            attention_mask=context["context_attention_mask"][rows],
            generation_config=options_of(ours, num_beams=num_beams, num_return_sequences=num_beams),
        )
        assert {tuple(h.tokens.tolist()) for h in got[b]} == {
            tuple(trimmed(row)) for row in written
        }
        likelihoods = [h.log_likelihood for h in got[b]]
        assert likelihoods == sorted(likelihoods, reverse=True)
