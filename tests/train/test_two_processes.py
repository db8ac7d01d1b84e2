"""Two processes do what one does with the double batch, also where the last is uneven."""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import toy_training as toy
from ragkit.rag import RAG

SCRIPT = Path(__file__).with_name("run_distributed.py")
_SPEC = importlib.util.spec_from_file_location("run_distributed", SCRIPT)
assert _SPEC is not None
assert _SPEC.loader is not None
run_distributed = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(run_distributed)

MARGINALIZERS = ("rag-sequence", "rag-token")

pytestmark = pytest.mark.skipif(
    not torch.distributed.is_available() or not torch.distributed.is_gloo_available(),
    reason="torch was built without gloo",
)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All runs by two processes, one after another; imports aside, they have a minute."""
    folder = tmp_path_factory.mktemp("two")
    for what in MARGINALIZERS:
        toy.model(folder / what)  # the knowledge base is there before
    (folder / "dpr").mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", str(SCRIPT), str(folder), "2", *MARGINALIZERS, "dpr"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(
                    [str(SCRIPT.parents[1]), os.environ.get("PYTHONPATH", "")]
                ),
                "OMP_NUM_THREADS": "1",
                "WORLD_SIZE": "2",
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
            },
        )
        for rank in range(2)
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n", process.communicate()
        errors = [process.communicate(timeout=60)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], errors
    return folder


def logs(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "logs.json").read_text())
    return found


@pytest.mark.parametrize("marginalizer", MARGINALIZERS)
def test_two_processes_are_one_with_the_double_batch(
    two: Path, tmp_path: Path, marginalizer: str
) -> None:
    run_distributed.run(tmp_path, 4, marginalizer)
    alone, together = logs(tmp_path), logs(two / marginalizer)

    steps = [[e for e in one["train"] if "loss" in e] for one in (alone, together)]
    assert [e["step"] for e in steps[1]] == [1, 2, 3, 4, 5]
    names = ("loss", "grad_norm", "prior_entropy", "prior_entropy_share", "posterior_rank",
             "probe_overlap", "learning_rate", "epoch")  # fmt: skip
    for expected, found in zip(*steps, strict=True):
        for name in names:
            assert found[name] == pytest.approx(expected[name], rel=1e-4, abs=1e-6), name
    for name in ("eval_em", "eval_loss"):
        assert together["eval"][name] == pytest.approx(alone["eval"][name], rel=1e-3), name

    weights = RAG.from_pretrained(two / marginalizer / "model").state_dict()
    for name, value in RAG.from_pretrained(tmp_path / "model").state_dict().items():
        if name.endswith(("k_proj.bias", "key.bias")):
            continue  # no softmax sees it: its gradient is rounding, which Adam makes steps of
        torch.testing.assert_close(
            weights[name], value, atol=1e-4, rtol=1e-3, msg=lambda text, n=name: f"{n}: {text}"
        )


def test_the_warm_up_in_two_processes(two: Path) -> None:
    """In-batch negatives are of one process: each question alone has nothing to learn."""
    losses = [e["loss"] for e in logs(two / "dpr")["train"] if "loss" in e]
    assert len(losses) == 5
    # Steps 2 and 4 end an epoch: one question is left, and what fills up does not count.
    assert [loss == 0 for loss in losses] == [False, True, False, True, False]
