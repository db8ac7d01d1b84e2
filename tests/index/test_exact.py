"""Laws of exact search, against brute force in integers: there ties are real ties."""

from __future__ import annotations

import errno

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ragkit.errors import CorruptError, DataError
from ragkit.index.exact import ExactIndex
from ragkit.protocols import Index, SupportsAdd, SupportsAllowed

small = st.integers(-3, 3)


def brute(queries, vectors, k, rows=None):
    """Best first, ties by row, -1 and -inf where there is nothing."""
    rows = range(len(vectors)) if rows is None else sorted(set(rows))
    ids, scores = [], []
    for q in queries.astype(np.float64):
        scored = sorted((-float(q @ vectors[r].astype(np.float64)), r) for r in rows)[:k]
        missing = k - len(scored)
        ids.append([r for _, r in scored] + [-1] * missing)
        scores.append([-s for s, _ in scored] + [-np.inf] * missing)
    return np.array(ids), np.array(scores)


@st.composite
def problems(draw):
    dimension = draw(st.integers(1, 5))
    vectors = draw(arrays(np.int64, (draw(st.integers(1, 30)), dimension), elements=small))
    queries = draw(arrays(np.int64, (draw(st.integers(1, 5)), dimension), elements=small))
    dtype = draw(st.sampled_from([np.float16, np.float32]))
    return queries.astype(np.float32), vectors.astype(dtype)


@settings(max_examples=150, deadline=None)
@given(problem=problems(), k=st.integers(1, 35), block=st.integers(1, 40))
def test_equals_brute_force_with_ties_and_k_beyond(problem, k, block):
    queries, vectors = problem
    index = ExactIndex(block=block)
    index.build(vectors)
    hits = index.search(queries, k)
    ids, scores = brute(queries, vectors, k)
    assert hits.ids.dtype == np.int64
    assert hits.scores.dtype == np.float32
    np.testing.assert_array_equal(hits.ids, ids)
    np.testing.assert_array_equal(hits.scores, scores)


@settings(max_examples=60, deadline=None)
@given(problem=problems(), k=st.integers(1, 35), block=st.integers(1, 40))
def test_a_question_alone_finds_what_it_finds_among_others(problem, k, block):
    queries, vectors = problem
    index = ExactIndex(block=block)
    index.build(vectors)
    together = index.search(queries, k)
    for b in range(len(queries)):
        alone = index.search(queries[b : b + 1], k)
        np.testing.assert_array_equal(alone.ids[0], together.ids[b])
        np.testing.assert_array_equal(alone.scores[0], together.scores[b])


@settings(max_examples=80, deadline=None)
@given(problem=problems(), k=st.integers(1, 35), block=st.integers(1, 40), data=st.data())
def test_within_allowed_rows(problem, k, block, data):
    queries, vectors = problem
    rows = data.draw(st.lists(st.integers(0, len(vectors) - 1), min_size=1))
    index = ExactIndex(block=block)
    index.build(vectors)
    hits = index.search_allowed(queries, k, np.array(rows))
    ids, scores = brute(queries, vectors, k, rows)
    np.testing.assert_array_equal(hits.ids, ids)
    np.testing.assert_array_equal(hits.scores, scores)


@settings(max_examples=40, deadline=None)
@given(problem=problems(), cut=st.floats(0, 1))
def test_added_later_is_as_if_built_at_once(problem, cut):
    queries, vectors = problem
    at = 1 + int(cut * (len(vectors) - 1))
    index = ExactIndex()
    index.build(vectors[:at])
    if at < len(vectors):
        index.add(vectors[at:])
    assert len(index) == len(vectors)
    np.testing.assert_array_equal(index.search(queries, 7).ids, brute(queries, vectors, 7)[0])


def test_real_vectors_from_a_memory_map(tmp_path):
    drawn = np.random.default_rng(0).standard_normal((3000, 48)).astype(np.float16)
    drawn.tofile(tmp_path / "vectors")
    mapped = np.memmap(tmp_path / "vectors", dtype=np.float16, mode="r", shape=drawn.shape)
    queries = np.random.default_rng(1).standard_normal((17, 48)).astype(np.float32)
    index = ExactIndex(block=700)
    index.build(mapped)
    hits = index.search(queries, 50)
    exact = queries.astype(np.float64) @ drawn.astype(np.float64).T  # (B,N)
    order = np.argsort(-exact, axis=1)[:, :50]
    np.testing.assert_array_equal(hits.ids, order)
    np.testing.assert_allclose(hits.scores, np.take_along_axis(exact, order, 1), rtol=1e-4)


def test_files_beyond_memory_are_mapped_for_reading(tmp_path, monkeypatch):
    """Linux refuses copy-on-write maps of files larger than its memory."""
    real = np.memmap

    def refuses(*args, mode, **options):
        if mode == "c":
            raise OSError(errno.ENOMEM, "Cannot allocate memory")
        return real(*args, mode=mode, **options)

    vectors = np.random.default_rng(0).standard_normal((20, 3)).astype(np.float16)
    index = ExactIndex(block=8)
    index.build(vectors)
    index.save(tmp_path)
    monkeypatch.setattr(np, "memmap", refuses)
    again = ExactIndex.load(tmp_path)
    queries = np.eye(3, dtype=np.float32)
    np.testing.assert_array_equal(again.search(queries, 5).ids, index.search(queries, 5).ids)


def test_saved_and_mapped_again(tmp_path):
    vectors = np.random.default_rng(0).standard_normal((20, 3)).astype(np.float16)
    index = ExactIndex(block=8)
    index.build(vectors)
    index.save(tmp_path)
    again = ExactIndex.load(tmp_path)
    assert (len(again), again.dimension, again.block) == (20, 3, 8)
    queries = np.eye(3, dtype=np.float32)
    np.testing.assert_array_equal(again.search(queries, 5).ids, index.search(queries, 5).ids)


def test_a_map_of_a_whole_file_is_shared_and_not_copied(tmp_path):
    source = tmp_path / "source"
    np.zeros((4, 2), dtype=np.float32).tofile(source)
    index = ExactIndex()
    index.build(np.memmap(source, dtype=np.float32, mode="c", shape=(4, 2)))
    target = tmp_path / "index"
    target.mkdir()
    index.save(target)
    assert any(file.samefile(source) for file in target.iterdir())


def test_abilities():
    for role in (Index, SupportsAdd, SupportsAllowed):
        assert isinstance(ExactIndex(), role)


@pytest.mark.parametrize("name", ["exact.json", "vectors.raw"])
@pytest.mark.parametrize("how", ["cut", "gone"])
def test_damage_is_named(tmp_path, name, how):
    index = ExactIndex()
    index.build(np.ones((5, 2), dtype=np.float32))
    index.save(tmp_path)
    file = tmp_path / name
    content = file.read_bytes()
    file.unlink()
    if how == "cut":
        file.write_bytes(content[:-3])
    with pytest.raises(CorruptError, match="exact"):
        ExactIndex.load(tmp_path)


def test_an_empty_index_says_what_to_call():
    with pytest.raises(DataError, match="build"):
        ExactIndex().search(np.ones((1, 2), dtype=np.float32), 1)
