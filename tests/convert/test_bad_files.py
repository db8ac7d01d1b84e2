"""Bad passages, vectors, indexes, checkpoints of DPR and JSON: one clear error, nothing written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import faiss
import numpy as np
import pytest
import torch
from transformers import DPRContextEncoder, DPRQuestionEncoder

import theirs
import tiny
from ragkit.convert import from_dpr, from_retrieval, to_knowledge_base
from ragkit.errors import ConfigError, DataError, EncoderMismatch
from ragkit.retrieve.dpr import DPREncoder
from spoiling import POINTER, Bomb, Case, both, cut, drop, refuses, write

TOWER = theirs.dpr(DPRContextEncoder, 2)
FOUND = theirs.vectors(TOWER)
D = FOUND.shape[1]


# ------------------------------------------------------------- passages with vectors


def columns(**changes: Any) -> Callable[[Path], dict[str, Any]]:
    """A dataset with columns changed; None leaves one out."""

    def make(folder: Path) -> dict[str, Any]:
        table: dict[str, Any] = {
            "id": [one.id for one in theirs.PASSAGES],
            "title": [one.title for one in theirs.PASSAGES],
            "text": [one.text for one in theirs.PASSAGES],
            "embeddings": [row.tolist() for row in FOUND],
            **changes,
        }
        table = {name: column for name, column in table.items() if column is not None}
        datasets.Dataset.from_dict(table).save_to_disk(str(folder / "set"))
        return {"source": folder / "set"}

    return make


def spoilt(spoil: Callable[[Path], Any]) -> Callable[[Path], dict[str, Any]]:
    def make(folder: Path) -> dict[str, Any]:
        found = columns()(folder)
        spoil(found["source"])
        return found

    return make


def with_faiss(made: Any, found: Any = FOUND, **changes: Any) -> Callable[[Path], dict[str, Any]]:
    def make(folder: Path) -> dict[str, Any]:
        index = made()
        if not index.is_trained:
            index.train(np.vstack([found] * 60))
        path = theirs.index(folder / "i.faiss", found, index)
        return {**columns(**changes)(folder), "faiss": path}

    return make


def files(name: str, text: str, **options: Any) -> Callable[[Path], dict[str, Any]]:
    def make(folder: Path) -> dict[str, Any]:
        (folder / name).write_text(text)
        given = {key: folder / value for key, value in options.items()}
        return {"source": folder / name, **given}

    return make


def tsv_and_index(folder: Path) -> dict[str, Any]:
    (folder / "p.tsv").write_text("id\ttext\ttitle\na\tone\tA\nb\ttwo\tB\n")
    index = theirs.index(folder / "i.faiss", FOUND, faiss.IndexFlatIP(D))
    return {"source": folder / "p.tsv", "faiss": index, "sample": 0}


def compressed(folder: Path) -> dict[str, Any]:
    sq = faiss.IndexHNSWSQ(D + 1, faiss.ScalarQuantizer.QT_8bit, 8)
    return with_faiss(lambda: sq, theirs.extended(FOUND), embeddings=None)(folder)


WITH_NAN = [[*row[:-1].tolist(), float("nan")] for row in FOUND]
KB = [
    Case("no text", columns(text=None), DataError, ("has the columns", "need text")),
    Case("no embeddings", columns(embeddings=None), DataError,
         ("no column 'embeddings'", "--column", "--faiss")),
    Case("embeddings of another name", columns(embeddings=None, embedding=FOUND.tolist()),
         DataError,
         ("did you mean 'embedding'?",)),
    Case("embeddings that are numbers", columns(embeddings=[1.0] * 6), DataError,
         ("not of lists of numbers",)),
    Case("embeddings of text", columns(embeddings=[["a"]] * 6), DataError, ("not of numbers",)),
    Case("vectors of different lengths", columns(embeddings=[[1.0]] * 5 + [[1.0, 2.0]]),
         EncoderMismatch, ("1 dimensions", "encoder makes 16")),
    Case("a short vector", columns(embeddings=[r.tolist() for r in FOUND[:5]] + [[1.0]]), DataError,
         ("different lengths",)),
    Case("a missing vector", columns(embeddings=[r.tolist() for r in FOUND[:5]] + [None]),
         DataError,
         ("a missing vector",)),
    Case("NaN", columns(embeddings=WITH_NAN), EncoderMismatch, ("cosines",)),
    Case("of another encoder", columns(embeddings=FOUND[::-1].tolist()), EncoderMismatch,
         ("cosines", "--sample 0")),
    Case("a text that is none", columns(text=[None, *["a"] * 5]), DataError, ("row 0", "texts")),
    Case("an id that is none", columns(id=[1.5] * 6), DataError, ("row 0", "id is 1.5")),
    Case("the same id twice", columns(id=["a"] * 6), DataError, ("both have the id 'a'",)),
    Case("an empty dataset",
         columns(id=[], title=[], text=[], embeddings=[]), DataError,
         ("no dataset could be read",)),
    Case("no state", spoilt(drop("state.json")), DataError, ("no dataset could be read",)),
    Case("arrow files alone", spoilt(both(drop("state.json"), drop("dataset_info.json"))),
         DataError,
         ("no state.json", "complete?")),
    Case("a missing file", spoilt(drop("data-00000-of-00001.arrow")), DataError,
         ("no dataset could be read", "complete?")),
    Case("half a file", spoilt(cut("data-00000-of-00001.arrow")), DataError, ("complete?",)),
    Case("a garbled state", spoilt(write("state.json", "{")), DataError, ("complete?",)),
    Case("a split of nothing", spoilt(lambda f: None), DataError, ("--split",)),
    Case("no parquet", files("p.parquet", "PAR1"), DataError, ("complete?",)),
    Case("a pickle of passages", files("psgs_w100.tsv.pkl", "x"), DataError,
         ("is a pickle", "psgs_w100.tsv")),
    Case("a pickle of an index", files("p.tsv", "id\ttext\n", faiss="p.tsv.pkl"), DataError,
         ("index",)),
    Case("passages without vectors", files("p.jsonl", '{"id": "a", "text": "b"}\n'), DataError,
         ("passages without vectors", "--faiss", "ragkit kb build")),
    Case("a folder of something else", lambda f: {"source": f}, DataError, ("no .txt or .md",)),
    Case("an index that is none", files("p.tsv", "id\ttext\n", faiss="p.tsv"), DataError,
         ("no whole faiss index",)),
    Case("an index of others", with_faiss(lambda: faiss.IndexFlatIP(D), FOUND[:4].copy()),
         DataError,
         ("4 vectors", "6 passages", "do not belong together")),
    Case("an index of another dimension",
         with_faiss(lambda: faiss.IndexFlatIP(8), FOUND[:, :8].copy()), DataError,
         ("8 dimensions", "makes 16")),
    Case("D + 1 that is not DPR's",
         with_faiss(lambda: faiss.IndexFlatL2(D + 1), np.hstack([FOUND, FOUND[:, :1]]).copy()),
         DataError, ("17 dimensions", "makes 16")),
    Case("an index with ids", with_faiss(lambda: faiss.IndexIDMap2(faiss.IndexFlatIP(D))),
         DataError,
         ("IndexIDMap2", "a table of its own")),
    Case("an index by L1", with_faiss(lambda: faiss.IndexFlat(D, faiss.METRIC_L1)), DataError,
         ("neither by inner product nor by L2",)),
    Case("compressed vectors", compressed, DataError, ("compressed vectors", "ragkit kb build")),
    Case("other passages than vectors", tsv_and_index, DataError,
         ("6 vectors", "2 passages", "do not belong together")),
]  # fmt: skip


@pytest.mark.parametrize("case", KB, ids=lambda case: case.name)
def test_passages_with_vectors(tmp_path: Path, case: Case) -> None:
    options = case.spoil(tmp_path)
    if case.name == "a split of nothing":
        one = datasets.load_from_disk(str(options["source"]))
        table = datasets.DatasetDict({"train": one, "dev": one})
        table.save_to_disk(str(tmp_path / "sets"))
        options["source"] = tmp_path / "sets"
    if case.name == "a pickle of an index":
        options["faiss"] = tmp_path / "index_meta.dpr"
        options["faiss"] = Path(shutil.copy(tmp_path / "p.tsv", tmp_path / "i.index_meta.dpr"))
    encoder = DPREncoder(theirs.dpr(DPRQuestionEncoder, 1), TOWER, tiny.tokenizer())
    source = options.pop("source")
    call = lambda: to_knowledge_base(source, tmp_path / "kb", encoder, **options)  # noqa: E731
    refuses(case, call, tmp_path)


# ------------------------------------------------------------------ DPR's checkpoints


def cp(**changes: Any) -> Callable[[Path], Any]:
    """A good checkpoint with entries changed; None leaves one out."""

    def make(folder: Path) -> None:
        sides = {"question_model": theirs.bert_states(1), "ctx_model": theirs.bert_states(2)}
        state = {f"{s}.{n}": w for s, tower in sides.items() for n, w in tower.items()}
        params = {"encoder_model_type": "hf_bert", "pretrained_model_cfg": "bert-base-uncased"}
        table: dict[str, Any] = {"model_dict": state, "encoder_params": params}
        for name, change in changes.items():
            table[name] = change(table[name]) if callable(change) else change
        torch.save({n: v for n, v in table.items() if v is not None}, folder / "a.cp")

    return make


def without(words: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda state: {name: one for name, one in state.items() if words not in name}


DPR = [
    Case("no file", lambda f: None, DataError, ("is not there", "give the path")),
    Case("a folder", lambda f: (f / "a.cp").mkdir(), DataError, ("is a folder",)),
    Case("half a file", both(cp(), cut("a.cp")), DataError, ("no whole file", "complete?")),
    Case("a pointer of git-lfs", write("a.cp", POINTER), DataError, ("git lfs pull",)),
    Case("it would run", cp(encoder_params=lambda _: Bomb()), DataError, ("any code", "print")),
    Case("no model", cp(model_dict=None), ConfigError, ("no model_dict", "encoder_params")),
    Case("another model", cp(model_dict=lambda _: {"a.weight": torch.ones(2)}), ConfigError,
         ("neither question_model nor ctx_model", "a.weight")),
    Case("the reader", cp(model_dict=lambda _: {"qa_outputs.weight": torch.ones(2)}), ConfigError,
         ("DPR's reader",)),
    Case("one tower", cp(model_dict=without("ctx_model")), ConfigError,
         ("no passage tower", "both")),
    Case("a layer is missing", cp(model_dict=without("question_model.encoder.layer.1.output")),
         DataError, ("lacks", "question tower", "layer.1.output")),
    Case("no embeddings", cp(model_dict=without("word_embeddings")), DataError,
         ("no whole BERT", "word_embeddings")),
    Case("of another kind", cp(encoder_params=lambda p: {**p, "encoder_model_type": "hf_roberta"}),
         ConfigError, ("'hf_roberta'", "'hf_bert'")),
]  # fmt: skip


@pytest.mark.parametrize("case", DPR, ids=lambda case: case.name)
def test_checkpoints_of_dpr(tmp_path: Path, case: Case) -> None:
    tiny.bert_config().save_pretrained(tmp_path / "bert")
    tiny.tokenizer().save_pretrained(tmp_path / "bert")
    case.spoil(tmp_path)
    call = lambda: from_dpr(tmp_path / "a.cp", tmp_path / "out", base=tmp_path / "bert")  # noqa: E731
    refuses(case, call, tmp_path)


BASES: list[tuple[Callable[[Path], Any], tuple[str, ...]]] = [
    (lambda f: tiny.bert().save_pretrained(f), ("has 5 tokens", "--base")),
    (lambda f: tiny.bert_config(vocabulary=300).save_pretrained(f), ("vocab_size 300 and 261",)),
    (lambda f: tiny.bart().save_pretrained(f), ("is 'bart'", "BERTs")),
    (lambda f: tiny.tokenizer().save_pretrained(f), ("not heads of 64", "--base")),
]


@pytest.mark.parametrize(("make", "says"), BASES, ids=[says[0] for _, says in BASES])
def test_bases_that_are_not_right(tmp_path: Path, make: Any, says: tuple[str, ...]) -> None:
    cp()(tmp_path)
    make(tmp_path / "bert")
    call = lambda: from_dpr(tmp_path / "a.cp", tmp_path / "out", base=tmp_path / "bert")  # noqa: E731
    refuses(Case("", str, ConfigError, says), call, tmp_path)


# ------------------------------------------------------------------------ retrieval

GOOD = {"question": "who?", "answers": ["Ada"], "ctxs": [{"id": "1", "title": "T", "text": "t"}]}
RETRIEVAL: list[tuple[str, Any, tuple[str, ...]]] = [
    ("half a file", json.dumps([GOOD, GOOD])[:-30], ("fetch it",)),
    ("no JSON", "<html>", ("a.json",)),
    ("nothing in it", "[]", ("no records",)),
    ("an empty file", "", ("is empty", "complete?")),
    ("texts", ["a"], ("record 1", "str, not an object")),
    ("no question", [{**GOOD, "question": " "}], ("record 1", "question is ' '")),
    ("another field", [GOOD, {"query": "who?"}], ("record 2", "Fields: query")),
    ("no answers", [{**GOOD, "answers": []}], ("record 1", "answers is []")),
    ("an answer that is none", [{**GOOD, "answers": [3]}], ("3 among the answers",)),
    ("passages that are none", [{**GOOD, "ctxs": "a"}], ("ctxs is 'a'",)),
    ("a passage without text", [{**GOOD, "ctxs": [{"title": "a"}]}], ("ctxs[0]", "Fields: title")),
    ("a score that is none", [{**GOOD, "ctxs": [{"text": "a", "score": "x"}]}], ("score is 'x'",)),
    ("ids twice", [{**GOOD, "id": "a"}, {**GOOD, "id": "a"}], ("record 2", "as record 1 has")),
    ("some without passages", [GOOD, {"question": "a", "answers": ["b"]}], ("record 2", "no ctxs")),
    ("some with passages", [{"question": "a", "answers": ["b"]}, GOOD], ("record 2", "has ctxs")),
]


@pytest.mark.parametrize(("name", "content", "says"), RETRIEVAL, ids=[n for n, _, _ in RETRIEVAL])
def test_retrieved_passages(tmp_path: Path, name: str, content: Any, says: tuple[str, ...]) -> None:
    text = content if isinstance(content, str) else json.dumps(content)
    (tmp_path / "a.json").write_text(text)
    call = lambda: from_retrieval(tmp_path / "a.json", tmp_path / "out")  # noqa: E731
    refuses(Case(name, str, DataError, says), call, tmp_path)


def test_no_such_file_and_no_such_k(tmp_path: Path) -> None:
    case = Case("", str, DataError, ("is not there",))
    refuses(case, lambda: from_retrieval(tmp_path / "a.json", tmp_path / "out"), tmp_path)
    (tmp_path / "a.json").write_text(json.dumps([GOOD]))
    case = Case("", str, DataError, ("k is 0",))
    refuses(case, lambda: from_retrieval(tmp_path / "a.json", tmp_path / "out", k=0), tmp_path)
