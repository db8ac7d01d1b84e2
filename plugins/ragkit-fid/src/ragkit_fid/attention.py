"""How much a decoder looks at each source token, before the softmax.

An attention function for transformers that does what ragkit's own does, and writes the
raw scores of cross-attention down while somebody asks for them. Raw scores, because
those of little weight would vanish in the softmax, and because the released FiD takes
them. Knows nothing of passages.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import sdpa_mask

from ragkit.generate.attention import grouped_attention

NAME = "ragkit-fid"

_notes: ContextVar[list[Tensor] | None] = ContextVar("ragkit_fid_notes", default=None)


@contextmanager
def noting() -> Iterator[list[Tensor]]:
    """Within: cross-attention of a single decoder token leaves its scores (P,L) in the list,
    those of a layer in each entry, averaged over its heads."""
    notes: list[Tensor] = []
    token = _notes.set(notes)
    try:
        yield notes
    finally:
        _notes.reset(token)


def attention(
    module: torch.nn.Module,
    query: Tensor,  # (R,H,T,·)
    key: Tensor,  # (P,H′,L,·)
    value: Tensor,  # (P,H′,L,·)
    attention_mask: Tensor | None,
    **options: Any,
) -> tuple[Tensor, Tensor | None]:
    """ragkit's attention, noted where it is asked for."""
    notes = _notes.get()
    # One decoder token sees itself alone, so a longer key is that of the sources.
    if notes is not None and query.shape[2] == 1 and key.shape[2] > 1:
        notes.append(_scores(query, key, options.get("scaling")))
    return grouped_attention(module, query, key, value, attention_mask, **options)


def _scores(query: Tensor, key: Tensor, scaling: float | None) -> Tensor:
    """(P,L) float32: q·k of a single query for each source token, mean over heads."""
    shared = query.shape[1] // key.shape[1]  # heads that use one key
    key = key.repeat_interleave(shared, dim=1) if shared > 1 else key
    raw = (query.float() @ key.float().transpose(-1, -2)).squeeze(2)  # (P,H,L)
    return raw.mean(1) * (query.shape[-1] ** -0.5 if scaling is None else scaling)


AttentionInterface.register(NAME, attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
