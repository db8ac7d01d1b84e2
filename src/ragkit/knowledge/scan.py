"""Exact scores from the stored vectors, in numpy, and the k best of them.

Whatever an index proposes, this decides; ties go to the lower row. Knows nothing of files.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragkit.protocols import Hits

_BLOCK = 1 << 13


def rescore(
    queries: NDArray[np.float32], candidates: NDArray[np.int64], vectors: NDArray[Any], k: int
) -> Hits:
    """The k best of candidates (B,k'), -1 where absent, by their vectors among (N,D)."""
    last = np.iinfo(np.int64).max
    ids = np.sort(np.where(candidates < 0, last, candidates), axis=1)  # (B,k')
    scores = np.full(ids.shape, -np.inf, dtype=np.float32)
    for b, row in enumerate(ids):
        present = row[row != last]
        scores[b, : len(present)] = vectors[present].astype(np.float32) @ queries[b]
    return best(np.where(ids == last, -1, ids), scores, k)


def among(
    queries: NDArray[np.float32], rows: NDArray[np.int64], vectors: NDArray[Any], k: int
) -> Hits:
    """The k best among rows (m,), ascending, block by block."""
    hits = Hits(
        np.full((len(queries), 0), -1, dtype=np.int64),
        np.full((len(queries), 0), -np.inf, dtype=np.float32),
    )
    for start in range(0, len(rows), _BLOCK):
        part = rows[start : start + _BLOCK]
        scores = queries @ vectors[part].astype(np.float32).T  # (B,block)
        ids = np.broadcast_to(part, scores.shape)
        hits = best(np.hstack([hits.ids, ids]), np.hstack([hits.scores, scores]), k)
    return best(hits.ids, hits.scores, k)


def best(ids: NDArray[np.int64], scores: NDArray[np.float32], k: int) -> Hits:
    """The k best columns of each row, the earlier of equals first; width k, padded."""
    missing = k - ids.shape[1]
    if missing > 0:
        ids = np.pad(ids, ((0, 0), (0, missing)), constant_values=-1)
        scores = np.pad(scores, ((0, 0), (0, missing)), constant_values=-np.inf)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return Hits(np.take_along_axis(ids, order, 1), np.take_along_axis(scores, order, 1))
