"""Generators to which all passages of a question are one pair: what the core does with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import pairs
import tiny
from ragkit.errors import ConfigError
from ragkit.generate.seq2seq import Seq2SeqGenerator
from ragkit.protocols import Evidence, Hypothesis, Targets
from ragkit.rag import RAG


class Found(nn.Module):
    """A retriever of two questions' three passages."""

    def retrieve(self, questions: list[str], k: int) -> Any:
        return pairs.retrieved(len(questions), k)


class Sum:
    """A marginalizer of the one pair that there is; its posterior is the prior."""

    fuses = True

    def log_likelihood(self, prior: Tensor, token_logp: Tensor, mask: Tensor) -> Tensor:
        return token_logp[:, 0].masked_fill(~mask, 0.0).sum(-1)

    def posterior(self, prior: Tensor, token_logp: Tensor, mask: Tensor) -> Tensor:
        return prior

    def decode(self, reading: Any, prior: Tensor, options: Any) -> list[list[Hypothesis]]:
        word = torch.tensor([50])
        return [[Hypothesis(word, -1.0, -1.0, own, own)] for own in prior]


class Reading:
    """Both questions' pairs fused; every token is as likely as its question's number says."""

    rows = torch.tensor([[0], [1]])

    def score(self, targets: Targets, rows: Tensor) -> Tensor:
        return -(rows[:, :, None] + 1.0) * targets.mask[:, None, :]

    def start(self, rows: Tensor) -> Any:
        raise AssertionError("nothing is written here")


class Fusing(nn.Module):
    fuses = True

    def __init__(self) -> None:
        super().__init__()
        self.inner = Seq2SeqGenerator(tiny.bart(), tiny.tokenizer())
        self.generation_config = self.inner.generation_config

    def read(self, questions: Any, retrieved: Any) -> Reading:
        return Reading()

    def targets(self, texts: Any) -> Targets:
        return self.inner.targets(texts)

    def text(self, tokens: Any) -> list[str]:
        return self.inner.text(tokens)


@pytest.mark.parametrize("mixture", ["rag-sequence", "rag-token"])
def test_a_mixture_over_one_fused_pair_is_refused_at_once(mixture: str) -> None:
    with pytest.raises(ConfigError, match="marginalizer='none'"):
        RAG(Found(), Fusing(), mixture)
    RAG(Found(), Seq2SeqGenerator(tiny.bart(), tiny.tokenizer()), mixture)


def test_what_says_that_it_does_not_fuse_is_believed() -> None:
    generator = Fusing()
    generator.fuses = False
    RAG(Found(), generator, "rag-token")


def test_loss_answers_and_provenance_of_one_fused_pair() -> None:
    rag = RAG(Found(), Fusing(), Sum())
    targets = rag.generator.targets(["ab", "c"])
    n_tokens = targets.mask.sum(-1)
    want = (n_tokens * torch.tensor([1.0, 2.0])).mean()
    torch.testing.assert_close(rag.loss(["x", "y"], ["ab", "c"], k=3), want)
    prior = pairs.retrieved(2, 3).prior().exp()
    for b, answer in enumerate(rag.answer(["x", "y"], k=3)):
        assert len(answer.passages) == 3
        got = torch.tensor([[p.prior, p.posterior] for p in answer.passages])
        torch.testing.assert_close(got, prior[b][:, None].expand(-1, 2))
        assert answer.token_posterior is None


def test_an_objective_may_ask_the_reading_for_more() -> None:
    asked: list[Any] = []

    class Curious:
        needs_generator_gradient = True

        def __call__(self, evidence: Evidence) -> Mapping[str, Tensor]:
            asked.append(evidence.reading)
            return {"loss": evidence.token_logp.sum((1, 2))}

    RAG(Found(), Fusing(), Sum()).loss(["x", "y"], ["ab", "c"], k=3, objective=Curious())
    assert isinstance(asked[0], Reading)
