"""Inputs at positions of our choosing, in models that count positions themselves.

A tree of beginnings has many inputs at one position, and texts laid end to end each begin
anew. BERT takes positions as an argument; BART and its kin count 0, 1, 2 … and look them
up in one embedding, which here looks up what it is told instead. Knows nothing of trees.
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
"""Model types whose two sides look absolute positions up in ``embed_positions``."""

_positions: ContextVar[Tensor | None] = ContextVar("ragkit_positions", default=None)


def can_be_given(model: PreTrainedModel) -> bool:
    """Whether `in_decoder` and `in_encoder` work for this encoder-decoder."""
    if isinstance(model, EncoderDecoderModel):
        sides = (model.config.encoder, model.config.decoder)
        return all(side.model_type == "bert" for side in sides)
    return model.config.model_type in COUNTING


@contextmanager
def in_decoder(model: PreTrainedModel, positions: Tensor) -> Iterator[dict[str, Tensor]]:
    """Within: decoder inputs (R,L) stand at positions (R,L); yields arguments for the model."""
    if isinstance(model, EncoderDecoderModel):
        yield {"decoder_position_ids": positions}
        return
    with _looked_up(model.get_decoder(), positions):
        yield {}


@contextmanager
def in_encoder(model: PreTrainedModel, positions: Tensor) -> Iterator[dict[str, Tensor]]:
    """Within: encoder inputs (R,L) stand at positions (R,L); yields arguments for the encoder."""
    if isinstance(model, EncoderDecoderModel):
        yield {"position_ids": positions}
        return
    with _looked_up(model.get_encoder(), positions):
        yield {}


@contextmanager
def _looked_up(stack: Any, positions: Tensor) -> Iterator[None]:
    lookup: nn.Module = stack.embed_positions
    if _give not in lookup._forward_pre_hooks.values():  # for good: idle outside of here
        lookup.register_forward_pre_hook(_give, with_kwargs=True)
        lookup.register_forward_hook(_shape)
    token = _positions.set(positions)
    try:
        yield
    finally:
        _positions.reset(token)


def _give(
    lookup: nn.Module, inputs: tuple[Any, ...], options: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """The given positions in place of the counted ones."""
    positions = _positions.get()
    if positions is None:
        return None
    return inputs[:1], {"position_ids": positions.reshape(-1)}


def _shape(lookup: nn.Module, inputs: Any, found: Tensor) -> Tensor | None:
    """Embeddings (R,L,D)."""
    positions = _positions.get()
    return None if positions is None else found.view(*positions.shape, -1)
