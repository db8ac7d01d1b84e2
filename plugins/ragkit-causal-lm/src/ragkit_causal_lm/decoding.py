"""Hypotheses being written by a language model, each after the prompts of its pairs.

One row for each (hypothesis, pair) cell. The prompts are not read again: the rows use
their keys and values, and follow their hypotheses when those are reordered. Knows nothing
of beams or marginals: who appends decides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ragkit_causal_lm.following import Following

if TYPE_CHECKING:
    from ragkit_causal_lm.reading import CausalReading


class CausalDecoding:
    """N hypotheses over rows (N,M); satisfies `ragkit.protocols.Decoding`."""

    @torch.no_grad()
    def __init__(self, reading: CausalReading, rows: Tensor) -> None:
        self.reading = reading
        self.rows = rows  # (N,M)
        self.cells = _cells(rows)  # (R,) flat positions n·M + m of present pairs
        self._written = 0
        self._logp: Tensor | None = None  # (N,M,V) of the step at hand
        if len(self.cells):
            pairs = rows.reshape(-1)[self.cells]  # (R,)
            self.following = Following(reading.model, reading.prefix, pairs)
            self.inputs = self.following.last  # (R,) token read next

    @torch.no_grad()
    def next(self) -> Tensor:
        """(N,M,V) float32 log-probabilities of the next token; 0 at absent pairs."""
        if self._logp is None:
            n_cells = self.rows.numel()
            out = torch.zeros(n_cells, self.reading.vocabulary, device=self.rows.device)
            if len(self.cells):
                out[self.cells] = self._read().to(out.device)
            self._logp = out.view(*self.rows.shape, -1)
        return self._logp

    @torch.no_grad()
    def append(self, tokens: Tensor, parents: Tensor) -> None:
        """Hypotheses parents (N′,) grow by tokens (N′,); the others are forgotten."""
        self.next()  # what was written last must be in the cache before rows move
        n_read = self.rows.shape[1]
        held = torch.full_like(self.rows, -1).reshape(-1)
        held[self.cells] = torch.arange(len(self.cells), device=held.device)
        rows = self.rows[parents]  # (N′,M)
        cells = _cells(rows)
        owner, column = cells // n_read, cells % n_read
        source = held[parents[owner] * n_read + column]  # (R′,) row each cell comes from
        if len(cells) and not _in_place(source, len(self.cells)):
            self.following.select(source)
        self.rows, self.cells, self._logp = rows, cells, None
        if len(cells):
            self.inputs = tokens[owner]

    def _read(self) -> Tensor:
        """(R,V) after reading one token more of each row."""
        self._written += 1
        self.reading.check_length(self._written)
        logits = self.following.read(self.inputs[:, None])[:, -1]
        return logits.float().log_softmax(-1)


def _cells(rows: Tensor) -> Tensor:
    return (rows.reshape(-1) >= 0).nonzero().squeeze(-1)


def _in_place(source: Tensor, held: int) -> bool:
    """Whether every row stays where it is."""
    return len(source) == held and bool(
        torch.equal(source, torch.arange(held, device=source.device))
    )
