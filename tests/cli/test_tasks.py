"""``ragkit tasks``, and ``ragkit evaluate --as``: the library, typed."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

import ragkit
from ragkit import registry
from ragkit.cli import evaluate, tasks
from ragkit.errors import ConfigError, DataError, UnknownName
from ragkit.rag import RAG

_SPEC = importlib.util.spec_from_file_location("saved", Path(__file__).with_name("saved.py"))
assert _SPEC is not None
assert _SPEC.loader is not None
saved = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(saved)


def run(*arguments: str) -> Any:
    app = typer.Typer()
    tasks.register(app)
    return CliRunner().invoke(app, list(arguments))


def printed(*arguments: str) -> Any:
    found = run(*arguments, "--json")
    assert found.exit_code == 0, found.output
    return json.loads(found.stdout)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "NQ-open.dev.jsonl").write_text('{"question": "who", "answer": ["a", "b"]}\n')
    return tmp_path


def test_the_list_has_every_task() -> None:
    known = [one.component.name for one in registry.components() if one.role == "task"]
    assert [one["name"] for one in printed()["tasks"]] == known
    text = run().stdout
    for name in known:
        assert name in text
    assert "79,168 / 8,757 / 3,610" in text


def test_one_task() -> None:
    record = printed("nq")
    assert record["decoding"]["rag-sequence"] == {
        "k": 50,
        "options": {"num_beams": 1},
        "search": "thorough",
    }
    assert record["layouts"][1]["files"]["test"] == [["NQ-open.dev.jsonl"]]
    text = run("nq").stdout
    for said in ("NQ-open.dev.jsonl", "87,925", "k=50, num_beams=1, thorough", "em  f1"):
        assert said in text
    assert "no layouts" not in run("jsonl").stdout
    assert isinstance(run("nqq").exception, UnknownName)


def test_files_are_checked(folder: Path) -> None:
    found = run("nq", str(folder))
    assert found.exit_code == 1
    assert "test: 1 of 3,610 questions" in found.stdout
    assert "who → a" in found.stdout
    assert "3,609 are missing; is the download complete?" in " ".join(found.stdout.split())
    own = folder / "own.jsonl"
    own.write_text('{"question": "who", "answer": ["a"]}\n{"question": "when", "answer": []}\n')
    broken = run("nq", str(own), "--json")
    assert broken.exit_code == 1
    (split,) = json.loads(broken.stdout)["splits"]
    assert (split["split"], split["questions"], split["answered"]) == ("all", 1, 1)
    assert "line 2: answer is []" in split["fault"]
    own.write_text('{"question": "who", "answer": ["a"]}\n')
    assert run("nq", str(own)).exit_code == 0
    assert isinstance(run("nq", str(folder), "-o", "ways=2").exception, ConfigError)
    assert isinstance(run("triviaqa", str(folder)).exception, DataError)


def test_options_of_a_task(tmp_path: Path) -> None:
    file = tmp_path / "claims.jsonl"
    labels = ("SUPPORTS", "REFUTES", "NOT ENOUGH INFO")
    lines = [{"id": i, "claim": "c", "label": label} for i, label in enumerate(labels)]
    file.write_text("".join(json.dumps(one) + "\n" for one in lines))
    (split,) = printed("fever", str(file), "-o", "ways=2", "--split", "dev")["splits"]
    assert (split["split"], split["questions"]) == ("dev", 2)


def test_a_task_without_files_of_its_own(tmp_path: Path) -> None:
    file = tmp_path / "q.jsonl"
    file.write_text('{"question": "q", "answers": ["a"]}\n')
    found = printed("jsonl", str(file))["splits"]
    assert [(one["split"], one["questions"]) for one in found] == [
        (split, 1) for split in ("train", "dev", "test")
    ]


# --------------------------------------------------------------------------- evaluate


def evaluated(*arguments: str) -> Any:
    app = typer.Typer()
    evaluate.register(app)
    found = CliRunner().invoke(app, [*arguments, "--json", "-o", "max_new_tokens=4"])
    if found.exception is not None and not isinstance(found.exception, SystemExit):
        raise found.exception
    return json.loads(found.stdout)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(saved.model(tmp_path_factory.mktemp("saved")))


def test_any_task_can_be_evaluated(model: str, folder: Path) -> None:
    (folder / "test.csv").write_text("question,answers\nWhere is the mill?,north\n")
    record = evaluated(model, str(folder), "--as", "csv", "--split", "test", "-k", "2")
    task = ragkit.make("task", "csv", path=str(folder))
    rag = RAG.from_pretrained(model)
    expected = ragkit.evaluate(rag, task, split="test", k=2, max_new_tokens=4)
    assert record["metrics"] == json.loads(json.dumps(expected.as_dict()["metrics"]))
    with_option = evaluated(
        model, str(folder), "--as", "csv,prompt=Well? {question}", "--split", "test"
    )
    assert with_option["config"]["k"] == 5
    assert "Well?" in with_option["config"]["task"]


def test_as_the_paper_decodes(model: str, folder: Path) -> None:
    file = folder / "clues.jsonl"
    file.write_text('{"question": "a clue", "answer": "the mill"}\n')
    arguments = (model, str(file), "--as", "jeopardy", "--metric", "em", "--paper")
    config = evaluated(*arguments)["config"]
    assert config["k"] == 10
    assert config["options"]["num_beams"] == 4
    assert config["model"]["marginalizer"].get("decoding", "fast") == "fast"
    typed = evaluated(*arguments, "-k", "2", "-o", "num_beams=2")["config"]
    assert (typed["k"], typed["options"]["num_beams"]) == (2, 2)
    (folder / "q.jsonl").write_text('{"question": "q", "answers": ["a"]}\n')
    with pytest.raises(ConfigError, match="the paper says nothing of JsonlTask"):
        evaluated(model, str(folder / "q.jsonl"), "--paper")
