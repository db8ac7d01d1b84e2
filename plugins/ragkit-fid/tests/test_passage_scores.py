"""Where the reader looks, against transformers' own attention weights and by hand."""

from __future__ import annotations

import fid_models as tiny
import pytest
import torch
from torch import Tensor

from ragkit.errors import ConfigError
from ragkit.protocols import SupportsPassageScores

FAMILY = pytest.mark.parametrize("family", tiny.FAMILIES)


@FAMILY
def test_they_are_the_mean_log_attention_up_to_a_constant(family: str) -> None:
    """log softmax(s)_l = s_l - log Σ: averaged over a passage's tokens, heads and layers, the
    second term is the same for all passages. The weights are those of `output_attentions`."""
    generator = tiny.make(family)
    model = tiny.eager(generator.reader.model)
    found, questions = tiny.retrieved(3, 3, absent=1), tiny.QUESTIONS
    reading = generator.read(questions, found)
    assert isinstance(reading, SupportsPassageScores)
    got = reading.passage_scores()
    assert got.dtype == torch.float32
    assert not got.requires_grad
    assert got.shape == (3, 3)
    assert torch.equal(got == -torch.inf, ~found.mask)
    start = generator.generation_config.decoder_start_token_id
    for b in range(3):
        with torch.no_grad():
            states, lengths = tiny.fused_by_hand(model, generator, questions, found, b)
            output = tiny.plain_logits(model, states, [start], output_attentions=True)
        weights = torch.stack(output.cross_attentions)[:, 0, :, 0]  # (layers,H,L)
        assert torch.allclose(weights.sum(-1), torch.ones(()), atol=1e-4)
        logs = weights.double().clamp(min=1e-300).log().mean((0, 1))  # (L,)
        want = torch.stack([part.mean() for part in logs.split(lengths) if len(part)])
        mine = got[b, : len(want)].double()
        torch.testing.assert_close(mine - mine.mean(), want - want.mean(), atol=1e-3, rtol=1e-3)


def test_they_are_the_raw_products_of_queries_and_keys() -> None:
    """By hand for BART, with the scale 1/√d: no constant is free here."""
    generator = tiny.make("bart")
    model, found = tiny.eager(generator.reader.model), tiny.retrieved(2, 3)
    got = generator.read(tiny.QUESTIONS[:2], found).passage_scores()
    for b in range(2):
        with torch.no_grad():
            states, lengths = tiny.fused_by_hand(model, generator, tiny.QUESTIONS[:2], found, b)
            queries: list[Tensor] = []
            hooks = [
                layer.encoder_attn.q_proj.register_forward_hook(
                    lambda m, a, out, queries=queries: queries.append(out[0, 0])
                )
                for layer in model.model.decoder.layers
            ]
            tiny.plain_logits(model, states, [2])
            for hook in hooks:
                hook.remove()
            total = torch.zeros(states.shape[1])
            for layer, query in zip(model.model.decoder.layers, queries, strict=True):
                keys = layer.encoder_attn.k_proj(states[0])  # (L,D)
                for head in range(2):
                    part = slice(head * 8, head * 8 + 8)
                    total += keys[:, part] @ query[part] / 8**0.5
        want = torch.stack([part.mean() for part in (total / 4).split(lengths)])
        torch.testing.assert_close(got[b], want, atol=1e-4, rtol=1e-4)


def test_asking_changes_nothing_that_is_scored_or_learnt() -> None:
    generator = tiny.make("t5").train()
    found, targets = tiny.retrieved(2, 3), generator.targets(["ab", "c"])

    def gradient(ask: bool) -> list[Tensor]:
        generator.zero_grad()
        reading = generator.read(tiny.QUESTIONS[:2], found)
        if ask:
            reading.passage_scores()
        reading.score(targets, reading.rows).sum().backward()
        return [p.grad.clone() for p in generator.parameters() if p.grad is not None]

    for one, other in zip(gradient(False), gradient(True), strict=True):
        assert torch.equal(one, other)


def test_a_model_with_an_attention_of_its_own_says_so() -> None:
    generator = tiny.make("bart")
    reading = generator.read(tiny.QUESTIONS[:1], tiny.retrieved(1, 2))
    reading.whole.grouped = False
    with pytest.raises(ConfigError, match="sdpa"):
        reading.passage_scores()
