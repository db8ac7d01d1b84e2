"""Laws of the marginal likelihood, on random numbers."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import GenerationConfig

from ragkit.errors import ConfigError
from ragkit.marginalize.options import SearchOptions
from ragkit.marginalize.rag_sequence import RagSequence
from ragkit.marginalize.rag_token import RagToken

BOTH = pytest.mark.parametrize("marginalizer", [RagSequence(), RagToken()], ids=["seq", "tok"])


@st.composite
def inputs(draw):
    b, k, t = (draw(st.integers(1, high)) for high in (3, 5, 4))
    random = torch.Generator().manual_seed(draw(st.integers(0, 10_000)))
    scores = torch.randn(b, k, generator=random, dtype=torch.float64) * 3
    logp = -torch.rand(b, k, t, generator=random, dtype=torch.float64) * 4
    lengths = torch.randint(1, t + 1, (b, 1), generator=random)
    mask = torch.arange(t)[None, :] < lengths
    return scores, logp.masked_fill(~mask[:, None, :], 0.0), mask


@BOTH
@settings(deadline=None, max_examples=50)
@given(inputs())
def test_order_of_passages_padding_and_absent_passages_change_nothing(marginalizer, case):
    scores, logp, mask = case
    prior = scores.log_softmax(1)
    value = marginalizer.log_likelihood(prior, logp, mask)
    assert (value <= 1e-9).all()
    order = torch.randperm(scores.shape[1])
    torch.testing.assert_close(
        marginalizer.log_likelihood(prior[:, order], logp[:, order], mask), value
    )
    torch.testing.assert_close(
        marginalizer.posterior(prior[:, order], logp[:, order], mask),
        marginalizer.posterior(prior, logp, mask)[:, order],
    )
    padded = torch.nn.functional.pad(logp, (0, 2), value=-7.0)
    longer = torch.nn.functional.pad(mask, (0, 2))
    torch.testing.assert_close(marginalizer.log_likelihood(prior, padded, longer), value)
    absent = torch.nn.functional.pad(scores, (0, 1), value=-torch.inf).log_softmax(1)
    more = torch.nn.functional.pad(logp, (0, 0, 0, 1))
    torch.testing.assert_close(marginalizer.log_likelihood(absent, more, mask), value)


@BOTH
@settings(deadline=None, max_examples=50)
@given(inputs())
def test_gradient_is_prior_minus_posterior(marginalizer, case):
    scores, logp, mask = case
    scores = torch.nn.functional.pad(scores, (0, 1), value=-torch.inf).requires_grad_()
    logp = torch.nn.functional.pad(logp, (0, 0, 0, 1))
    prior = scores.log_softmax(1)
    (-marginalizer.log_likelihood(prior, logp, mask)).sum().backward()
    p = prior.detach().exp()
    posterior = marginalizer.posterior(prior.detach(), logp, mask).exp()
    if posterior.dim() == 2:
        want = p - posterior
    else:  # one draw for each token
        want = ((p[:, :, None] - posterior) * mask[:, None, :]).sum(-1)
    torch.testing.assert_close(scores.grad, want)
    assert (scores.grad[:, -1] == 0).all()  # an absent passage learns nothing


@BOTH
def test_finite_differences(marginalizer):
    torch.manual_seed(0)
    scores = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    logits = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    mask = torch.tensor([[True] * 4, [True, True, False, False]])

    def loss(scores, logits):
        token_logp = torch.nn.functional.logsigmoid(logits)
        return marginalizer.log_likelihood(scores.log_softmax(1), token_logp, mask)

    assert torch.autograd.gradcheck(loss, (scores, logits))


@settings(deadline=None, max_examples=50)
@given(inputs())
def test_posteriors_are_distributions_and_one_passage_makes_the_models_one(case):
    scores, logp, mask = case
    prior = scores.log_softmax(1)
    for marginalizer in (RagSequence(), RagToken()):
        total = marginalizer.posterior(prior, logp, mask).exp().sum(1)
        torch.testing.assert_close(total, torch.ones_like(total))
    one = torch.zeros(len(scores), 1, dtype=torch.float64)
    torch.testing.assert_close(
        RagSequence().log_likelihood(one, logp[:, :1], mask),
        RagToken().log_likelihood(one, logp[:, :1], mask),
    )


def test_a_dominant_passage_underflows_nowhere():
    prior = torch.tensor([[0.0, -1e4]]).log_softmax(1)
    logp = torch.full((1, 2, 500), -20.0)
    mask = torch.ones(1, 500, dtype=torch.bool)
    for marginalizer in (RagSequence(), RagToken()):
        assert marginalizer.log_likelihood(prior, logp, mask).item() == pytest.approx(-1e4)


def test_impossible_options_are_all_named_at_once():
    options = GenerationConfig(encoder_no_repeat_ngram_size=3)
    options.num_return_sequences = options.max_new_tokens = 0
    with pytest.raises(ConfigError) as caught:
        SearchOptions.of(options, torch.device("cpu"))
    text = str(caught.value)
    for name in ("encoder_no_repeat_ngram_size", "num_return_sequences", "max_new_tokens"):
        assert name in text


def test_unknown_decoding_names_what_there_is():
    with pytest.raises(ConfigError, match="'thorough' or 'fast'"):
        RagSequence("quick")
