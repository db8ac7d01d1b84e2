"""Learning curves from the log of a training.

Read is what transformers' Trainer keeps (``trainer_state.json``, in each checkpoint), or a
jsonl file with an object for each logged step. Knows nothing of how curves are drawn.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from ragkit.errors import DataError

_STATE = "trainer_state.json"
_SAID_ELSEWHERE = {"step", "epoch"}
_OF_THE_RUN = ("_runtime", "_per_second", "_flos", "_samples", "train_loss")
FIRST = ("loss", "eval_loss", "prior_entropy", "prior_entropy_share", "posterior_rank")
"""Curves that stand first, in this order."""


@dataclass(frozen=True, slots=True)
class Log:
    """name: of the file or folder. curves: name of a number to its (step, value), by step."""

    name: str
    curves: Mapping[str, Sequence[tuple[float, float]]]


def read_log(path: str | Path) -> Log:
    """The log in a file, or of the last checkpoint in the folder of a training.

    Raises `DataError` where there is none, or where it is not what a trainer writes.
    """
    given = Path(path)
    file = _state_of(given) if given.is_dir() else given
    entries = _entries(file)
    curves: dict[str, list[tuple[float, float]]] = {}
    for entry in entries:
        step = entry.get("step")
        if not _is_number(step):
            continue
        for name, value in entry.items():
            if name in _SAID_ELSEWHERE or name.endswith(_OF_THE_RUN) or not _is_number(value):
                continue
            curves.setdefault(name, []).append((float(step), float(value)))
    curves = {name: sorted(points) for name, points in curves.items() if len(points) > 1}
    if not curves:
        raise DataError(
            f"{file} logs no number at two steps; give a {_STATE} of a training that went on "
            f"for longer than logging_steps"
        )
    order = sorted(curves, key=lambda name: FIRST.index(name) if name in FIRST else len(FIRST))
    return Log(given.resolve().name, {name: curves[name] for name in order})


def _state_of(folder: Path) -> Path:
    here = folder / _STATE
    if here.is_file():
        return here
    found = sorted(
        (one for one in folder.glob(f"checkpoint-*/{_STATE}") if _number(one.parent) is not None),
        key=lambda one: _number(one.parent) or 0,
    )
    if not found:
        raise DataError(
            f"{folder} holds no log of a training (no {_STATE}, and no checkpoint with one); "
            f"type the folder that ragkit train wrote, or a jsonl file with a step on each line"
        )
    return found[-1]


def _number(checkpoint: Path) -> int | None:
    said = checkpoint.name.rpartition("-")[2]
    return int(said) if said.isdecimal() else None


def _entries(file: Path) -> list[Mapping[str, Any]]:
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise DataError(f"{file} is missing; type the log of a training") from None
    except UnicodeDecodeError:
        raise DataError(f"{file} is not UTF-8; type the {_STATE} of a training") from None
    try:
        if file.suffix == ".jsonl":
            found: Any = [json.loads(line) for line in text.splitlines() if line.strip()]
        else:
            found = json.loads(text)["log_history"]
    except (ValueError, TypeError, KeyError, RecursionError):
        found = None
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise DataError(
            f"{file} is no log of a training; type a {_STATE}, or a jsonl file with an object "
            f'for each step, {{"step": 10, "loss": 2.5}}'
        )
    return found


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
