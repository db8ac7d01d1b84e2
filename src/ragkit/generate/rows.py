"""The order in which (hypothesis, pair) cells go through a decoder: sorted by pair.

Rows (N,M) say which pair each cell reads, -1 for none. A decoder computes only the
cells that exist, those of one pair side by side, so that they can share its keys.
Knows nothing of models.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor


class Layout(NamedTuple):
    """R cells sorted by pair.

    cells: (R,) flat positions n·M + m, in the order of computation.
    pairs: (P′,) the pairs that are read at all, ascending.
    counts: (P′,) how many cells read each.
    """

    cells: Tensor
    pairs: Tensor
    counts: Tensor

    @classmethod
    def of(cls, rows: Tensor) -> Layout:
        """The layout of rows (N,M)."""
        flat = rows.reshape(-1)
        cells = (flat >= 0).nonzero().squeeze(-1)  # (R,)
        order = torch.argsort(flat[cells], stable=True)
        cells = cells[order]
        pairs, counts = torch.unique_consecutive(flat[cells], return_counts=True)
        return cls(cells, pairs, counts)

    def split(self, size: int) -> Iterator[Layout]:
        """The same cells in layouts of at most ``size``, in order."""
        if len(self.cells) <= size:
            yield self
            return
        owner = self.pairs.repeat_interleave(self.counts)  # (R,)
        for cells, part in zip(self.cells.split(size), owner.split(size), strict=True):
            pairs, counts = torch.unique_consecutive(part, return_counts=True)
            yield Layout(cells, pairs, counts)
