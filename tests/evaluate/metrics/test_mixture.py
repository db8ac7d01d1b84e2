"""Prior entropy and posterior rank by hand, and as training logs them."""

from __future__ import annotations

import math

import pytest
import torch

from judging import gold, one, said
from ragkit.evaluate.metrics import PosteriorRank, PriorEntropy
from ragkit.marginalize.rag_sequence import RagSequence
from ragkit.protocols import Evidence
from ragkit.train.diagnostics import signs


def test_entropy_by_hand() -> None:
    assert one(PriorEntropy(), said(prior=[1.0]), gold()) == 0
    assert one(PriorEntropy(), said(prior=[1.0, 0.0]), gold()) == 0
    assert one(PriorEntropy(), said(prior=[0.25] * 4), gold()) == pytest.approx(math.log(4))
    assert one(PriorEntropy(share=True), said(prior=[0.25] * 4), gold()) == pytest.approx(1)
    assert one(PriorEntropy(share=True), said(prior=[1.0]), gold()) == 0
    mixed = -(0.9 * math.log(0.9) + 0.1 * math.log(0.1))
    assert one(PriorEntropy(), said(prior=[0.9, 0.1]), gold()) == pytest.approx(mixed)
    assert math.isnan(one(PriorEntropy(), said(), gold()))
    assert [PriorEntropy().unit, PriorEntropy(share=True).unit] == ["nats", "share"]


def test_rank_by_hand() -> None:
    assert one(PosteriorRank(), said(posterior=[1.0, 0.0]), gold()) == 1
    assert one(PosteriorRank(), said(posterior=[0.0, 0.0, 1.0]), gold()) == 3
    assert one(PosteriorRank(), said(posterior=[0.25] * 4), gold()) == 2.5
    assert math.isnan(one(PosteriorRank(), said(), gold()))
    assert PosteriorRank().unit == "rank"


def test_they_are_what_training_logs() -> None:
    draw = torch.Generator().manual_seed(2)
    scores = torch.randn(3, 4, generator=draw).sort(descending=True).values  # (B,K)
    token_logp = torch.randn(3, 4, 2, generator=draw).sub(2.0)  # (B,K,T)
    mask, target = torch.ones(3, 4, dtype=torch.bool), torch.ones(3, 2, dtype=torch.bool)
    model = RagSequence()
    logged = signs(Evidence(scores, mask, token_logp, target, model))  # (B,3)
    prior = scores.log_softmax(-1)
    posterior = model.posterior(prior, token_logp, target).exp()
    for at in range(3):
        prediction = said(prior=prior[at].exp().tolist(), posterior=posterior[at].tolist())
        metrics = (PriorEntropy(), PriorEntropy(share=True), PosteriorRank())
        found = [one(metric, prediction, gold()) for metric in metrics]
        assert found == pytest.approx(logged[at].tolist(), rel=1e-5)
