"""``ragkit train``: a YAML file to a trained model, all faults at once, Ctrl-C and on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
import yaml
from typer.testing import CliRunner

import toy_training as toy
from ragkit.cli import train
from ragkit.errors import ConfigError
from ragkit.rag import RAG
from ragkit.train import checkpoints

ARGUMENTS = {
    "k": 3,
    "max_steps": 6,
    "per_device_train_batch_size": 2,
    "learning_rate": 1e-3,
    "save_strategy": "steps",
    "save_steps": 2,
    "use_cpu": True,
    "generation": {"max_new_tokens": 2},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A saved model, questions, and a configuration of them."""
    toy.model(tmp_path, dropout=0.1).save_pretrained(tmp_path / "start")
    lines = [{"question": e.question, "answers": list(e.answers)} for e in toy.examples()]
    for name, part in (("train", lines), ("dev", lines[:3])):
        text = "".join(json.dumps(line) + "\n" for line in part)
        (tmp_path / f"{name}.jsonl").write_text(text)
    write(tmp_path, {})
    return tmp_path


def write(folder: Path, changes: dict[str, Any]) -> Path:
    table = {
        "model": str(folder / "start"),
        "train": str(folder / "train.jsonl"),
        "eval": str(folder / "dev.jsonl"),
        "arguments": {"output_dir": str(folder / "run"), **ARGUMENTS},
        **changes,
    }
    file = folder / "train.yaml"
    file.write_text(yaml.safe_dump({k: v for k, v in table.items() if v is not None}))
    return file


def run(*arguments: str) -> Any:
    app = typer.Typer()
    train.register(app)
    return CliRunner().invoke(app, list(arguments))


def test_from_a_saved_model(folder: Path) -> None:
    found = run(str(folder / "train.yaml"), "arguments.max_steps=4", "--json")
    assert found.exit_code == 0, (found.output, found.exception)
    outcome = json.loads(found.stdout)
    assert outcome["steps"] == 4
    assert outcome["model"] == str(folder / "run" / "model")
    assert set(outcome["eval"]) >= {"eval_em", "eval_loss"}

    trained = RAG.from_pretrained(outcome["model"])
    questions, letters = [e.question for e in toy.examples()[:3]], list(toy.LETTERS[:3])
    trained.eval()
    with torch.no_grad():
        loss = float(trained.loss(questions, letters, k=3))
    assert outcome["eval"]["eval_loss"] == pytest.approx(loss, rel=1e-4)
    before = RAG.from_pretrained(folder / "start").state_dict()
    assert any(not torch.equal(v, before[n]) for n, v in trained.state_dict().items())


def test_the_table(folder: Path) -> None:
    found = run(str(folder / "train.yaml"), "arguments.max_steps=2")
    assert found.exit_code == 0, (found.output, found.exception)
    lines = found.stdout.splitlines()
    assert lines[0].startswith("2 steps, loss ")
    assert any(line.startswith("eval_em ") for line in lines)
    assert "the model is in" in found.stdout


def test_from_components_and_the_configuration_is_saved_filled_in(folder: Path) -> None:
    """What is saved is enough to make the same run again."""
    saved = sorted((folder / "start").glob("parts-*"))[-1]
    retriever = {
        "name": "dense",
        "knowledge_base": str(folder / "knowledge"),
        "encoder": {
            "name": "dpr",
            "model": str(saved / "retriever" / "encoder" / "question_encoder"),
            "passage_model": str(saved / "retriever" / "encoder" / "passage_encoder"),
            "tokenizer": str(saved / "retriever" / "encoder" / "tokenizer"),
            "pooling": "mean",
        },
    }
    generator = {"name": "seq2seq", "model": str(saved / "generator")}
    write(folder, {"model": None, "eval": None, "retriever": retriever, "generator": generator})
    found = run(str(folder / "train.yaml"), "marginalizer=rag-token", "--json")
    assert found.exit_code == 0, (found.output, found.exception)
    assert json.loads(found.stdout)["eval"] == {}
    filled = yaml.safe_load((folder / "run" / "config.yaml").read_text())
    assert filled["retriever"]["temperature"] == 1.0
    assert filled["retriever"]["encoder"]["normalize"] is False
    assert filled["generator"]["max_source"] == 300
    assert filled["marginalizer"] == {"name": "rag-token"}
    assert filled["objective"] == {"name": "marginal"}
    assert filled["arguments"]["k"] == 3

    again = run(
        str(folder / "run" / "config.yaml"), f"arguments.output_dir={folder / 'again'}", "--json"
    )
    assert again.exit_code == 0, (again.output, again.exception)
    assert json.loads(again.stdout)["train_loss"] == json.loads(found.stdout)["train_loss"]


def test_a_component_beside_a_model_takes_the_place_of_its_own(folder: Path) -> None:
    found = run(str(folder / "train.yaml"), "marginalizer=rag-token", "arguments.max_steps=1")
    assert found.exit_code == 0, (found.output, found.exception)
    kept = RAG.from_pretrained(folder / "run" / "model")
    assert type(kept.marginalizer).__name__ == "RagToken"


def test_all_faults_at_once(folder: Path) -> None:
    write(
        folder,
        {
            "modle": "x",
            "train": "nowhere.jsonl",
            "objective": "marginl",
            "marginalizer": {"name": "rag-sequence", "decodin": "fast"},
            "arguments": {"output_dir": str(folder / "run"), "learning_rat": 1, "k": "five"},
        },
    )
    found = run(str(folder / "train.yaml"))
    assert isinstance(found.exception, ConfigError)
    faults = found.exception.faults
    for expected in (
        "unknown key 'modle'; did you mean 'model'?",
        "train: there is no file 'nowhere.jsonl'",
        "did you mean 'marginal'?",
        "unknown option 'decodin'; did you mean 'decoding'?",
        "unknown option 'learning_rat'; did you mean 'learning_rate'?",
        "arguments.k: 'five' (str) must be int",
    ):
        assert any(expected in fault for fault in faults), (expected, faults)
    assert len(faults) == 6
    assert not (folder / "run").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train": None}, "train is missing"),
        ({"model": None}, r"retriever is missing \(or give model: FOLDER\)"),
        ({"arguments": None}, r"arguments\.output_dir is missing"),
        ({"arguments": {"output_dir": "x", "k": 0}}, "arguments: k is 0; it must be at least 1"),
        ({"arguments": {"output_dir": "x", "optim": "adm"}}, "arguments: .*adm"),
        ({"train": {"name": "jsonl", "pth": "x"}}, "unknown option 'pth'; did you mean 'path'"),
        ({"model": "/nowhere"}, "there is no folder '/nowhere'"),
    ],
)
def test_faults(folder: Path, changes: dict[str, Any], message: str) -> None:
    found = run(str(write(folder, changes)))
    with pytest.raises(ConfigError, match=message):
        raise found.exception
    assert found.stdout == ""


def test_nothing_to_resume(folder: Path) -> None:
    found = run(str(folder / "train.yaml"), "--resume")
    with pytest.raises(ConfigError, match="there is no checkpoint"):
        raise found.exception


def test_interrupted_and_resumed_is_the_run_that_was_not(folder: Path) -> None:
    command = [
        sys.executable, "-W", "ignore", "-c", "from ragkit import cli; cli.main()", "train",
        str(folder / "train.yaml"), "arguments.max_steps=400",
        "arguments.lr_scheduler_type=constant", "arguments.save_steps=5", "--json",
    ]  # fmt: skip
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())},
    )  # fmt: skip
    deadline = time.monotonic() + 100
    while checkpoints.last_checkpoint(folder / "run") is None and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    printed, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert printed == ""
    assert errors.startswith("interrupted at step ")
    assert "go on with: ragkit train … --resume" in " ".join(errors.split())
    last = checkpoints.last_checkpoint(folder / "run")
    assert last is not None
    stopped = int(last.name.removeprefix("checkpoint-"))
    assert f"at step {stopped}," in errors
    assert not (folder / "run" / "model").exists()

    same = ("arguments.lr_scheduler_type=constant", f"arguments.max_steps={stopped + 3}")
    resumed = run(str(folder / "train.yaml"), *same, "--resume", "--json")
    assert resumed.exit_code == 0, (resumed.output, resumed.exception)
    whole = run(
        str(folder / "train.yaml"), *same, f"arguments.output_dir={folder / 'whole'}", "--json"
    )
    outcomes = [json.loads(one.stdout) for one in (resumed, whole)]
    assert outcomes[0]["steps"] == outcomes[1]["steps"] == stopped + 3
    assert outcomes[0]["eval"] == outcomes[1]["eval"]
    weights = [RAG.from_pretrained(one["model"]).state_dict() for one in outcomes]
    for name, value in weights[0].items():
        assert torch.equal(value, weights[1][name]), name
