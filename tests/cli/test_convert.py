"""``ragkit convert``: it is `ragkit.convert`, typed; what it says is what was made and dropped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import faiss
import pytest
import torch
import typer
from transformers import DPRContextEncoder, RagTokenForGeneration
from typer.testing import CliRunner

import theirs
import tiny
from ragkit import RAG, KnowledgeBase
from ragkit.cli import convert
from ragkit.errors import ConfigError
from ragkit.evaluate import JsonlTask
from ragkit.retrieve.dpr import DPREncoder


def run(*words: object) -> Any:
    app = typer.Typer()
    convert.register(app)
    return CliRunner().invoke(app, ["convert", *map(str, words)])


def report(done: Any) -> Any:
    assert done.exit_code == 0, done.output + repr(done.exception)
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def hf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint without passages, its passage encoder, and passages with embeddings."""
    folder = tmp_path_factory.mktemp("hf")
    theirs.checkpoint(folder / "rag", "rag-token")
    tower = theirs.dpr(DPRContextEncoder, 2)
    tower.save_pretrained(folder / "tower")
    theirs.dataset(folder / "passages", theirs.vectors(tower))
    return folder


def test_a_checkpoint_its_passages_and_back(tmp_path: Path, hf: Path) -> None:
    tower = ("--passage-encoder", hf / "tower")
    options = ("--option", "max_new_tokens=4", "--json")
    said = report(run("hf-rag", hf / "rag", "--out", tmp_path / "model", *tower, *options))
    assert said["out"] == str(tmp_path / "model")
    assert any("ragkit convert kb" in line for line in said["notes"])

    typed = ("kb", hf / "passages", "--out", tmp_path / "kb", "--model", tmp_path / "model")
    said = report(run(*typed, "--index", "faiss", "-i", "factory=HNSW8", "--json"))
    assert "6 passages, index 'faiss', float32" in said["made"][0]
    base = KnowledgeBase.open(tmp_path / "kb")
    assert base.manifest.index["factory"] == "HNSW8"
    assert base.tokens is not None
    rag = RAG.from_pretrained(tmp_path / "model", knowledge_base=base)
    assert rag.generator.generation_config.max_new_tokens == 4

    typed = ("to-hf-rag", tmp_path / "model", "--out", tmp_path / "back", "--kb", tmp_path / "kb")
    said = report(run(*typed, "-k", 2, "--json"))
    assert "the index 'faiss'" in said["dropped"]
    assert RagTokenForGeneration.from_pretrained(tmp_path / "back").config.n_docs == 2


def test_a_checkpoint_with_passages_at_once(tmp_path: Path, hf: Path) -> None:
    done = run(
        "hf-rag", hf / "rag", "--out", tmp_path / "model", "--passage-encoder", hf / "tower",
        "--passages", hf / "passages", "--dtype", "float16", "--marginalizer", "rag-sequence",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0].startswith("made     a rag-sequence model")
    assert "6 passages, index 'exact', float16" in lines[1]
    assert {line.split()[0] for line in lines} <= {"made", "note", "dropped"}
    assert len(RAG.from_pretrained(tmp_path / "model").retriever.knowledge_base) == 6


def test_an_encoder_and_what_was_retrieved(tmp_path: Path) -> None:
    towers = {"question_model": theirs.bert_states(1), "ctx_model": theirs.bert_states(2)}
    state = {f"{side}.{name}": one for side, t in towers.items() for name, one in t.items()}
    torch.save({"model_dict": state, "encoder_params": {"sequence_length": 99}}, tmp_path / "a.cp")
    tiny.bert_config().save_pretrained(tmp_path / "bert")
    tiny.tokenizer().save_pretrained(tmp_path / "bert")
    typed = ("dpr", tmp_path / "a.cp", "--out", tmp_path / "dpr", "--base", tmp_path / "bert")
    said = report(run(*typed, "--json"))
    options = next(line for line in said["notes"] if "-e model=" in line)
    encoder = DPREncoder.load(tmp_path / "dpr")
    found = encoder.passages(theirs.PASSAGES).numpy()

    lines = [{"id": p.id, "title": p.title, "text": p.text} for p in theirs.PASSAGES]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    index = theirs.index(tmp_path / "i.faiss", found, faiss.IndexFlatIP(16))
    words = options.partition(": ")[2].split()
    typed = ("kb", tmp_path / "p.jsonl", "--faiss", index, "--out", tmp_path / "kb", *words)
    report(run(*typed, "--json"))
    KnowledgeBase.open(tmp_path / "kb").check_encoder(encoder)

    record = {"question": "who?", "answers": ["Ada"], "ctxs": lines}
    (tmp_path / "r.json").write_text(json.dumps([record]))
    said = report(run("retrieval", tmp_path / "r.json", "--out", tmp_path / "r", "-k", 3, "--json"))
    assert "passages beyond the first k: 3" in said["dropped"]
    assert len(list(JsonlTask(str(tmp_path / "r" / "examples.jsonl")).examples("dev"))) == 1


def test_what_is_typed_wrong(tmp_path: Path, hf: Path) -> None:
    out = ("--out", tmp_path / "model")
    done = run("hf-rag", hf / "rag", *out, "--option", "num_beams")
    assert isinstance(done.exception, ConfigError)
    assert "--option num_beams: not name=value" in str(done.exception)
    done = run("hf-rag", hf / "rag", *out)
    assert isinstance(done.exception, ConfigError)
    assert "--passage-encoder" in str(done.exception)
    assert run("hf-rag", hf / "rag").exit_code == 2
    assert list(tmp_path.iterdir()) == []
