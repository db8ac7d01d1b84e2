"""Wrong indexes."""

from __future__ import annotations

import pickle
import time

import numpy as np

from ragkit.protocols import Hits
from ragkit.testing import IndexConformance
from testing.right import BruteIndex
from testing.wrong.record import Wrong


class OffByOne(BruteIndex):
    def pad(self, ids, scores, k):
        return super().pad(ids + 1, scores, k)


class Distance(BruteIndex):
    def score(self, queries, vectors):
        gap = queries[:, None] - vectors[None]
        return -(gap**2).sum(-1).astype(np.float32)


class CosineRanked(BruteIndex):
    """Looks for the nearest direction, and gives true inner products of what it found."""

    def among(self, queries, k, rows):
        held = self.held
        self.held = held / np.linalg.norm(held, axis=1, keepdims=True)
        hits = super().among(queries, k, rows)
        self.held = held
        scores = np.einsum("bd,bkd->bk", queries, held[hits.ids]).astype(np.float32)
        scores[hits.ids < 0] = -np.inf
        order = np.argsort(-scores, axis=1, kind="stable")
        return Hits(np.take_along_axis(hits.ids, order, 1), np.take_along_axis(scores, order, 1))


class AbsentIsZero(BruteIndex):
    def pad(self, ids, scores, k):
        hits = super().pad(ids, scores, k)
        return Hits(hits.ids, np.where(hits.ids < 0, np.float32(0), hits.scores))


class AbsentIsTheLast(BruteIndex):
    def pad(self, ids, scores, k):
        hits = super().pad(ids, scores, k)
        return Hits(np.where(hits.ids < 0, len(self) - 1, hits.ids), hits.scores)


class Narrow(BruteIndex):
    def pad(self, ids, scores, k):
        return Hits(ids, scores)


class Doubles(BruteIndex):
    def pad(self, ids, scores, k):
        return super().pad(ids, scores.astype(np.float64), k)


class ScalesQueries(BruteIndex):
    def search(self, queries, k):
        hits = super().search(queries, k)
        if queries.flags.writeable:
            queries /= np.linalg.norm(queries, axis=1, keepdims=True)
        return hits


class CentresTheBatch(BruteIndex):
    def score(self, queries, vectors):
        return super().score(queries - queries.mean(0) + queries[0] * 0, vectors)


class SortsTheBatch(BruteIndex):
    def search(self, queries, k):
        self.check_queries(queries, k)
        order = np.argsort(queries[:, 0])
        return super().search(queries[order], k)


class Random(BruteIndex):
    noise = np.random.default_rng(0)

    def score(self, queries, vectors):
        scores = super().score(queries, vectors)
        return scores + self.noise.normal(0, 1e-4, scores.shape).astype(np.float32)


class ReadsTheBuffer(BruteIndex):
    """As C++ does that is handed a pointer."""

    def search(self, queries, k):
        self.check_queries(queries, k)
        flat = np.frombuffer(queries.tobytes(order="A"), dtype=np.float32)
        return super().search(flat.reshape(queries.shape), k)


class WritesToVectors(BruteIndex):
    def build(self, vectors):
        super().build(vectors)
        vectors -= vectors.mean()


class SharesItsQueries(BruteIndex):
    """Keeps the queries of the search under way in itself."""

    def search(self, queries, k):
        self.check_queries(queries, k)
        self.queries = queries
        time.sleep(0.001)
        return super().search(self.queries, k)


class Sorted(BruteIndex):
    """Saves vectors by length, and forgets whose they were."""

    def save(self, directory):
        kept, self.held = self.held, self.held[np.argsort(np.linalg.norm(self.held, axis=1))]
        super().save(directory)
        self.held = kept


class KnowsItsFolder(BruteIndex):
    def save(self, directory):
        super().save(directory)
        (directory / "where").write_text(str(directory))


class Pickles(BruteIndex):
    def save(self, directory):
        super().save(directory)
        (directory / "more.dat").write_bytes(pickle.dumps({"rows": len(self)}))


class TrustsFiles(BruteIndex):
    @classmethod
    def load(cls, directory):
        index = cls()
        raw = (directory / "vectors").read_bytes()
        index.held = np.frombuffer(raw[: len(raw) // 64 * 64], dtype=np.float32).reshape(-1, 16)
        return index


class TakesNaN(BruteIndex):
    def check_vectors(self, vectors):
        if vectors.ndim != 2 or len(vectors) == 0:
            super().check_vectors(vectors)


class CutsQueries(BruteIndex):
    def check_queries(self, queries, k):
        pass

    def search(self, queries, k):
        wide = np.atleast_2d(queries)
        fitting = np.zeros((len(wide), self.dimension), dtype=np.float32)
        width = min(self.dimension, wide.shape[1])
        fitting[:, :width] = wide[:, :width]
        return super().search(fitting, k)


class RaisesOthers(BruteIndex):
    def check_queries(self, queries, k):
        if self.held is not None and k < 1:
            raise IndexError("k")
        super().check_queries(queries, k)


class TakesNothing(BruteIndex):
    def check_vectors(self, vectors):
        if vectors.ndim == 2 and len(vectors) == 0:
            return
        super().check_vectors(vectors)


class SearchesUnbuilt(BruteIndex):
    def search(self, queries, k):
        if self.held is None:
            return self.pad(np.zeros((len(queries), 0), int), np.zeros((len(queries), 0)), k)
        return super().search(queries, k)


class WorstFirst(BruteIndex):
    def pad(self, ids, scores, k):
        return super().pad(ids[:, ::-1], scores[:, ::-1], k)


class NoLength(BruteIndex):
    def __len__(self):
        return 0 if self.held is None else len(self.held) - 1


class CannotAdd(BruteIndex):
    def add(self, vectors):
        raise NotImplementedError


class AddsInFront(BruteIndex):
    def add(self, vectors):
        before = self.held
        super().add(vectors)
        self.held = np.concatenate([vectors.astype(np.float32), before])


class FiltersAfterwards(BruteIndex):
    def search_allowed(self, queries, k, allowed):
        super().search_allowed(queries, k, allowed)
        hits = self.search(queries, k)
        keep = np.isin(hits.ids, allowed)
        ids = np.where(keep, hits.ids, -1)
        scores = np.where(keep, hits.scores, np.float32(-np.inf))
        order = np.argsort(~keep, axis=1, kind="stable")
        return Hits(np.take_along_axis(ids, order, 1), np.take_along_axis(scores, order, 1))


class TakesAnyRows(BruteIndex):
    def search_allowed(self, queries, k, allowed):
        return self.among(queries, k, np.intersect1d(allowed, np.arange(len(self))))


class MovesUp(BruteIndex):
    """Forgets rows by taking them out, so that the others get new numbers."""

    def remove(self, rows):
        if (rows >= len(self)).any():
            super().remove(rows)
        self.held = np.delete(self.held, rows, axis=0)


class RemembersAgain(BruteIndex):
    @classmethod
    def load(cls, directory):
        index = super().load(directory)
        index.gone = index.gone[:0]
        return index


class CountsTheLiving(BruteIndex):
    """Rows that are added after a removal get numbers from the count of those that live."""

    def among(self, queries, k, rows):
        hits = super().among(queries, k, rows)
        if self.held is None or len(self.gone) == 0 or not hasattr(self, "first"):
            return hits
        late = hits.ids >= self.first
        return Hits(np.where(late, hits.ids - len(self.gone), hits.ids), hits.scores)

    def add(self, vectors):
        self.first = len(self)
        super().add(vectors)


class CountsWhatIsLeft(BruteIndex):
    """Removed rows no longer count in its length."""

    def __len__(self):
        return super().__len__() - len(self.gone)

    def search(self, queries, k):
        return self.among(queries, k, np.arange(len(self.held)))


class OtherSignature(BruteIndex):
    def search(self, queries, k, ef=None, *, threads):
        return super().search(queries, k)


class ReadsHalfAsBytes(BruteIndex):
    def build(self, vectors):
        self.check_vectors(vectors)
        raw = np.frombuffer(np.ascontiguousarray(vectors).tobytes(), dtype=vectors.dtype)
        scale = 1 if vectors.dtype == np.float32 else 2
        self.held = raw.reshape(vectors.shape).astype(np.float32) * scale


class KnowsItsSource(BruteIndex):
    """Saves where its vectors lie, instead of them."""

    def build(self, vectors):
        super().build(vectors)
        self.source = vectors

    def save(self, directory):
        super().save(directory)
        if isinstance(self.source, np.memmap):
            (directory / "vectors").unlink()
            (directory / "source").write_text(f"{self.source.filename} {self.source.offset}")

    @classmethod
    def load(cls, directory):
        if not (directory / "source").exists():
            return super().load(directory)
        name, offset = (directory / "source").read_text().split()
        index = cls()
        index.build(np.memmap(name, np.float16, "r", int(offset)).reshape(-1, 16))
        return index


def wrong(title, kind, check, fault, advice, /, **settings) -> Wrong:
    settings = {"recall": 1.0, "count": 120, **settings}
    return Wrong(title, IndexConformance, lambda kit: kind(), check, fault, advice, settings)


WRONG = [
    wrong("ids off by one", OffByOne, "test_ids_are_row_numbers", "off by 1", "from 0"),
    wrong(
        "L2 for inner product",
        Distance,
        "test_scores_are_inner_products",
        "not the inner product",
        "no distance",
    ),
    wrong(
        "ranks by cosine",
        CosineRanked,
        "test_finds_the_nearest",
        "of the nearest rows",
        "not by distance or cosine",
    ),
    wrong(
        "score of an absent row 0",
        AbsentIsZero,
        "test_k_above_the_number_of_rows",
        "absent hit .* is 0",
        "must be -inf",
    ),
    wrong(
        "absent rows are the last",
        AbsentIsTheLast,
        "test_k_above_the_number_of_rows",
        "not finite|twice",
        "-1",
    ),
    wrong("no padding", Narrow, "test_k_above_the_number_of_rows", "shape", "padded with -1"),
    wrong("float64 scores", Doubles, "test_shapes_and_dtypes", "float64", "astype"),
    wrong(
        "scales queries in place",
        ScalesQueries,
        "test_inputs_are_not_changed",
        "search changed its input 'queries'",
        "copy",
    ),
    wrong(
        "writes to vectors",
        WritesToVectors,
        "test_inputs_are_not_changed",
        "build changed its input 'vectors'",
        "copy",
    ),
    wrong(
        "depends on the batch",
        CentresTheBatch,
        "test_batch_of_one_is_a_row_of_the_batch",
        "alone found another",
        "each row by itself",
    ),
    wrong(
        "answers in another order",
        SortsTheBatch,
        "test_order_of_queries",
        "another order",
        "its own row",
    ),
    wrong("noise", Random, "test_deterministic", "another answer", "seeds"),
    wrong(
        "reads the buffer as it lies",
        ReadsTheBuffer,
        "test_memory_layout",
        "Fortran",
        "ascontiguousarray",
    ),
    wrong(
        "float16 scaled",
        ReadsHalfAsBytes,
        "test_half_precision_and_memory_maps",
        "float16",
        "convert",
    ),
    wrong(
        "keeps queries in itself",
        SharesItsQueries,
        "test_search_is_thread_safe",
        "several threads",
        "lock",
    ),
    wrong("loses ids on load", Sorted, "test_saved_and_loaded", "another answer", "ids"),
    wrong(
        "writes its folder down",
        KnowsItsFolder,
        "test_loaded_from_a_moved_folder",
        "path of its folder",
        "relative",
    ),
    wrong("writes a pickle", Pickles, "test_no_pickle", "more.dat", "JSON"),
    wrong(
        "trusts its files",
        TrustsFiles,
        "test_damaged_files_are_refused",
        "cut in half was accepted|missing",
        "checksums",
    ),
    wrong(
        "takes NaN",
        TakesNaN,
        "test_nan_and_infinity_are_refused",
        "nan in row 17 was accepted",
        "refuse it",
    ),
    wrong(
        "cuts queries to fit",
        CutsQueries,
        "test_wrong_dimension_is_refused",
        "too few dimensions was accepted",
        "compare shapes",
    ),
    wrong(
        "an error that says nothing",
        RaisesOthers,
        "test_k_below_one_is_refused",
        "raised IndexError",
        "DataError",
    ),
    wrong(
        "takes no vectors", TakesNothing, "test_no_vectors_are_refused", "was accepted", "refuse it"
    ),
    wrong(
        "searches before build",
        SearchesUnbuilt,
        "test_unbuilt_is_refused",
        "was accepted",
        "name build",
    ),
    wrong("worst first", WorstFirst, "test_best_first", "rise", "greatest first"),
    wrong("wrong length", NoLength, "test_length_and_dimension", "len", "count"),
    wrong(
        "declares add without it",
        CannotAdd,
        "test_add",
        "SupportsAdd raised NotImplementedError",
        "take the methods away",
    ),
    wrong("adds in front", AddsInFront, "test_add", "of the nearest rows", "on from len"),
    wrong(
        "filters the k best",
        FiltersAfterwards,
        "test_search_allowed",
        "of the nearest rows|hits were given",
        "allowed|give them all",
    ),
    wrong("takes any rows", TakesAnyRows, "test_bad_rows_are_refused", "accepted", "refuse it"),
    wrong(
        "numbers move up on remove",
        MovesUp,
        "test_remove",
        "removed row is still found|nearest|len.index. is",
        "keep|count removed",
    ),
    wrong("length of the rest", CountsWhatIsLeft, "test_remove", "len.index. is", "count removed"),
    wrong("remembers on load", RemembersAgain, "test_remove", "found again after load", "save it"),
    wrong(
        "numbers given twice",
        CountsTheLiving,
        "test_add_after_remove",
        "added rows have the ids",
        "no number is given twice",
    ),
    wrong(
        "another signature",
        OtherSignature,
        "test_signatures",
        "cannot be called as search",
        "default",
    ),
    wrong(
        "saves where its vectors lie",
        KnowsItsSource,
        "test_saved_without_its_source",
        "raised FileNotFoundError",
        "must open what save wrote",
    ),
]
