"""What is asked of options, vectors and queries before hnswlib sees them.

hnswlib itself takes NaN, and answers a wrong shape with a bare RuntimeError. Knows nothing of
graphs and files.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragkit.errors import ConfigError, DataError

BLOCK = 1 << 14
"""Vectors looked at, or added, together: so much becomes float32 at a time."""


def at_least(**numbers: tuple[int, int]) -> None:
    """Options as name=(value, least). Raises `ConfigError` with all that are too small."""
    faults = [
        f"{name} is {value!r}; it must be a whole number of at least {least}"
        for name, (value, least) in numbers.items()
        if isinstance(value, bool) or not isinstance(value, int) or value < least
    ]
    if faults:
        raise ConfigError(faults)


def vectors(found: NDArray[Any], dimension: int | None = None) -> None:
    """Raise `DataError` unless found is (N,D), N ≥ 1, finite floats of the right dimension."""
    if found.ndim != 2 or found.shape[1] == 0:
        raise DataError(f"vectors have shape {found.shape}; they must be (N, D)")
    if found.dtype not in (np.float16, np.float32):
        raise DataError(f"vectors are {found.dtype}; they must be float16 or float32")
    if len(found) == 0:
        raise DataError("there are no vectors; give at least one")
    if dimension is not None and found.shape[1] != dimension:
        raise DataError(
            f"vectors have {found.shape[1]} dimensions and the index has {dimension}; "
            "use the encoder that built it"
        )
    for start in range(0, len(found), BLOCK):
        finite = np.isfinite(found[start : start + BLOCK]).all(axis=1)
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


def rows(given: NDArray[np.int64], count: int, what: str) -> NDArray[np.int64]:
    """Row numbers, ascending and distinct; raises `DataError` where empty or outside 0…N-1."""
    distinct = np.unique(np.asarray(given, dtype=np.int64))
    if len(distinct) == 0:
        raise DataError(f"no {what} rows are given; name at least one")
    if distinct[0] < 0 or distinct[-1] >= count:
        raise DataError(f"{what} rows must lie in 0…{count - 1}")
    return distinct
