"""Encoder states of pairs of unequal length, without paying for the padding.

On a CPU a padded token costs what a real one does. So the tokens of all pairs are laid
end to end in one row, and attention alone sees them apart. In models whose positions
cannot be given, pairs are sorted by length and encoded in a few groups, each padded to
its own longest. The states come back in the order and width that they were asked for.
Knows nothing of questions, passages, targets.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from ragkit.generate.attention import end_to_end
from ragkit.generate.positions import can_be_given, in_encoder

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Encode = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""tokens, mask and segments (P,S) to states (P,S,·)."""

GROUPS = 4
ROUND = 16
"""Widths are multiples of this: low-precision kernels are compiled for each width anew."""
WORTH = 0.9
LEAST = 512
"""Groups are made where they leave at most this share of the tokens, and so many fewer."""
CALL = 1 << 18
"""Attention to one text more costs what one token's products of this many weights cost."""
BLOCK = 64
"""Rows end to end are a multiple of this long: one kernel serves many lengths."""


def encode(
    model: PreTrainedModel, tokens: Tensor, mask: Tensor, segments: Tensor | None, shared: bool
) -> Tensor:
    """Encoder states (P,S,·) of tokens (P,S); at padding they mean nothing.

    shared: whether the model has the attention of `ragkit.generate.attention`.
    """
    able = shared and tokens.device.type == "cpu" and can_be_given(model)
    # Recomputation under gradient checkpointing happens outside of `end_to_end`.
    if able and not (torch.is_grad_enabled() and _recomputes(model)):
        spared, width = int((~mask).sum()), int(model.get_encoder().config.hidden_size)
        if len(mask) * CALL < spared * width**2 and spared < mask.numel():
            return _end_to_end(model, tokens, mask, segments)
    return by_length(partial(_states, model), tokens, mask, segments)


def _recomputes(model: PreTrainedModel) -> bool:
    """Gradient checkpointing, by the name that this version of transformers has for it."""
    if hasattr(model, "is_activation_checkpointing"):
        return bool(model.is_activation_checkpointing)
    return bool(model.is_gradient_checkpointing)


def _states(
    model: PreTrainedModel,
    tokens: Tensor,
    mask: Tensor | None,
    segments: Tensor | None,
    **more: Any,
) -> Tensor:
    options = more if segments is None else {"token_type_ids": segments, **more}
    states: Tensor = model.get_encoder()(
        input_ids=tokens, attention_mask=mask, return_dict=True, **options
    ).last_hidden_state
    return states


def _end_to_end(
    model: PreTrainedModel, tokens: Tensor, mask: Tensor, segments: Tensor | None
) -> Tensor:
    """States (P,S,·), zero at padding."""
    places = mask.reshape(-1).nonzero().squeeze(-1)  # (E,)
    lengths = [n for n in mask.sum(1).tolist() if n]
    n_real = len(places)
    spare = -n_real % BLOCK
    # What fills the last block is a text of its own that nobody looks at.
    filled = places[torch.arange(n_real + spare, device=mask.device) % n_real]  # (E′,)

    def row(part: Tensor) -> Tensor:
        return part.reshape(-1)[filled][None]  # (1,E′)

    position = torch.arange(mask.shape[1], device=mask.device).expand_as(mask)
    apart = end_to_end([*lengths, spare] if spare else lengths)
    with apart, in_encoder(model, row(position)) as options:
        found = _states(
            model, row(tokens), None, None if segments is None else row(segments), **options
        )  # (1,E′,·)
    states = found.new_zeros(mask.numel(), found.shape[-1])  # (P·S,·)
    return states.index_copy(0, places, found[0, :n_real]).view(*mask.shape, -1)


def by_length(encode: Encode, tokens: Tensor, mask: Tensor, segments: Tensor | None) -> Tensor:
    """States (P,S,·); those at padding are zero where groups were made.

    Equal to ``encode(tokens, mask, segments)`` at every token that counts.
    """
    lengths = mask.sum(1)  # (P,)
    groups = _groups(lengths, tokens.shape[1]) if tokens.device.type == "cpu" else []
    if not groups:
        return encode(tokens, mask, segments)
    order = lengths.argsort(stable=True)
    made, start = [], 0
    for count, width in groups:
        rows = order[start : start + count]
        start += count
        part = None if segments is None else segments[rows, :width]
        states = encode(tokens[rows, :width], mask[rows, :width], part)  # (count,width,·)
        made.append(pad(states, (0, 0, 0, tokens.shape[1] - width)))
    return torch.cat(made).index_select(0, order.argsort())


def _groups(lengths: Tensor, longest: int) -> list[tuple[int, int]]:
    """(pairs, width) of each group, shortest first; none where it does not pay."""
    n_pairs = len(lengths)
    if n_pairs < 2 * GROUPS:
        return []
    ascending = lengths.sort().values.tolist()
    size = -(-n_pairs // GROUPS)
    groups: list[tuple[int, int]] = []
    for start in range(0, n_pairs, size):
        part = ascending[start : start + size]
        groups.append((len(part), min(longest, -(-max(part[-1], 1) // ROUND) * ROUND)))
    cost = sum(count * width for count, width in groups)
    whole = n_pairs * longest
    return groups if cost <= min(WORTH * whole, whole - LEAST) else []
