"""What every index asks of vectors and queries before it looks at them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragkit.errors import DataError
from ragkit.protocols import Hits

BLOCK = 1 << 15
"""Vectors looked at together when a memory map is checked or scanned."""


def vectors(found: NDArray[Any], dimension: int | None = None) -> None:
    """Raise `DataError` unless found is (N,D), N ≥ 1, finite, and of the right dimension."""
    if found.ndim != 2 or found.shape[1] == 0:
        raise DataError(f"vectors have shape {found.shape}; they must be (N, D)")
    if found.dtype not in (np.float16, np.float32):
        raise DataError(f"vectors are {found.dtype}; they must be float16 or float32")
    if len(found) == 0:
        raise DataError("there are no vectors to index; build from at least one passage")
    if dimension is not None and found.shape[1] != dimension:
        raise DataError(
            f"vectors have {found.shape[1]} dimensions and the index has {dimension}; "
            "use the encoder that built it"
        )
    for start in range(0, len(found), BLOCK):
        part = found[start : start + BLOCK]
        finite = np.isfinite(part).all(axis=1)
        if not finite.all():
            row = start + int(np.argmin(finite))
            raise DataError(
                f"vector {row} has NaN or infinity; look at passage {row} and the encoder"
            )


def queries(found: NDArray[np.float32], k: int, dimension: int) -> NDArray[np.float32]:
    """Queries (B,D) as contiguous float32; raises `DataError` where they cannot be searched."""
    if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < 1:
        raise DataError(f"k is {k!r}; it must be a whole number of at least 1")
    if found.ndim != 2 or found.shape[1] != dimension:
        raise DataError(
            f"queries have shape {found.shape} and the index {dimension} dimensions; they must "
            f"be (B, {dimension})"
        )
    if not np.isfinite(found).all():
        raise DataError("a query has NaN or infinity; look at the question encoder")
    return np.ascontiguousarray(found, dtype=np.float32)


def rows(allowed: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Allowed row numbers, ascending and distinct; raises `DataError` outside 0…N-1."""
    distinct = np.unique(np.asarray(allowed, dtype=np.int64))
    if len(distinct) == 0:
        raise DataError("the set of allowed rows is empty; name at least one")
    if distinct[0] < 0 or distinct[-1] >= count:
        raise DataError(f"allowed rows must lie in 0…{count - 1}")
    return distinct


def padded(ids: NDArray[np.int64], scores: NDArray[np.float32], k: int) -> Hits:
    """Hits of width k from narrower ones: -1 and -inf where there is nothing."""
    missing = k - ids.shape[1]
    if missing <= 0:
        return Hits(ids[:, :k], scores[:, :k])
    return Hits(
        np.pad(ids, ((0, 0), (0, missing)), constant_values=-1),
        np.pad(scores, ((0, 0), (0, missing)), constant_values=-np.inf),
    )
