"""Knowledge bases: what is built is what is found, in every generation."""

from __future__ import annotations

import copy
import gc
import json
import os
import pickle
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hashing import HashEncoder, LetterGenerator, build_in_child, passages, vector
from ragkit.errors import KnowledgeBaseError, LockedError
from ragkit.index.exact import ExactIndex
from ragkit.index.faiss import FaissIndex
from ragkit.knowledge import KnowledgeBase, columns, disk, generations
from ragkit.protocols import Passage, PassageTokens

BOOKS = passages(60)


def build(folder, source=BOOKS, index="exact", encoder=None, **options) -> KnowledgeBase:
    return KnowledgeBase.build(source, encoder or HashEncoder(), index, folder, **options)


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> KnowledgeBase:
    folder = tmp_path_factory.mktemp("base") / "kb"
    return build(folder, generator=LetterGenerator(), shard_size=16, batch_size=5)


def questions(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, 8)).astype(np.float32)


def truth(queries: np.ndarray, source=BOOKS) -> tuple[np.ndarray, np.ndarray]:
    """All rows best first and their scores, in float64."""
    stored = np.stack([vector(one.text) for one in source]).astype(np.float64)
    scores = queries.astype(np.float64) @ stored.T
    order = np.argsort(-scores, axis=1, kind="stable")
    return order, np.take_along_axis(scores, order, 1)


# ------------------------------------------------------------------ what is in it


def test_passages_by_id_row_and_order(base):
    assert len(base) == 60
    assert list(base) == BOOKS
    assert [base.row(one.id) for one in BOOKS] == list(range(60))
    assert base.passage("p33") == BOOKS[33]
    assert base.passages(np.array([59, 0, 16, 15])) == [BOOKS[i] for i in (59, 0, 16, 15)]
    assert base.rows(["p5", "p4"]).tolist() == [5, 4]
    assert base.rows([]).dtype == np.int64


def test_vectors_in_order_and_precision(base):
    rows = np.array([3, 59, 3, 17])
    found = base.vectors(rows)
    assert found.dtype == np.float16
    assert type(found) is np.ndarray
    expected = [vector(BOOKS[i].text) for i in rows]
    np.testing.assert_array_equal(found.astype(np.float32), expected)


def test_tokens_in_order(base):
    tokens: PassageTokens = base.tokens
    assert tokens.tokenization == "letters"
    taken = tokens.take(np.array([59, 0, 20]))
    assert [one.dtype for one in taken] == [np.int32] * 3
    assert ["".join(map(chr, one)) for one in taken] == [BOOKS[i].text for i in (59, 0, 20)]


def test_no_tokens_without_a_generator(tmp_path):
    assert build(tmp_path / "kb").tokens is None


def test_float32_keeps_what_float16_loses(tmp_path):
    class Fine(HashEncoder):
        def questions(self, texts):
            return super().questions(texts) * 1.0001

    full = build(tmp_path / "full", encoder=Fine(), dtype="float32")
    expected = np.stack([vector(one.text) for one in BOOKS]) * np.float32(1.0001)
    np.testing.assert_array_equal(full.vectors(np.arange(60)), expected)


def test_manifest_says_what_it_is(base):
    manifest = json.loads((base.directory / "generations/000001/manifest.json").read_text())
    assert manifest["format"] == 1
    assert manifest["metric"] == "inner product"
    assert manifest["encoder"] == {"name": "HashEncoder", "fingerprint": "hash"}
    assert manifest["index"]["name"] == "exact"
    assert manifest["tokenization"] == "letters"
    assert (manifest["count"], manifest["dimension"], manifest["dtype"]) == (60, 8, "float16")
    folder = base.directory / "generations/000001"
    on_disk = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert set(manifest["files"]) == on_disk - {"manifest.json"}


def test_the_batches_and_shards_of_a_build_change_nothing(tmp_path):
    one = build(tmp_path / "one", shard_size=1, batch_size=1, generator=LetterGenerator())
    two = build(tmp_path / "two", shard_size=999, batch_size=7, generator=LetterGenerator())
    assert list(one) == list(two)
    np.testing.assert_array_equal(one.vectors(np.arange(60)), two.vectors(np.arange(60)))
    for a, b in zip(one.tokens.take(range(60)), two.tokens.take(range(60)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_ids_are_told_apart_where_their_hashes_are_not(tmp_path, monkeypatch):
    monkeypatch.setattr(columns, "id_hash", lambda one: len(one) % 2)
    base = build(tmp_path / "kb")
    assert [base.row(one.id) for one in BOOKS] == list(range(60))
    with pytest.raises(ValueError, match="p60"):
        base.row("p60")


def test_texts_of_every_kind_come_back(tmp_path):
    odd = ["", " ", "a\tb\n\x00c", "Łódź 北京 \U0001f600", '"quoted"', "x" * 100_000]
    source = [Passage(f"id {i} é", text, text) for i, text in enumerate(odd)]
    base = build(tmp_path / "kb", source, generator=LetterGenerator())
    assert list(base) == source
    assert base.passage("id 3 é").title == odd[3]
    assert [len(one) for one in base.tokens.take(range(6))] == [len(text) for text in odd]


# ------------------------------------------------------------------------ searching


@settings(max_examples=60, deadline=None)
@given(count=st.integers(1, 5), k=st.integers(1, 70), seed=st.integers(0, 999))
@example(count=2, k=50, seed=456)  # two scores a last bit apart
def test_search_is_brute_force(base, count, k, seed):
    queries = questions(count, seed)
    hits = base.search(queries, k)
    order, scores = truth(queries)
    there = min(k, 60)
    assert hits.ids.shape == hits.scores.shape == (count, k)
    found = hits.ids[:, :there]
    np.testing.assert_allclose(hits.scores[:, :there], scores[:, :there], rtol=1e-4, atol=1e-5)
    assert (hits.ids[:, there:] == -1).all()
    assert np.isneginf(hits.scores[:, there:]).all()
    # Two ways of summing may order a tie of the last bit differently; nothing else.
    by_row = np.empty_like(scores)
    np.put_along_axis(by_row, order, scores, axis=1)
    np.testing.assert_allclose(
        np.take_along_axis(by_row, found, axis=1), scores[:, :there], rtol=1e-5, atol=1e-5
    )
    assert all(len(set(row.tolist())) == there for row in found)


def test_search_within_ids(base):
    queries = questions(4)
    allowed = ["p7", "p50", "p8", "p0"]
    hits = base.search(queries, 6, allowed)
    order, _ = truth(queries)
    for b in range(4):
        expected = [row for row in order[b] if f"p{row}" in allowed]
        assert hits.ids[b].tolist() == [*expected, -1, -1]


def test_large_allowed_sets_go_to_the_index(base, monkeypatch):
    queries, rows = questions(3), np.arange(0, 60, 2)
    few = base.propose(queries, 9, rows)
    monkeypatch.setattr("ragkit.knowledge.base.SCAN", 5)
    many = base.propose(queries, 9, rows)
    np.testing.assert_array_equal(few.ids, many.ids)


def test_equal_passages_are_found_in_order_of_rows(tmp_path):
    base = build(tmp_path / "kb", [Passage(f"p{i}", "", "same") for i in range(30)])
    assert base.search(questions(2), 7).ids.tolist() == [list(range(7))] * 2


def test_a_poor_index_gives_right_scores(tmp_path):
    table = {"name": "faiss", "factory": "IVF4,PQ2x4", "search": {"nprobe": 1}}
    source = passages(400)
    base = build(tmp_path / "kb", source, table)
    queries = questions(20)
    hits = base.search(queries, 5)
    stored = np.stack([vector(one.text) for one in source])
    scores = queries @ stored.T
    present = hits.ids >= 0
    expected = np.take_along_axis(scores, np.maximum(hits.ids, 0), 1)
    np.testing.assert_allclose(hits.scores[present], expected[present], rtol=1e-4, atol=1e-5)
    assert (np.diff(np.where(present, hits.scores, -np.inf), axis=1)[present[:, 1:]] <= 0).all()
    assert 0 < base.recall["recall@5"] < 1


def test_recall_is_measured_against_exact_search(tmp_path):
    assert build(tmp_path / "exact").recall == {
        "recall@1": 1.0,
        "recall@5": 1.0,
        "recall@20": 1.0,
        "queries": 60,
    }
    source = passages(3000)
    few = {"name": "faiss", "factory": "IVF64,Flat", "search": {"nprobe": 1}}
    every = {"name": "faiss", "factory": "IVF64,Flat", "search": {"nprobe": 64}}
    poor = build(tmp_path / "few", source, few, recall_sample=100)
    good = build(tmp_path / "every", source, every, recall_sample=100)
    assert good.recall["recall@100"] == 1.0
    order, _ = truth(questions(200, 3), source)
    found = poor.propose(questions(200, 3), 20).ids
    poor_recall = np.mean([np.isin(a[:20], b).mean() for a, b in zip(order, found, strict=True)])
    # stored vectors with noise stand for questions: near to what random questions find
    assert abs(poor.recall["recall@20"] - poor_recall) < 0.3
    assert poor.recall["queries"] == 100


@pytest.mark.parametrize("index", [FaissIndex("HNSW8"), ExactIndex(block=7)])
def test_an_index_given_as_an_object_is_found_again(tmp_path, index):
    base = KnowledgeBase.open(build(tmp_path / "kb", index=index).directory)
    assert type(base.index) is type(index)
    assert base.manifest.index.get("factory", "HNSW8") == "HNSW8"
    assert base.manifest.index.get("block", 7) == 7


# ----------------------------------------------------------------------- generations


def test_opening_maps_files_and_copies_none(base):
    again = KnowledgeBase.open(base.directory)
    mapped = again._vectors
    assert isinstance(mapped, np.memmap)
    assert isinstance(again.index._vectors, np.memmap)  # the index shares the file
    folder = base.directory / "generations/000001"
    assert (folder / "vectors.raw").samefile(folder / "index/vectors.raw")


def test_a_new_build_is_a_new_generation_and_readers_keep_theirs(tmp_path):
    old = build(tmp_path / "kb")
    new = build(tmp_path / "kb", passages(5, first=200))
    assert (old.generation, new.generation) == (1, 2)
    assert list(old) == BOOKS  # what is being read stays
    assert len(KnowledgeBase.open(tmp_path / "kb")) == 5
    assert list(KnowledgeBase.open(tmp_path / "kb", generation=1)) == BOOKS


def test_gc_leaves_what_is_current_or_being_read(tmp_path):
    folder = tmp_path / "kb"
    old = build(folder)
    for first in (100, 200, 300):
        newest = build(folder, passages(3, first=first))
    assert newest.gc() == [2, 3]  # 1 is being read, 4 is current
    assert list(old) == BOOKS
    assert newest.gc() == []
    del old
    gc.collect()
    assert newest.gc() == [1]
    assert generations.numbers(folder) == [4]
    newest.verify()


def test_gc_leaves_what_another_process_reads(tmp_path):
    folder = tmp_path / "kb"
    build(folder)
    ready, go = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        held = KnowledgeBase.open(folder)
        os.write(ready[1], b"x")
        os.read(go[0], 1)
        os._exit(0 if list(held) == BOOKS else 1)
    os.read(ready[0], 1)
    gc.collect()
    newest = build(folder, passages(3, first=100))
    assert newest.gc() == []
    os.write(go[1], b"x")
    assert os.waitpid(pid, 0)[1] == 0
    assert newest.gc() == [1]


def test_a_moved_folder_opens(tmp_path):
    build(tmp_path / "kb", generator=LetterGenerator())
    (tmp_path / "kb").rename(tmp_path / "elsewhere")
    moved = KnowledgeBase.open(tmp_path / "elsewhere")
    moved.verify()
    assert list(moved) == BOOKS


def test_a_copy_is_whole_and_alone(base, tmp_path):
    base.copy(tmp_path / "copy")
    copied = KnowledgeBase.open(tmp_path / "copy")
    copied.verify()
    assert list(copied) == BOOKS
    assert copied.generation == 1
    folder = tmp_path / "copy/generations/000001"
    assert (folder / "vectors.raw").samefile(folder / "index/vectors.raw")
    with pytest.raises(KnowledgeBaseError, match="not empty"):
        base.copy(tmp_path / "copy")


def test_two_writers_at_once(tmp_path):
    folder = tmp_path / "kb"
    base = build(folder)
    with disk.writing(folder):
        for work in (
            lambda: build(folder, passages(3)),
            lambda: base.add(passages(3, first=99), HashEncoder()),
            lambda: base.remove(["p1"]),
            base.gc,
        ):
            with pytest.raises(LockedError, match="another process is writing"):
                work()
    assert list(KnowledgeBase.open(folder)) == BOOKS
    assert build(folder, passages(3)).generation == 2


def test_a_killed_writer_lets_go(tmp_path):
    def hold():
        with disk.writing(tmp_path / "kb"):
            os._exit(9)

    assert build_in_child(hold) == 9
    build(tmp_path / "kb").verify()


def test_a_copied_model_and_another_process_read_the_same_files(base):
    assert copy.deepcopy({"knowledge_base": base})["knowledge_base"] is base
    sent = pickle.loads(pickle.dumps(base))  # as multiprocessing sends arguments
    assert (sent.directory, sent.generation) == (base.directory, base.generation)
    assert list(sent) == BOOKS
    assert isinstance(sent._vectors, np.memmap)


def test_an_interpreter_that_ends_with_one_open_ends_quietly(base):
    opening = f"b = KnowledgeBase.open({str(base.directory)!r})"
    code = f"from ragkit.knowledge import KnowledgeBase; {opening}"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stderr == ""


# ------------------------------------------------------------------- resuming, memory


def test_a_resumed_build_encodes_no_shard_twice(tmp_path):
    class Stops(HashEncoder):
        def passages(self, batch):
            if any(one.id == "p41" for one in batch):
                raise KeyboardInterrupt
            return super().passages(batch)

    log = tmp_path / "log"
    options = {"shard_size": 8, "batch_size": 8, "generator": LetterGenerator()}
    with pytest.raises(KeyboardInterrupt):
        build(tmp_path / "kb", encoder=Stops(log), **options)
    assert sorted(Stops(log).encoded()) == sorted(one.id for one in BOOKS[:40])
    with pytest.raises(KnowledgeBaseError, match="no finished knowledge base"):
        KnowledgeBase.open(tmp_path / "kb")
    whole = build(tmp_path / "kb", encoder=HashEncoder(log), **options)
    assert sorted(HashEncoder(log).encoded()) == sorted(one.id for one in BOOKS)  # each once
    at_once = build(tmp_path / "other", **options)
    for name, entry in at_once.manifest.files.items():
        assert whole.manifest.files[name] == entry


def test_a_generation_that_was_collected_before_the_switch_is_built_again(tmp_path, monkeypatch):
    folder = tmp_path / "kb"
    build(folder, passages(3, first=100))

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(generations, "switch", killed)
        with pytest.raises(KeyboardInterrupt):
            build(folder)
    assert KnowledgeBase.open(folder).gc() == [2]
    base = build(folder)
    base.verify()
    assert list(base) == BOOKS


def test_an_index_that_cannot_be_built_does_not_cost_the_vectors(tmp_path):
    log = tmp_path / "log"
    large = {"name": "faiss", "factory": "IVF4096,Flat"}
    with pytest.raises(ValueError, match="choose a smaller factory"):
        build(tmp_path / "kb", index=large, encoder=HashEncoder(log))
    build(tmp_path / "kb", encoder=HashEncoder(log)).verify()
    assert len(HashEncoder(log).encoded()) == 60


def test_memory_does_not_grow_with_the_corpus(tmp_path):
    def peak(count: int) -> int:
        source = (Passage(f"p{i}", "", "text " * 20) for i in range(count))
        gc.collect()
        tracemalloc.start()
        build(tmp_path / str(count), source, shard_size=200, recall_sample=0)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(300)  # imports
    assert peak(6000) < 1.3 * peak(1000)


# --------------------------------------------------------------------------- changing


@pytest.mark.parametrize("index", ["exact", {"name": "faiss", "factory": "HNSW8"}])
def test_added_passages_are_as_if_built_at_once(tmp_path, index):
    more = passages(9, first=100)
    log = tmp_path / "log"
    first = build(tmp_path / "kb", index=index, generator=LetterGenerator())
    grown = first.add(more, HashEncoder(log), generator=LetterGenerator(), shard_size=4)
    grown.verify()
    assert sorted(HashEncoder(log).encoded()) == sorted(one.id for one in more)
    assert list(first) == BOOKS
    assert list(grown) == [*BOOKS, *more]
    at_once = build(tmp_path / "all", [*BOOKS, *more], index=index, generator=LetterGenerator())
    rows = np.arange(69)
    np.testing.assert_array_equal(grown.vectors(rows), at_once.vectors(rows))
    for a, b in zip(grown.tokens.take(rows), at_once.tokens.take(rows), strict=True):
        np.testing.assert_array_equal(a, b)
    queries = questions(6)
    np.testing.assert_array_equal(grown.search(queries, 7).ids, at_once.search(queries, 7).ids)
    assert grown.recall == at_once.recall
    assert [grown.row(one.id) for one in more] == list(range(60, 69))
    parts = [tmp_path / f"kb/generations/00000{n}/passages.arrow" for n in (1, 2)]
    assert parts[0].samefile(parts[1])


def test_removed_passages_are_gone_and_the_rest_is_shared(tmp_path):
    first = build(tmp_path / "kb", generator=LetterGenerator())
    gone = {"p0", "p31", "p59"}
    left = [one for one in BOOKS if one.id not in gone]
    small = first.remove(["p31"]).remove(["p0", "p59"])
    small.verify()
    assert len(small) == 57
    assert list(small) == left
    assert small.row("p58") == 58  # the rows of the others stay
    with pytest.raises(ValueError, match="p31"):
        small.row("p31")
    queries = questions(8)
    hits = small.search(queries, 60)
    order, _ = truth(queries)
    expected = [[row for row in line if f"p{row}" not in gone] for line in order]
    np.testing.assert_array_equal(hits.ids[:, :57], expected)
    assert (hits.ids[:, 57:] == -1).all()
    for name in ("vectors.raw", "passages.arrow", "tokens.raw", "index/vectors.raw"):
        parts = [tmp_path / "kb/generations" / f"00000{n}" / name for n in (1, 3)]
        assert parts[0].samefile(parts[1])
    allowed = np.array([0, 1, 2])
    assert set(small.propose(queries, 3, allowed).ids.ravel().tolist()) == {1, 2, -1}


def test_a_removed_id_can_be_used_again(tmp_path):
    base = build(tmp_path / "kb").remove(["p3"])
    changed = Passage("p3", "new", "the new text")
    base = base.add([changed], HashEncoder())
    base.verify()
    assert base.passage("p3") == changed
    assert base.row("p3") == 60
    assert len(base) == 60
    base = base.compact()
    base.verify()
    assert list(base) == [*BOOKS[:3], *BOOKS[4:], changed]
    assert base.row("p3") == 59
    assert base.manifest.removed == 0


def test_compacting_is_as_if_built_without(tmp_path):
    left = [one for i, one in enumerate(BOOKS) if i % 3]
    base = build(tmp_path / "kb", generator=LetterGenerator())
    small = base.remove([one.id for one in BOOKS[::3]]).compact()
    small.verify()
    at_once = build(tmp_path / "other", left, generator=LetterGenerator())
    rows = np.arange(len(left))
    assert list(small) == left
    np.testing.assert_array_equal(small.vectors(rows), at_once.vectors(rows))
    for a, b in zip(small.tokens.take(rows), at_once.tokens.take(rows), strict=True):
        np.testing.assert_array_equal(a, b)
    queries = questions(5)
    np.testing.assert_array_equal(small.search(queries, 9).ids, at_once.search(queries, 9).ids)


def test_only_the_current_generation_can_be_changed(tmp_path):
    base = build(tmp_path / "kb")
    base.remove(["p1"])
    with pytest.raises(KnowledgeBaseError, match="no longer current"):
        base.remove(["p2"])
