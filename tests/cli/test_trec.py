"""``ragkit trec`` and ``ragkit evaluate --retrieval``: the library, typed."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from ragkit.cli import evaluate, trec
from ragkit.errors import ConfigError, DataError
from ragkit.evaluate import replay, retrieval
from ragkit.rag import RAG

_SPEC = importlib.util.spec_from_file_location("saved", Path(__file__).with_name("saved.py"))
assert _SPEC is not None
assert _SPEC.loader is not None
saved = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(saved)


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("saved")
    return str(saved.model(folder)), str(saved.questions(folder / "task.jsonl"))


def run(*arguments: str) -> Any:
    app = typer.Typer()
    evaluate.register(app)
    trec.register(app)
    return CliRunner().invoke(app, list(arguments))


def test_retrieval_alone_out_and_in(paths: tuple[str, str], tmp_path: Path) -> None:
    model, task = paths
    folder = tmp_path / "runs" / "a b"
    found = run("evaluate", *paths, "--retrieval", "-k", "4", "--json", "--out", str(folder))
    assert found.exit_code == 0, found.output
    metrics = json.loads(found.stdout)["metrics"]
    expected = retrieval(RAG.from_pretrained(model).retriever, task, k=4).as_dict()["metrics"]
    assert metrics == json.loads(json.dumps(expected))
    assert set(metrics) == {"answer R@4", "gold R@4", "RR@4"}  # EM and F1 are of answers

    written = run("trec", "write", str(folder), "--json")
    assert written.exit_code == 0, written.output
    assert json.loads(written.stdout)["lines"] == {"run.trec": 16, "qrels.trec": 4}
    lines = [line.split() for line in (folder / "run.trec").read_text().splitlines()]
    assert {line[5] for line in lines} == {"ab"}
    files = str(folder / "run.trec"), str(folder / "qrels.trec")

    read = run("trec", "measure", *files, "--metric", "R@4", "--metric", "RR@4", "--json")
    assert read.exit_code == 0, read.output
    again = json.loads(read.stdout)["metrics"]
    assert {label: one["mean"] for label, one in again.items()} == {
        label: metrics[label]["mean"] for label in ("gold R@4", "RR@4")
    }
    table = run("trec", "measure", files[0], task, "--as", "jsonl", "--out", str(tmp_path / "in"))
    assert table.exit_code == 0, table.output
    assert table.stdout.splitlines()[1].startswith("gold R@1000")
    assert "4 questions" in table.stdout
    assert (tmp_path / "in" / "result.json").is_file()
    assert replay(*files)["RR@10"].mean == metrics["RR@4"]["mean"]


def test_a_configuration_needs_no_generator(paths: tuple[str, str], tmp_path: Path) -> None:
    model, task = paths
    base = str(Path(model).parent / "kb")
    table = {"name": "dense", "encoder": _encoder(Path(model)), "knowledge_base": "nowhere"}
    alone, whole = tmp_path / "alone.yaml", tmp_path / "train.yml"
    alone.write_text(json.dumps(table))
    whole.write_text(json.dumps({"retriever": table, "generator": "seq2seq"}))
    told = []
    for file in (alone, whole):
        found = run("evaluate", str(file), task, "--retrieval", "--kb", base, "-k", "3", "--json")
        assert found.exit_code == 0, found.output
        told.append(json.loads(found.stdout)["metrics"])
    expected = retrieval(RAG.from_pretrained(model).retriever, task, k=3).as_dict()["metrics"]
    assert told == [json.loads(json.dumps(expected))] * 2


def _encoder(model: Path) -> dict[str, Any]:
    """The encoder of a saved model, as a configuration has it."""
    folder = next(model.rglob("encoder.json")).parent
    return {
        "name": "dpr",
        "model": str(folder / "question_encoder"),
        "passage_model": str(folder / "passage_encoder"),
        "tokenizer": str(folder / "tokenizer"),
        "pooling": "mean",
    }


@pytest.mark.parametrize("flag", [("--gold",), ("--closed-book",), ("--paper",), ("-o", "a=1")])
def test_what_generates_is_refused(flag: tuple[str, ...], paths: tuple[str, str]) -> None:
    found = run("evaluate", *paths, "--retrieval", *flag)
    assert isinstance(found.exception, ConfigError)
    assert f"{flag[0]} is about answers" in str(found.exception)


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    assert isinstance(run("trec", "write", str(tmp_path)).exception, DataError)
