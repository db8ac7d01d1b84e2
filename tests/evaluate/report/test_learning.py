"""Logs of trainings: as a trainer writes them, and what is none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers.trainer_callback import TrainerState

from ragkit.errors import DataError
from ragkit.evaluate.report import read_log

HISTORY: list[dict[str, Any]] = [
    {"step": 2, "epoch": 0.1, "prior_entropy": 1.5, "loss": 3.0},
    {"step": 4, "epoch": 0.2, "prior_entropy": 1.25, "loss": 2.0},
    {"step": 4, "eval_loss": 2.5, "eval_runtime": 3.0},
    {"step": 4, "train_runtime": 9.0, "train_loss": 2.5, "total_flos": 0.0},
    {"step": 8, "eval_loss": 2.25, "eval_runtime": 3.0, "loss": "none"},
    {"step": 8, "eval_runtime": 4.0, "only": 1.0},
]
CURVES = {
    "loss": [(2, 3.0), (4, 2.0)],
    "eval_loss": [(4, 2.5), (8, 2.25)],
    "prior_entropy": [(2, 1.5), (4, 1.25)],
}


def test_the_last_checkpoint_of_a_training_counts(tmp_path: Path) -> None:
    for step, history in ((9, HISTORY[:2]), (10, HISTORY)):
        folder = tmp_path / "run" / f"checkpoint-{step}"
        folder.mkdir(parents=True)
        state = TrainerState(log_history=history)
        state.save_to_json(str(folder / "trainer_state.json"))
    (tmp_path / "run" / "checkpoint-best").mkdir()
    for given in (tmp_path / "run", tmp_path / "run" / "checkpoint-10"):
        found = read_log(given)
        assert found.curves == CURVES
        assert list(found.curves) == list(CURVES)  # the loss first
    assert read_log(tmp_path / "run").name == "run"


def test_lines_of_json(tmp_path: Path) -> None:
    file = tmp_path / "log.jsonl"
    file.write_text("\n".join(map(json.dumps, HISTORY)) + "\n\n")
    assert read_log(file).curves == CURVES


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.json", b"{}", "is no log of a training"),
        ("a.json", b"[1]", "is no log of a training"),
        ("a.json", b'{"log_history": [1]}', "is no log of a training"),
        ("a.json", b"[" * 100_000, "is no log of a training"),
        ("a.json", b"\xff\xfe", "is not UTF-8"),
        ("a.json", b'{"log_history": [{"step": 1, "loss": 2}]}', "logs no number at two steps"),
        ("a.jsonl", b'{"step": 1}\nno', "is no log of a training"),
    ],
)
def test_what_is_no_log_is_named(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(DataError, match=said) as caught:
        read_log(file)
    assert str(file) in str(caught.value)


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is missing"):
        read_log(tmp_path / "none.json")
    with pytest.raises(DataError, match="holds no log of a training"):
        read_log(tmp_path)
