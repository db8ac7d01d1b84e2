"""``ragkit annotate``: begin, serve, stop, go on, count."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

import runs
from ragkit.cli import annotate
from ragkit.errors import ConfigError, DataError
from ragkit.evaluate.annotate import begin, open_study, outcome


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    asked = runs.examples(6)
    for name in ("bart", "rag"):
        runs.write(tmp_path / name, asked, lambda i, one, name=name: name)  # type: ignore[misc]
    return ["bart", "rag"]


def run(*arguments: str) -> Any:
    app = typer.Typer()
    annotate.register(app)
    return CliRunner().invoke(app, list(arguments))


def test_the_page_is_served_until_it_is_interrupted(folders: list[str]) -> None:
    # A shell's background job ignores interrupts, and so would what it starts.
    heed = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    code = f"{heed}; from ragkit import cli; cli.main()"
    command = [sys.executable, "-c", code, "annotate", *folders, "--out", "study", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as serving:
        assert serving.stdout is not None
        assert serving.stdout.readline() == "6 pairs to judge, kept in study\n"
        address = serving.stdout.readline().split()[1]
        with urllib.request.urlopen(address + "pair?annotator=ada", timeout=30) as answer:
            assert json.load(answer)["total"] == 6
        serving.send_signal(signal.SIGINT)
        assert "ragkit annotate study --result" in serving.stdout.read()
    assert serving.returncode == 0
    assert len(open_study("study").pairs) == 6


def test_the_count(folders: list[str]) -> None:
    study = begin("study", *folders)
    for id in study.pairs:
        study.judge("ada", id, "factuality", "both")
    found = run("study", "--result")
    assert found.exit_code == 0, found.output
    lines = found.stdout.splitlines()
    row = next(line for line in lines if "both good" in line)
    assert row.split()[:3] == ["both", "good", "100.0"]
    assert max(len(line) for line in lines if "." not in line[-1:]) <= 80
    printed = run("study", "--result", "--json").stdout
    assert json.loads(printed) == json.loads(json.dumps(outcome(study).as_dict()))
    assert run("study", "--markdown").stdout.startswith("| aspect |  | % |")
    assert run("study", "--latex").stdout.startswith("\\begin{tabular}{llrrr}")


def test_what_is_refused(folders: list[str]) -> None:
    def fault(*arguments: str) -> str:
        error = run(*arguments).exception
        assert isinstance(error, (ConfigError, DataError))
        return str(error)

    assert "type --out FOLDER" in fault(*folders)
    assert "people judge two runs" in fault(*folders, "bart", "--out", "s")
    assert "holds no study" in fault("bart")
    assert "are for beginning a study" in fault("bart", "--limit", "3")
    assert "exclude each other" in fault("bart", "--json", "--latex")
    assert "nobody has judged anything" in fault(*folders, "--out", "study", "--result")
