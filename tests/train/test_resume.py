"""A run that is killed at any moment and resumed is the run that was not, bit for bit."""

from __future__ import annotations

import importlib.util
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from ragkit.errors import ConfigError, CorruptError
from ragkit.rag import RAG
from ragkit.train import checkpoints

SCRIPT = Path(__file__).with_name("run_to_kill.py")
_SPEC = importlib.util.spec_from_file_location("run_to_kill", SCRIPT)
assert _SPEC is not None
assert _SPEC.loader is not None
run_to_kill = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(run_to_kill)
STEPS = run_to_kill.STEPS
KILLS = 6


class Runs:
    """Runs in children of one process, each started by a word."""

    def __init__(self, folder: Path) -> None:
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(
                [str(SCRIPT.parents[1]), os.environ.get("PYTHONPATH", "")]
            ),
            "OMP_NUM_THREADS": str(torch.get_num_threads()),
            "TOKENIZERS_PARALLELISM": "false",
        }
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", str(SCRIPT), str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def start(self, word: str) -> int:
        return self._send(word)

    def ended(self) -> int:
        """Exit code of the run at hand; waits for it."""
        return self._send("ended?")

    def _send(self, line: str) -> int:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


def logs(folder: Path) -> list[dict[str, float]]:
    """Everything that was logged, but for times."""
    state = json.loads((folder / "run" / f"checkpoint-{STEPS}" / "trainer_state.json").read_text())
    timed = ("eval_runtime", "train_runtime")
    return [{k: v for k, v in e.items() if k not in timed} for e in state["log_history"]]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return RAG.from_pretrained(folder / "model").state_dict()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody interrupts, in this process."""
    folder = tmp_path_factory.mktemp("whole")
    one = run_to_kill.trainer(folder)
    one.train()
    one.rag.save_pretrained(folder / "model")
    return folder


def same(folder: Path, whole: Path) -> None:
    assert logs(folder) == logs(whole)
    expected, found = weights(whole), weights(folder)
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")
def test_killed_at_random_moments_and_resumed(tmp_path: Path, whole: Path) -> None:
    moments, kills, run = random.Random(4), 0, tmp_path / "run"
    runs = Runs(tmp_path)
    try:
        while kills < KILLS:
            before = checkpoints.last_checkpoint(run)
            if before is not None and before.name == f"checkpoint-{STEPS}":
                shutil.rmtree(run)  # it was too fast for us: from the beginning
                before = None
            child = runs.start("resume" if before is not None else "train")
            deadline = time.monotonic() + 60
            while checkpoints.last_checkpoint(run) == before and time.monotonic() < deadline:
                time.sleep(0.002)
            time.sleep(moments.uniform(0.0, 0.1))  # in the middle of a step, or of a save
            os.kill(child, signal.SIGKILL)
            kills += runs.ended() == -signal.SIGKILL
        runs.start("resume" if checkpoints.last_checkpoint(run) is not None else "train")
        assert runs.ended() == 0
    finally:
        runs.close()
    same(tmp_path, whole)


@pytest.mark.parametrize("step", [1, 3, 5])
def test_resumed_from_any_step(tmp_path: Path, whole: Path, step: int) -> None:
    """Within an epoch, between two, and between two logs."""
    folder = _copy(whole, tmp_path)
    one = run_to_kill.trainer(folder)
    one.train(resume_from_checkpoint=folder / "run" / f"checkpoint-{step}")
    one.rag.save_pretrained(folder / "model")
    same(folder, whole)


def _copy(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "again", symlinks=True))


def test_a_finished_run_that_is_resumed_has_nothing_to_do(tmp_path: Path, whole: Path) -> None:
    folder = _copy(whole, tmp_path)
    one = run_to_kill.trainer(folder)
    one.train(resume_from_checkpoint=True)
    assert one.state.global_step == STEPS
    for name, value in weights(whole).items():
        assert torch.equal(one.rag.state_dict()[name], value), name


# ------------------------------------------------------------------- other settings


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"k": 2}, ["k was 3 in checkpoint-8 and is 2 now"]),
        ({"seed": 1}, ["seed was 42 in checkpoint-8 and is 1 now"]),
        ({"label_smoothing_factor": 0.0}, ["label_smoothing_factor was 0.1"]),
        (
            {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 1},
            ["per_device_train_batch_size was 2", "gradient_accumulation_steps was 2"],
        ),
        ({"learning_rate": 1e-3}, ["learning_rate was 0.003"]),
        ({"question_encoder_learning_rate": None}, ["question_encoder_learning_rate was 0.001"]),
        ({"weight_decay": 0.5}, ["weight_decay was 0.0"]),
        ({"max_grad_norm": 0.1}, ["max_grad_norm was 1.0"]),
        ({"bf16": True}, ["bf16 was False"]),
    ],
)
def test_other_settings_are_refused_by_name(
    whole: Path, tmp_path: Path, options: dict[str, Any], named: list[str]
) -> None:
    folder = _copy(whole, tmp_path)
    one = run_to_kill.trainer(folder, **options)
    with pytest.raises(ConfigError) as caught:
        one.train(resume_from_checkpoint=True)
    *faults, advice = caught.value.faults
    assert len(faults) == len(named)
    for fault, expected in zip(sorted(faults), sorted(named), strict=True):
        assert fault.startswith(expected)
    assert "set these back" in advice


def test_another_training_set_is_refused(whole: Path, tmp_path: Path) -> None:
    folder = _copy(whole, tmp_path)
    one = run_to_kill.trainer(folder)
    rows = one.train_dataset._rows
    rows[0], rows[1] = rows[1], rows[0]
    with pytest.raises(ConfigError, match="training set was '5 rows"):
        one.train(resume_from_checkpoint=True)


# ------------------------------------------------------------- checkpoints cut short


def _without(folder: Path, name: str) -> None:
    (folder / name).unlink()


def _half(folder: Path, name: str) -> None:
    text = (folder / name).read_bytes()
    (folder / name).write_bytes(text[: len(text) // 2])


@pytest.mark.parametrize("damage", [_without, _half])
@pytest.mark.parametrize("name", ["trainer_state.json", checkpoints.STATE])
def test_a_half_saved_checkpoint_does_not_count(
    whole: Path, tmp_path: Path, damage: Any, name: str
) -> None:
    folder = _copy(whole, tmp_path)
    last = folder / "run" / f"checkpoint-{STEPS}"
    damage(last, name)
    assert checkpoints.last_checkpoint(folder / "run").name == f"checkpoint-{STEPS - 1}"
    one = run_to_kill.trainer(folder)
    with pytest.raises(CorruptError, match=r"not a whole checkpoint: .* use an earlier one"):
        one.train(resume_from_checkpoint=last)
    one.train(resume_from_checkpoint=True)
    one.rag.save_pretrained(folder / "model")
    same(folder, whole)


def test_nothing_to_resume_from(tmp_path: Path) -> None:
    one = run_to_kill.trainer(tmp_path)
    with pytest.raises(ConfigError, match=r"there is no checkpoint in .* to resume from"):
        one.train(resume_from_checkpoint=True)
    with pytest.raises(ConfigError, match=r"there is no checkpoint .*nowhere"):
        one.train(resume_from_checkpoint=tmp_path / "nowhere")


def test_a_checkpoint_is_a_model(whole: Path) -> None:
    checkpoint = whole / "run" / f"checkpoint-{STEPS}"
    saved = RAG.from_pretrained(checkpoint).state_dict()
    for name, value in weights(whole).items():
        assert torch.equal(saved[name], value), name
    assert not list(checkpoint.rglob("training_args.bin"))  # a pickle
