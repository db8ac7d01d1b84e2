"""The bookkeeping of a beam search: scores, candidates, finished hypotheses.

Pure tensor state for A items of ``num_beams`` beams each, without any model: fed
(N,V) scores, it says which hypotheses go on. Follows transformers' rules for what
counts as finished and when an item may stop (`early_stopping`, `length_penalty`).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ragkit.marginalize.options import SearchOptions

DEAD = -1.0e9
"""Score of what does not exist; anything near it is never a result."""


class Grown(NamedTuple):
    """Candidates, flat over items: parents (·,) rows, tokens (·,)."""

    tokens: Tensor
    parents: Tensor


class Beams:
    """A items × W beams, of which at first only one each is alive."""

    def __init__(self, options: SearchOptions, running: Tensor) -> None:
        width = options.num_beams
        n_items, device = running.shape[0], running.device
        self.options = options
        self.width = width
        self.n_candidates = max(2, 1 + len(options.eos)) * width
        self.running = running  # (A,beams now) Σ log p' of what is being written
        self.best = torch.full((n_items, width), DEAD, device=device)  # (A,W) penalised
        self.is_full = torch.zeros((n_items, width), dtype=torch.bool, device=device)
        self.ref = torch.full((n_items, width, 2), -1, dtype=torch.int64, device=device)
        self.may_improve = torch.ones((n_items, 1), dtype=torch.bool, device=device)
        self._next = self._scores = self._hits = torch.empty(0)
        self._grown = Grown(torch.empty(0), torch.empty(0))

    @classmethod
    def begin(cls, n_items: int, options: SearchOptions, device: torch.device) -> Beams:
        return cls(options, torch.zeros((n_items, 1), device=device))

    def grow(self, scores: Tensor, step: int, is_last: bool) -> Grown:
        """Take scores (N,V) of step (0-based); all candidates, (A·C,) each."""
        n_items, now = self.running.shape
        vocabulary = scores.shape[-1]
        total = (scores.view(n_items, now, vocabulary) + self.running[:, :, None]).flatten(1)
        value, flat = self._pick(total)  # (A,C)
        beam, tokens = flat // vocabulary, flat % vocabulary
        row = torch.arange(n_items, device=flat.device)[:, None] * now
        hits = torch.zeros_like(flat, dtype=torch.bool)
        for eos in self.options.eos:
            hits |= tokens == eos
        if is_last:
            hits[:] = True
        self._grown = Grown(tokens.flatten(), (beam + row).flatten())
        self._hits, self._scores = hits, value
        self._finish(value, hits, step)
        # What has just ended does not go on; the rest keeps its W best.
        going = value + hits * DEAD
        self.running, self._next = going.topk(self.width, dim=1)  # (A,W)
        self._check(step)
        return self._grown

    def finished_items(self) -> Tensor:
        """(A,) bool: items whose outcome cannot change any more."""
        full = self.is_full.all(1) & (self.options.early_stopping is True)
        dead = self.running[:, 0] <= DEAD / 2
        return ~self.may_improve[:, 0] | full | self._hits.all(1) | dead

    def keep(self, items: Tensor) -> Grown:
        """Go on with these items (A′,) only; tokens and parent rows of their beams."""
        n_candidates = self._scores.shape[1]
        flat = (self._next[items] + items[:, None] * n_candidates).flatten()  # (A′·W,)
        kept = Grown(self._grown.tokens[flat], self._grown.parents[flat])
        for name in ("running", "best", "is_full", "ref", "may_improve"):
            setattr(self, name, getattr(self, name)[items])
        return kept

    def results(self, item: int) -> list[tuple[float, int, int]]:
        """(score, step, flat candidate of that step) of an item, best first."""
        found = []
        for score, (step, candidate) in zip(
            self.best[item].tolist(), self.ref[item].tolist(), strict=True
        ):
            if step >= 0 and score > DEAD / 2:
                found.append((score, step, candidate))
        return found

    def _pick(self, total: Tensor) -> tuple[Tensor, Tensor]:
        """(A,C) scores and flat positions, padded where the vocabulary is that small."""
        count = min(self.n_candidates, total.shape[1])
        if self.options.do_sample:
            flat = torch.multinomial(total.softmax(-1), count)
            value = total.gather(1, flat)
        else:
            value, flat = total.topk(count, dim=1)
        value = value.clamp(min=DEAD)  # -inf of a processor; sums stay finite
        missing = self.n_candidates - count
        if missing:
            value = torch.nn.functional.pad(value, (0, missing), value=DEAD)
            flat = torch.nn.functional.pad(flat, (0, missing), value=0)
        return value, flat

    def _finish(self, value: Tensor, hits: Tensor, step: int) -> None:
        """Merge what ended now into the W best finished of each item."""
        n_items, n_candidates = value.shape
        options = self.options
        top = torch.arange(n_candidates, device=value.device) < self.width
        ended = hits & top  # only the W best may end; the others are there to go on
        final = value / ((step + 1) ** options.length_penalty)
        if options.early_stopping is True:
            final = final + self.is_full.all(1, keepdim=True) * DEAD
        final = final + ~self.may_improve * DEAD + ~ended * DEAD
        place = torch.arange(n_items * n_candidates, device=value.device)
        here = torch.stack([torch.full_like(place, step), place], -1)
        here = here.view(n_items, n_candidates, 2)
        scores = torch.cat([self.best, final], 1)
        self.best, index = scores.topk(self.width, dim=1)
        self.is_full = torch.cat([self.is_full, ended], 1).gather(1, index)
        pair = index[:, :, None].expand(-1, -1, 2)
        self.ref = torch.cat([self.ref, here], 1).gather(1, pair)

    def _check(self, step: int) -> None:
        """Whether a running beam could still beat the worst finished one."""
        options, length = self.options, step + 1
        if options.early_stopping == "never" and options.length_penalty > 0.0:
            length = options.max_new
        possible = self.running[:, :1] / (length**options.length_penalty)  # (A,1)
        worst = self.best.min(1, keepdim=True).values
        bar = torch.where(self.is_full, worst, torch.full_like(worst, DEAD))  # (A,W)
        self.may_improve = self.may_improve & (possible > bar).any(1, keepdim=True)
