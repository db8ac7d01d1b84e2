"""Grouping by length changes no state that counts and no gradient."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import tiny
from ragkit.generate import encode


def padded(lengths: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    width = max(lengths)
    mask = torch.arange(width)[None, :] < torch.tensor(lengths)[:, None]
    return torch.randint(5, 40, mask.shape) * mask, mask


LENGTHS = [3, 60, 5, 9, 40, 7, 2, 17, 33, 4, 6, 8, 30, 11, 3, 21, 48, 5, 13, 19, 2, 7]


@pytest.mark.parametrize("make", [tiny.bart, tiny.t5, tiny.bert2bert])
def test_states_and_gradients_are_those_of_one_batch(make) -> None:
    model = make().eval()
    encoder = model.get_encoder()
    tokens, mask = padded(LENGTHS)
    calls: list[tuple[int, ...]] = []

    def run(tokens, mask, segments):
        calls.append(tuple(tokens.shape))
        return encoder(input_ids=tokens, attention_mask=mask).last_hidden_state

    weight = torch.randn(*mask.shape, 1) * mask[..., None]
    found = []
    for states in (run(tokens, mask, None), encode.by_length(run, tokens, mask, None)):
        model.zero_grad()
        (states * weight).sum().backward()
        grads = [p.grad.clone() for p in encoder.parameters() if p.grad is not None]
        found.append((states.detach() * mask[..., None], grads))
    (whole, whole_grads), (grouped, grouped_grads) = found
    assert len(calls) > 2, "nothing was grouped"
    assert sum(n * width for n, width in calls[1:]) < 0.9 * mask.numel()
    torch.testing.assert_close(grouped, whole, rtol=1e-4, atol=1e-5)
    for ours, theirs in zip(grouped_grads, whole_grads, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 300), min_size=1, max_size=40))
def test_every_pair_fits_its_group(lengths: list[int]) -> None:
    tokens, mask = padded(lengths)
    width = tokens.shape[1]
    tokens = torch.arange(len(lengths))[:, None] * 1000 + torch.arange(width)[None, :]

    def echo(tokens, mask, segments):
        return tokens[..., None].float()

    states = encode.by_length(echo, tokens, mask, None)
    assert states.shape == (*mask.shape, 1)
    assert torch.equal(states[..., 0][mask], tokens.float()[mask])
