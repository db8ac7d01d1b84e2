"""Decoder inputs at positions of our choosing, in models that count them themselves.

A tree of beginnings has many inputs at one position. BERT as a decoder takes positions
as an argument; BART and its kin count 0, 1, 2 … and look them up in one embedding, which
here looks up what `at` says instead. Knows nothing of trees.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from torch import Tensor, nn
from transformers import EncoderDecoderModel, PreTrainedModel

COUNTING = frozenset(
    ("bart", "blenderbot", "blenderbot-small", "marian", "mbart", "pegasus", "plbart")
)
"""Model types whose decoder looks absolute positions up in ``embed_positions``."""

_positions: ContextVar[Tensor | None] = ContextVar("ragkit_positions", default=None)


def can_be_given(model: PreTrainedModel) -> bool:
    """Whether `at` works for this encoder-decoder."""
    if isinstance(model, EncoderDecoderModel):
        return bool(model.config.decoder.model_type == "bert")
    return model.config.model_type in COUNTING


@contextmanager
def at(model: PreTrainedModel, positions: Tensor) -> Iterator[dict[str, Tensor]]:
    """Within: decoder inputs (R,L) stand at positions (R,L); yields arguments for the model."""
    if isinstance(model, EncoderDecoderModel):
        yield {"decoder_position_ids": positions}
        return
    decoder: Any = model.get_decoder()
    lookup: nn.Module = decoder.embed_positions
    if _given not in lookup._forward_hooks.values():
        lookup.register_forward_hook(_given)  # for good: it does nothing outside of `at`
    token = _positions.set(positions)
    try:
        yield {}
    finally:
        _positions.reset(token)


def _given(lookup: nn.Module, inputs: Any, found: Tensor) -> Tensor | None:
    """Embeddings (R,L,D) of the given positions in place of the counted ones."""
    positions = _positions.get()
    if positions is None:
        return None
    rows, length = positions.shape
    flat = positions.reshape(-1)
    made: Tensor = lookup.forward(flat[None], position_ids=flat)
    return made.view(rows, length, -1)
