"""What a ragkit model says to the questions of `theirs`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

import theirs
from ragkit import RAG


def losses(rag: RAG) -> Tensor:
    """−log p(y|x) (B,)."""
    pairs = zip(theirs.QUESTIONS, theirs.TARGETS, strict=True)
    with torch.no_grad():
        return torch.stack([rag.loss([q], [y], k=theirs.K) for q, y in pairs])


def outputs(rag: RAG, length: int = 10) -> list[list[int]]:
    """What it writes greedily, in tokens."""
    asked: dict[str, Any] = {"num_beams": 1, "max_length": length, "min_new_tokens": 2}
    options = rag.generation_options(asked)
    found = []
    with torch.no_grad():
        for question in theirs.QUESTIONS:
            read = rag.retriever.retrieve([question], theirs.K)
            reading = rag.generator.read([question], read)
            ((best, *_),) = rag.marginalizer.decode(reading, read.prior(), options)
            found.append(best.tokens.tolist())
    return found
