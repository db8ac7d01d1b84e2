"""The index against numpy: what it finds, what it scores, what it forgets."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ragkit_hnswlib.index import SCAN, HnswlibIndex

from ragkit import KnowledgeBase, Passage, make
from ragkit.errors import ConfigError, DataError
from ragkit.protocols import Index, SupportsAdd, SupportsAllowed, SupportsRemove


def gaussian(count: int, dimension: int = 24, seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((count, dimension)).astype(np.float32)


def best(queries: Any, vectors: Any, k: int, rows: Any = None) -> tuple[Any, Any]:
    """The k best rows and scores in double precision, by sorting everything."""
    rows = np.arange(len(vectors)) if rows is None else np.asarray(rows)
    scores = queries.astype(np.float64) @ vectors[rows].astype(np.float64).T
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return rows[order], np.take_along_axis(scores, order, 1)


def built(vectors: Any, **options: Any) -> HnswlibIndex:
    index = HnswlibIndex(**{"threads": 1, **options})
    index.build(vectors)
    return index


VECTORS, QUERIES = gaussian(2000), gaussian(40, seed=1)


def test_it_is_found_by_name_and_has_what_it_declares() -> None:
    index = make("index", "hnswlib", M=8)
    assert isinstance(index, HnswlibIndex)
    for ability in (Index, SupportsAdd, SupportsRemove, SupportsAllowed):
        assert isinstance(index, ability)


def test_it_finds_nearly_what_exact_search_finds_with_the_right_scores() -> None:
    hits = built(VECTORS).search(QUERIES, 10)
    rows, _ = best(QUERIES, VECTORS, 10)
    shared = [len({*a} & {*b}) for a, b in zip(hits.ids.tolist(), rows.tolist(), strict=True)]
    assert np.mean(shared) / 10 > 0.95
    exact = np.einsum("bd,bkd->bk", QUERIES, VECTORS[hits.ids])
    np.testing.assert_allclose(hits.scores, exact, atol=2e-5)
    assert (np.diff(hits.scores, axis=1) <= 0).all()
    assert hits.ids.dtype == np.int64
    assert hits.scores.dtype == np.float32


def test_more_candidates_find_more() -> None:
    vectors, queries = gaussian(4000, 48), gaussian(60, 48, seed=1)
    rows, _ = best(queries, vectors, 10)
    recall = []
    for ef in (10, 400):
        found = built(vectors, M=4, ef_construction=20, ef=ef).search(queries, 10).ids
        recall.append(np.mean([np.isin(a, b).mean() for a, b in zip(rows, found, strict=True)]))
    assert recall[1] > recall[0] + 0.1


@pytest.mark.parametrize("count", [1, 7, 300])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_k_above_the_count_gives_every_row_and_then_padding(count: int, dtype: Any) -> None:
    vectors = gaussian(count).astype(dtype)
    hits = built(vectors).search(QUERIES, count + 3)
    rows, scores = best(QUERIES, vectors, count)
    np.testing.assert_array_equal(np.sort(hits.ids[:, :count]), np.sort(rows))
    np.testing.assert_allclose(hits.scores[:, :count], scores, atol=2e-5)
    assert (hits.ids[:, count:] == -1).all()
    assert np.isneginf(hits.scores[:, count:]).all()


def test_rows_that_no_link_leads_to_are_found_when_all_are_asked_for() -> None:
    # Many equal vectors link to each other alone, and the graph falls apart.
    vectors = np.concatenate([np.ones((400, 4)), -np.ones((3, 4))]).astype(np.float32)
    index = built(vectors, M=2, ef_construction=2, ef=1)
    hits = index.search(np.ones((2, 4), dtype=np.float32), 403)
    np.testing.assert_array_equal(hits.ids, np.tile(np.arange(403), (2, 1)))
    np.testing.assert_array_equal(hits.scores[:, [0, 399, 400, 402]], [[4, 4, -4, -4]] * 2)


def test_a_batch_is_its_rows_and_no_query_is_no_hit() -> None:
    index = built(VECTORS)
    hits = index.search(QUERIES, 7)
    for b in (0, 17):
        one = index.search(QUERIES[b : b + 1], 7)
        np.testing.assert_array_equal(one.ids[0], hits.ids[b])
        np.testing.assert_array_equal(one.scores[0], hits.scores[b])
    assert index.search(QUERIES[:0], 5).ids.shape == (0, 5)


def test_one_thread_builds_the_same_graph_again_and_many_find_as_much() -> None:
    first, again, many = built(VECTORS), built(VECTORS), built(VECTORS, threads=2)
    hits = first.search(QUERIES, 10)
    np.testing.assert_array_equal(hits.ids, again.search(QUERIES, 10).ids)
    assert np.isin(hits.ids, many.search(QUERIES, 10).ids).mean() > 0.95


def test_neither_vectors_nor_queries_are_changed() -> None:
    vectors, queries = gaussian(50), gaussian(5, seed=2)
    before = vectors.copy(), queries.copy()
    index = built(vectors)
    index.search(queries, 3)
    index.add(vectors)
    np.testing.assert_array_equal(vectors, before[0])
    np.testing.assert_array_equal(queries, before[1])


# -------------------------------------------------------------------- changing


def test_added_rows_are_numbered_on_and_the_room_grows() -> None:
    index = built(VECTORS[:10])
    for start, stop in ((10, 11), (11, 400), (400, 2000)):
        index.add(VECTORS[start:stop])
        assert len(index) == stop
    hits = index.search(QUERIES, 10)
    rows, _ = best(QUERIES, VECTORS, 10)
    assert np.isin(rows, hits.ids).mean() > 0.95
    exact = np.einsum("bd,bkd->bk", QUERIES, VECTORS[hits.ids])
    np.testing.assert_allclose(hits.scores, exact, atol=2e-5)


def test_removed_rows_are_never_given_and_the_others_keep_their_numbers() -> None:
    index = built(VECTORS)
    gone, _ = best(QUERIES, VECTORS, 20)
    gone = np.unique(gone)
    index.remove(gone)
    index.remove(gone[:3])  # again
    assert (len(index), index.live) == (2000, 2000 - len(gone))
    left = np.setdiff1d(np.arange(2000), gone)
    rows, _ = best(QUERIES, VECTORS, 10, left)
    hits = index.search(QUERIES, 10)
    assert not np.isin(hits.ids, gone).any()
    assert np.isin(rows, hits.ids).mean() > 0.95


def test_k_above_the_live_count_is_padded_and_nothing_at_all_is_left_in_the_end() -> None:
    index = built(VECTORS[:30])
    index.remove(np.arange(5, 30))
    hits = index.search(QUERIES, 8)
    np.testing.assert_array_equal(np.sort(hits.ids)[:, 3:], np.tile(np.arange(5), (40, 1)))
    assert np.isneginf(hits.scores[:, 5:]).all()
    index.remove(np.arange(5))
    assert (index.search(QUERIES, 2).ids == -1).all()
    assert (index.search_allowed(QUERIES, 2, np.arange(30)).ids == -1).all()


@pytest.mark.parametrize("replace", [True, False])
def test_added_vectors_take_the_places_of_removed_ones_but_not_their_numbers(replace: bool) -> None:
    index = built(VECTORS[:500], replace_deleted=replace)
    index.remove(np.arange(0, 200))
    index.add(VECTORS[500:800])  # 300, of which 200 find a place
    assert (len(index), index.live) == (800, 600)
    assert index.elements == (600 if replace else 800)
    rows, scores = best(QUERIES, VECTORS, 600, np.arange(200, 800))
    hits = index.search(QUERIES, 601)
    np.testing.assert_array_equal(np.sort(hits.ids[:, :600]), np.sort(rows))
    np.testing.assert_allclose(hits.scores[:, :600], scores, atol=2e-5)
    with pytest.raises(DataError, match="removed rows must lie in 0…799"):
        index.remove(np.array([800]))
    index.remove(np.array([0, 500, 799]))  # the first is gone already, with its place
    assert index.live == 598


# -------------------------------------------------------------------- filtering


def test_few_allowed_rows_are_exact() -> None:
    index = built(VECTORS)
    allowed = np.array([1999, 3, 3, 700, 12, 41])
    rows, scores = best(QUERIES, VECTORS, 4, np.unique(allowed))
    hits = index.search_allowed(QUERIES, 4, allowed)
    np.testing.assert_array_equal(hits.ids, rows)
    np.testing.assert_allclose(hits.scores, scores, atol=1e-5)
    index.remove(np.array([3]))
    hits = index.search_allowed(QUERIES, 9, allowed)
    np.testing.assert_array_equal(np.unique(hits.ids), [-1, 12, 41, 700, 1999])


def test_many_allowed_rows_are_found_by_the_graph() -> None:
    vectors = gaussian(SCAN + 3000, 8)
    index = built(vectors, M=8, ef_construction=40)
    allowed = np.arange(100, 100 + SCAN + 500)
    index.remove(np.arange(100, 120))
    left = allowed[20:]
    rows, _ = best(QUERIES[:, :8], vectors, 10, left)
    hits = index.search_allowed(np.ascontiguousarray(QUERIES[:, :8]), 10, allowed)
    assert np.isin(hits.ids, left).all()
    assert np.mean([np.isin(a, b).mean() for a, b in zip(rows, hits.ids, strict=True)]) > 0.95


# ------------------------------------------------------------- bad input, threads


def test_bad_input_is_answered_in_words() -> None:
    index = built(VECTORS[:5])
    bad = VECTORS[:5].copy()
    bad[3, 2] = np.nan
    with pytest.raises(DataError, match="vector 3 has NaN"):
        built(bad)
    with pytest.raises(DataError, match="vector 3 has NaN"):
        index.add(bad)
    assert len(index) == 5
    with pytest.raises(DataError, match="7 dimensions and the index has 24"):
        index.add(gaussian(2, 7))
    with pytest.raises(DataError, match=r"must be \(B, 24\)"):
        index.search(gaussian(2, 7), 1)
    with pytest.raises(DataError, match="query has NaN"):
        index.search(bad, 1)
    for k in (0, -1, 1.5, True):
        with pytest.raises(DataError, match="k is"):
            index.search(QUERIES, k)  # type: ignore[arg-type]
    for rows in ([], [5], [-1]):
        with pytest.raises(DataError, match="allowed rows"):
            index.search_allowed(QUERIES, 1, np.array(rows, dtype=np.int64))
    with pytest.raises(DataError, match="float64"):
        built(VECTORS.astype(np.float64))
    with pytest.raises(DataError, match="no vectors"):
        built(VECTORS[:0])
    with pytest.raises(DataError, match="index is empty"):
        HnswlibIndex().search(QUERIES, 1)


def test_bad_options_come_all_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        HnswlibIndex(M=1, ef=0, threads=-1)
    assert len(caught.value.faults) == 3
    with pytest.raises(ConfigError, match="10000 at most"):
        HnswlibIndex(M=20_000)
    with pytest.raises(ConfigError, match="did you mean 'ef_construction'"):
        make("index", "hnswlib", efConstruction=3)


def test_searches_at_once_give_what_each_gives_alone() -> None:
    index = built(VECTORS)
    index.remove(np.arange(50))
    alone = [index.search(QUERIES, k).ids for k in range(1, 30)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda k: index.search(QUERIES, k).ids, list(range(1, 30)) * 3))
    for i, ids in enumerate(together):
        np.testing.assert_array_equal(ids, alone[i % 29])


# ------------------------------------------------------------------- in its place


class Letters:
    """An encoder: how often each letter stands in a text."""

    dimension = 26
    fingerprint = "letters"

    def questions(self, texts: Any) -> Any:
        import torch

        rows = [[float(t.count(chr(97 + i))) for i in range(26)] for t in texts]
        return torch.tensor(rows).reshape(len(rows), 26)

    def passages(self, passages: Any) -> Any:
        return self.questions([p.text for p in passages])


def test_a_knowledge_base_is_built_changed_and_searched_with_it(tmp_path: Path) -> None:
    words = [f"{a}{b}{b}" for a in "abcdefgh" for b in "ijklmnop"]
    passages = [Passage(w, "", w) for w in words]
    table = {"name": "hnswlib", "ef": 200, "threads": 1}
    base = KnowledgeBase.build(passages, Letters(), table, tmp_path / "kb")
    assert base.recall["recall@5"] == 1.0
    queries = Letters().questions(["abc", "hp"]).numpy()
    vectors = Letters().questions(words).numpy()
    rows, scores = best(queries, vectors, 3)
    np.testing.assert_array_equal(base.search(queries, 3).scores, scores.astype(np.float32))
    base = base.remove(["hpp"]).add([Passage("new", "", "hhhhpppp")], Letters())
    assert base.passages([int(base.search(queries, 1).ids[1, 0])])[0].id == "new"
    base.verify()
    assert KnowledgeBase.open(tmp_path / "kb").manifest.index["ef"] == 200
    assert rows.shape == (2, 3)
