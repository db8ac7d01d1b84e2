"""Encoder states of pairs of unequal length, without paying for the padding.

On a CPU a padded token costs what a real one does. So pairs are sorted by length and
encoded in a few groups, each padded to its own longest; the states come back in the
order and width that they were asked for. Knows nothing of questions, passages, targets.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import pad

Encode = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""tokens, mask and segments (P,S) to states (P,S,·)."""

GROUPS = 4
ROUND = 16
"""Widths are multiples of this: low-precision kernels are compiled for each width anew."""
WORTH = 0.9
LEAST = 512
"""Groups are made where they leave at most this share of the tokens, and so many fewer."""


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
