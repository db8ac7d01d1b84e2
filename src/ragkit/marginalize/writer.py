"""Hypotheses under a mixture: log p'(y_i|x,y_<i) = log Σ_z p(z|x) p(y_i|x,z,y_<i).

Wraps a `Decoding`, mixes its passages (section 2.1, RAG-Token; with one passage the
mixture is that passage), and remembers each step, so that a finished hypothesis can be
read back with the log-probability that every passage gave to every token: no second
pass is needed for it. Knows nothing of beams.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ragkit.protocols import Decoding


class Written(NamedTuple):
    """A finished hypothesis.

    tokens: (T,) int64, without the start token.
    by_passage: (M,T) log p(y_i|x,z,y_<i) of each token, pure (no processor in it).
    score: what the search ranked it by.
    """

    tokens: Tensor
    by_passage: Tensor
    score: float


class Writer:
    """N hypotheses, each of one of I items.

    Args:
        decoding: N = len(items) hypotheses just begun.
        prior: (I,M) log p(z|x), normalised; None for M = 1.
        items: (N,) int64, the item of each hypothesis.
        start: decoder start token.
    """

    def __init__(self, decoding: Decoding, prior: Tensor | None, items: Tensor, start: int) -> None:
        self.decoding = decoding
        self.prior = prior
        self.items = items  # (N,)
        self.sequences = items.new_full((len(items), 1), start)  # (N,t+1) for processors
        self._logp: Tensor | None = None  # (N,M,V) of the step at hand
        self._steps: list[tuple[Tensor, Tensor, Tensor]] = []

    @property
    def length(self) -> int:
        """Tokens written so far."""
        return self.sequences.shape[1] - 1

    def next(self) -> Tensor:
        """(N,V) log p'(·|x,y_<i)."""
        self._logp = self.decoding.next()  # (N,M,V)
        if self.prior is None:
            return self._logp[:, 0]
        return (self.prior[self.items][:, :, None] + self._logp).logsumexp(1)

    def chosen(self, tokens: Tensor, parents: Tensor) -> Tensor:
        """(N′,M) what each passage gave to tokens (N′,) after hypotheses parents (N′,)."""
        assert self._logp is not None, "next() comes first"
        return self._logp[parents, :, tokens]

    def append(self, tokens: Tensor, parents: Tensor) -> None:
        """Go on with hypotheses parents (N′,), each longer by one token."""
        self._steps.append((tokens, parents, self.chosen(tokens, parents)))
        self._logp = None
        self.decoding.append(tokens, parents)
        self.items = self.items[parents]
        self.sequences = torch.cat([self.sequences[parents], tokens[:, None]], dim=1)

    def read_back(
        self, step: int, parent: int, token: int, chosen: Tensor, score: float
    ) -> Written:
        """The hypothesis that ended at a step (0-based) with a token after a parent row."""
        tokens, by_passage, row = [token], [chosen], parent
        for past_tokens, past_parents, past_chosen in reversed(self._steps[:step]):
            tokens.append(int(past_tokens[row]))
            by_passage.append(past_chosen[row])
            row = int(past_parents[row])
        return Written(
            torch.tensor(tokens[::-1], dtype=torch.int64),
            torch.stack(by_passage[::-1], dim=1).cpu(),  # (M,T)
            score,
        )
