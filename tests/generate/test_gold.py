"""Gold log-probabilities against log_softmax, and their gradient against finite differences."""

from __future__ import annotations

import math

import pytest
import torch

from ragkit.generate import gold as module
from ragkit.generate.gold import gold_log_probabilities


def reference(logits, tokens, epsilon=0.0):
    logp = logits.log_softmax(-1)
    gold = logp.gather(-1, tokens[:, None])[:, 0]
    return (1 - epsilon) * gold + epsilon * logp.mean(-1)


@pytest.mark.parametrize("epsilon", [0.0, 0.1])
@pytest.mark.parametrize("chunk", [1 << 24, 7])
def test_value_and_gradient(epsilon, chunk, monkeypatch):
    monkeypatch.setattr(module, "CHUNK", chunk)
    torch.manual_seed(0)
    x = torch.randn(5, 3)
    weight = torch.randn(11, 3, requires_grad=True)
    other = weight.detach().clone().requires_grad_()
    tokens, upstream = torch.randint(0, 11, (5,)), torch.randn(5)
    mine = gold_log_probabilities(x @ weight.T, tokens, epsilon)
    want = reference(x @ other.T, tokens, epsilon)
    torch.testing.assert_close(mine, want)
    (mine * upstream).sum().backward()
    (want * upstream).sum().backward()
    torch.testing.assert_close(weight.grad, other.grad)


@pytest.mark.parametrize("epsilon", [0.0, 0.2])
def test_finite_differences(epsilon):
    torch.manual_seed(1)
    logits = torch.randn(3, 6, dtype=torch.float64, requires_grad=True)
    tokens = torch.tensor([0, 5, 2])
    assert torch.autograd.gradcheck(lambda x: gold_log_probabilities(x, tokens, epsilon), (logits,))


def test_an_operation_that_keeps_its_output_is_not_overwritten():
    x = torch.randn(2, 4, requires_grad=True)
    y = x.detach().clone().requires_grad_()
    tokens = torch.tensor([1, 3])
    gold_log_probabilities(x.tanh(), tokens).sum().backward()
    reference(y.tanh(), tokens).sum().backward()
    torch.testing.assert_close(x.grad, y.grad)


def test_going_backward_twice_is_refused_not_wrong():
    weight = torch.randn(4, 4, requires_grad=True)
    out = gold_log_probabilities(torch.randn(2, 4) @ weight, torch.tensor([0, 1])).sum()
    out.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="backward through a score once"):
        out.backward()


def test_extreme_logits_stay_finite():
    logits = torch.tensor([[1e4, -1e4, 0.0], [-1e4, -1e4, -1e4]])
    got = gold_log_probabilities(logits, torch.tensor([0, 2]))
    # A float32 of 10,000 is exact to 0.001.
    torch.testing.assert_close(got, torch.tensor([0.0, -math.log(3)]), atol=1e-3, rtol=0)
