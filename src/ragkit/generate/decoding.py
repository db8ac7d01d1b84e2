"""Hypotheses being written by an encoder-decoder: caches, growth, reordering.

The self-attention cache has one row for each (hypothesis, pair) cell and follows the
hypotheses; the cross-attention cache has one row for each pair and stays. Knows nothing
of beams or marginals: who appends decides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from transformers import DynamicCache, EncoderDecoderCache

from ragkit.generate.attention import ragged
from ragkit.generate.rows import Layout

if TYPE_CHECKING:
    from ragkit.generate.reading import Seq2SeqReading

KEEP = 0.75
"""Pairs still read, as a share of those held, below which the others are let go."""


class Seq2SeqDecoding:
    """N hypotheses over rows (N,M); satisfies `ragkit.protocols.Decoding`."""

    def __init__(self, reading: Seq2SeqReading, rows: Tensor) -> None:
        self.reading = reading
        self.rows = rows  # (N,M)
        self.layout = Layout.of(rows)
        self.held = self.layout.pairs  # pairs whose cross-attention keys are held
        self.states, self.mask = reading.of_pairs(self.held)
        if not reading.grouped:
            self._expand(self.layout)
        self.inputs = rows.new_full((rows.shape[0],), reading.start_id)  # (N,) last tokens
        self.cache = EncoderDecoderCache(DynamicCache(), DynamicCache())

    @torch.no_grad()
    def next(self) -> Tensor:
        """(N,M,V) float32 log-probabilities of the next token; 0 at absent pairs."""
        n_hypotheses, n_read = self.rows.shape
        owner = self.layout.cells // n_read  # (R,)
        with ragged(self._counts()):
            logits = self.reading.run(self.states, self.mask, self.inputs[owner, None], self.cache)[
                :, -1
            ]  # (R,V)
        logp = logits.float().log_softmax(-1)
        n_cells = n_hypotheses * n_read
        if len(self.layout.cells) == n_cells:
            out = torch.empty_like(logp)
        else:
            out = logp.new_zeros(n_cells, logp.shape[-1])
        out[self.layout.cells] = logp
        return out.view(n_hypotheses, n_read, -1)

    @torch.no_grad()
    def append(self, tokens: Tensor, parents: Tensor) -> None:
        """Hypotheses parents (N′,) grow by tokens (N′,); the others are forgotten."""
        n_read = self.rows.shape[1]
        before = self.rows.new_full((self.rows.numel(),), -1)
        before[self.layout.cells] = torch.arange(len(self.layout.cells), device=before.device)
        rows = self.rows[parents]  # (N′,M)
        layout = Layout.of(rows)
        owner, column = layout.cells // n_read, layout.cells % n_read
        source = before[parents[owner] * n_read + column]  # (R′,) row each cell comes from
        if not self._same_order(source):
            self.cache.self_attention_cache.batch_select_indices(source)
            if not self.reading.grouped:
                self._select_cross(source)
                self.states, self.mask = self.states[source], self.mask[source]
        self.rows, self.layout, self.inputs = rows, layout, tokens
        # As many rows as pairs must mean one row each: attention tells by the shapes.
        few = len(layout.pairs) < KEEP * len(self.held) or len(layout.cells) == len(self.held)
        if self.reading.grouped and few and len(layout.pairs) < len(self.held):
            kept = torch.searchsorted(self.held, layout.pairs)
            self._select_cross(kept)
            self.states, self.mask, self.held = (
                self.states[kept],
                self.mask[kept],
                layout.pairs,
            )

    def _same_order(self, source: Tensor) -> bool:
        held = len(self.layout.cells)
        return len(source) == held and bool(
            torch.equal(source, torch.arange(held, device=source.device))
        )

    def _counts(self) -> Tensor:
        """(P,) cells of each held pair, 0 for pairs that nobody reads any more."""
        if not self.reading.grouped:
            return torch.ones_like(self.layout.cells)
        if len(self.held) == len(self.layout.pairs):
            return self.layout.counts
        counts = torch.zeros_like(self.held)
        counts[torch.searchsorted(self.held, self.layout.pairs)] = self.layout.counts
        return counts

    def _select_cross(self, kept: Tensor) -> None:
        self.cache.cross_attention_cache.batch_select_indices(kept)

    def _expand(self, layout: Layout) -> None:
        """Without grouped attention every cell gets its own copy of its pair."""
        self.states = self.states.repeat_interleave(layout.counts, dim=0)
        self.mask = self.mask.repeat_interleave(layout.counts, dim=0)
