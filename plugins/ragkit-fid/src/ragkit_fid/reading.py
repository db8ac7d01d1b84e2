"""A question and all its passages as one source: Fusion-in-Decoder (Izacard & Grave 2020).

The encoder reads each (question, passage) pair by itself; its states are then laid end
to end, padding left out, and the decoder attends to all of them at once. So M = 1, and
what ragkit does for a pair (scoring, caches shared by beams) it does for the fused one.
Knows nothing of text and of priors.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ragkit.errors import ConfigError
from ragkit.generate.reading import Seq2SeqReading
from ragkit.protocols import Decoding, Targets
from ragkit_fid.attention import noting


class Fused(NamedTuple):
    """P′ questions that have passages, and which passage each of their tokens is of.

    states: (P′,L,·); mask: (P′,L) bool; columns: (P′,L) int64, -1 at padding;
    rows: (B,1) int64, -1 for a question without passages.
    """

    states: Tensor
    mask: Tensor
    columns: Tensor
    rows: Tensor


def fuse(states: Tensor, mask: Tensor, rows: Tensor) -> Fused:
    """Encoder states (P,S,·) of the pairs in rows (B,K), question by question.

    With gradient. The passages follow each other as they were retrieved, best first.
    """
    present = rows >= 0  # (B,K)
    question, column = present.nonzero(as_tuple=True)  # (P,), (P,)
    pairs = rows[question, column]  # (P,)
    states, mask = states[pairs], mask[pairs]
    number = (present.any(1).cumsum(0) - 1)[question]  # (P,) 0…P′-1
    lengths = mask.sum(1)  # (P,)
    owner = number.repeat_interleave(lengths)  # (Σ,) of every real token
    n_fused = int(present.any(1).sum())
    per_question = torch.zeros(n_fused, dtype=torch.int64, device=rows.device)
    per_question.index_add_(0, number, lengths)  # (P′,)
    longest = int(per_question.max()) if n_fused else 0
    first = per_question.cumsum(0) - per_question  # (P′,)
    place = torch.arange(len(owner), device=rows.device) - first[owner]  # (Σ,)
    flat = owner * longest + place
    size = (n_fused * longest, states.shape[-1])
    laid = states.new_zeros(size).index_copy(0, flat, states[mask])
    columns = torch.full(size[:1], -1, dtype=torch.int64, device=rows.device)
    columns[flat] = column.repeat_interleave(lengths)
    columns = columns.view(n_fused, longest)
    fused_rows = torch.where(present.any(1), present.any(1).cumsum(0) - 1, -1)
    return Fused(
        laid.view(n_fused, longest, states.shape[-1]), columns >= 0, columns, fused_rows[:, None]
    )


class FiDReading:
    """Fused sources; satisfies `ragkit.protocols.Reading` and, besides,
    `SupportsSmoothing` and `SupportsPassageScores`.

    Args:
        pairs: what the encoder made of each (question, passage) pair.
    """

    def __init__(self, pairs: Seq2SeqReading) -> None:
        found = fuse(pairs.states, pairs.mask, pairs.rows)
        self.rows = found.rows  # (B,1)
        self.columns = found.columns  # (P′,L)
        self.present = pairs.rows >= 0  # (B,K)
        self.whole = Seq2SeqReading(
            pairs.model, found.states, found.mask, found.rows, pairs.start_id, pairs.grouped
        )

    def score(self, targets: Targets, rows: Tensor) -> Tensor:
        """Gold log-probabilities (N,1,T), 0 at padding and where nothing was retrieved."""
        return self.whole.score(targets, rows)

    def score_smoothed(self, targets: Targets, rows: Tensor, epsilon: float) -> Tensor:
        """As `score`, with label smoothing ε inside (see `SupportsSmoothing`)."""
        return self.whole.score_smoothed(targets, rows, epsilon)

    def start(self, rows: Tensor) -> Decoding:
        """Begin N hypotheses, each against the one row of rows (N,1)."""
        return self.whole.start(rows)

    @torch.no_grad()
    def passage_scores(self) -> Tensor:
        """(B,K) cross-attention of the first decoded token, -inf where absent.

        The raw scores (before the softmax) averaged over layers, heads and the tokens of a
        passage, as in Izacard & Grave 2021, section 3.2. Their softmax over the K is what a
        retriever can be distilled to.

        Raises `ConfigError` where the model's attention is its own.
        """
        if not self.whole.grouped:
            raise ConfigError(
                f"{type(self.whole.model).__name__} has an attention of its own, so how much it "
                "looks at passages is not seen; take a model that can use transformers' sdpa"
            )
        out = torch.full(self.present.shape, -torch.inf, device=self.rows.device)
        states, mask = self.whole.states, self.whole.mask
        if not len(states):
            return out
        start = torch.full((len(states), 1), self.whole.start_id, device=states.device)
        with noting() as notes:
            self.whole.run(states, mask, start)
        # Sources of one token leave no notes: there is nothing to compare.
        seen = torch.stack(notes).mean(0) if notes else torch.zeros_like(self.columns)  # (P′,L)
        n_passages = self.present.shape[1]
        totals = torch.zeros(len(states), n_passages + 1, device=states.device)
        counts = torch.zeros_like(totals)
        column = self.columns.masked_fill(~mask, n_passages)  # padding has a bin of its own
        totals.scatter_add_(1, column, seen.float())
        counts.scatter_add_(1, column, torch.ones_like(seen, dtype=torch.float32))
        means = (totals / counts.clamp(min=1))[:, :n_passages]  # (P′,K)
        has = self.rows[:, 0] >= 0  # (B,)
        out[has] = means
        return out.masked_fill(~self.present, -torch.inf)
