"""Targets that begin alike, scored as trees: what they share is computed once.

The candidates that one question's passages propose (step two of Thorough decoding,
section 2.5) begin alike, and so are read alike for a while. For each pair the distinct
beginnings y_<i of its targets become the nodes of one row; a node sees its ancestors
alone and stands at its own depth, so its output is what a plain row would give there.
Knows nothing of models and pairs: it lays out nodes and finds log-probabilities.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from ragkit.generate.gold import log_normalizer
from ragkit.generate.rows import Layout

NODES = 256
"""Nodes in a row, about: attention among them grows as the square."""
WORTH = 0.8
"""Trees are read where they have at most this share of the tokens of plain rows."""


class Trie(NamedTuple):
    """The G distinct beginnings of N inputs (N,T), a start token at the head of each.

    node: (N,T) which beginning ends with input t.
    tokens: (G,) the last token of each; depth: (G,) the tokens before that.
    path: (G,T) its beginnings by depth, itself the last, -1 after.
    """

    node: Tensor
    tokens: Tensor
    depth: Tensor
    path: Tensor

    @classmethod
    def of(cls, inputs: Tensor) -> Trie:
        n_targets, length = inputs.shape
        node = inputs.new_zeros(n_targets, length)
        base = int(inputs.max()) + 1
        parent = inputs.new_zeros(n_targets)
        some, depths = [], []  # a target that has each node; how deep the node is
        count = 0
        for t in range(length):
            found, number = torch.unique(parent * base + inputs[:, t], return_inverse=True)
            first = number.new_empty(len(found))
            first[number] = torch.arange(n_targets, device=inputs.device)
            some.append(first)
            depths.append(torch.full_like(first, t))
            parent = node[:, t] = number + count
            count += len(found)
        owner, depth = torch.cat(some), torch.cat(depths)  # (G,), (G,)
        place = torch.arange(length, device=inputs.device)
        path = node[owner].masked_fill(place[None] > depth[:, None], -1)  # (G,T)
        return cls(node, inputs[owner, depth], depth, path)


class Trees(NamedTuple):
    """Rows of nodes, sorted by pair, for the C cells of a layout.

    cells: (C,) flat positions n·M + m, sorted by row.
    row: (C,) the row of each cell; place: (C,T) its nodes, counted through the rows without
        gaps, 0 at padding.
    nodes: (R,L) which node of the trie, -1 where a row is shorter.
    pair: (R,) the pair that each row reads.
    """

    cells: Tensor
    row: Tensor
    place: Tensor
    nodes: Tensor
    pair: Tensor

    @classmethod
    def of(cls, layout: Layout, trie: Trie, needed: Tensor, n_read: int) -> Trees:
        """needed: (N,T) at which inputs a target is read."""
        length = needed.shape[1]
        pair = layout.pairs.repeat_interleave(layout.counts)  # (C,)
        # Neighbours in the order of their last nodes share most: put them in one row.
        rank = trie.node[:, -1]
        order = torch.argsort(pair * (int(rank.max()) + 1) + rank[layout.cells // n_read])
        cells = layout.cells[order]  # pairs stay sorted
        owner = cells // n_read
        first = (layout.counts.cumsum(0) - layout.counts).repeat_interleave(layout.counts)
        within = torch.arange(len(cells), device=cells.device) - first
        part = within // max(1, NODES // length)
        _, row = torch.unique_consecutive(
            torch.stack([pair, part]), dim=1, return_inverse=True
        )  # (C,)
        n_nodes = len(trie.tokens)
        wanted = needed[owner]  # (C,T)
        key = (row[:, None] * n_nodes + trie.node[owner])[wanted]
        found, index = torch.unique(key, return_inverse=True)  # by row, then by depth
        of_row = found // n_nodes
        n_rows = int(row[-1]) + 1
        sizes = torch.bincount(of_row, minlength=n_rows)  # (R,)
        place = torch.arange(len(found), device=cells.device) - (sizes.cumsum(0) - sizes)[of_row]
        nodes = cells.new_full((n_rows, int(sizes.max())), -1)
        nodes[of_row, place] = found % n_nodes
        places = torch.zeros_like(wanted, dtype=torch.int64)
        places[wanted] = index
        pairs = pair.new_empty(n_rows)
        pairs[row] = pair
        return cls(cells, row, places, nodes, pairs)

    def split(self, size: int) -> Iterator[Trees]:
        """Trees of at most ``size`` rows, each as wide as its longest."""
        n_rows = len(self.pair)
        sizes = (self.nodes >= 0).sum(1)  # (R,)
        before = (sizes.cumsum(0) - sizes).tolist()
        for start in range(0, n_rows, size):
            end = min(start + size, n_rows)
            cells = (self.row >= start) & (self.row < end)
            yield Trees(
                self.cells[cells],
                self.row[cells] - start,
                (self.place[cells] - before[start]).clamp(min=0),
                self.nodes[start:end, : int(sizes[start:end].max())],
                self.pair[start:end],
            )

    def inputs(self, trie: Trie) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens (R,L), depths (R,L) and who sees whom (R,1,L,L)."""
        nodes = self.nodes.clamp(min=0)  # (R,L)
        depth = trie.depth[nodes]  # (R,L)
        width = nodes.shape[1]
        # Node i sees node j where j is the beginning of i at j's depth.
        at = depth[:, None, :].expand(-1, width, -1)  # (R,L,L)
        sees = trie.path[nodes].gather(2, at) == self.nodes[:, None, :]
        itself = torch.eye(width, dtype=torch.bool, device=nodes.device)
        return trie.tokens[nodes], depth, (sees | itself)[:, None]


def log_probabilities(logits: Tensor, trees: Trees, tokens: Tensor) -> Tensor:
    """(C,T) log p of tokens (C,T) after their nodes, from logits (E,V) of the E real nodes."""
    normalizer = log_normalizer(logits)  # (E,)
    gold = logits[trees.place, tokens]
    return gold.to(normalizer.dtype) - normalizer[trees.place]
