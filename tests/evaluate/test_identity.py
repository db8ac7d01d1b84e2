"""What makes two models different models to a run."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import tiny
from ragkit.evaluate.baselines import NoPassage
from ragkit.evaluate.identity import digest, identity
from ragkit.generate.seq2seq import Seq2SeqGenerator
from ragkit.marginalize.rag_sequence import RagSequence
from ragkit.rag import RAG


def rag(seed: int = 0, decoding: Any = "thorough", **options: Any) -> RAG:
    generator = Seq2SeqGenerator(tiny.bart(seed=seed), tiny.tokenizer(), **options)
    return RAG(NoPassage(), generator, RagSequence(decoding))


def test_equal_models_are_one() -> None:
    first = rag()
    assert identity(first) == identity(rag())
    first.train()  # a passing state, no other model
    assert identity(first) == identity(rag())


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(lambda: rag(seed=1), id="weights"),
        pytest.param(lambda: rag(decoding="fast"), id="decoding"),
        pytest.param(lambda: rag(form="{question} {text}"), id="form"),
        pytest.param(lambda: rag(max_source=64), id="window"),
    ],
)
def test_what_makes_another_model(other: Any) -> None:
    assert identity(rag()) != identity(other())


def test_a_knowledge_base_counts() -> None:
    class Base:
        fingerprint = "f"

        def __init__(self, generation: int) -> None:
            self.generation = generation

        def __len__(self) -> int:
            return 3

    def found(generation: int, temperature: float = 1.0) -> dict[str, Any]:
        model = rag()
        model.retriever.knowledge_base = Base(generation)
        model.retriever.temperature = temperature
        return identity(model)

    assert found(1)["knowledge_base"] == {"passages": 3, "fingerprint": "f", "generation": "1"}
    assert found(1) == found(1)
    assert found(1) != found(2)
    assert found(1) != found(1, temperature=0.05)


def test_digest_sees_name_type_shape_and_bytes() -> None:
    one = {"a": torch.tensor([1.0, 0.0])}
    others = [
        {"b": one["a"]},
        {"a": one["a"].to(torch.bfloat16)},
        {"a": one["a"].reshape(2, 1)},
        {"a": torch.tensor([1.0, -0.0])},
        {**one, "b": torch.zeros(())},
        {},
    ]
    assert digest(one) == digest({"a": one["a"].clone().requires_grad_()})
    assert digest(one) == digest({"a": torch.tensor([[1.0, 9.0], [0.0, 9.0]])[:, 0]})
    assert len({digest(state) for state in [one, *others]}) == 1 + len(others)
