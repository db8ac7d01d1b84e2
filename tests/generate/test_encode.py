"""Encoding without padding changes no state that counts and no gradient."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import tiny
from ragkit.generate import attention, encode
from ragkit.generate.seq2seq import _share_pairs


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


FAMILIES = {
    "bart": tiny.bart,
    "t5": tiny.t5,
    "bert2bert": tiny.bert2bert,
    **{name: partial(tiny.kin, name) for name in tiny.KIN},
}


@pytest.mark.parametrize("family", [*FAMILIES, "bert2bert with segments"])
def test_end_to_end_equals_one_batch(family, monkeypatch) -> None:
    """Also with a pair of no tokens at all; T5 counts positions inside attention, so there
    pairs are grouped."""
    monkeypatch.setattr(encode, "CALL", 0)
    family, _, segmented = family.partition(" with ")
    model = FAMILIES[family]().eval()
    shared = _share_pairs(model)
    encoder = model.get_encoder()
    tokens, mask = padded([*LENGTHS, 0])
    segments = (torch.arange(60)[None] > 2).expand_as(mask).long() if segmented else None
    widths: list[torch.Size] = []
    encoder.register_forward_hook(lambda _, seen, made: widths.append(made[0].shape[:2]))
    weight = torch.randn(*mask.shape, 1) * mask[..., None]
    found = []
    for states in (
        encode._states(model, tokens, mask, segments),
        encode.encode(model, tokens, mask, segments, shared),
    ):
        model.zero_grad()
        (states * weight).sum().backward()
        grads = [p.grad.clone() for p in encoder.parameters() if p.grad is not None]
        found.append((states.detach() * mask[..., None], grads))
    (whole, whole_grads), (ours, ours_grads) = found
    n_real, n_read = int(mask.sum()), sum(size.numel() for size in widths[1:])
    if family != "t5":
        assert widths[1:] == [(1, n_read)]
        assert n_read == -(-n_real // encode.BLOCK) * encode.BLOCK
    torch.testing.assert_close(ours[:-1], whole[:-1], rtol=1e-5, atol=1e-5)
    for mine, theirs in zip(ours_grads, whole_grads, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-4)
    assert attention._texts.get() is None


def test_recomputation_finds_its_masks(monkeypatch) -> None:
    """Under gradient checkpointing texts stay in rows of their own, and gradients are right."""
    monkeypatch.setattr(encode, "CALL", 0)
    tokens, mask = padded(LENGTHS)
    found = []
    for checkpointed in (False, True):
        model = tiny.bart().train()
        shared = _share_pairs(model)
        if checkpointed:
            model.activation_checkpointing_enable()
        states = encode.encode(model, tokens, mask, None, shared)
        (states * mask[..., None]).square().sum().backward()
        found.append([p.grad for p in model.parameters() if p.grad is not None])
    for plain, checked in zip(*found, strict=True):
        torch.testing.assert_close(plain, checked, rtol=1e-3, atol=1e-3)


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
