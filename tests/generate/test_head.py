"""Logits at chosen places against all logits of the plain model, and the same places."""

from __future__ import annotations

import pytest
import torch

import tiny
from ragkit.generate.head import logits_at

FAMILIES = {"bart": tiny.bart, "t5": tiny.t5, "bert2bert": tiny.bert2bert}


def inputs():
    random = torch.Generator().manual_seed(0)
    return {
        "input_ids": torch.randint(5, 261, (2, 6), generator=random),
        "decoder_input_ids": torch.randint(5, 261, (2, 4), generator=random),
    }


@pytest.mark.parametrize("family", FAMILIES)
def test_the_layer_sees_these_places_alone(family):
    model, places = FAMILIES[family](), torch.tensor([0, 3, 6])
    want = model(**inputs()).logits.view(8, -1)[places]
    widths = []
    model.get_output_embeddings().register_forward_hook(
        lambda layer, seen, made: widths.append(made.shape[:-1].numel())
    )
    got = logits_at(model, places, lambda: model(**inputs()).logits)
    torch.testing.assert_close(got, want)
    assert widths == [3]
    torch.testing.assert_close(model(**inputs()).logits.view(8, -1)[places], want)


def test_gradients_are_those_of_the_chosen_places():
    model, places = tiny.bart(), torch.tensor([1, 2, 7])
    logits_at(model, places, lambda: model(**inputs()).logits).logsumexp(-1).sum().backward()
    mine = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    model(**inputs()).logits.view(8, -1)[places].logsumexp(-1).sum().backward()
    for name, grad in mine.items():
        torch.testing.assert_close(grad, dict(model.named_parameters())[name].grad, msg=name)


def test_a_model_that_keeps_its_output_layer_elsewhere():
    model, places = tiny.bart(), torch.tensor([5])
    want = model(**inputs()).logits.view(8, -1)[places]
    model.get_output_embeddings = lambda: None
    torch.testing.assert_close(logits_at(model, places, lambda: model(**inputs()).logits), want)
