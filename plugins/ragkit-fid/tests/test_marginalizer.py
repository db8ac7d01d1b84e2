"""The marginalizer ``none``: what it says of probabilities, and what it refuses."""

from __future__ import annotations

import fid_models as tiny
import pytest
import torch
from ragkit_fid.marginalizer import NoMixture

from ragkit import RAG
from ragkit.errors import ConfigError
from ragkit.evaluate import NoPassage, closed_book
from ragkit.generate.seq2seq import Seq2SeqGenerator
from ragkit.protocols import SupportsFusion


def test_the_likelihood_is_the_sum_of_the_tokens_and_has_no_gradient_by_the_prior() -> None:
    scores = torch.tensor([[0.3, 2.0, -torch.inf], [1.0, 1.0, 0.0]], requires_grad=True)
    logp = torch.tensor([[[-1.0, -2.0, -4.0]], [[-3.0, -5.0, 9.0]]], requires_grad=True)
    mask = torch.tensor([[True, True, True], [True, True, False]])
    prior = scores.log_softmax(-1)
    value = NoMixture().log_likelihood(prior, logp, mask)
    assert value.tolist() == [-7.0, -8.0]
    value.sum().backward()
    assert scores.grad is None  # so an optimiser leaves the question encoder alone
    assert logp.grad is not None
    assert torch.equal(logp.grad[:, 0], mask.float())


def test_the_posterior_is_bayes_rule_where_no_passage_is_chosen() -> None:
    """p(z|x,y) ∝ p(z|x)·p(y|x): with one p(y|x) for all z, the prior."""
    prior = torch.tensor([[0.2, 0.5, 0.3, 0.0]]).log()
    logp, mask = torch.full((1, 1, 4), -0.7), torch.ones(1, 4, dtype=torch.bool)
    got = NoMixture().posterior(prior, logp, mask)
    joint = prior.exp() * NoMixture().log_likelihood(prior, logp, mask).exp()
    torch.testing.assert_close(got.exp(), joint / joint.sum())
    assert got[0, -1] == -torch.inf


@pytest.mark.parametrize("mixture", ["rag-sequence", "rag-token"])
def test_a_mixture_over_a_fused_reading_is_refused_with_the_reason(mixture: str) -> None:
    generator = tiny.make("bart")
    assert isinstance(generator, SupportsFusion)
    assert isinstance(NoMixture(), SupportsFusion)
    with pytest.raises(ConfigError, match=r"mixes p\(y\|x,z\)") as caught:
        RAG(NoPassage(), generator, mixture)
    text = str(caught.value)
    assert "FiDGenerator reads all passages" in text
    for what_to_type in ("marginalizer='none'", "pip install ragkit-fid", "'seq2seq'"):
        assert what_to_type in text
    RAG(NoPassage(), generator, "none")
    assert closed_book(generator, "none").answer("who?", max_new_tokens=3)[0].passages


def test_none_over_passages_read_one_by_one_is_refused_with_what_to_type() -> None:
    generator = Seq2SeqGenerator(tiny.bart(), tiny.tokenizer())
    found, targets = tiny.retrieved(2, 3), generator.targets(["ab", "c"])
    reading = generator.read(tiny.QUESTIONS[:2], found)
    logp = reading.score(targets, reading.rows)
    for ask in (
        lambda: NoMixture().log_likelihood(found.prior(), logp, targets.mask),
        lambda: NoMixture().posterior(found.prior(), logp, targets.mask),
        lambda: NoMixture().decode(reading, found.prior(), generator.generation_config),
    ):
        with pytest.raises(ConfigError, match=r"rag-sequence.*or take a generator"):
            ask()


def test_several_outputs_and_samples_come_with_their_exact_likelihoods() -> None:
    generator = tiny.make("bart")
    model = tiny.eager(generator.reader.model)
    found, questions = tiny.retrieved(2, 2), tiny.QUESTIONS[:2]
    with torch.no_grad():
        reading = generator.read(questions, found)
    for settings in ({"num_beams": 4}, {"do_sample": True, "top_k": 0}):
        options = generator.generation_config
        options.max_length, options.max_new_tokens, options.num_return_sequences = None, 5, 4
        options.num_beams, options.do_sample = 1, False
        for name, value in settings.items():
            setattr(options, name, value)
        torch.manual_seed(0)
        for b, beam in enumerate(NoMixture().decode(reading, found.prior(), options)):
            assert len(beam) == 4
            states, _ = tiny.fused_by_hand(model, generator, questions, found, b)
            for one in beam:
                y = one.tokens.tolist()
                with torch.no_grad():
                    logits = tiny.plain_logits(model, states, [2, *y[:-1]]).logits[0]
                want = float(logits.log_softmax(-1)[range(len(y)), y].sum())
                assert one.log_likelihood == pytest.approx(want, abs=1e-3)
