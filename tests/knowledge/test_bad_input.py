"""Whatever a knowledge base cannot take: one error that says what was wrong and what to
type, and nothing half written."""

from __future__ import annotations

import builtins
import errno
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from hashing import HashEncoder, LetterGenerator, passages
from ragkit.errors import (
    ConfigError,
    CorruptError,
    DataError,
    EncoderMismatch,
    KnowledgeBaseError,
    RagkitError,
    UnknownName,
)
from ragkit.knowledge import KnowledgeBase, disk, embedding
from ragkit.protocols import Passage

BOOKS = passages(20)
Q = np.ones((2, 8), dtype=np.float32)


class Gives(HashEncoder):
    """An encoder whose vectors are spoilt."""

    def __init__(self, spoil) -> None:
        super().__init__()
        self.spoil = spoil

    def passages(self, batch):
        return self.spoil(super().passages(batch))


def one_value(value: float):
    def spoil(vectors: torch.Tensor) -> torch.Tensor:
        vectors[-1, 2] = value
        return vectors

    return spoil


def build(folder, source=BOOKS, encoder=None, index="exact", **options):
    return KnowledgeBase.build(source, encoder or HashEncoder(), index, folder, **options)


BUILDS = {
    "no passages": (DataError, {"source": []}, "there are no passages"),
    "a missing file": (DataError, {"source": "nowhere.jsonl"}, "no file or folder"),
    "an id twice, near": (DataError, {"source": [*BOOKS, BOOKS[19]]}, "19 and 20 .*'p19'"),
    "an id twice, far": (
        DataError,
        {"source": [*BOOKS, BOOKS[1]], "shard_size": 2},
        "1 and 20 .*'p1'",
    ),
    "a bad last record": (DataError, {"source": [*BOOKS, {"id": "x"}]}, "passage 20 has text None"),
    "half a character": (
        DataError,
        {"source": [*BOOKS, Passage("x", "", "a \ud800 b")]},
        r"passage 20 .*half a character.*ud800",
    ),
    "NaN vectors": (DataError, {"encoder": Gives(one_value(float("nan")))}, "NaN or infinity.*'p"),
    "infinite vectors": (DataError, {"encoder": Gives(one_value(float("inf")))}, "NaN or infinity"),
    "vectors beyond float16": (DataError, {"encoder": Gives(one_value(1e5))}, 'dtype="float32"'),
    "vectors of another dimension": (
        DataError,
        {"encoder": Gives(lambda v: v[:, :5])},
        r"shape \(20, 5\) for 20 passages.*dimension is 8",
    ),
    "too few vectors": (DataError, {"encoder": Gives(lambda v: v[1:])}, r"shape \(19, 8\)"),
    "vectors of one axis": (DataError, {"encoder": Gives(lambda v: v[0])}, r"shape \(8,\)"),
    "an unknown dtype": (ConfigError, {"dtype": "int8"}, "dtype is 'int8'"),
    "a batch of zero": (ConfigError, {"batch_size": 0}, "batch_size is 0"),
    "a shard of no whole size": (ConfigError, {"shard_size": 1.5}, "shard_size is 1.5"),
    "a sample below zero": (ConfigError, {"recall_sample": -1}, "recall_sample is -1"),
    "an unknown index": (
        (UnknownName, ConfigError),
        {"index": "faiss-flat"},
        "did you mean 'faiss'",
    ),
    "an unknown option": (
        ConfigError,
        {"index": {"name": "faiss", "factroy": "Flat"}},
        "did you mean 'factory'",
    ),
    "an unknown factory": (ConfigError, {"index": {"name": "faiss", "factory": "X"}}, "'X'"),
    "an index that is none": (ConfigError, {"index": object()}, "ragkit_indexes"),
    "a generator that is none": (ConfigError, {"generator": object()}, "passage tokens"),
}


@pytest.mark.parametrize("old", [False, True], ids=["new", "over an old one"])
@pytest.mark.parametrize("case", BUILDS)
def test_a_build(tmp_path, case, old):
    error, options, message = BUILDS[case]
    folder = tmp_path / "kb"
    if old:
        build(folder, passages(3, first=50))
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(error, match=message):
        build(folder, **options)
    left = sorted(tmp_path.rglob("*"))
    assert left == before
    if old:
        base = KnowledgeBase.open(folder)
        base.verify()
        assert list(base) == passages(3, first=50)


def test_nowhere_to_build():
    with pytest.raises(ConfigError, match="directory="):
        KnowledgeBase.build(BOOKS, HashEncoder())


def test_a_file_where_the_folder_should_be(tmp_path):
    (tmp_path / "kb").write_text("")
    with pytest.raises(KnowledgeBaseError, match="is a file"):
        build(tmp_path / "kb")


# ------------------------------------------------------------- going on with a build


@pytest.fixture
def unfinished(tmp_path) -> Path:
    class Stops(HashEncoder):
        def passages(self, batch):
            if batch[0].id == "p8":
                raise KeyboardInterrupt
            return super().passages(batch)

    with pytest.raises(KeyboardInterrupt):
        build(tmp_path / "kb", encoder=Stops(), shard_size=4, batch_size=4)
    return tmp_path / "kb"


OTHERS = {
    "other passages": ({"source": passages(20, first=1)}, "other passages"),
    "fewer passages": ({"source": BOOKS[:19]}, "20 other passages than these 19"),
    "another encoder": ({"encoder": HashEncoder(fingerprint="new")}, "another encoder"),
    "another precision": ({"dtype": "float32"}, "another dtype"),
    "another dimension": ({"encoder": HashEncoder(dimension=4)}, "another dimension"),
    "another generator": ({"generator": LetterGenerator()}, "another tokenization"),
    "another shard size": ({"shard_size": 5}, "another shard_size"),
}


@pytest.mark.parametrize("case", OTHERS)
def test_an_unfinished_build_goes_on_only_as_it_began(unfinished, case):
    options, message = OTHERS[case]
    with pytest.raises(KnowledgeBaseError, match=f"{message}.*resume=False"):
        build(unfinished, **{"shard_size": 4, **options})
    encoder = HashEncoder(unfinished.parent / "log")
    build(unfinished, encoder=encoder, shard_size=4).verify()  # it was left as it was
    assert len(encoder.encoded()) == 12
    fresh = build(unfinished, **options, resume=False)
    fresh.verify()


def test_a_wrong_path_does_not_cost_an_unfinished_build(unfinished):
    with pytest.raises(DataError, match="no file"):
        build(unfinished, source="nowhere.tsv", shard_size=4)
    encoder = HashEncoder(unfinished.parent / "log")
    build(unfinished, encoder=encoder, shard_size=4)
    assert len(encoder.encoded()) == 12


def full(*_args, **_options):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("where", ["passages", "vectors", "tokens", "index", "pointer"])
def test_a_full_disk_leaves_the_old_generation(tmp_path, monkeypatch, where):
    folder = tmp_path / "kb"
    old = passages(3, first=50)
    build(folder, old, generator=LetterGenerator())
    with monkeypatch.context() as patch:
        if where == "passages":
            patch.setattr("ragkit.knowledge.columns.write_passages", full)
        elif where == "vectors":
            patch.setattr(embedding, "_resume", full)
        elif where == "tokens":
            patch.setattr(embedding.TokenWriter, "write", full)
        elif where == "index":
            patch.setattr("ragkit.index.exact.ExactIndex.save", full)
        else:
            real = os.replace
            patch.setattr(
                os, "replace", lambda a, b: full() if Path(b).name == "current" else real(a, b)
            )
        with pytest.raises(KnowledgeBaseError, match=r"is full.*Make room.*same build again"):
            build(folder, generator=LetterGenerator())
    base = KnowledgeBase.open(folder)
    base.verify()
    assert list(base) == old
    encoder = HashEncoder(tmp_path / "log")
    again = build(folder, encoder=encoder, generator=LetterGenerator())
    assert list(again) == BOOKS
    again.verify()
    assert len(encoder.encoded()) == (0 if where in ("index", "pointer") else 20)


def test_a_folder_that_is_closed(tmp_path, monkeypatch):
    def closed(*_args, **_options):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "mkdir", closed)
    with pytest.raises(KnowledgeBaseError, match=r"cannot be written to.*another directory"):
        build(tmp_path / "kb")


# --------------------------------------------------------------------------- opening


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "kb"
    build(folder, generator=LetterGenerator())
    base = build(
        folder,
        generator=LetterGenerator(),
        index={"name": "faiss", "factory": "HNSW8"},
    ).remove(["p3"])
    assert base.generation == 3
    return folder


FILES = [
    "passages.arrow",
    "vectors.raw",
    "ids.raw",
    "removed.raw",
    "tokens.raw",
    "offsets.raw",
    "index/faiss.json",
    "index/index.faiss",
]


def damaged(whole: Path, tmp_path: Path, name: str) -> Path:
    """A copy of the current generation, in which one file may be changed."""
    folder = tmp_path / "kb"
    shutil.copytree(whole, folder)
    assert (folder / "generations/000003" / name).is_file()
    return folder


def test_every_kind_of_file_is_tried(whole):
    base = KnowledgeBase.open(whole)
    base.verify()
    assert set(base.manifest.files) == set(FILES)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("how", ["cut", "longer", "gone", "empty"])
def test_a_file_of_another_size_is_named_when_opening(whole, tmp_path, name, how):
    folder = damaged(whole, tmp_path, name)
    file = folder / "generations/000003" / name
    content = file.read_bytes()
    file.unlink()
    if how != "gone":
        file.write_bytes({"cut": content[:-1], "longer": content + b"\0", "empty": b""}[how])
    with pytest.raises(CorruptError, match=f"{name}.*build the knowledge base again"):
        KnowledgeBase.open(folder)
    assert list(KnowledgeBase.open(folder, generation=1)) == BOOKS


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("place", [0.0, 0.5, 0.999])
def test_a_changed_byte_is_named_by_verify(whole, tmp_path, name, place):
    folder = damaged(whole, tmp_path, name)
    file = folder / "generations/000003" / name
    content = bytearray(file.read_bytes())
    base = KnowledgeBase.open(folder)
    content[int(place * len(content))] ^= 0x11
    with builtins.open(file, "r+b") as out:
        out.write(content)
    with pytest.raises(CorruptError, match=name):
        base.verify()


@pytest.mark.parametrize("name", ["manifest.json", "offsets.raw", "index/faiss.json"])
def test_any_one_bit_is_noticed(whole, tmp_path, name):
    """The small files, that steer how the large ones are read, bit by bit."""
    folder = damaged(whole, tmp_path, name)
    file = folder / "generations/000003" / name
    content = file.read_bytes()
    for place in range(len(content)):
        changed = bytearray(content)
        changed[place] ^= 1 << place % 8
        file.write_bytes(changed)
        try:
            KnowledgeBase.open(folder).verify()
        except RagkitError:
            continue
        # White space is left, and what JSON says in two ways.
        assert name == "manifest.json"
        assert json.loads(changed) == json.loads(content)


def without_sum(manifest: dict) -> dict:
    """As somebody would write it who means to change it."""
    return {name: value for name, value in manifest.items() if name != "sha256"}


MANIFESTS = {
    "no JSON": (lambda m: "{", CorruptError, "cannot be read"),
    "a list": (lambda m: "[]", CorruptError, "cannot be read"),
    "without format": (lambda m: "{}", CorruptError, "cannot be read"),
    "incomplete": (lambda m: '{"format": 1}', CorruptError, "incomplete"),
    "a format that is no number": (
        lambda m: json.dumps({**m, "format": "1"}),
        CorruptError,
        "no number",
    ),
    "newer": (
        lambda m: json.dumps({**m, "format": 2, "unheard": 1}),
        KnowledgeBaseError,
        "pip install --upgrade ragkit",
    ),
    "another recall": (
        lambda m: json.dumps({**m, "recall": {"recall@1": 1.0}}),
        CorruptError,
        "manifest.json is not what was written",
    ),
    "an unknown index": (
        lambda m: json.dumps({**without_sum(m), "index": {"name": "nosuch"}}),
        UnknownName,
        "nosuch",
    ),
}


@pytest.mark.parametrize("case", MANIFESTS)
def test_a_manifest_that_is_wrong(whole, tmp_path, case):
    change, error, message = MANIFESTS[case]
    folder = damaged(whole, tmp_path, "manifest.json")
    file = folder / "generations/000003/manifest.json"
    file.write_text(change(json.loads(file.read_text())))
    with pytest.raises(error, match=message):
        KnowledgeBase.open(folder)


def test_the_pointer(whole, tmp_path):
    folder = damaged(whole, tmp_path, "manifest.json")
    (folder / "current").write_text("nonsense")
    with pytest.raises(CorruptError, match=r"'nonsense'.*write one of \[1, 2, 3\]"):
        KnowledgeBase.open(folder)
    (folder / "current").write_text("9\n")
    with pytest.raises(KnowledgeBaseError, match=r"no generation 9; it has \[1, 2, 3\]"):
        KnowledgeBase.open(folder)
    (folder / "current").unlink()
    with pytest.raises(KnowledgeBaseError, match="ragkit kb build"):
        KnowledgeBase.open(folder)


def test_a_folder_that_is_none(tmp_path):
    with pytest.raises(KnowledgeBaseError, match="is no folder"):
        KnowledgeBase.open(tmp_path / "nowhere")


# ----------------------------------------------------------------------------- using

CALLS = {
    "k of zero": (DataError, lambda b: b.search(Q, 0), "k is 0"),
    "k below zero": (DataError, lambda b: b.search(Q, -1), "k is -1"),
    "k that is no whole number": (DataError, lambda b: b.propose(Q, 2.0), "k is 2.0"),
    "queries of another dimension": (DataError, lambda b: b.search(Q[:, :3], 1), r"\(B, 8\)"),
    "a query without batch": (DataError, lambda b: b.search(Q[0], 1), r"\(B, 8\)"),
    "NaN in a query": (DataError, lambda b: b.search(Q * np.nan, 1), "NaN"),
    "nothing allowed": (DataError, lambda b: b.search(Q, 1, []), "no passage is allowed"),
    "an unknown id allowed": (DataError, lambda b: b.search(Q, 1, ["p1", "zz"]), "'zz'"),
    "an unknown id": (DataError, lambda b: b.passage("zz"), "'zz'.*look like 'p0'"),
    "a removed id": (DataError, lambda b: b.row("p3"), "'p3'"),
    "a row beyond the last": (DataError, lambda b: b.passages([20]), "from 0 to 19"),
    "a row below zero": (DataError, lambda b: b.vectors(np.array([-1])), "no row -1"),
    "vectors beyond the last": (DataError, lambda b: b.vectors(np.array([20])), "no row 20"),
    "a generation that is not there": (
        KnowledgeBaseError,
        lambda b: KnowledgeBase.open(b.directory, generation=7),
        "no generation 7",
    ),
    "a foreign encoder": (
        EncoderMismatch,
        lambda b: b.check_encoder(HashEncoder(fingerprint="other")),
        "another encoder",
    ),
    "an encoder of another dimension": (
        EncoderMismatch,
        lambda b: b.check_encoder(HashEncoder(dimension=9)),
        "8 dimensions.*makes 9",
    ),
    "adding with a foreign encoder": (
        EncoderMismatch,
        lambda b: b.add(BOOKS, HashEncoder(fingerprint="other"), generator=LetterGenerator()),
        "another encoder",
    ),
    "adding without the generator": (
        KnowledgeBaseError,
        lambda b: b.add(passages(2, first=90), HashEncoder()),
        "holds generator tokens",
    ),
    "adding an id that is there": (
        DataError,
        lambda b: b.add([BOOKS[5]], HashEncoder(), generator=LetterGenerator()),
        "5 and 20 .*'p5'",
    ),
    "adding nothing": (
        DataError,
        lambda b: b.add([], HashEncoder(), generator=LetterGenerator()),
        "no passages",
    ),
    "removing an unknown id": (DataError, lambda b: b.remove(["zz"]), "'zz'"),
    "removing all": (DataError, lambda b: b.remove([one.id for one in b]), "every passage"),
    "copying over it": (KnowledgeBaseError, lambda b: b.copy(b.directory), "not empty"),
}


@pytest.mark.parametrize("case", CALLS)
def test_a_call(whole, case):
    error, work, message = CALLS[case]
    before = sorted(whole.rglob("*"))
    with pytest.raises(error, match=message):
        work(KnowledgeBase.open(whole))
    assert sorted(whole.rglob("*")) == before
    KnowledgeBase.open(whole).verify()


def test_locks_that_a_file_system_lacks(tmp_path, monkeypatch):
    def no_locks(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    build(tmp_path / "kb")
    monkeypatch.setattr(disk.fcntl, "flock", no_locks)
    with pytest.raises(KnowledgeBaseError, match="cannot lock"):
        build(tmp_path / "kb")
    assert list(KnowledgeBase.open(tmp_path / "kb")) == BOOKS  # reading needs none
