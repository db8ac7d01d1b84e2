"""Cross-attention in which many hypotheses read one pair without copies of its keys.

Registered with transformers under the name ``ragkit``: SDPA, except in two cases. Where
there are more query rows R than key rows P, the queries of the rows that read the same
pair are laid side by side along the query axis, so that keys and values stay as they
are, once per (question, passage) pair. Where texts are laid end to end, each
attends to itself alone. Knows nothing of retrieval, targets or beams.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from ragkit.generate import sdpa

NAME = "ragkit"

_slots: ContextVar[tuple[Tensor, int] | None] = ContextVar("ragkit_slots", default=None)
_texts: ContextVar[list[int] | None] = ContextVar("ragkit_texts", default=None)


@contextmanager
def end_to_end(lengths: list[int]) -> Iterator[None]:
    """Within: one row (1,·,E,·) holds texts of these lengths, one after the other."""
    token = _texts.set(lengths)
    try:
        yield
    finally:
        _texts.reset(token)


@contextmanager
def ragged(counts: Tensor) -> Iterator[None]:
    """Within: the query rows, sorted by pair, belong to the pairs as counts (P,) says."""
    if bool((counts == counts[0]).all()):
        yield  # an even grouping is seen from the shapes alone
        return
    pairs = torch.repeat_interleave(torch.arange(len(counts), device=counts.device), counts)
    first = counts.cumsum(0) - counts  # (P,) the first row of each pair
    widest = int(counts.max())
    place = torch.arange(len(pairs), device=counts.device) - first[pairs]  # (R,)
    token = _slots.set((pairs * widest + place, widest))
    try:
        yield
    finally:
        _slots.reset(token)


def grouped_attention(
    module: torch.nn.Module,
    query: Tensor,  # (R,H,L,·)
    key: Tensor,  # (P,H,S,·)
    value: Tensor,  # (P,H,S,·)
    attention_mask: Tensor | None,  # (P,1,1 or L,S)
    **options: Any,
) -> tuple[Tensor, Tensor | None]:
    """SDPA that lets R query rows share P key rows; rows come sorted by pair.

    Returns (R,L,H,·), as transformers' attention functions do.
    """
    n_rows, n_pairs = query.shape[0], key.shape[0]
    texts = _texts.get()
    if texts is not None:
        return _attend_apart(module, query, key, value, texts, **options), None
    slots = _slots.get()
    # Only cross-attention sees other key rows than query rows, or a ragged grouping
    # (self-attention always has as many keys as queries and R rows of them).
    if n_rows == n_pairs:
        return _attend(module, query, key, value, attention_mask, **options)
    heads, length = query.shape[1], query.shape[2]
    if slots is None:
        if n_rows % n_pairs:
            raise AssertionError(f"{n_rows} rows cannot share {n_pairs} pairs evenly")
        width = n_rows // n_pairs
        laid = query.view(n_pairs, width, heads, length, -1)
    else:
        place, width = slots
        laid = query.new_zeros(n_pairs * width, *query.shape[1:])
        laid = laid.index_copy(0, place, query).view(n_pairs, width, heads, length, -1)
    side_by_side = laid.transpose(1, 2).reshape(n_pairs, heads, width * length, -1)
    mask = None
    if attention_mask is not None:
        mask = attention_mask[:, :, :1].expand(-1, -1, width * length, -1)
    # A position bias of a cross-attention is all zeros (T5 has none there).
    options.pop("position_bias", None)
    options.pop("is_causal", None)
    out, _ = _attend(
        module, side_by_side, key, value, mask, is_causal=False, **options
    )  # (P, width·L, H, ·)
    out = out.view(n_pairs * width, length, heads, -1)  # one row per slot again
    return (out if slots is None else out.index_select(0, slots[0])), None


def _attend_apart(
    module: torch.nn.Module,
    query: Tensor,  # (1,H,E,·)
    key: Tensor,  # (1,H,E,·)
    value: Tensor,  # (1,H,E,·)
    lengths: list[int],
    **options: Any,
) -> Tensor:
    """(1,E,H,·): every text attends to itself, without a mask."""
    parts = (part.split(lengths, dim=2) for part in (query, key, value))
    found = [_attend(module, q, k, v, None, **options)[0] for q, k, v in zip(*parts, strict=True)]
    return torch.cat(found, dim=1)


def _attend(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    **options: Any,
) -> tuple[Tensor, Tensor | None]:
    """transformers' SDPA, with our backward where that is quicker."""
    causal = is_causal if is_causal is not None else getattr(module, "is_causal", False)
    plain = mask is not None or not causal or query.shape[2] == 1
    alike = query.shape[1] == key.shape[1] and query.dtype == key.dtype  # no grouped heads
    bias = options.get("position_bias")
    if plain and alike and bias is None and sdpa.wanted(query, dropout):
        out = sdpa.attention(query, key, value, mask, scaling)  # (R,H,L,·)
        return out.transpose(1, 2).contiguous(), None
    found: tuple[Tensor, Tensor | None] = sdpa_attention_forward(
        module,
        query,
        key,
        value,
        mask,
        dropout=dropout,
        scaling=scaling,
        is_causal=is_causal,
        **options,
    )
    return found


AttentionInterface.register(NAME, grouped_attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
