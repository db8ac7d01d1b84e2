"""``ragkit compare``: it is the library, typed, and reads well in 80 cells."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

import runs
from ragkit.cli import compare
from ragkit.errors import ConfigError, DataError
from ragkit.evaluate import comparison

ASKED = runs.examples(30)


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    said = {"rag-sequence-k10": 2, "rag-token": 29, "bm25": 5}
    for name, every in said.items():
        runs.write(
            tmp_path / name,
            ASKED,
            lambda i, one, every=every: one.answers[0] if i % every else "\x1b[2Jother",  # type: ignore[misc]
        )
    return list(said)


def run(*arguments: str) -> Any:
    app = typer.Typer()
    compare.register(app)
    return CliRunner().invoke(app, list(arguments))


def test_it_is_the_library(folders: list[str]) -> None:
    found = run(*folders, "-b", "bm25", "--metric", "EM", "--examples", "2", "--json")
    assert found.exit_code == 0, found.output
    expected = comparison.compare(folders, baseline="bm25", metrics=["EM"], examples=2)
    assert json.loads(found.stdout) == json.loads(json.dumps(expected.as_dict()))


def test_the_tables(folders: list[str]) -> None:
    found = run(*folders, "--examples", "1")
    assert found.exit_code == 0, found.output
    lines = found.stdout.splitlines()
    assert "\x1b[2J" not in found.stdout  # what steers a terminal is not printed
    row = next(line for line in lines if "rag-token" in line)
    assert row.split()[:3] == ["rag-token", "93.3", "+43.3"]
    # The baseline is wrong where i is even, this one where i is 0 or 29.
    assert row.split()[-3:] == ["14", "15", "1"]
    tables = [line for line in lines if not line.startswith(("30 questions", "Whose"))]
    assert max(map(len, tables)) <= 80
    assert "EM, won by rag-token: q2" in found.stdout
    assert "wrong, of retrieval" in found.stdout


def test_markdown_and_latex(folders: list[str]) -> None:
    assert run(*folders, "--markdown").stdout.startswith("| metric | run | mean |")
    assert run(*folders, "--latex").stdout.startswith("\\begin{tabular}{ll")


def test_what_is_refused(folders: list[str]) -> None:
    assert isinstance(run(*folders, "--json", "--latex").exception, ConfigError)
    assert isinstance(run(folders[0]).exception, DataError)
    assert "support is 'all'" in str(run(*folders, "--support", "all").exception)
