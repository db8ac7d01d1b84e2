"""``ragkit evaluate`` on a saved model with random weights: it is `ragkit.evaluate`, typed."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

import ragkit
from ragkit.cli import evaluate
from ragkit.errors import ConfigError, DataError
from ragkit.rag import RAG

_SPEC = importlib.util.spec_from_file_location("saved", Path(__file__).with_name("saved.py"))
assert _SPEC is not None
assert _SPEC.loader is not None
saved = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(saved)

SHORT = ("-o", "max_new_tokens=4")


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("saved")
    return str(saved.model(folder)), str(saved.questions(folder / "task.jsonl"))


def run(*arguments: str) -> Any:
    app = typer.Typer()
    evaluate.register(app)
    return CliRunner().invoke(app, list(arguments))


def test_it_is_the_library(paths: tuple[str, str], tmp_path: Path) -> None:
    model, task = paths
    found = run(*paths, "-k", "3", *SHORT, "--json", "--out", str(tmp_path / "run"))
    assert found.exit_code == 0, found.output
    record = json.loads(found.stdout)
    expected = ragkit.evaluate(RAG.from_pretrained(model), task, k=3, max_new_tokens=4)
    assert record["metrics"] == json.loads(json.dumps(expected.as_dict()["metrics"]))
    assert set(record["metrics"]) == {"EM", "F1", "answer R@3", "gold R@3", "RR@3"}
    assert len((tmp_path / "run" / "predictions.jsonl").read_text().splitlines()) == 4


def test_the_table(paths: tuple[str, str]) -> None:
    found = run(*paths, "-k", "5", *SHORT, "--metric", "gold-recall", "--metric", "rr@2")
    assert found.exit_code == 0, found.output
    row = next(line for line in found.stdout.splitlines() if line.startswith("gold R@5"))
    # All five passages are retrieved, so the gold one is always among them.
    assert row.split()[2:6] == ["100.0", "100.0", "to", "100.0"]
    assert "RR@2" in found.stdout
    assert "4 questions" in found.stdout


def test_baselines(paths: tuple[str, str], tmp_path: Path) -> None:
    common = (*paths, *SHORT, "-k", "2", "--metric", "gold-recall", "--json")
    gold = json.loads(run(*common, "--gold", "--out", str(tmp_path / "gold")).stdout)
    closed = json.loads(run(*common, "--closed-book").stdout)
    assert gold["metrics"]["gold R@2"]["mean"] == 1
    assert closed["metrics"]["gold R@2"]["mean"] == 0
    mixed = run(*common, "--out", str(tmp_path / "gold"))
    assert isinstance(mixed.exception, DataError)
    assert "model.retriever.class is" in str(mixed.exception)


@pytest.mark.parametrize(
    ("more", "kind", "message"),
    [
        (("--gold", "--closed-book"), ConfigError, "exclude each other; type one"),
        (("-k", "0"), ConfigError, "k is 0; type a whole number"),
        (("--metric", "en"), LookupError, "did you mean 'em'"),
        (("--metric", "rr@9"), ConfigError, "type k=9"),
        (("-o", "num_beam=2"), ConfigError, "did you mean 'num_beams'"),
    ],
)
def test_what_is_refused(
    paths: tuple[str, str], more: tuple[str, ...], kind: type[Exception], message: str
) -> None:
    found = run(*paths, *more)
    with pytest.raises(kind, match=message):
        raise found.exception
    assert found.stdout == ""


def test_a_missing_task(paths: tuple[str, str]) -> None:
    found = run(paths[0], "nowhere.jsonl")
    with pytest.raises(DataError, match=r"nowhere\.jsonl: there is no such file"):
        raise found.exception
