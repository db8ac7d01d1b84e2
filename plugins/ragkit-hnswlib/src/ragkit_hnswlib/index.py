"""The index ``hnswlib``: one graph (HNSW) that grows, forgets rows and searches within a set.

Scores are inner products, which hnswlib computes as ``1 - q·d`` in float32: good to about
1e-7 · max(1, |q·d|). Any number of searches may run at once, but none beside `add` or
`remove`. Knows nothing of text.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ragkit.errors import ConfigError, CorruptError, DataError, KnowledgeBaseError
from ragkit.protocols import Hits
from ragkit_hnswlib import checks, graphfile
from ragkit_hnswlib.library import hnswlib
from ragkit_hnswlib.metafile import Meta

_GRAPH = "graph.hnsw"
_SPACE = "ip"
SCAN = 1 << 11
"""Allowed sets up to this many rows are scanned exactly: a graph walks far to find them."""


class HnswlibIndex:
    """A graph of the hnswlib library, by inner product.

    Args:
        M: links of an element in each upper layer, twice as many in the ground layer.
            Memory is about (4·D + 8·M) bytes a vector.
        ef_construction: candidates looked at when an element is linked.
        ef: candidates looked at in a search; k of them at least.
        threads: of building and searching; 0 takes all cores. With more than one, two builds
            of the same vectors link them a little differently.
        seed: of the layers that elements are put in.
        replace_deleted: vectors that are added take the places of removed ones, whose memory
            is otherwise kept until the index is built anew. Row numbers are never reused.

    Raises:
        ConfigError: an option that cannot be.
    """

    def __init__(
        self,
        M: int = 16,
        ef_construction: int = 200,
        ef: int = 64,
        threads: int = 0,
        seed: int = 100,
        replace_deleted: bool = True,
    ) -> None:
        checks.at_least(
            M=(M, 2),
            ef_construction=(ef_construction, 1),
            ef=(ef, 1),
            threads=(threads, 0),
            seed=(seed, 0),
        )
        if M > 10_000:
            raise ConfigError(f"M is {M}; hnswlib allows 10000 at most, and 8 to 64 are usual")
        self.M = M
        self.ef_construction = ef_construction
        self.ef = ef
        self.threads = threads
        self.seed = seed
        self.replace_deleted = replace_deleted
        self._graph: Any = None
        self._rows = 0
        self._live = np.zeros(0, dtype=bool)  # (N,)

    @property
    def dimension(self) -> int:
        return 0 if self._graph is None else int(self._graph.dim)

    def __len__(self) -> int:
        """Rows, removed ones among them: the number that the next one added is given."""
        return self._rows

    @property
    def live(self) -> int:
        """Rows that a search can give."""
        return int(self._live.sum())

    @property
    def elements(self) -> int:
        """Vectors in the graph, those of removed rows among them: what takes memory."""
        return 0 if self._graph is None else int(self._graph.get_current_count())

    # ------------------------------------------------------------------ changing

    def build(self, vectors: NDArray[Any]) -> None:
        """Link vectors (N,D), a block at a time: row i is id i."""
        checks.vectors(vectors)
        graph = hnswlib.Index(space=_SPACE, dim=vectors.shape[1])
        graph.init_index(
            max_elements=len(vectors),
            M=self.M,
            ef_construction=self.ef_construction,
            random_seed=self.seed,
            allow_replace_deleted=self.replace_deleted,
        )
        graph.set_ef(self.ef)
        self._graph, self._rows, self._live = graph, 0, np.zeros(0, dtype=bool)
        self._fill(vectors)

    def add(self, vectors: NDArray[Any]) -> None:
        """Rows numbered on from len(self); the graph's room grows by half where it is full."""
        graph = self._ready()
        checks.vectors(vectors, self.dimension)
        vacant = self._vacant()
        needed = self.elements + max(0, len(vectors) - vacant)
        room = graph.get_max_elements()
        if needed > room:
            graph.resize_index(max(needed, room + room // 2))
        if vacant:
            # One thread: hnswlib promises nothing for two that take the places of removed ones.
            self._fill(vectors[:vacant], threads=1, replace=True)
        if len(vectors) > vacant:
            self._fill(vectors[vacant:])

    def remove(self, rows: NDArray[np.int64]) -> None:
        """Mark rows (m,) as removed; the numbers of the others stay as they are.

        Removing a row twice is the same as once. Raises `DataError` for a row that never was.
        """
        graph = self._ready()
        for row in checks.rows(rows, self._rows, "removed"):
            if self._live[row]:
                graph.mark_deleted(int(row))
                self._live[row] = False

    def _fill(
        self, vectors: NDArray[Any], threads: int | None = None, replace: bool = False
    ) -> None:
        for start in range(0, len(vectors), checks.BLOCK):
            part = np.ascontiguousarray(vectors[start : start + checks.BLOCK], dtype=np.float32)
            labels = np.arange(self._rows, self._rows + len(part))
            self._graph.add_items(
                part, labels, num_threads=threads or self._threads, replace_deleted=replace
            )
            self._rows += len(part)
            self._live = np.concatenate([self._live, np.ones(len(part), dtype=bool)])

    def _vacant(self) -> int:
        """Elements of removed rows whose place may be taken."""
        return self.elements - self.live if self.replace_deleted else 0

    # ----------------------------------------------------------------- searching

    def search(self, queries: NDArray[np.float32], k: int) -> Hits:
        """The k nearest that the graph finds of each of queries (B,D)."""
        self._ready()
        q = checks.queries(queries, k, self.dimension)
        return self._search(q, k, None)

    def search_allowed(
        self, queries: NDArray[np.float32], k: int, allowed: NDArray[np.int64]
    ) -> Hits:
        """The same among allowed rows (m,); removed ones among them are left out."""
        self._ready()
        q = checks.queries(queries, k, self.dimension)
        rows = checks.rows(allowed, self._rows, "allowed")
        rows = rows[self._live[rows]]
        if len(rows) <= SCAN:
            return self._scan(q, k, rows)
        return self._search(q, k, rows)

    def _search(self, q: NDArray[np.float32], k: int, allowed: NDArray[np.int64] | None) -> Hits:
        count = self.live if allowed is None else len(allowed)
        if not count or not len(q):
            return _nothing(len(q), k)
        wanted = min(k, count)
        # A graph filters by asking Python about every element that it meets, so by one thread.
        options: dict[str, Any] = {"k": wanted, "num_threads": self._threads}
        if allowed is not None:
            options |= {"filter": frozenset(allowed.tolist()).__contains__, "num_threads": 1}
        try:
            return _hits(self._graph.knn_query(q, **options), k)
        except RuntimeError:  # of some query the graph reaches fewer than are wanted
            pass
        hits = [self._one(q[b : b + 1], k, options, allowed) for b in range(len(q))]
        return Hits(
            np.concatenate([one.ids for one in hits]), np.concatenate([one.scores for one in hits])
        )

    def _one(
        self,
        q: NDArray[np.float32],
        k: int,
        options: dict[str, Any],
        allowed: NDArray[np.int64] | None,
    ) -> Hits:
        """For a single query (1,D): by the graph, or else by looking at every vector."""
        try:
            return _hits(self._graph.knn_query(q, **options), k)
        except RuntimeError:
            return self._scan(q, k, np.flatnonzero(self._live) if allowed is None else allowed)

    def _scan(self, q: NDArray[np.float32], k: int, rows: NDArray[np.int64]) -> Hits:
        """The k best of rows (m,), ascending, exactly; ties by row number."""
        hits = _nothing(len(q), k)
        for start in range(0, len(rows), checks.BLOCK):
            part = rows[start : start + checks.BLOCK]
            vectors = np.asarray(self._graph.get_items(part), dtype=np.float32)  # (block,D)
            scores = np.hstack([hits.scores, q @ vectors.T])  # (B,k+block)
            ids = np.hstack([hits.ids, np.broadcast_to(part, (len(q), len(part)))])
            # Earlier rows stand first, absent ones last by their score.
            order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
            hits = Hits(np.take_along_axis(ids, order, 1), np.take_along_axis(scores, order, 1))
        return hits

    @property
    def _threads(self) -> int:
        return self.threads or -1  # hnswlib's word for all cores

    def _ready(self) -> Any:
        if self._graph is None:
            raise DataError("the index is empty: call build(vectors) or load(directory) first")
        return self._graph

    # -------------------------------------------------------------------- on disk

    def save(self, directory: Path) -> None:
        """The graph, and beside it what hnswlib does not write down.

        Raises `KnowledgeBaseError` where the disk took less than all of it.
        """
        graph = self._ready()
        file = Path(directory) / _GRAPH
        graph.save_index(str(file))
        written = file.stat().st_size if file.is_file() else 0
        if written != graph.index_file_size():  # hnswlib itself says nothing of a full disk
            raise KnowledgeBaseError(
                f"{file.name} has {written} bytes and should have {graph.index_file_size()}; "
                "the disk may be full"
            )
        Meta(
            space=_SPACE,
            dimension=self.dimension,
            rows=self._rows,
            elements=self.elements,
            capacity=int(graph.get_max_elements()),
            options=self._options(),
            removed=np.flatnonzero(~self._live),
        ).write(Path(directory), file)

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Open what `save` wrote, after all of it was checked.

        Raises `CorruptError` where a file is damaged or not the one that was written.
        """
        directory = Path(directory)
        meta = Meta.read(directory, directory / _GRAPH)
        if meta.space != _SPACE:
            raise CorruptError(
                f"the index in {directory.name} is of the space {meta.space!r}, not {_SPACE!r}"
            )
        try:
            index = cls(**meta.options)
        except (TypeError, ConfigError) as error:
            raise CorruptError(f"the options in {directory.name} cannot be: {error}") from error
        expected = graphfile.Expected(
            dimension=meta.dimension,
            elements=meta.elements,
            rows=meta.rows,
            M=index.M,
            ef_construction=index.ef_construction,
            removed=meta.removed,
        )
        graphfile.check(directory / _GRAPH, expected)
        graph = hnswlib.Index(space=_SPACE, dim=meta.dimension)
        try:
            graph.load_index(
                str(directory / _GRAPH),
                max_elements=meta.capacity,
                allow_replace_deleted=index.replace_deleted,
            )
        except RuntimeError as error:
            raise CorruptError(f"hnswlib cannot read {_GRAPH}: {error}") from error
        graph.set_ef(index.ef)  # after a load it is 10
        index._graph, index._rows = graph, meta.rows
        index._live = np.ones(meta.rows, dtype=bool)
        index._live[meta.removed] = False
        return index

    def _options(self) -> dict[str, Any]:
        return {
            "M": self.M,
            "ef_construction": self.ef_construction,
            "ef": self.ef,
            "threads": self.threads,
            "seed": self.seed,
            "replace_deleted": self.replace_deleted,
        }

    def __repr__(self) -> str:
        return (
            f"<HnswlibIndex: {self.live:,} of {self._rows:,} rows, {json.dumps(self._options())}>"
        )


def _hits(found: tuple[NDArray[np.uint64], NDArray[np.float32]], k: int) -> Hits:
    """hnswlib's answer as hits of width k; the lower row first where scores are equal."""
    labels, distances = found  # (B,≤k)
    ids = labels.astype(np.int64)
    scores = (1 - distances).astype(np.float32)
    order = np.lexsort((ids, -scores), axis=1)
    hits = _nothing(len(ids), k)
    hits.ids[:, : ids.shape[1]] = np.take_along_axis(ids, order, 1)
    hits.scores[:, : ids.shape[1]] = np.take_along_axis(scores, order, 1)
    return hits


def _nothing(batch: int, k: int) -> Hits:
    return Hits(
        np.full((batch, k), -1, dtype=np.int64), np.full((batch, k), -np.inf, dtype=np.float32)
    )
