"""faiss through ragkit, against exact search."""

from __future__ import annotations

import json

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragkit.errors import CorruptError, DataError
from ragkit.index.exact import ExactIndex
from ragkit.index.faiss import FaissIndex
from ragkit.protocols import Index, SupportsAdd, SupportsAllowed

D = 16
FACTORIES = [
    "Flat",
    "HNSW16",
    "IVF8,Flat",
    "SQ8",
    "PQ8x4",
    "IVF8,PQ8x4",
    "HNSW16,SQ8",
    "OPQ8,PQ8x4",
]


def drawn(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, D)).astype(np.float16)


def built(factory: str, vectors: np.ndarray, **options) -> FaissIndex:
    index = FaissIndex(factory, **options)
    index.build(vectors)
    return index


def exact(vectors: np.ndarray) -> ExactIndex:
    index = ExactIndex()
    index.build(vectors)
    return index


@settings(max_examples=40, deadline=None)
@given(count=st.integers(1, 60), k=st.integers(1, 70), b=st.integers(1, 6), seed=st.integers(0, 99))
def test_flat_is_exact(count, k, b, seed):
    vectors, queries = drawn(count, seed), drawn(b, seed + 100).astype(np.float32)
    one, other = built("Flat", vectors).search(queries, k), exact(vectors).search(queries, k)
    np.testing.assert_array_equal(one.ids, other.ids)
    np.testing.assert_allclose(one.scores, other.scores, rtol=1e-4, atol=1e-4)
    assert (one.ids[:, count:] == -1).all()
    assert np.isneginf(one.scores[:, count:]).all()


@pytest.mark.parametrize("factory", FACTORIES)
def test_any_factory_scores_by_inner_product(factory, tmp_path):
    vectors, queries = drawn(600), drawn(40, 1).astype(np.float32)
    vectors[::2] *= 3  # lengths differ, so that inner product and distance disagree
    index = built(factory, vectors, search={"nprobe": 8} if "IVF" in factory else None)
    assert (len(index), index.dimension) == (600, D)
    hits = index.search(queries, 10)
    truth = exact(vectors).search(queries, 10)
    found = np.mean([np.isin(a, b).mean() for a, b in zip(hits.ids, truth.ids, strict=True)])
    assert found > (0.95 if "PQ" not in factory else 0.35)
    index.save(tmp_path)
    again = FaissIndex.load(tmp_path)
    np.testing.assert_array_equal(again.search(queries, 10).ids, hits.ids)


@pytest.mark.parametrize("factory", ["Flat", "HNSW16", "IVF8,Flat", "SQ8"])
@pytest.mark.parametrize("allowed", [1, 7, 500])
def test_allowed_rows_are_exact_where_they_are_few(factory, allowed):
    vectors, queries = drawn(600), drawn(5, 1).astype(np.float32)
    rows = np.random.default_rng(2).choice(600, allowed, replace=False)
    hits = built(factory, vectors).search_allowed(queries, 9, rows)
    assert np.isin(hits.ids[hits.ids >= 0], rows).all()
    assert ((hits.ids >= 0).sum(1) == min(9, allowed)).all()
    if factory != "SQ8":  # which gives its vectors back only roughly
        truth = exact(vectors).search_allowed(queries, 9, rows)
        np.testing.assert_array_equal(hits.ids, truth.ids)


@pytest.mark.parametrize("factory", ["Flat", "HNSW16", "IVF8,Flat"])
def test_many_allowed_rows_go_through_a_selector(factory, monkeypatch):
    monkeypatch.setattr("ragkit.index.faiss.SCAN", 10)
    vectors, queries = drawn(600), drawn(20, 1).astype(np.float32)
    rows = np.arange(0, 600, 2)
    search = {"nprobe": 8} if "IVF" in factory else {"efSearch": 200} if "HNSW" in factory else None
    hits = built(factory, vectors, search=search).search_allowed(queries, 5, rows)
    truth = exact(vectors).search_allowed(queries, 5, rows)
    assert np.isin(hits.ids, np.append(rows, -1)).all()
    assert (hits.ids == truth.ids).mean() > 0.95


def test_a_kind_that_ignores_selectors_is_scanned(monkeypatch):
    monkeypatch.setattr("ragkit.index.faiss.SCAN", 10)
    rows = np.arange(100, 300)
    hits = built("PQ8x4", drawn(600)).search_allowed(drawn(4, 1).astype(np.float32), 5, rows)
    assert np.isin(hits.ids, rows).all()


def test_search_parameters_matter_and_are_kept(tmp_path):
    vectors, queries = drawn(2000), drawn(50, 1).astype(np.float32)
    truth = exact(vectors).search(queries, 10).ids

    def recall(index):
        found = index.search(queries, 10).ids
        return np.mean([np.isin(a, b).mean() for a, b in zip(found, truth, strict=True)])

    few = built("IVF32,Flat", vectors, search={"nprobe": 1})
    every = built("IVF32,Flat", vectors, search={"nprobe": 32})
    assert recall(few) < 0.8
    assert recall(every) == 1.0
    every.save(tmp_path)
    assert recall(FaissIndex.load(tmp_path)) == 1.0


@pytest.mark.parametrize("allowed", [None, np.arange(0, 3000, 2)], ids=["all", "allowed"])
def test_a_graph_asked_for_many_looks_at_as_many(allowed, monkeypatch):
    """faiss itself stops at efSearch, 16 by default, and leaves the rest empty."""
    monkeypatch.setattr("ragkit.index.faiss.SCAN", 10)
    vectors, queries = drawn(3000), drawn(20, 1).astype(np.float32)
    index, k = built("HNSW16", vectors), 300
    if allowed is None:
        assert (index._index.search(queries, k)[1] < 0).any()
        hits, truth = index.search(queries, k), exact(vectors).search(queries, k)
    else:
        hits = index.search_allowed(queries, k, allowed)
        truth = exact(vectors).search_allowed(queries, k, allowed)
    assert (hits.ids >= 0).all()
    found = np.mean([np.isin(a, b).mean() for a, b in zip(hits.ids, truth.ids, strict=True)])
    assert found > 0.9


def test_adding_numbers_rows_on(tmp_path):
    vectors = drawn(300)
    index = built("HNSW16", vectors[:200])
    index.add(vectors[200:])
    hits = index.search(vectors[250:260].astype(np.float32), 1)
    assert len(index) == 300
    assert (
        hits.ids[:, 0] == exact(vectors).search(vectors[250:260].astype(np.float32), 1).ids[:, 0]
    ).all()
    index.save(tmp_path)
    with pytest.raises(DataError, match="mapped"):
        FaissIndex.load(tmp_path).add(vectors)  # faiss itself would abort the process
    unmapped = FaissIndex.load(tmp_path, mapped=False)
    unmapped.add(vectors[:5])
    assert len(unmapped) == 305


def test_abilities():
    for role in (Index, SupportsAdd, SupportsAllowed):
        assert isinstance(FaissIndex("Flat"), role)


@pytest.mark.parametrize("name", ["faiss.json", "index.faiss"])
@pytest.mark.parametrize("how", ["cut", "gone"])
def test_damage_is_named(tmp_path, name, how):
    built("Flat", drawn(50)).save(tmp_path)
    file = tmp_path / name
    content = file.read_bytes()
    file.unlink()
    if how == "cut":
        file.write_bytes(content[: len(content) // 2])
    with pytest.raises(CorruptError, match="faiss"):
        FaissIndex.load(tmp_path)


def test_a_damaged_size_that_asks_for_all_memory_is_named(tmp_path, monkeypatch):
    def read_index(*_):
        raise MemoryError("std::bad_alloc")  # what faiss gives for some changed bits

    built("Flat", drawn(50)).save(tmp_path)
    monkeypatch.setattr(faiss, "read_index", read_index)
    with pytest.raises(CorruptError, match=r"no whole faiss index: std::bad_alloc"):
        FaissIndex.load(tmp_path)


def test_another_index_in_its_place_is_noticed(tmp_path):
    built("Flat", drawn(50)).save(tmp_path)
    file = str(tmp_path / "index.faiss")
    other = faiss.IndexFlatL2(D)
    other.add(drawn(50).astype(np.float32))
    faiss.write_index(other, file)
    with pytest.raises(CorruptError, match="inner product"):
        FaissIndex.load(tmp_path)
    other.add(drawn(1).astype(np.float32))
    faiss.write_index(other, file)
    with pytest.raises(CorruptError, match="51 vectors"):
        FaissIndex.load(tmp_path)
    assert json.loads((tmp_path / "faiss.json").read_text())["rows"] == 50
