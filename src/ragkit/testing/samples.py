"""What components are tried on: a few questions, passages and vectors, the same every time.

Knows the records of `ragkit.protocols`, no role.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ragkit.protocols import Passage, Retrieved

QUESTIONS = (
    "who keeps the lighthouse on the northern cliff",
    "when does the ferry leave",
    "how long is the river that runs past the old mill in the valley",
    "what is baked on sundays",
)
PASSAGES = (
    Passage("lighthouse", "The lighthouse", "Ada has kept the lighthouse on the northern cliff."),
    Passage("ferry", "Ferry", "The ferry to the mainland leaves the harbour at nine."),
    Passage("river", "River", "The long river runs north past the old mill."),
    Passage("bread", "", "Dark bread is baked on sundays."),
    Passage("year", "Year", "1984"),
    Passage("school", "School", "The school stands by the church; its bell is from the old ship."),
    Passage("café", "Café Zoë", "Coffee — “the best”, they say — costs 3 €."),
    Passage("storm", "The great storm", "In the winter of the storm the cliff lost a field. " * 4),
    Passage("tower", "Tower", "No one lives in the tower since the miller left it."),
    Passage("market", "Market", "Fish is sold on fridays, wool in spring."),
    Passage("bridge", "Bridge", "The bridge over the river carries one cart at a time."),
    Passage("map", "Map", "An early map shows two islands where one is today."),
)


def vectors(count: int, dimension: int, seed: int = 0) -> NDArray[np.float32]:
    """(N,D) of very different lengths, so that inner product, cosine and distance disagree.

    All are float16 numbers, so that either precision holds the same.
    """
    random = np.random.default_rng(seed)
    drawn = random.standard_normal((count, dimension)) * random.uniform(0.3, 2.0, (count, 1))
    return drawn.astype(np.float16).astype(np.float32)


def neighbours(
    queries: NDArray[np.float32], held: NDArray[np.float32], k: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The truth: (B,≤k) ids and inner products in float64, best first, ties by row."""
    products = queries.astype(np.float64) @ held.astype(np.float64).T  # (B,N)
    ids = np.argsort(-products, axis=1, kind="stable")[:, :k]
    return ids, np.take_along_axis(products, ids, axis=1)


def retrieved(n_questions: int, n_passages: int, absent: bool = True) -> Retrieved:
    """B × K passages with scores, best first; the last question lacks its last passage."""
    random = torch.Generator().manual_seed(3)
    ids = torch.stack(
        [torch.randperm(len(PASSAGES), generator=random)[:n_passages] for _ in range(n_questions)]
    )  # (B,K)
    scores = torch.randn(n_questions, n_passages, generator=random)  # (B,K)
    scores = scores.sort(dim=1, descending=True).values
    mask = torch.ones_like(ids, dtype=torch.bool)
    if absent:
        mask[-1, -1] = False
    return with_passages(ids.masked_fill(~mask, -1), scores.masked_fill(~mask, -torch.inf))


def with_passages(ids: Tensor, scores: Tensor) -> Retrieved:
    """The samples of ids (B,K), -1 where absent, with their scores."""
    passages = [[PASSAGES[row] if row >= 0 else None for row in one] for one in ids.tolist()]
    return Retrieved(passages, ids, scores, ids >= 0)


def take(found: Retrieved, rows: list[int], columns: list[int] | None = None) -> Retrieved:
    """Some questions of what was retrieved, and some of their passages."""
    ids, scores = found.ids[rows], found.scores[rows]
    if columns is not None:
        ids, scores = ids[:, columns], scores[:, columns]
    return with_passages(ids, scores)
