"""All kinds of bad input in one table: the error says what was wrong, what there is and
what to type, and nothing is left half written."""

from __future__ import annotations

import errno
import gzip
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch

import tiny
from ragkit import KnowledgeBase, config, evaluate, registry
from ragkit.errors import (
    ConfigError,
    CorruptError,
    DataError,
    EncoderMismatch,
    KnowledgeBaseError,
    LockedError,
    MissingDependency,
    UnknownName,
)
from ragkit.generate.seq2seq import Seq2SeqGenerator
from ragkit.hookspecs import Component
from ragkit.index.exact import ExactIndex
from ragkit.index.faiss import FaissIndex
from ragkit.knowledge import disk, read
from ragkit.rag import RAG
from ragkit.retrieve.dense import DenseRetriever
from ragkit.retrieve.dpr import DPREncoder

PASSAGES = [{"id": f"p{i}", "title": f"t{i}", "text": f"text {i}"} for i in range(6)]


def encoder(seed: int = 0) -> DPREncoder:
    return DPREncoder(tiny.bert(seed=seed), tokenizer=tiny.tokenizer())


class World:
    """What the rows act on: a whole model, and a folder for each row."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.encoder = encoder()
        self.generator = Seq2SeqGenerator(tiny.bart(), tiny.tokenizer())
        self.base = KnowledgeBase.build(
            PASSAGES, self.encoder, "exact", folder / "kb", generator=self.generator
        )
        self.rag = RAG(DenseRetriever(self.encoder, self.base), self.generator)
        self.rag.save_pretrained(folder / "model")
        self.here = folder

    def build(self, passages=PASSAGES, index="exact", **options):
        return KnowledgeBase.build(
            passages, options.pop("encoder", self.encoder), index, self.here / "new", **options
        )

    def write(self, name: str, data: str | bytes) -> Path:
        file = self.here / name
        file.write_bytes(data.encode() if isinstance(data, str) else data)
        return file

    def damaged(self, pattern: str, change: Callable[[Path], None]) -> KnowledgeBase:
        shutil.copytree(self.folder / "kb", self.here / "broken")
        (file,) = (self.here / "broken").rglob(pattern)
        change(file)
        base = KnowledgeBase.open(self.here / "broken")
        base.verify()
        return base

    def model(self, change: Callable[[Path], None]) -> RAG:
        shutil.copytree(self.folder / "model", self.here / "broken")
        change(self.here / "broken")
        return RAG.from_pretrained(self.here / "broken")


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-3])


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 0xFF
    file.write_bytes(bytes(data))


def edit(**changes) -> Callable[[Path], None]:
    def change(file: Path) -> None:
        file.write_text(json.dumps(json.loads(file.read_text()) | changes))

    return change


class Other:
    """An encoder that gives what it is told."""

    fingerprint = "other"

    def __init__(self, vectors, dimension=16):
        self.vectors, self.dimension = vectors, dimension

    def passages(self, passages):
        return torch.as_tensor(self.vectors)[: len(passages)]


def lock_and_build(w: World):
    with disk.writing(w.here / "new"):
        w.build()


def disk_full(w: World):
    with pytest.MonkeyPatch.context() as patch:

        def full(*a):
            raise OSError(errno.ENOSPC, "No space left on device")

        patch.setattr("os.fsync", full)
        w.build()


def missing(w: World):
    with pytest.MonkeyPatch.context() as patch:
        listing = registry.lookup("index", "faiss")
        gone = Component("faiss", "x:Y", needs=("no_such_module",), install="pip install faiss-cpu")
        other = registry.Listing(
            "index", gone, "ragkit", "0", "missing", f"it needs it: {gone.install}"
        )
        patch.setattr(registry, "lookup", lambda *a: other)
        assert listing.state == "ready"
        registry.make("index", "faiss")


class Row(NamedTuple):
    error: type[Exception] | tuple[type[Exception], ...]
    words: str
    act: Callable[[World], object]


ONES = np.ones((3, 16), dtype=np.float32)
TABLE = {
    # ---------------------------------------------------------------- names and options
    "unknown component": Row(
        UnknownName,
        "did you mean 'faiss'.*Known: exact, .*faiss",
        lambda w: registry.make("index", "faiss-flt"),
    ),
    "unknown role": Row(UnknownName, "did you mean 'index'", lambda w: registry.make("indx", "x")),
    "unknown option": Row(
        ConfigError,
        "did you mean 'factory'",
        lambda w: registry.make("index", "faiss", factry="Flat"),
    ),
    "wrong type of an option": Row(
        ConfigError,
        r"factory: 3 \(int\) must be str",
        lambda w: registry.make("index", "faiss", factory=3),
    ),
    "an option that is not among the choices": Row(
        ConfigError,
        "'thorough' or 'fast'",
        lambda w: registry.make("marginalizer", "rag-sequence", decoding="quick"),
    ),
    "several faults at once": Row(
        ConfigError,
        "3 errors",
        lambda w: config.build(
            "retriever", {"name": "dense", "encoder": "dpr", "temprature": 1, "oversample": "x"}
        ),
    ),
    "missing package": Row(MissingDependency, "pip install faiss-cpu", missing),
    "malformed override": Row(
        ConfigError, "PATH=VALUE", lambda w: config.override({}, ["index.factory"])
    ),
    "a key twice in YAML": Row(
        ConfigError, r"line 2.*second time", lambda w: config.read("a: 1\na: 2\n")
    ),
    "no YAML": Row(ConfigError, "line 1", lambda w: config.read("a: [1")),
    "no configuration file": Row(
        ConfigError, "give a YAML file", lambda w: config.load(w.here / "none.yaml")
    ),
    "impossible faiss factory": Row(
        ConfigError, "HNSW32", lambda w: w.build(index={"name": "faiss", "factory": "HNSW_32x"})
    ),
    "unknown search parameter": Row(
        ConfigError,
        "nprobe",
        lambda w: w.build(index={"name": "faiss", "factory": "Flat", "search": {"nprob": 1}}),
    ),
    # ------------------------------------------------------------------------- passages
    "duplicate ids": Row(
        DataError, "p1.*unique|unique.*p1|'p1'", lambda w: w.build([*PASSAGES, PASSAGES[1]])
    ),
    "no passages": Row(DataError, "at least one|no passage", lambda w: w.build([])),
    "a passage without text": Row(DataError, "text", lambda w: w.build([{"id": "a"}])),
    "a passage that is no dict": Row(DataError, "dict", lambda w: w.build(["text"])),
    "an empty id": Row(DataError, "empty id", lambda w: w.build([{"id": "", "text": "x"}])),
    "a bad line of jsonl": Row(
        DataError,
        r"f\.jsonl, line 2",
        lambda w: w.build(w.write("f.jsonl", '{"id":"a","text":"b"}\n{"id":\n')),
    ),
    "a tsv without header": Row(
        DataError, "id, text", lambda w: w.build(w.write("f.tsv", "1\tx\ty\n"))
    ),
    "a tsv with a column too few": Row(
        DataError,
        r"line 2.*columns",
        lambda w: w.build(w.write("f.tsv", "id\ttext\ttitle\n1\tx\n")),
    ),
    "a gz that is none": Row(
        DataError, r"f\.jsonl\.gz", lambda w: w.build(w.write("f.jsonl.gz", "no gz"))
    ),
    "half a download": Row(
        DataError,
        "complete",
        lambda w: w.build(w.write("f.jsonl.gz", gzip.compress(b'{"id":"a","text":"b"}\n')[:-9])),
    ),
    "a file that is no UTF-8": Row(
        DataError, "UTF-8", lambda w: list(read(w.write("f.txt", b"\xff\xfe\x00x")))
    ),
    "an unknown kind of file": Row(
        DataError, r"\.jsonl", lambda w: w.build(w.write("f.docx", "x"))
    ),
    "no such file": Row(DataError, "check the path", lambda w: w.build(w.here / "none.jsonl")),
    "a folder without texts": Row(DataError, r"\.txt", lambda w: w.build(w.here)),
    # -------------------------------------------------------------------------- vectors
    "vectors of another dimension": Row(
        DataError, "16", lambda w: w.build(PASSAGES[:3], encoder=Other(np.ones((3, 8))))
    ),
    "NaN vectors": Row(
        DataError, "NaN", lambda w: w.build(PASSAGES[:3], encoder=Other(ONES * np.nan))
    ),
    "vectors beyond float16": Row(
        DataError, "float32", lambda w: w.build(PASSAGES[:3], encoder=Other(ONES * 1e6))
    ),
    "unknown precision": Row(ConfigError, "'float16' or 'float32'", lambda w: w.build(dtype="f8")),
    "queries of another dimension": Row(
        DataError, "16", lambda w: w.base.search(np.ones((1, 3), np.float32), 1)
    ),
    "queries with NaN": Row(
        DataError, "NaN", lambda w: w.base.search(np.full((1, 16), np.nan, np.float32), 1)
    ),
    "k of zero": Row(DataError, "at least 1", lambda w: w.rag.answer(["q"], k=0)),
    "k below zero": Row(DataError, "at least 1", lambda w: w.base.search(ONES, -1)),
    "search before build": Row(DataError, "build", lambda w: ExactIndex().search(ONES, 1)),
    "vectors that are no matrix": Row(
        DataError, r"\(N, D\)", lambda w: FaissIndex("Flat").build(np.ones(3, np.float32))
    ),
    "adding to a mapped faiss index": Row(
        (DataError, KnowledgeBaseError),
        "mapped",
        lambda w: w.build(index={"name": "faiss", "factory": "Flat"}).index.add(ONES),
    ),
    # ---------------------------------------------------------------- knowledge base files
    "a foreign encoder": Row(
        EncoderMismatch, "build", lambda w: DenseRetriever(encoder(seed=3), w.base)
    ),
    "no knowledge base": Row(
        KnowledgeBaseError, "ragkit kb build", lambda w: KnowledgeBase.open(w.here / "none")
    ),
    "two writers": Row(LockedError, "another process", lock_and_build),
    "a full disk": Row((OSError, KnowledgeBaseError), "disk .* is full.*Make room", disk_full),
    **{
        f"{how} {pattern}": Row(
            CorruptError,
            re.escape(pattern.split("*")[0]),
            lambda w, p=pattern, c=change: w.damaged(p, c),
        )
        for how, change in (("cut", cut), ("changed", flip), ("missing", Path.unlink))
        for pattern in ("passages.*", "ids.*", "tokens.*", "offsets.*", "manifest.json")
    },
    "a pointer to nothing": Row(
        KnowledgeBaseError,
        "current|generation",
        lambda w: w.damaged("current", lambda f: f.write_text("77\n")),
    ),
    "a newer format": Row(
        KnowledgeBaseError,
        "pip install --upgrade ragkit",
        lambda w: w.damaged("manifest.json", edit(format=99)),
    ),
    "an unknown passage id": Row(DataError, "'p0'", lambda w: w.base.passage("zz")),
    "an unknown id allowed": Row(
        DataError, "zz", lambda w: w.rag.answer(["q"], k=1, allowed=["zz"])
    ),
    # ---------------------------------------------------------------------------- model
    "a target longer than the model": Row(
        DataError, "max_target", lambda w: w.rag.loss(["q"], ["y" * 700])
    ),
    "a question longer than the window": Row(
        DataError, "max_question|max_source", lambda w: w.rag.answer(["q" * 700])
    ),
    "questions as one string": Row(DataError, "list", lambda w: w.rag.loss("q", ["y"])),
    "no questions": Row(DataError, "empty", lambda w: w.rag.answer([])),
    "other numbers of targets": Row(
        DataError, "1 questions but 2", lambda w: w.rag.loss(["q"], ["y", "z"])
    ),
    "unknown decoding option": Row(
        ConfigError, "num_beams", lambda w: w.rag.answer(["q"], num_beam=2)
    ),
    "decoding option without meaning": Row(
        ConfigError, "guidance_scale", lambda w: w.rag.answer(["q"], guidance_scale=2.0)
    ),
    "unknown objective": Row(
        UnknownName, "marginal", lambda w: w.rag.loss(["q"], ["y"], objective="margnal")
    ),
    "no such model": Row(
        ConfigError, "save_pretrained", lambda w: RAG.from_pretrained(w.here / "none")
    ),
    "a model without its parts": Row(
        CorruptError, "missing", lambda w: w.model(lambda d: shutil.rmtree(d / "parts-1"))
    ),
    "a model of a newer format": Row(
        ConfigError,
        "pip install --upgrade ragkit",
        lambda w: w.model(
            lambda d: edit(ragkit={"format": 9, "parts": "parts-1", "components": {}})(
                d / "config.json"
            )
        ),
    ),
    "a form without question": Row(
        ConfigError,
        r"\{question\}",
        lambda w: Seq2SeqGenerator(tiny.bart(), tiny.tokenizer(), form="{text}"),
    ),
    # ----------------------------------------------------------------------- evaluation
    "no task file": Row(DataError, "none.jsonl", lambda w: evaluate(w.rag, w.here / "none.jsonl")),
    "a question without answers": Row(
        DataError, "line 1", lambda w: evaluate(w.rag, w.write("t.jsonl", '{"question":"q"}\n'))
    ),
    "unknown metric": Row(
        (UnknownName, ConfigError),
        "em",
        lambda w: evaluate(
            w.rag, w.write("t.jsonl", '{"question":"q","answers":["a"]}\n'), metrics=["emm"]
        ),
    ),
}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return World(tmp_path_factory.mktemp("world"))


@pytest.mark.parametrize("name", TABLE)
def test_one_clear_error(name, world, tmp_path):
    row = TABLE[name]
    world.here = tmp_path
    with pytest.raises(row.error, match=f"(?s){row.words}") as caught:
        row.act(world)
    message = str(caught.value)
    assert len(message) < 1200, "an error is read by people"
    # Nothing half written: no knowledge base that opens, and the good one still does.
    if not name.startswith("adding"):
        assert not (tmp_path / "new" / "current").exists()
    KnowledgeBase.open(world.folder / "kb").verify()


def test_the_table_has_at_least_forty_kinds():
    assert len(TABLE) >= 40
