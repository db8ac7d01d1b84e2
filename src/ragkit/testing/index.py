"""The laws of an index: the k nearest by inner product, whatever the structure.

Compared with brute force in float64. Knows `ragkit.protocols.Index` and the abilities to
add, remove and filter; no implementation and no text.
"""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ragkit.protocols import Hits, SupportsAdd, SupportsAllowed, SupportsRemove
from ragkit.testing import files, samples
from ragkit.testing.asserting import attempt, must, refused, same, unchanged
from ragkit.testing.hits import close, equal, padded, recalled, search, structure
from ragkit.testing.kit import Conformance
from ragkit.testing.threads import together

Vectors = NDArray[np.float32]


class IndexConformance(Conformance):
    """The laws of an `Index`; ``make()`` returns an unbuilt one.

    Set, where your index is not exact:

    recall: the share of the k nearest that it must find (1.0: it must find them all).
    score_tolerance: how far its scores may be from the inner products, as a share of them;
        None for one whose codes give scores too rough to compare.
    count, dimension: the vectors that it is tried on.
    """

    role = "index"
    recall: ClassVar[float] = 0.9
    score_tolerance: ClassVar[float | None] = 1e-3
    count: ClassVar[int] = 500
    dimension: ClassVar[int] = 16

    def vectors(self, count: int | None = None, seed: int = 0) -> Vectors:
        """Vectors (N,D) that the index is built of."""
        return samples.vectors(count or self.count, self.dimension, seed)

    def queries(self) -> Vectors:
        """Queries (B,D)."""
        return samples.vectors(7, self.dimension, seed=100)

    def built(self, vectors: NDArray[Any] | None = None) -> Any:
        """A new index of these vectors."""
        index = self.made()
        with attempt("build(vectors)", "it must take (N,D) float16 or float32 vectors"):
            index.build(self.vectors() if vectors is None else vectors)
        return index

    # -------------------------------------------------------------------- the answer

    def test_length_and_dimension(self) -> None:
        """A built index says how many vectors it holds and of what dimension."""
        index = self.built()
        must(
            len(index) == self.count,
            f"len(index) is {len(index)} after build of {self.count} vectors; count every row",
        )
        must(
            index.dimension == self.dimension,
            f"dimension is {index.dimension} after build of (N, {self.dimension}) vectors; give D",
        )

    def test_unbuilt_is_refused(self) -> None:
        """An index that was not built refuses to search, and says what to call."""
        index = self.made()
        refused(
            "search before build",
            lambda: index.search(self.queries(), 3),
            "refuse it and name build(vectors) and load(directory)",
        )

    def test_shapes_and_dtypes(self) -> None:
        """Search gives ids (B,k) of int64 and scores (B,k) of float32, both numpy."""
        index, queries = self.built(), self.queries()
        for count, k in ((len(queries), 5), (1, 1)):
            search(index, queries[:count], k)

    def test_ids_are_row_numbers(self) -> None:
        """Row i of the vectors that an index was built of has the id i."""
        vectors = self.vectors()
        planted = np.linspace(0, self.count - 1, self.dimension).astype(np.int64)  # (D,) rows
        vectors[planted] = np.eye(self.dimension, dtype=np.float32) * 50  # far ahead of the rest
        hits = search(self.built(vectors), np.eye(self.dimension, dtype=np.float32), 1)
        found = hits.ids[:, 0]
        share = float((found == planted).mean())
        b = int(np.argmax(found != planted))  # the first that is wrong, if one is
        shift = np.unique(found - planted)
        off = f"; all ids are off by {shift[0]}" if len(shift) == 1 and shift[0] else ""
        must(
            share >= self.recall,
            f"only {share:.0%} of the queries found the row that lies in their direction (query "
            f"{b} found id {found[b]} instead of {planted[b]}{off}); ids must be the row numbers "
            "of build, from 0",
        )

    def test_scores_are_inner_products(self) -> None:
        """The score of a hit is the inner product of its vector with the query."""
        if self.score_tolerance is None:
            self.skip("score_tolerance is None: the scores of this index are too rough to compare")
        vectors, queries = self.vectors(), self.queries()
        self._scored(
            search(self.built(vectors), queries, 10),
            vectors,
            queries,
            "a score is not the inner product of the query with the vector of that id; give inner "
            "products: no distance, no cosine, nothing negated",
        )

    def test_best_first(self) -> None:
        """Hits come best first, and no row comes twice."""
        hits = search(self.built(), self.queries(), 20)
        must(
            (np.diff(hits.scores, axis=1) <= 0).all(),
            "scores rise along a row of hits; sort them, greatest first",
        )
        for ids in hits.ids:
            held = ids[ids >= 0]
            must(
                len(np.unique(held)) == len(held),
                f"a row is found twice by one query ({held.tolist()}); give each id once",
            )

    def test_finds_the_nearest(self) -> None:
        """At least ``recall`` of the k nearest by inner product are found."""
        vectors, queries = self.vectors(), samples.vectors(40, self.dimension, seed=100)
        hits = search(self.built(vectors), queries, 10)
        truth, _ = samples.neighbours(queries, vectors, 10)
        self._recalled(hits, truth, "compare by inner product, not by distance or cosine")

    def test_k_above_the_number_of_rows(self) -> None:
        """Where fewer than k rows exist, ids end in -1 and their scores are minus infinity."""
        index = self.built()
        for k in (self.count, self.count + 5):
            self._padded(search(index, self.queries(), k), self.count)

    # -------------------------------------------------------------- what must not matter

    def test_deterministic(self) -> None:
        """The same search finds the same."""
        index, queries = self.built(), self.queries()
        first = search(index, queries, 10)
        for _ in range(3):
            equal(search(index, queries, 10), first, "the same search gave another answer")

    def test_batch_of_one_is_a_row_of_the_batch(self) -> None:
        """A query alone finds what it finds among others."""
        index, queries = self.built(), self.queries()
        batch = search(index, queries, 10)
        for b in range(len(queries)):
            alone = search(index, queries[b : b + 1], 10)
            self._close(
                alone,
                Hits(batch.ids[b : b + 1], batch.scores[b : b + 1]),
                f"query {b} alone found another answer than in a batch; treat each row by itself",
            )

    def test_order_of_queries(self) -> None:
        """Queries in another order find the same in that order."""
        index, queries = self.built(), self.queries()
        batch = search(index, queries, 10)
        back = search(index, queries[::-1].copy(), 10)
        self._close(
            Hits(back.ids[::-1], back.scores[::-1]),
            batch,
            "queries in another order found other answers; the answer of a query must stand in "
            "its own row and depend on that query alone",
        )

    def test_memory_layout(self) -> None:
        """Queries and vectors may lie in memory in any way, and be read-only."""
        vectors, queries = self.vectors(), self.queries()
        spread = np.repeat(vectors, 2, axis=1)[:, ::2]  # (N,D) with gaps
        spread.flags.writeable = False
        strided = np.asfortranarray(queries)
        strided.flags.writeable = False
        advice = "use numpy.ascontiguousarray before compiled code"
        message = f"{{}} found another answer; {advice}"
        index = self.made()
        with attempt("build(vectors with gaps between them)", advice):
            index.build(spread)
        plain = search(index, queries, 10)
        self._true(plain, vectors, queries, message.format("vectors with gaps"))
        found = search(index, strided, 10, f"these lie in Fortran order; {advice}")
        self._close(found, plain, message.format("queries in Fortran order"))

    def test_half_precision_and_memory_maps(self) -> None:
        """Vectors in float16 from a memory map are found as well as those in float32."""
        vectors, queries = self.vectors(), self.queries()
        file = self.folder() / "vectors"
        vectors.astype(np.float16).tofile(file)
        mapped = np.memmap(file, dtype=np.float16, mode="r", shape=vectors.shape)
        self._true(
            search(self.built(mapped), queries, 10),
            vectors,
            queries,
            "float16 vectors of a memory map gave another answer; convert them to float32, a block "
            "at a time",
        )

    def test_inputs_are_not_changed(self) -> None:
        """Neither build nor search changes what it is given."""
        vectors, queries, index = self.vectors(), self.queries(), self.made()
        with unchanged("build", vectors=vectors):
            index.build(vectors)
        with unchanged("search", queries=queries):
            search(index, queries, 10)
        with unchanged("search", vectors=vectors):
            search(index, queries, 10)

    def test_search_is_thread_safe(self) -> None:
        """Searches from several threads find what they find alone."""
        index = self.built()
        threads, rounds = 4, 25
        several = [samples.vectors(3, self.dimension, seed=s) for s in range(200, 200 + threads)]
        alone = [search(index, queries, 8) for queries in several]
        found = together(lambda i: search(index, several[i], 8), threads, rounds)
        for i, answers in enumerate(found):
            for hits in answers:
                self._close(
                    hits,
                    alone[i],
                    "a search from several threads at once found the answer of "
                    "another; keep nothing of a search in the index, or lock it",
                )

    # --------------------------------------------------------------------- bad input

    def test_nan_and_infinity_are_refused(self) -> None:
        """NaN and infinity are refused, in vectors and in queries."""
        for value in (np.nan, np.inf):
            vectors, queries = self.vectors(), self.queries()
            vectors[17, 3], queries[2, 1] = value, value
            refused(
                f"build with {value} in row 17",
                partial(self.made().build, vectors),
                "refuse it",
            )
            index = self.built()
            refused(
                f"search with {value} in query 2",
                partial(index.search, queries, 3),
                "refuse it",
            )

    def test_wrong_dimension_is_refused(self) -> None:
        """Queries of another dimension are refused, and so are vectors that are no table."""
        index, queries = self.built(), self.queries()
        advice = "compare shapes before you search, and refuse it"
        refused("search with too few dimensions", lambda: index.search(queries[:, :-1], 3), advice)
        wide = np.repeat(queries, 2, axis=1)
        refused("search with too many dimensions", lambda: index.search(wide, 3), advice)
        refused("search with one query of shape (D,)", lambda: index.search(queries[0], 3), advice)
        flat = self.vectors()[0]
        refused("build with vectors of shape (D,)", lambda: self.made().build(flat), "refuse it")
        hits = search(index, queries, 3)
        must(hits.ids.shape == (len(queries), 3), "after a refusal the index no longer searches")

    def test_k_below_one_is_refused(self) -> None:
        """k must be a whole number of at least 1."""
        index = self.built()
        for k in (0, -1):
            refused(f"search with k = {k}", partial(index.search, self.queries(), k), "refuse it")

    def test_no_vectors_are_refused(self) -> None:
        """An index of no vectors at all is refused when it is built."""
        empty = self.vectors()[:0]
        refused("build of (0, D) vectors", lambda: self.made().build(empty), "refuse it")

    # ----------------------------------------------------------------------- on disk

    def test_saved_and_loaded(self) -> None:
        """What was saved finds the same when it is loaded: ids, scores, length, dimension."""
        index, queries = self.built(), self.queries()
        again = files.loaded(index, files.saved(index, self.folder()))
        self._same_index(again, index, queries, "the loaded index")

    def test_loaded_from_a_moved_folder(self) -> None:
        """A saved folder may be moved: the index is still found in it, and nowhere else."""
        index, queries = self.built(), self.queries()
        directory = files.saved(index, self.folder())
        files.check_no_path(directory)
        again = files.loaded(index, files.moved(directory))
        self._same_index(again, index, queries, "the index loaded from a moved folder")

    def test_saved_without_its_source(self) -> None:
        """What was built from a memory map is whole when saved: the map's file may go."""
        vectors, queries, folder = self.vectors(), self.queries(), self.folder()
        source = folder / "vectors"
        with source.open("wb") as file:
            file.write(bytes(64))  # something else before them, as in a larger file
            file.write(vectors.astype(np.float16).tobytes())
        mapped = np.memmap(source, dtype=np.float16, mode="r", offset=64, shape=vectors.shape)
        index = self.built(mapped)
        directory = files.saved(index, self.folder())
        before = search(index, queries, 10)
        del mapped
        source.unlink()
        again = files.loaded(index, directory)
        self._close(
            search(again, queries, 10),
            before,
            "an index built from a memory map finds something else once the map's file is gone; "
            "save the vectors too where load needs them",
        )

    def test_no_pickle(self) -> None:
        """Saved files hold no pickle."""
        files.check_no_pickle(files.saved(self.built(), self.folder()))

    def test_damaged_files_are_refused(self) -> None:
        """A file that is missing or cut in half is refused when the index is loaded."""
        index = self.built()
        files.check_damage(index, files.saved(index, self.folder()))

    # --------------------------------------------------------------------- abilities

    def test_add(self) -> None:
        """SupportsAdd: rows are numbered on from len(index), and are found."""
        vectors, queries = self.vectors(), self.queries()
        first = self.count * 2 // 3
        index = self.built(vectors[:first])
        self.needs(index, SupportsAdd)
        more = vectors[first:]
        with self.declared(index, SupportsAdd), unchanged("add", vectors=more):
            index.add(more)
        must(
            len(index) == self.count,
            f"len(index) is {len(index)} after {first} rows and add of {len(more)}; count them all",
        )
        hits = search(index, vectors[first:] * 20, 10)
        truth, _ = samples.neighbours(vectors[first:] * 20, vectors, 10)
        self._recalled(hits, truth, "number added rows on from len(index)")
        refused("add with too few dimensions", lambda: index.add(more[:, :-1]), "refuse it")
        bad = more.copy()
        bad[0, 0] = np.nan
        refused("add with NaN", lambda: index.add(bad), "refuse it")
        self._padded(search(index, queries, self.count + 2), self.count)

    def test_remove(self) -> None:
        """SupportsRemove: removed rows are never found, the others keep their numbers."""
        vectors, queries = self.vectors(), self.queries()
        index = self.built(vectors)
        self.needs(index, SupportsRemove)
        gone = samples.neighbours(queries, vectors, 3)[0].ravel()
        gone = np.unique(gone)
        with self.declared(index, SupportsRemove), unchanged("remove", rows=gone):
            index.remove(gone)
        must(
            len(index) == self.count,
            f"len(index) is {len(index)} after {self.count} rows and remove of {len(gone)}; count "
            "removed rows too, for the next one that is added has the number len(index)",
        )
        self._without(index, vectors, gone)
        self._padded(search(index, queries, self.count + 2), self.count - len(gone))
        again = files.loaded(index, files.saved(index, self.folder()))
        self._without(again, vectors, gone)
        refused(
            "remove of a row beyond the last",
            lambda: index.remove(np.array([self.count + 9])),
            "refuse it",
        )

    def test_add_after_remove(self) -> None:
        """SupportsAdd and SupportsRemove: numbers of removed rows are not given again."""
        vectors = self.vectors()
        index = self.built(vectors)
        self.needs(index, SupportsAdd)
        self.needs(index, SupportsRemove)
        more = np.eye(self.dimension, dtype=np.float32) * 50
        with self.declared(index, SupportsRemove):
            index.remove(np.arange(10))
        advice = "count removed rows in len(index), so that no number is given twice"
        with self.declared(index, SupportsAdd), attempt("add after remove", advice):
            index.add(more)
        hits = search(index, more, 1)
        want = np.arange(self.count, self.count + len(more))
        share = float((hits.ids[:, 0] == want).mean())
        must(
            share >= self.recall,
            f"after remove of 10 of {self.count} rows, added rows have the ids "
            f"{hits.ids[:3, 0].tolist()}… instead of {want[:3].tolist()}…; {advice}",
        )

    def test_search_allowed(self) -> None:
        """SupportsAllowed: only allowed rows are found, the nearest of them, -1 beyond."""
        vectors, queries = self.vectors(), self.queries()
        index = self.built(vectors)
        self.needs(index, SupportsAllowed)
        random = np.random.default_rng(5)
        for count in (1, 7, self.count // 2):
            allowed = random.choice(self.count, count, replace=False)
            allowed = np.append(allowed, allowed[:1])  # named twice, it counts once
            with self.declared(index, SupportsAllowed), unchanged("search", allowed=allowed):
                hits = index.search_allowed(queries, 5, allowed)
            structure(hits, len(queries), 5)
            outside = np.setdiff1d(hits.ids, [*allowed, -1])
            must(
                len(outside) == 0,
                f"search_allowed found row {outside[:1]} that is not allowed; look only at the "
                "rows that are",
            )
            rows = np.sort(allowed)
            truth = rows[samples.neighbours(queries, vectors[rows], 5)[0]]
            self._recalled(hits, truth, "search among the allowed rows, do not filter the k best")
            self._padded(hits, count)

    def test_bad_rows_are_refused(self) -> None:
        """SupportsAllowed: an empty set of rows, and rows that do not exist, are refused."""
        index, queries = self.built(), self.queries()
        self.needs(index, SupportsAllowed)
        with self.declared(index, SupportsAllowed):
            index.search_allowed(queries, 1, np.array([0]))
        for what, rows in (("no rows", []), ("row N", [self.count]), ("row -1", [-1])):
            allowed = np.array(rows, dtype=np.int64)
            refused(
                f"search_allowed with {what}",
                partial(index.search_allowed, queries, 1, allowed),
                "refuse it",
            )

    # ----------------------------------------------------------------------- helpers

    def _recalled(self, hits: Hits, truth: NDArray[np.int64], advice: str) -> None:
        recalled(hits, truth, self.recall, advice)

    def _padded(self, hits: Hits, exist: int) -> None:
        padded(hits, exist, self.recall == 1.0)

    def _close(self, got: Hits, want: Hits, message: str) -> None:
        close(got, want, self.tolerance, self.score_tolerance is None, message)

    def _scored(self, hits: Hits, vectors: Vectors, queries: Vectors, message: str) -> None:
        """Assert that scores are inner products, as exactly as the index promises."""
        if self.score_tolerance is None:
            return
        b, place = np.nonzero(hits.ids >= 0)
        want = np.einsum("nd,nd->n", queries[b], vectors[hits.ids[b, place]])
        same(hits.scores[b, place], want, self.score_tolerance, message)

    def _true(self, hits: Hits, vectors: Vectors, queries: Vectors, message: str) -> None:
        """Assert that hits are what brute force finds, as exactly as the index promises."""
        self._scored(hits, vectors, queries, message)
        self._recalled(hits, samples.neighbours(queries, vectors, 10)[0], message)

    def _without(self, index: Any, vectors: Vectors, gone: NDArray[np.int64]) -> None:
        queries = self.queries()
        hits = search(index, queries, 10)
        must(
            not np.isin(hits.ids, gone).any(),
            "a removed row is still found, or is found again after load; keep what was removed "
            "out of every answer, and save it",
        )
        living = np.setdiff1d(np.arange(len(vectors)), gone)
        truth = living[samples.neighbours(queries, vectors[living], 10)[0]]
        self._recalled(hits, truth, "let the rows that stay keep their numbers")

    def _same_index(self, again: Any, index: Any, queries: Vectors, what: str) -> None:
        must(
            (len(again), again.dimension) == (len(index), index.dimension),
            f"{what} has {len(again)} rows of {again.dimension} dimensions instead of "
            f"{len(index)} of {index.dimension}; save and restore both",
        )
        for k in (1, 10):
            self._close(
                search(again, queries, k),
                search(index, queries, k),
                f"{what} found another answer; save all that an answer depends on, ids and search "
                "options too",
            )
