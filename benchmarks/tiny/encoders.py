"""MiniLM as ragkit's encoder: as published, as int8 keeps it, as one model for both sides.

What a knowledge base is built with is rounded first, so that it fits the encoder of
whoever installs the model. Knows nothing of retrieval and training.
"""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import start
import torch
from transformers import PreTrainedModel

from ragkit.retrieve.dpr import DPREncoder
from ragkit.weights import compact

MAX_PASSAGE = 256


def made(
    question: Path | PreTrainedModel,
    passage: Path | PreTrainedModel | None,
    shared: bool = False,
    max_passage: int = MAX_PASSAGE,
) -> DPREncoder:
    """These towers: mean of states, normalised."""
    return DPREncoder(
        question,
        passage,
        tokenizer=start.tokenizer(),
        passage_form="title. text",
        pooling="mean",
        normalize=True,
        shared=shared,
        max_question=64,
        max_passage=max_passage,
        cut_questions=True,
    )


def minilm() -> DPREncoder:
    """MiniLM as published, twice."""
    return made(start.minilm(), start.minilm())


def rounded(tower: PreTrainedModel) -> DPREncoder:
    """Two copies of a tower, each matrix as int8 with a scale by row would give it."""
    tower = deepcopy(tower)
    with torch.no_grad():
        for weight in tower.parameters():
            found, scales = compact.stored(weight.detach(), "int8")
            weight.copy_(compact.restored(found, scales, torch.float32))
    tower.requires_grad_(True)  # the question's copy learns, whatever its model did
    return made(tower, None)


def as_one(encoder: DPREncoder, max_passage: int) -> DPREncoder:
    """Its question tower for both sides, to be trained but for the embeddings."""
    tower: Any = deepcopy(encoder.question_encoder)
    one = made(tower, None, shared=True, max_passage=max_passage)
    tower.requires_grad_(True)
    tower.embeddings.requires_grad_(False)
    if tower.pooler is not None:
        tower.pooler.requires_grad_(False)
    return one
