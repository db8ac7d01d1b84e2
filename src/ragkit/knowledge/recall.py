"""How much of the truth an index finds: recall@k against exact search.

Questions are not known when a knowledge base is built, so stored vectors with noise stand
for them. A passage counts as found if its exact score reaches that of the k-th best: equal
passages may stand for each other. Knows nothing of what is in the index.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragkit import registry
from ragkit.errors import DataError
from ragkit.knowledge import scan
from ragkit.protocols import Index

DEPTHS = (1, 5, 20, 100)
_NOISE = 0.5
_BATCH = 64


def queries_like(vectors: NDArray[Any], sample: int, seed: int = 0) -> NDArray[np.float32]:
    """(M,D): stored vectors, drawn evenly, each moved by half its own length."""
    rows = np.unique(np.linspace(0, len(vectors) - 1, min(sample, len(vectors))).astype(np.int64))
    drawn = np.asarray(vectors[rows], dtype=np.float32)  # (M,D)
    noise = np.random.default_rng(seed).standard_normal(drawn.shape, dtype=np.float32)
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    moved: NDArray[np.float32] = drawn + _NOISE * np.linalg.norm(drawn, axis=1)[:, None] * noise
    return moved


def measure(index: Index, vectors: NDArray[Any], sample: int) -> dict[str, float]:
    """{"recall@1": …, "recall@5": …, "queries": M} of an index over vectors (N,D)."""
    if isinstance(sample, bool) or not isinstance(sample, int) or sample < 1:
        raise DataError(f"recall_sample is {sample!r}; it is a number of queries, at least 1")
    exact: Any = registry.make("index", "exact")
    exact.build(vectors)
    queries = queries_like(vectors, sample)
    depths = [k for k in DEPTHS if k <= len(vectors)]
    found = dict.fromkeys(depths, 0)
    for start in range(0, len(queries), _BATCH):
        q = queries[start : start + _BATCH]
        truth = exact.search(q, depths[-1])
        for k in depths:
            proposed = scan.rescore(q, index.search(q, k).ids, vectors, k)
            # The two ways of adding up differ in the last bits.
            bar = truth.scores[:, k - 1] - 1e-4 * (1 + np.abs(truth.scores[:, k - 1]))
            found[k] += int((proposed.scores >= bar[:, None]).sum())
    report: dict[str, float] = {
        f"recall@{k}": round(found[k] / (k * len(queries)), 4) for k in depths
    }
    return {**report, "queries": len(queries)}
