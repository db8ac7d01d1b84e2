"""``ragkit kb`` on a few files and a tiny encoder: it is `KnowledgeBase`, typed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

import tiny
from ragkit import KnowledgeBase
from ragkit.cli import kb
from ragkit.errors import ConfigError, CorruptError, DataError, EncoderMismatch, UnknownName
from ragkit.generate.seq2seq import Seq2SeqGenerator
from ragkit.rag import RAG
from ragkit.retrieve.dense import DenseRetriever
from ragkit.retrieve.dpr import DPREncoder

TEXTS = ["the sky is blue", "a plum is violet", "coal is black", "grass is green", "snow is white"]


class Place:
    """A folder with texts, an encoder and a knowledge base that the command built."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.texts = folder / "texts.jsonl"
        lines = [{"id": f"p{i}", "title": t.split()[0], "text": t} for i, t in enumerate(TEXTS)]
        self.texts.write_text("".join(json.dumps(line) + "\n" for line in lines))
        self.encoder = str(folder / "encoder")
        tiny.bert().save_pretrained(self.encoder)
        tiny.tokenizer().save_pretrained(self.encoder)
        self.base = str(folder / "kb")
        self.use = ("-e", f"model={self.encoder}", "-e", "pooling=mean")
        self.built = run("build", str(self.texts), "--out", self.base, *self.use, "--json")

    def vectors(self, texts: list[str]) -> np.ndarray:
        """(B,D) of questions, by the library."""
        encoder = DPREncoder(self.encoder, pooling="mean")
        return encoder.questions(texts).detach().numpy()


def run(*words: str) -> Any:
    app = typer.Typer()
    kb.register(app)
    return CliRunner().invoke(app, ["kb", *words])


def record(done: Any) -> Any:
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("kb"))


def test_build_and_info_say_the_same(place: Place) -> None:
    facts = record(place.built)
    assert facts == record(run("info", place.base, "--json"))
    assert facts["passages"] == len(TEXTS)
    assert facts["index"]["name"] == "exact"
    assert facts["dtype"] == "float16"
    files = [f for f in Path(place.base, "generations").rglob("*") if f.name != "manifest.json"]
    assert facts["bytes"] == sum(f.stat().st_size for f in files if f.is_file())
    shown = run("info", place.base).stdout
    for name in facts:
        assert name in shown


def test_search_is_the_library(place: Place) -> None:
    question = "what is blue?"
    found = record(run("search", place.base, question, "-k", "3", *place.use, "--json"))
    hits = KnowledgeBase.open(place.base).search(place.vectors([question]), 3)
    assert [one["id"] for one in found["passages"]] == [f"p{row}" for row in hits.ids[0]]
    scores = [one["score"] for one in found["passages"]]
    assert scores == pytest.approx(hits.scores[0].tolist(), abs=1e-4)
    shown = run("search", place.base, question, "-k", "9", *place.use).stdout
    assert all(text in shown for text in TEXTS)  # more than there are brings all, once
    assert shown.count("the sky is blue") == 1


def test_verify_finds_a_changed_byte(place: Place, tmp_path: Path) -> None:
    assert record(run("verify", place.base, "--json")) == {
        "ok": True,
        "generation": 1,
        "passages": len(TEXTS),
    }
    target = str(tmp_path / "copy")
    record(run("build", str(place.texts), "--out", target, *place.use, "--json"))
    file = Path(target) / "generations" / "000001" / "vectors.raw"
    data = bytearray(file.read_bytes())
    data[0] ^= 1
    file.write_bytes(data)
    done = run("verify", target)
    assert isinstance(done.exception, CorruptError)
    assert "vectors.raw" in str(done.exception)


def test_gc_deletes_what_a_newer_build_replaced(place: Place, tmp_path: Path) -> None:
    words = ("build", str(place.texts), "--out", str(tmp_path / "kb"), *place.use, "--json")
    assert record(run(*words))["generation"] == 1
    assert record(run(*words))["generation"] == 2
    assert record(run("gc", str(tmp_path / "kb"), "--json")) == {"deleted": [1]}
    again = run("gc", str(tmp_path / "kb")).stdout
    assert "nothing to delete" in " ".join(again.split())


def test_index_options_and_dtype(place: Place, tmp_path: Path) -> None:
    done = run(
        *("build", str(place.texts), "--out", str(tmp_path / "kb"), *place.use, "--json"),
        *("--index", "faiss", "-i", "factory=Flat", "--dtype", "float32"),
    )
    facts = record(done)
    assert facts["index"]["factory"] == "Flat"
    assert facts["dtype"] == "float32"
    assert facts["recall of the index"]["recall@1"] == 1


@pytest.mark.parametrize(("split", "count"), [("none", 1), ("words", 5), ("sentences", 3)])
def test_long_texts_are_split(split: str, count: int, place: Place, tmp_path: Path) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    sentence = "One two three four five six seven."
    (folder / "long.md").write_text(" ".join([sentence] * 7))  # 49 words
    words = {"words": "10", "sentences": "21", "none": "10"}[split]
    done = run(
        *("build", str(folder), "--out", str(tmp_path / "kb"), *place.use, "--json"),
        *("--split", split, "--words", words),
    )
    assert record(done)["passages"] == count


def test_a_saved_model_brings_encoder_and_tokens(place: Place, tmp_path: Path) -> None:
    encoder = DPREncoder(place.encoder, pooling="mean")
    generator = Seq2SeqGenerator(tiny.bart(), tiny.tokenizer())
    base = KnowledgeBase.open(place.base)
    RAG(DenseRetriever(encoder, base), generator).save_pretrained(tmp_path / "model")
    model = ("--model", str(tmp_path / "model"))
    facts = record(run("build", str(place.texts), "--out", str(tmp_path / "kb"), *model, "--json"))
    assert facts["generator tokens"]
    assert facts["encoder"] == record(place.built)["encoder"]
    found = record(run("search", str(tmp_path / "kb"), "blue?", *model, "-k", "1", "--json"))
    assert len(found["passages"]) == 1


@pytest.mark.parametrize(
    ("more", "kind", "message"),
    [
        (("--split", "lines"), ConfigError, "choose words, sentences or none"),
        (("--dtype", "int8"), ConfigError, "choose 'float16' or 'float32'"),
        (("--batch-size", "0"), ConfigError, "batch_size"),
        (("--index", "fais"), (UnknownName, ConfigError), "did you mean 'faiss'"),
        (("-i", "bloc=4"), ConfigError, "did you mean 'block'"),
        (("-e", "poling=cls"), ConfigError, "did you mean 'pooling'"),
        (("-e", "pooling"), ConfigError, "not name=value"),
        (("--encoder", "dprr"), (UnknownName, ConfigError), "did you mean 'dpr'"),
    ],
)
def test_what_cannot_be_built(
    more: tuple[str, ...], kind: Any, message: str, place: Place, tmp_path: Path
) -> None:
    out = tmp_path / "kb"
    done = run("build", str(place.texts), "--out", str(out), *place.use, *more)
    with pytest.raises(kind, match=message):
        raise done.exception
    assert done.stdout == ""
    assert not out.exists()


def test_missing_files_and_foreign_encoders(place: Place, tmp_path: Path) -> None:
    out = ("--out", str(tmp_path / "kb"))
    done = run("build", str(place.texts), "absent.jsonl", *out, *place.use)
    assert isinstance(done.exception, DataError)
    assert "absent.jsonl" in str(done.exception)
    foreign = run("search", place.base, "blue?", "-e", f"model={place.encoder}")  # cls, not mean
    assert isinstance(foreign.exception, EncoderMismatch)
