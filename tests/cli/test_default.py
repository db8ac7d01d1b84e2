"""The path of a newcomer: own texts, two commands, no model named. Tiny random weights here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import tiny
from ragkit import KnowledgeBase, registry, shipped
from ragkit.cli import build
from ragkit.errors import EncoderMismatch, KnowledgeBaseError, MissingDependency
from ragkit.generate.seq2seq import Seq2SeqGenerator
from ragkit.rag import RAG
from ragkit.retrieve.dense import DenseRetriever
from ragkit.retrieve.dpr import DPREncoder

QUESTION = "Who keeps the lighthouse?"


def run(*words: str) -> Any:
    return CliRunner().invoke(build(), list(words))


def record(*words: str) -> Any:
    done = run(*words, "--json")
    assert done.exit_code == 0, done.output + str(done.exception)
    return json.loads(done.stdout)


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    folder = tmp_path / "notes"
    (folder / "more").mkdir(parents=True)
    (folder / "old_lighthouse.txt").write_text("Ada Holm keeps it. " + "It is white. " * 40)
    (folder / "more" / "x.md").write_text("# The ferry\n\nIt leaves at nine.")
    (folder / "picture.png").write_bytes(b"\x89PNG")
    return folder


@pytest.fixture
def default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model as a package would ship it, in place of the one that is the default."""
    encoder = DPREncoder(tiny.bert(), tokenizer=tiny.tokenizer(), pooling="mean")
    generator = Seq2SeqGenerator(tiny.bart(scale=0.4), tiny.tokenizer())
    rag = RAG(DenseRetriever(encoder, None, temperature=4.0), generator)
    rag.save_pretrained(tmp_path / "shipped", weights="int8")
    monkeypatch.setattr(shipped, "DEFAULT", str(tmp_path / "shipped"))
    return tmp_path / "shipped"


def test_two_commands_answer_from_a_folder_of_texts(
    default: Path, notes: Path, tmp_path: Path
) -> None:
    kb = str(tmp_path / "kb")
    facts = record("kb", "build", str(notes), "--out", kb)
    assert facts["passages"] == 3  # 124 words are two passages of a hundred at most
    assert facts["generator tokens"]
    found = record("ask", QUESTION, "--kb", kb, "-k", "3", "-o", "max_new_tokens=3")
    (want,) = RAG.from_pretrained(default, knowledge_base=kb).answer(
        [QUESTION], k=3, max_new_tokens=3
    )
    assert found["text"] == want.text
    titles = {one["title"] for one in found["passages"]}
    assert titles == {"old lighthouse", "The ferry"}
    nearest = record("kb", "search", kb, QUESTION, "-k", "3")["passages"]
    assert {one["id"] for one in nearest} == {one["id"] for one in found["passages"]}


@pytest.mark.usefixtures("default")
def test_without_a_knowledge_base_it_says_what_to_type() -> None:
    done = run("ask", QUESTION)
    assert isinstance(done.exception, KnowledgeBaseError)
    assert "ragkit kb build FILES --out DIR\n  ragkit ask … --kb DIR" in str(done.exception)


def test_a_knowledge_base_of_another_encoder(default: Path, tmp_path: Path) -> None:
    encoder = DPREncoder(tiny.bert(seed=7), tokenizer=tiny.tokenizer())
    KnowledgeBase.build([{"id": "a", "text": "a"}], encoder, "exact", tmp_path / "kb")
    for words in (("ask", "q", "--kb"), ("kb", "search")):
        rest = (str(tmp_path / "kb"), *(("q",) if words[0] == "kb" else ()))
        done = run(*words, *rest)
        assert isinstance(done.exception, EncoderMismatch)
        assert str(default) in str(done.exception)  # which model was tried
        assert "--model" in str(done.exception)
        named = run(*words, *rest, "--model", str(default))
        assert isinstance(named.exception, EncoderMismatch)
        assert "--model" not in str(named.exception)


@pytest.mark.parametrize("verb", ["ask", "build", "search"])
def test_where_the_default_is_not_installed(
    verb: str, notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "plugins", lambda: [])
    monkeypatch.chdir(tmp_path)
    encoder = DPREncoder(tiny.bert(), tokenizer=tiny.tokenizer())
    KnowledgeBase.build([{"id": "a", "text": "a"}], encoder, "exact", "kb")
    done = {
        "ask": lambda: run("ask", QUESTION, "--kb", "kb"),
        "build": lambda: run("kb", "build", str(notes), "--out", "new"),
        "search": lambda: run("kb", "search", "kb", "q"),
    }[verb]()
    assert isinstance(done.exception, MissingDependency)
    assert "pip install ragkit[tiny]" in str(done.exception)
    assert not Path("new").exists()
