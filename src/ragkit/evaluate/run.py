"""A run: the folder of one evaluation, written so that it can be continued and trusted.

| file | |
|---|---|
| run.json | the filled-in configuration: model, task, k, decoding, versions |
| predictions.jsonl | one line per question, in the order of the task |
| scores.jsonl | one line per question, the number of every metric |
| result.json | means with intervals, times |
| golds.jsonl | one line per question, what it was judged by (`ragkit.evaluate.golds`) |

A run answers for one model, split, k and set of decoding options; it is continued where
it stopped, and refuses everything else. Metrics may be added later. This module knows
nothing of models and metrics beyond what they are called.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, BinaryIO

from ragkit.errors import CorruptError, DataError
from ragkit.evaluate.predictions import PredictionFile, appending, to_line, to_record
from ragkit.protocols import Example, Prediction

FORMAT = 1
_SAME = ("model", "split", "k", "options")  # what must not change within a run


class Run:
    """A run that is open for adding predictions; get one from `opened`."""

    def __init__(self, directory: Path, file: BinaryIO, stored: PredictionFile) -> None:
        self.directory = directory
        self._file = file
        self._stored = stored

    def __len__(self) -> int:
        """How many questions had been answered when the run was opened."""
        return len(self._stored)

    def check(self, examples: Sequence[Example]) -> None:
        """Raise `DataError` where a stored prediction is of another question."""
        pairs = zip(self._stored.records(), examples, strict=False)
        for line, (record, example) in enumerate(pairs, start=1):
            if (record["id"], record["question"]) != (example.id, example.question):
                raise DataError(
                    f"{self._stored.path}, line {line}: a prediction for question "
                    f"{record['id']!r} ({record['question']!r}), but the task's is {example.id!r} "
                    f"({example.question!r}); evaluate other questions into another folder, "
                    f"or type overwrite=True (--overwrite) to begin anew"
                )

    def add(self, predictions: Sequence[Prediction], seconds: float) -> None:
        """Add the predictions of a batch that took so many seconds."""
        each = seconds / max(1, len(predictions))
        # One write of whole lines, so that a kill tears at most the last of them.
        self._file.write(b"".join(to_line(to_record(one, each)) for one in predictions))
        self._file.flush()


@contextmanager
def opened(directory: Path, config: Mapping[str, Any], overwrite: bool = False) -> Iterator[Run]:
    """The run of this configuration, begun or continued; one process at a time.

    Raises `DataError` where the folder holds a run of another configuration, unless
    ``overwrite`` says to throw that away.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with appending(directory / "predictions.jsonl") as (file, stored):
        if overwrite:
            file.truncate(0)
            stored = PredictionFile(stored.path)
            for name in ("run.json", "scores.jsonl", "result.json", "golds.jsonl"):
                (directory / name).unlink(missing_ok=True)
        before = read_json(directory / "run.json")
        if before is None:
            _refuse_orphans(directory, stored)
            write_json(directory / "run.json", config)
        else:
            _refuse_other(directory, before, config)
        yield Run(directory, file, stored)
        os.fsync(file.fileno())


def configuration(
    model: Mapping[str, Any], task: object, split: str, k: int, options: Mapping[str, Any]
) -> dict[str, Any]:
    """The content of run.json; raises `DataError` where an option is not plain data."""
    try:
        plain = json.loads(json.dumps(dict(options), default=_plain))
    except TypeError:
        raise DataError(
            f"decoding options must be numbers, texts or lists to be saved with the run, "
            f"but there is {options!r}; give num_beams=4 and the like by name"
        ) from None
    return {
        "format": FORMAT,
        "model": dict(model),
        "task": repr(task),
        "split": split,
        "k": k,
        "options": plain,
        "versions": versions(),
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def versions() -> dict[str, str]:
    """Versions of what decides the figures, those that are installed."""
    found = {"python": platform.python_version()}
    for package in ("ragkit", "torch", "transformers", "numpy", "faiss-cpu"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def save_result(
    directory: Path,
    result: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    golds: str,
) -> None:
    """Write result.json and scores.jsonl, keeping the metrics of an earlier sitting.

    They are kept where they were computed for the same questions and golds; ``golds`` is
    the digest that tells.
    """
    before = read_json(directory / "result.json") or {}
    kept: dict[str, Any] = {}
    old_rows: list[dict[str, Any]] = [{}] * len(rows)
    if before.get("golds") == golds:
        kept = before["metrics"]
        old_rows = [
            json.loads(line) for line in (directory / "scores.jsonl").read_bytes().splitlines()
        ]
    lines = [to_line({**old, **new}) for old, new in zip(old_rows, rows, strict=True)]
    write_bytes(directory / "scores.jsonl", b"".join(lines))
    metrics = {**kept, **result["metrics"]}
    write_json(directory / "result.json", {**result, "metrics": metrics, "golds": golds})


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in a file, None where there is no file."""
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise CorruptError(
            f"{path} does not hold what a run writes; type overwrite=True (--overwrite) "
            f"to begin anew, or evaluate into another folder"
        )
    return found


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    write_bytes(path, json.dumps(content, indent=2, ensure_ascii=False).encode() + b"\n")


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file so that it is either the old or the new one, whenever we are killed."""
    beside = path.with_name(path.name + ".new")
    beside.write_bytes(content)
    beside.replace(path)


def _refuse_orphans(directory: Path, stored: PredictionFile) -> None:
    if len(stored):
        raise DataError(
            f"{directory} has predictions but no run.json, so nobody knows of what model; "
            f"evaluate into another folder, or type overwrite=True (--overwrite)"
        )


def _refuse_other(directory: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    if before.get("format") != FORMAT:
        raise DataError(
            f"{directory} was written in format {before.get('format')!r}, this version of "
            f"ragkit reads {FORMAT}; evaluate into another folder, or update ragkit"
        )
    faults = [
        f"{path} is {_short(old)} there and {_short(new)} now"
        for name in _SAME
        for path, old, new in _differences(name, before.get(name), now[name])
    ]
    if faults:
        raise DataError(
            f"{directory} holds another run: {'; '.join(faults)}; evaluate into another "
            f"folder, or type overwrite=True (--overwrite) to begin anew"
        )


def _differences(path: str, old: Any, new: Any) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(old, dict) and isinstance(new, dict):
        for name in sorted({*old, *new}):
            yield from _differences(f"{path}.{name}", old.get(name), new.get(name))
    elif old != new:
        yield path, old, new


def _short(value: Any) -> str:
    return "not set" if value is None else json.dumps(value, ensure_ascii=False)[:60]


def _plain(value: Any) -> Any:
    if isinstance(value, set | frozenset):  # ids that retrieval is held to
        return sorted(value)
    raise TypeError
