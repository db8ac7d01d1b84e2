"""The retriever ``bm25`` against the formulas written out."""

from __future__ import annotations

import copy
import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import shore
import torch
from ragkit_bm25.retriever import METHODS, BM25Retriever, best
from ragkit_bm25.terms import TermIndex
from shore import PASSAGES, QUESTIONS

from ragkit import KnowledgeBase, Passage, build, make
from ragkit.errors import ConfigError, CorruptError, DataError, KnowledgeBaseError
from ragkit.protocols import SupportsFilter, SupportsSave

N = len(PASSAGES)
STOP = sorted(shore.STOP)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> KnowledgeBase:
    return shore.base(tmp_path_factory.mktemp("shore") / "kb")


def expected(scores: list[float], k: int) -> tuple[list[int], list[float]]:
    order = sorted(range(len(scores)), key=lambda i: (-round(scores[i], 6), i))[:k]
    return order, [scores[i] for i in order]


# ---------------------------------------------------------------------- the scores


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("k1", "b", "delta"), [(1.2, 0.75, 0.5), (2.0, 0.0, 1.0), (0.4, 1.0, 0.0)])
def test_scores_are_those_of_the_formula(
    base: KnowledgeBase, method: Any, k1: float, b: float, delta: float
) -> None:
    retriever = BM25Retriever(base, k1, b, delta, method, STOP)
    found = retriever.retrieve(QUESTIONS, N)
    for row, question in enumerate(QUESTIONS):
        scores = np.array(shore.bm25(question, PASSAGES, method, k1, b, delta))
        scores -= scores[5]  # of a passage without words: 0, or in two methods what all have
        given = np.zeros(N)
        given[found.ids[row]] = found.scores[row]
        np.testing.assert_allclose(given, scores, atol=2e-5)


def test_the_best_come_first_and_those_without_a_word_last_in_order_of_rows(
    base: KnowledgeBase,
) -> None:
    found = BM25Retriever(base, stopwords=STOP).retrieve(QUESTIONS, N)
    for row, question in enumerate(QUESTIONS):
        ids, scores = expected(shore.bm25(question), N)
        assert found.ids[row].tolist() == ids
        np.testing.assert_allclose(found.scores[row], scores, atol=1e-5)
        assert [p.id for p in found.passages[row] if p] == [PASSAGES[i].id for i in ids]
    assert found.ids[3].tolist() == list(range(N))  # no word at all
    assert found.scores[3].eq(0).all()
    assert found.mask.all()


def test_scores_are_the_logits_of_the_prior(base: KnowledgeBase) -> None:
    for temperature in (1.0, 2.5):
        retriever = BM25Retriever(base, stopwords=STOP, temperature=temperature)
        prior = retriever.retrieve(QUESTIONS, 3).prior().exp()
        for row, question in enumerate(QUESTIONS):
            _, scores = expected(shore.bm25(question), 3)
            weights = np.exp(np.array(scores) / temperature)
            np.testing.assert_allclose(prior[row], weights / weights.sum(), atol=1e-5)


def test_a_word_asked_twice_counts_twice(base: KnowledgeBase) -> None:
    retriever = BM25Retriever(base)
    once, twice = (retriever.retrieve([q], 1).scores.item() for q in ("rye", "rye rye"))
    assert twice == pytest.approx(2 * once)


def test_k_above_the_count_is_padded_and_fewer_are_the_first_of_more(base: KnowledgeBase) -> None:
    retriever = BM25Retriever(base)
    wide, narrow = retriever.retrieve(QUESTIONS, N + 3), retriever.retrieve(QUESTIONS, 2)
    assert wide.ids[:, N:].eq(-1).all()
    assert wide.scores[:, N:].eq(-torch.inf).all()
    assert not wide.mask[:, N:].any()
    assert wide.passages[0][N:] == (None, None, None)
    assert torch.equal(narrow.ids, wide.ids[:, :2])
    assert torch.equal(narrow.scores, wide.scores[:, :2])


@pytest.mark.parametrize("seed", range(5))
def test_the_k_best_are_those_of_a_stable_sort(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 4, size=40).astype(np.float32)
    order = np.argsort(-scores, kind="stable")
    for k in (1, 7, 39, 40, 60):
        np.testing.assert_array_equal(best(scores, k), order[:k])


# -------------------------------------------------------------------------- words


def test_stop_words_are_a_language_a_list_or_none(base: KnowledgeBase) -> None:
    def hits(**options: Any) -> list[int]:
        found = BM25Retriever(base, **options).retrieve(["the"], N)
        return sorted(found.ids[found.scores > 0].tolist())

    assert hits() == []
    assert hits(stopwords=["rye"]) == hits(stopwords=None) != []
    with pytest.raises(ConfigError, match="bm25s has no list of that language"):
        BM25Retriever(base, stopwords="klingon")


def test_a_stemmer_joins_the_forms_of_a_word(base: KnowledgeBase) -> None:
    pytest.importorskip("Stemmer", reason="pip install PyStemmer")
    import Stemmer

    stem = Stemmer.Stemmer("english").stemWord
    retriever = BM25Retriever(base, stopwords=STOP, stemmer="english")
    question = "keepers of rained mosses"

    def tokens(text: str) -> list[str]:
        return [stem(word) for word in shore.words(text)]

    ids, scores = expected(shore.bm25(question, tokens=tokens), N)
    found = retriever.retrieve([question], N)
    np.testing.assert_allclose(found.scores[0], scores, atol=1e-5)
    assert found.ids[0].tolist() == ids
    plain = BM25Retriever(base, stopwords=STOP).retrieve([question], N)
    assert (found.scores > 0).sum() > (plain.scores > 0).sum()
    with pytest.raises(ConfigError, match="did you mean 'english'"):
        BM25Retriever(base, stemmer="englsh")


def test_without_a_stemmer_library_the_answer_says_what_to_type(
    base: KnowledgeBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ragkit.errors import MissingDependency

    monkeypatch.setitem(__import__("sys").modules, "Stemmer", None)
    with pytest.raises(MissingDependency, match="pip install PyStemmer"):
        BM25Retriever(base, stemmer="english")


def test_a_word_is_what_the_pattern_says(tmp_path: Path) -> None:
    texts = ["漢字", "字", "a 7 b", "x"]
    kb = shore.base(tmp_path / "kb", [Passage(str(i), "", t) for i, t in enumerate(texts)])
    found = BM25Retriever(kb, pattern=r"\w", stopwords=None).retrieve(["字", "7"], 4)
    assert (found.scores > 0).sum(1).tolist() == [2, 1]
    assert found.ids[:, 0].tolist() == [1, 2]
    with pytest.raises(ConfigError, match="no regular expression"):
        BM25Retriever(kb, pattern="(")


def test_passages_without_any_word_are_no_trouble(tmp_path: Path) -> None:
    kb = shore.base(tmp_path / "kb", [Passage("a", "", "..."), Passage("b", "", "the")])
    for method in METHODS:
        found = BM25Retriever(kb, method=cast(Any, method)).retrieve(["the sea", ""], 2)
        assert found.scores.eq(0).all()
        assert found.ids.tolist() == [[0, 1], [0, 1]]


# -------------------------------------------------------------------- filter, swap


def test_the_best_of_the_allowed_have_the_scores_they_always_have(base: KnowledgeBase) -> None:
    retriever = BM25Retriever(base, stopwords=STOP)
    assert isinstance(retriever, SupportsFilter)
    allowed = {"storm", "moss", "harbour"}
    rows = sorted(base.row(one) for one in allowed)
    found = retriever.retrieve_from(QUESTIONS, 4, allowed)
    for row, question in enumerate(QUESTIONS):
        scores = shore.bm25(question)
        order = sorted(rows, key=lambda i: (-round(scores[i], 6), i))
        assert found.ids[row].tolist() == [*order, -1]
        np.testing.assert_allclose(found.scores[row, :3], [scores[i] for i in order], atol=1e-5)
    with pytest.raises(DataError, match="allowed is empty"):
        retriever.retrieve_from(QUESTIONS, 2, [])
    with pytest.raises(DataError, match="nowhere"):
        retriever.retrieve_from(QUESTIONS, 2, ["nowhere"])


def test_removed_passages_are_neither_found_nor_counted(tmp_path: Path) -> None:
    kb = shore.base(tmp_path / "kb").remove(["tram", "storm"])
    left = [p for p in PASSAGES if p.id not in ("tram", "storm")]
    found = BM25Retriever(kb, stopwords=STOP).retrieve(QUESTIONS, N)
    assert found.mask.sum(1).tolist() == [6] * 4
    for row, question in enumerate(QUESTIONS):
        order, scores = expected(shore.bm25(question, left), 6)
        assert [p.id for p in found.passages[row] if p] == [left[i].id for i in order]
        np.testing.assert_allclose(found.scores[row, :6], scores, atol=1e-5)
        assert found.ids[row, :6].tolist() == [kb.row(left[i].id) for i in order]
    some = BM25Retriever(kb).retrieve_from(QUESTIONS, 1, ["town"])
    assert some.ids.tolist() == [[7]] * 4


def test_a_swap_answers_from_other_passages_and_leaves_what_is_on_its_way(tmp_path: Path) -> None:
    old, new = shore.base(tmp_path / "a"), shore.base(tmp_path / "b", PASSAGES[::-1])
    retriever = BM25Retriever(old)
    before = retriever.retrieve(["rye"], 1)
    retriever.prepare(new)
    prepared = retriever._ready
    retriever.swap(new)
    assert retriever.terms is prepared
    assert retriever.knowledge_base is new
    after = retriever.retrieve(["rye"], 1)
    assert (before.ids.item(), after.ids.item()) == (2, 5)
    assert before.passages[0][0] == after.passages[0][0] == PASSAGES[2]
    terms = retriever.terms
    retriever.swap(KnowledgeBase.open(tmp_path / "b"))
    assert retriever.terms is terms  # the same passages


def test_threads_get_what_one_gets(base: KnowledgeBase) -> None:
    pytest.importorskip("Stemmer", reason="pip install PyStemmer")
    retriever = BM25Retriever(base, stemmer="english")
    alone = [retriever.retrieve([q], 4).scores for q in QUESTIONS]
    with ThreadPoolExecutor(4) as pool:
        scores = list(pool.map(lambda q: retriever.retrieve([q], 4).scores, QUESTIONS * 20))
    assert all(torch.equal(one, alone[i % 4]) for i, one in enumerate(scores))


# -------------------------------------------------------------------------- on disk


def test_an_index_of_terms_is_mapped_and_found_again(base: KnowledgeBase, tmp_path: Path) -> None:
    first = BM25Retriever(base, directory=tmp_path / "terms")
    scores = first.terms._bm25.scores
    assert all(isinstance(scores[name], np.memmap) for name in ("data", "indices", "indptr"))
    (folder,) = (tmp_path / "terms").iterdir()
    stamp = os.stat(folder / "terms.json").st_mtime_ns
    again = BM25Retriever(base, directory=tmp_path / "terms")
    assert os.stat(folder / "terms.json").st_mtime_ns == stamp
    assert torch.equal(again.retrieve(QUESTIONS, 5).scores, first.retrieve(QUESTIONS, 5).scores)
    again.terms.verify()
    BM25Retriever(base, k1=0.9, directory=tmp_path / "terms")
    assert len(list((tmp_path / "terms").iterdir())) == 2


def test_a_passing_index_goes_with_its_retriever(base: KnowledgeBase) -> None:
    retriever = BM25Retriever(base)
    folder = retriever.terms.folder
    twin = copy.deepcopy(retriever)
    assert twin.terms is retriever.terms
    del retriever
    assert folder.is_dir()
    del twin
    assert not folder.exists()


@pytest.mark.parametrize("copied", [False, True])
def test_what_was_saved_comes_back_from_a_moved_folder(tmp_path: Path, copied: bool) -> None:
    kb = shore.base(tmp_path / "here" / "kb")
    retriever = BM25Retriever(kb, k1=0.8, method="bm25+", stopwords=STOP, temperature=3.0)
    assert isinstance(retriever, SupportsSave)
    retriever.save(tmp_path / "here" / "model", copy_knowledge_base=copied)
    shutil.move(tmp_path / "here", tmp_path / "there")
    if copied:
        shutil.rmtree(tmp_path / "there" / "kb")
    loaded = BM25Retriever.load(tmp_path / "there" / "model")
    assert loaded.options == retriever.options
    assert loaded.terms.folder == tmp_path / "there" / "model" / "terms"  # opened, not made anew
    found = retriever.retrieve(QUESTIONS, 5)
    again = loaded.retrieve(QUESTIONS, 5)
    assert torch.equal(again.scores, found.scores)
    assert [list(row) for row in again.passages] == [list(row) for row in found.passages]


def test_a_loaded_retriever_takes_another_knowledge_base(
    base: KnowledgeBase, tmp_path: Path
) -> None:
    BM25Retriever(base, stopwords=STOP).save(tmp_path / "model")
    other = shore.base(tmp_path / "kb", PASSAGES[:3])
    loaded = BM25Retriever.load(tmp_path / "model", knowledge_base=other)
    _, scores = expected(shore.bm25(QUESTIONS[0], PASSAGES[:3]), 3)
    np.testing.assert_allclose(loaded.retrieve(QUESTIONS[:1], 3).scores[0], scores, atol=1e-5)


def test_damaged_folders_are_named(base: KnowledgeBase, tmp_path: Path) -> None:
    retriever = BM25Retriever(base, directory=tmp_path / "terms")
    whole = retriever.terms.folder
    broken = tmp_path / "broken"

    def refused(name: str, change: Any, words: str) -> None:
        shutil.rmtree(broken, ignore_errors=True)
        shutil.copytree(whole, broken)
        raw = bytearray((broken / name).read_bytes())
        (broken / name).write_bytes(change(raw))
        with pytest.raises(CorruptError, match=words):
            TermIndex(broken, retriever.options).verify()

    def flipped(raw: bytearray) -> bytearray:
        raw[-1] ^= 1
        return raw

    for name in ("data.csc.index.npy", "indices.csc.index.npy", "rows.npy"):
        refused(name, lambda raw: raw[:-1], f"{name} .* has")
        refused(name, flipped, "not what was written")
    refused("vocab.index.json", flipped, "sha256 differs")
    refused("params.index.json", flipped, "sha256 differs")
    refused("terms.json", lambda raw: raw[:-9], "cannot be read")
    refused("terms.json", lambda raw: raw.replace(b'"format": 1', b'"format": 2'), "format 2")
    (whole / "rows.npy").unlink()
    with pytest.raises(CorruptError, match=r"rows\.npy .* is missing"):
        TermIndex(whole, retriever.options)


def test_missing_folders_are_answered_in_words(base: KnowledgeBase, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"retriever\.json is missing"):
        BM25Retriever.load(tmp_path)
    BM25Retriever(base).save(tmp_path)
    notes = json.loads((tmp_path / "retriever.json").read_text())
    (tmp_path / "retriever.json").write_text(json.dumps({**notes, "knowledge_base": "../gone"}))
    with pytest.raises(KnowledgeBaseError, match="move it back"):
        BM25Retriever.load(tmp_path)


def test_it_is_built_by_name_and_bad_options_come_all_at_once(base: KnowledgeBase) -> None:
    table = {"name": "bm25", "knowledge_base": str(base.directory), "stopwords": ["the"]}
    assert isinstance(build("retriever", table), BM25Retriever)
    with pytest.raises(ConfigError) as caught:
        BM25Retriever(base, k1=-1, b=2, delta=-1, method="tfidf", temperature=0)  # type: ignore[arg-type]
    assert len(caught.value.faults) == 5
    with pytest.raises(ConfigError, match="must be 'lucene' or"):
        make("retriever", "bm25", knowledge_base=base, method="tfidf")
    retriever = BM25Retriever(base)
    for k in (0, True, 1.5):
        with pytest.raises(DataError, match="k is"):
            retriever.retrieve(QUESTIONS, k)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="one string"):
        retriever.retrieve("who", 1)
