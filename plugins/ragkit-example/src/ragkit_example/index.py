"""The index ``example``: every vector is looked at, in numpy.

Put your own structure into `build` and `search`; the refusals around them are what every index
owes to those who call it. Knows row numbers, no text.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ragkit import CorruptError, DataError
from ragkit.protocols import Hits

_META, _VECTORS = "meta.json", "vectors.npy"


class ExampleIndex:
    """The k nearest by inner product. Its constructor's keywords are its options."""

    def __init__(self) -> None:
        self._vectors: NDArray[np.float32] | None = None  # (N,D)

    @property
    def dimension(self) -> int:
        return 0 if self._vectors is None else int(self._vectors.shape[1])

    def __len__(self) -> int:
        return 0 if self._vectors is None else len(self._vectors)

    def build(self, vectors: NDArray[Any]) -> None:
        """Index vectors (N,D): row i is id i. Raises `DataError` where they are no such table."""
        if vectors.ndim != 2 or vectors.size == 0:
            raise DataError(f"vectors have shape {vectors.shape}; they must be (N, D)")
        if not np.isfinite(vectors).all():
            raise DataError("a vector has NaN or infinity; look at the encoder")
        self._vectors = np.array(vectors, dtype=np.float32)

    def search(self, queries: NDArray[np.float32], k: int) -> Hits:
        """The k best of each of queries (B,D); -1 and -inf where fewer than k exist."""
        held = self._ready()
        if k < 1:
            raise DataError(f"k is {k}; it must be at least 1")
        if queries.ndim != 2 or queries.shape[1] != held.shape[1]:
            raise DataError(f"queries have shape {queries.shape}, not (B, {held.shape[1]})")
        if not np.isfinite(queries).all():
            raise DataError("a query has NaN or infinity; look at the encoder")
        ids = np.full((len(queries), k), -1, dtype=np.int64)  # (B,k)
        scores = np.full((len(queries), k), -np.inf, dtype=np.float32)  # (B,k)
        for b, query in enumerate(queries):
            products = held @ query  # (N,)
            best = np.argsort(-products, kind="stable")[:k]
            ids[b, : len(best)] = best
            scores[b, : len(best)] = products[best]
        return Hits(ids, scores)

    def save(self, directory: Path) -> None:
        """Two files in an existing directory; no pickle."""
        np.save(directory / _VECTORS, self._ready(), allow_pickle=False)
        meta = {"sha256": _digest(directory / _VECTORS)}
        (directory / _META).write_text(json.dumps(meta) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, directory: Path) -> Self:
        """What `save` wrote. Raises `CorruptError` where it is missing or damaged."""
        try:
            meta = json.loads((directory / _META).read_text(encoding="utf-8"))
            intact = meta["sha256"] == _digest(directory / _VECTORS)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CorruptError(f"{directory.name} holds no index of {cls.__name__}") from error
        if not intact:
            raise CorruptError(f"{_VECTORS} in {directory.name} is not what was saved")
        index = cls()
        index._vectors = np.load(directory / _VECTORS, allow_pickle=False)
        return index

    def _ready(self) -> NDArray[np.float32]:
        if self._vectors is None:
            raise DataError("the index is empty: call build(vectors) or load(directory) first")
        return self._vectors


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
