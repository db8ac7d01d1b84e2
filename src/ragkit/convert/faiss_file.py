"""A faiss file of somebody else's: what kind it is, and the vectors that it holds.

DPR searches the greatest inner product with an index for the least distance: it adds to each
vector d the number √(φ − ‖d‖²), φ the greatest ‖d‖² of all, and 0 to the question; then
‖q − d‖² = ‖q‖² + φ − 2q·d. Such an index has D + 1 dimensions. Knows nothing of passages.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragkit.convert.place import check_file
from ragkit.errors import DataError
from ragkit.index._faiss import faiss

BLOCK = 1 << 14
_SAMPLE = 256


@dataclass(frozen=True)
class FaissFile:
    """An open index.

    kind: faiss' name of it, as in ``IndexHNSWFlat``.
    inner_product: whether it scores so; by L2 distance else.
    extended: whether it is of DPR's form, one dimension more than the vectors.
    dimension: D of the vectors, the added one not counted.
    """

    path: Path
    kind: str
    inner_product: bool
    extended: bool
    dimension: int
    _index: Any
    _vectors: Any

    def __len__(self) -> int:
        return int(self._index.ntotal)

    @property
    def exact(self) -> bool:
        """Whether the vectors that went in can be had from it."""
        return self._vectors is not None

    def describe(self) -> str:
        """``IndexHNSWFlat, L2 over 16 + 1 dimensions (DPR's form for inner products)``."""
        score = "inner product" if self.inner_product else "L2"
        size = f"{self.dimension} dimensions"
        if self.extended:
            size = f"{self.dimension} + 1 dimensions (DPR's form for inner products)"
        return f"{self.kind}, {score} over {size}, {len(self):,} vectors"

    def vectors(self, start: int, end: int) -> NDArray[np.float32]:
        """Rows start…end-1 as they went in (n,D), the added dimension left out.

        Raises `DataError` where only compressed ones are kept.
        """
        if self._vectors is None:
            raise DataError(
                f"{self.path.name} ({self.kind}) keeps compressed vectors, whose scores are no "
                "longer the encoder's. Give passages with a column of embeddings, or encode them "
                "again: `ragkit kb build`"
            )
        found: NDArray[np.float32] = self._vectors.reconstruct_n(start, end - start)
        return np.ascontiguousarray(found[:, : self.dimension])

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """All vectors, a block at a time."""
        for start in range(0, len(self), BLOCK):
            yield self.vectors(start, min(start + BLOCK, len(self)))


def read(path: Path, dimension: int | None = None) -> FaissFile:
    """Open a faiss file, mapped where that can be.

    Args:
        path: the file.
        dimension: D that its vectors should have, if that is known.

    Raises:
        DataError: it is no faiss index, is cut short, or is of another dimension.
    """
    check_file(path, "the faiss index")
    if path.name.endswith((".index_meta.dpr", ".pkl")):
        raise DataError(
            f"{path.name} is a pickle, which can run any code, and is not opened; give the index "
            "(….index.dpr) and, as passages, the file that was encoded, in the same order"
        )
    index = _open(path)
    kind = type(index).__name__
    if isinstance(index, faiss.IndexIDMap):
        raise DataError(
            f"{path.name} ({kind}) numbers its vectors by a table of its own; give an index whose "
            "vectors are in the order of the passages"
        )
    inner = index.metric_type == faiss.METRIC_INNER_PRODUCT
    if not inner and index.metric_type != faiss.METRIC_L2:
        raise DataError(f"{path.name} scores neither by inner product nor by L2 distance")
    vectors = _exact(index)
    extended = False
    if not inner and (dimension is None or index.d == dimension + 1):
        extended = vectors is not None and _extended(vectors, index.ntotal, index.d)
        extended = extended or (vectors is None and dimension is not None)
    own = int(index.d) - extended
    if dimension is not None and own != dimension:
        raise DataError(
            f"{path.name} ({kind}) has vectors of {own} dimensions, and the encoder makes "
            f"{dimension}; is it the index of these passages and this encoder?"
        )
    return FaissFile(path, kind, inner, extended, own, index, vectors)


def _open(path: Path) -> Any:
    flags = [faiss.IO_FLAG_MMAP_IFC] if hasattr(faiss, "IO_FLAG_MMAP_IFC") else []
    for flag in [*flags, 0]:
        try:
            return faiss.read_index(str(path), flag)  # of its own class already
        except (RuntimeError, MemoryError) as error:  # a damaged size may ask for anything
            if flag == 0:
                raise DataError(
                    f"{path.name} is no whole faiss index; give a file of faiss.write_index. Is "
                    "the download complete?"
                ) from error
    raise AssertionError


def _exact(index: Any) -> Any:
    """The part of an index that keeps vectors as they are, or None."""
    inner = index
    if isinstance(index, faiss.IndexHNSW):
        inner = faiss.downcast_index(index.storage)
    return inner if isinstance(inner, faiss.IndexFlat) else None


def _extended(vectors: Any, count: int, dimension: int) -> bool:
    """Whether the last number of each vector makes all of them equally long."""
    if dimension < 2 or not count:
        return False
    rows = np.unique(np.linspace(0, count - 1, min(count, _SAMPLE)).astype(np.int64))
    found = np.stack([vectors.reconstruct(int(row)) for row in rows]).astype(np.float64)
    lengths = (found**2).sum(axis=1)
    added = found[:, -1]
    level = float(lengths.max())
    even = bool(np.abs(lengths - level).max() <= 1e-3 * max(level, 1e-12))
    return even and bool((added >= 0).all()) and level > 0
