"""The output layer over the vocabulary, at the places that count alone.

It is the widest matrix of a small model and the largest tensor of any: (·,V) for every
decoder input, also where a target has ended. Here it sees only the hidden states that
somebody asked for. Knows nothing of targets.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel


class _Wanted:
    """places: (E,) of the flattened decoder inputs; taken: whether the layer took them."""

    def __init__(self, places: Tensor) -> None:
        self.places = places
        self.taken = False


_wanted: ContextVar[_Wanted | None] = ContextVar("ragkit_places", default=None)


def logits_at(model: PreTrainedModel, places: Tensor, run: Callable[[], Tensor]) -> Tensor:
    """(E,V) of the logits that run() makes, at places (E,) of its flattened inputs.

    ``run`` goes through the model once. Where a model has its output layer elsewhere than
    it says, all logits are made and those at the places taken.
    """
    layer: nn.Module | None = model.get_output_embeddings()
    if layer is not None and _select not in layer._forward_pre_hooks.values():
        layer.register_forward_pre_hook(_select)  # for good: it does nothing outside of here
    wanted = _Wanted(places)
    token = _wanted.set(wanted)
    try:
        logits = run()
    finally:
        _wanted.reset(token)
    flat = logits.view(-1, logits.shape[-1])
    return flat if wanted.taken else flat[places]


def _select(layer: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
    """Hidden states (R,L,D) to (1,E,D)."""
    wanted = _wanted.get()
    if wanted is None or wanted.taken:
        return None
    wanted.taken = True
    hidden, *rest = inputs
    chosen = hidden.reshape(-1, hidden.shape[-1]).index_select(0, wanted.places)
    return (chosen[None], *rest)
