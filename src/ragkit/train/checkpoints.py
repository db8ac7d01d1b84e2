"""Which checkpoints are whole, and whether one belongs to this run.

A process may be killed at any moment, also while it saves. transformers writes
``trainer_state.json`` last, so a checkpoint counts once that file can be read. What
ragkit adds to a checkpoint is one file of plain JSON. Knows nothing of models.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ragkit.errors import ConfigError, CorruptError

STATE = "ragkit_state.json"
_TRAINER_STATE = "trainer_state.json"


def last_checkpoint(directory: Path) -> Path | None:
    """The newest whole checkpoint of a run, None where there is none."""
    found = []
    for folder in Path(directory).glob("checkpoint-*"):
        number = folder.name.removeprefix("checkpoint-")
        if number.isdigit() and is_whole(folder):
            found.append((int(number), folder))
    return max(found)[1] if found else None


def is_whole(checkpoint: Path) -> bool:
    """Whether saving it came to its end."""
    try:
        for name in (_TRAINER_STATE, STATE):
            json.loads((checkpoint / name).read_text())
    except (OSError, ValueError):
        return False
    return True


def resolve(asked: str | Path | bool, directory: Path) -> Path:
    """The checkpoint to resume from.

    Raises `ConfigError` where there is none, `CorruptError` where it is not whole.
    """
    if asked is True:
        found = last_checkpoint(directory)
        if found is None:
            raise ConfigError(
                f"there is no checkpoint in {directory} to resume from; train without "
                "resume_from_checkpoint, or name the folder of another run as output_dir"
            )
        return found
    folder = Path(str(asked))
    if not folder.is_dir():
        raise ConfigError(
            f"there is no checkpoint {folder}; give one, or resume_from_checkpoint=True for the "
            f"last of {directory}"
        )
    if not is_whole(folder):
        raise CorruptError(
            f"{folder} is not a whole checkpoint: saving it was interrupted; use an earlier one, "
            "or resume_from_checkpoint=True for the last whole one"
        )
    return folder


def write_state(checkpoint: Path, state: Mapping[str, Any]) -> None:
    """Write ragkit's own part of a checkpoint."""
    checkpoint.mkdir(parents=True, exist_ok=True)
    (checkpoint / STATE).write_text(json.dumps(state) + "\n")


def read_state(checkpoint: Path) -> dict[str, Any]:
    """Read it again."""
    state: dict[str, Any] = json.loads((checkpoint / STATE).read_text())
    return state


def check_same_run(checkpoint: Path, saved: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise `ConfigError` where what decides the course of a run has changed."""
    faults = [
        f"{name} was {saved[name]!r} in {checkpoint.name} and is {now[name]!r} now"
        for name in now
        if name in saved and saved[name] != now[name]
    ]
    if faults:
        faults.append(
            "a resumed run goes on exactly as it would have gone: set these back, or start anew "
            f"from the model with RAG.from_pretrained({str(checkpoint)!r})"
        )
        raise ConfigError(faults)
