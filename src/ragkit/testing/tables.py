"""A reading without a model: p(y_i|x,z,y_<i) from a table, so small that all outputs can be
enumerated.

Each pair has log-probabilities for a number of states, and what was written decides the
state, so every token depends on all before it. Satisfies `ragkit.protocols.Reading`.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from ragkit.protocols import Targets

VOCABULARY, EOS, START, LONGEST = 5, 1, 0, 3
_STATES = 97  # a prime, so that different beginnings seldom share a state


class TableReading:
    """P pairs with random log-probabilities (P,S,V); rows (B,M) of which belong together.

    Outputs of the first question end early, so that it leaves a search before the others.
    """

    def __init__(self, rows: Tensor, seed: int = 0) -> None:
        self.rows = rows
        random = torch.Generator().manual_seed(seed)
        pairs = int(rows.max()) + 1
        logits = torch.randn(pairs, _STATES, VOCABULARY, generator=random) * 1.5
        logits[rows[0][rows[0] >= 0], :, EOS] += 3.0
        self.logp = logits.log_softmax(dim=-1)  # (P,S,V)

    def score(self, targets: Targets, rows: Tensor) -> Tensor:
        """Gold log-probabilities (N,M,T), 0 at padding and at absent pairs."""
        state = torch.zeros(len(rows), dtype=torch.int64)  # (N,)
        found = []
        for t in range(targets.tokens.shape[1]):
            tokens = targets.tokens[:, t]
            logp = self._at(rows, state)  # (N,M,V)
            found.append(logp[torch.arange(len(rows)), :, tokens])
            state = _next_state(state, tokens)
        gold = torch.stack(found, dim=-1)  # (N,M,T)
        return gold.masked_fill(~targets.mask[:, None, :], 0.0)

    def start(self, rows: Tensor) -> TableDecoding:
        """Begin N hypotheses against rows (N,M)."""
        return TableDecoding(self, rows)

    def take(self, rows: list[int]) -> TableReading:
        """A reading of some of the questions alone."""
        other = TableReading(self.rows[rows])
        other.logp = self.logp
        return other

    def _at(self, rows: Tensor, state: Tensor) -> Tensor:
        """(N,M,V) of what comes next in states (N,), 0 at absent pairs."""
        logp = self.logp[rows.clamp(min=0), state[:, None]]
        return logp.masked_fill((rows < 0)[:, :, None], 0.0)


class TableDecoding:
    """Hypotheses over a table; satisfies `ragkit.protocols.Decoding`."""

    def __init__(self, reading: TableReading, rows: Tensor) -> None:
        self.reading = reading
        self.rows = rows  # (N,M)
        self.state = torch.zeros(len(rows), dtype=torch.int64)  # (N,)

    def next(self) -> Tensor:
        """(N,M,V) log-probabilities of the next token."""
        return self.reading._at(self.rows, self.state)

    def append(self, tokens: Tensor, parents: Tensor) -> None:
        """Hypotheses parents (N′,) grow by tokens (N′,)."""
        self.rows = self.rows[parents]
        self.state = _next_state(self.state[parents], tokens)


def outputs() -> list[tuple[int, ...]]:
    """Every output: ending in EOS, or as long as allowed without it."""
    others = [v for v in range(VOCABULARY) if v != EOS]
    found: list[tuple[int, ...]] = []
    for length in range(LONGEST):
        found += [(*y, EOS) for y in itertools.product(others, repeat=length)]
    return found + list(itertools.product(others, repeat=LONGEST))


def targets(found: list[tuple[int, ...]]) -> Targets:
    """Outputs as targets (N,T), padded on the right."""
    tokens = torch.zeros(len(found), max(map(len, found)), dtype=torch.int64)
    mask = torch.zeros_like(tokens, dtype=torch.bool)
    for n, y in enumerate(found):
        tokens[n, : len(y)], mask[n, : len(y)] = torch.tensor(y), True
    return Targets(tokens, mask)


def _next_state(state: Tensor, tokens: Tensor) -> Tensor:
    return (state * (VOCABULARY + 1) + tokens + 1) % _STATES
