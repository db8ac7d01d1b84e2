"""The index ``faiss``: any factory string of faiss, by inner product.

Files are mapped where faiss can map them; a mapped index is never changed, since faiss
aborts the process when asked to. Knows nothing of text.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ragkit.errors import ConfigError, CorruptError, DataError
from ragkit.index import checks
from ragkit.index._faiss import faiss
from ragkit.index.exact import ExactIndex
from ragkit.protocols import Hits

_META = "faiss.json"
_INDEX = "index.faiss"
SCAN = 1 << 14
"""Allowed sets up to this many rows are scanned exactly: selectors lose neighbours there."""


class FaissIndex:
    """An index of the faiss library.

    Args:
        factory: a factory string (``HNSW32``, ``IVF4096,PQ64``, ``PQ192x4fs`` …).
        search: search parameters by faiss' names, as in ``{nprobe: 64}`` or
            ``{efSearch: 128}``. A graph looks at k nodes at least, whatever efSearch is.
        train: vectors, drawn evenly, that a trained index learns from at most.

    Raises:
        ConfigError: a factory string or search parameter that faiss does not know.
    """

    def __init__(
        self, factory: str = "HNSW32", search: dict[str, float] | None = None, train: int = 200_000
    ) -> None:
        self.factory = factory
        self.search_parameters = dict(search or {})
        self.train = train
        self._index: Any = None
        self._mapped = False
        self._vectors: NDArray[Any] | None = None
        _make(factory, 8, quiet=True)  # a misspelled factory is found before any encoding

    @property
    def dimension(self) -> int:
        return 0 if self._index is None else int(self._index.d)

    def __len__(self) -> int:
        return 0 if self._index is None else int(self._index.ntotal)

    def build(self, vectors: NDArray[Any]) -> None:
        """Train and fill with vectors (N,D), a block at a time."""
        checks.vectors(vectors)
        index = _make(self.factory, vectors.shape[1])
        if not index.is_trained:
            size = min(self.train, len(vectors))
            rows = np.unique(np.linspace(0, len(vectors) - 1, size).astype(np.int64))
            try:
                index.train(_floats(vectors[rows]))
            except RuntimeError as error:
                raise DataError(
                    f"faiss cannot train {self.factory!r} on {len(rows)} vectors: "
                    f"{_reason(error)}; choose a smaller factory or the index 'exact'"
                ) from error
        self._index, self._mapped = index, False
        self._fill(vectors)
        self._tune()

    def add(self, vectors: NDArray[Any]) -> None:
        """Rows numbered on from len(self); refused on a mapped index."""
        index = self._ready()
        checks.vectors(vectors, index.d)
        if self._mapped:
            raise DataError(
                "this faiss index is mapped from its file and faiss cannot change it there; "
                "build a new one, or read it with FaissIndex.load(directory, mapped=False)"
            )
        self._fill(vectors)

    def search(self, queries: NDArray[np.float32], k: int) -> Hits:
        """The k nearest that the index finds of each of queries (B,D)."""
        index = self._ready()
        q = checks.queries(queries, k, index.d)
        scores, ids = index.search(q, k, params=_deep(index, k))
        return _hits(ids, scores)

    def search_allowed(
        self, queries: NDArray[np.float32], k: int, allowed: NDArray[np.int64]
    ) -> Hits:
        """The same among allowed rows (m,): scanned exactly where they are few.

        Raises `DataError` for large sets where this kind of index cannot filter.
        """
        index = self._ready()
        q = checks.queries(queries, k, index.d)
        rows = checks.rows(allowed, int(index.ntotal))
        few = len(rows) <= SCAN
        cells = isinstance(index, faiss.IndexIVF)
        parameters = _parameters(index, self.search_parameters, k)
        if parameters is None or (few and not cells):
            return self._scan(q, k, rows)
        if few:  # cells cannot give single vectors back, but all of them can be searched
            parameters.nprobe = index.nlist
        parameters.sel = selector = faiss.IDSelectorBatch(rows)  # faiss does not own it
        scores, ids = index.search(q, k, params=parameters)
        del selector
        return _hits(ids, scores)

    def _scan(self, q: NDArray[np.float32], k: int, rows: NDArray[np.int64]) -> Hits:
        exact = ExactIndex()
        index = self._ready()
        try:
            vectors = np.stack([index.reconstruct(int(row)) for row in rows])
        except RuntimeError as error:
            raise DataError(
                f"the faiss index {self.factory!r} can neither filter nor give its vectors back; "
                "filter through a knowledge base, which keeps them"
            ) from error
        exact.build(vectors.astype(np.float32))
        hits = exact.search(q, k)
        return Hits(np.where(hits.ids >= 0, rows[np.maximum(hits.ids, 0)], -1), hits.scores)

    def _fill(self, vectors: NDArray[Any]) -> None:
        for start in range(0, len(vectors), checks.BLOCK):
            self._index.add(_floats(vectors[start : start + checks.BLOCK]))

    def _tune(self) -> None:
        space = faiss.ParameterSpace()
        for name, value in self.search_parameters.items():
            try:
                space.set_index_parameter(self._index, name, float(value))
            except RuntimeError as error:
                raise ConfigError(
                    f"faiss index {self.factory!r} has no search parameter {name!r}; "
                    "try nprobe for IVF or efSearch for HNSW"
                ) from error

    def _ready(self) -> Any:
        if self._index is None:
            raise DataError("the index is empty: call build(vectors) or load(directory) first")
        return self._index

    def save(self, directory: Path) -> None:
        """The index file, and beside it what faiss does not write down."""
        faiss.write_index(self._ready(), str(directory / _INDEX))
        meta = {
            "factory": self.factory,
            "search": self.search_parameters,
            "train": self.train,
            "rows": len(self),
            "dimension": self.dimension,
        }
        (directory / _META).write_text(json.dumps(meta) + "\n")

    @classmethod
    def load(cls, directory: Path, mapped: bool = True) -> Self:
        """Open what `save` wrote, mapped where faiss can.

        Raises `CorruptError` where the file is damaged or not what was written.
        """
        try:
            meta = json.loads((directory / _META).read_text())
            index = cls(meta["factory"], meta["search"], meta["train"])
            written = (meta["rows"], meta["dimension"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CorruptError(
                f"the faiss index in {directory.name} cannot be read ({error})"
            ) from error
        file = str(directory / _INDEX)
        flags = [faiss.IO_FLAG_MMAP_IFC] if mapped and hasattr(faiss, "IO_FLAG_MMAP_IFC") else []
        for flag in [*flags, 0]:
            try:
                index._index = faiss.read_index(file, flag)
            except (RuntimeError, MemoryError) as error:  # a damaged size may ask for anything
                if flag == 0:
                    raise CorruptError(
                        f"{_INDEX} is no whole faiss index: {_reason(error)}"
                    ) from error
                continue
            index._mapped = flag != 0
            break
        if (len(index), index.dimension) != written:
            raise CorruptError(
                f"{_INDEX} holds {len(index)} vectors of {index.dimension} dimensions, not the "
                f"{written[0]} of {written[1]} that were written"
            )
        if index._index.metric_type != faiss.METRIC_INNER_PRODUCT:
            raise CorruptError(f"{_INDEX} does not score by inner product")
        index._tune()
        return index


def _make(factory: str, dimension: int, quiet: bool = False) -> Any:
    try:
        return faiss.index_factory(dimension, factory, faiss.METRIC_INNER_PRODUCT)
    except RuntimeError as error:
        reason = _reason(error)
        if quiet and "parse" not in reason.lower():
            return None  # a fault of the trial dimension alone
        raise ConfigError(
            f"faiss cannot make {factory!r} with {dimension} dimensions: {reason}; try 'HNSW32', "
            "'IVF1024,Flat' or 'Flat'"
        ) from error


def _deep(index: Any, k: int) -> Any:
    """Parameters that let a graph look at k nodes where its own efSearch is less, else None.

    faiss does not do so by itself: beyond efSearch its answers are whatever it came across,
    and exact scores cannot mend candidates that were never proposed.
    """
    if not isinstance(index, faiss.IndexHNSW) or k <= index.hnsw.efSearch:
        return None
    made = faiss.SearchParametersHNSW()
    made.efSearch = min(k, int(index.ntotal))
    return made


def _parameters(index: Any, given: dict[str, float], k: int) -> Any:
    """Search parameters that can carry a selector, or None where the kind ignores them."""
    if isinstance(index, faiss.IndexHNSW):
        made = faiss.SearchParametersHNSW()
        made.efSearch = max(int(given.get("efSearch", index.hnsw.efSearch)), k)
        return made
    if isinstance(index, faiss.IndexIVF):
        made = faiss.SearchParametersIVF()
        made.nprobe = int(given.get("nprobe", index.nprobe))
        return made
    if isinstance(index, (faiss.IndexFlat, faiss.IndexScalarQuantizer)):
        return faiss.SearchParameters()
    return None  # PQ and NSG ignore selectors


def _floats(vectors: NDArray[Any]) -> NDArray[np.float32]:
    return np.ascontiguousarray(vectors, dtype=np.float32)


def _hits(ids: NDArray[np.int64], scores: NDArray[np.float32]) -> Hits:
    """faiss fills what it did not find with -1 and a huge negative number."""
    ids = ids.astype(np.int64, copy=False)
    return Hits(ids, np.where(ids >= 0, scores, -np.inf).astype(np.float32))


def _reason(error: Exception) -> str:
    """What faiss says behind the name and place of its C++ function."""
    text = " ".join(str(error).split())
    return re.sub(r"^Error in .*?\.(?:cpp|h):\d+: (?:Error: )?", "", text)[:200]
