"""A finished run read back from its folder, and whether several may be compared.

Runs are comparable where they answered the same questions and were judged by the same
golds; everything else about them may differ, and that is what a comparison shows. Reads
what `ragkit.evaluate.run` writes; knows nothing of statistics.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragkit.errors import CorruptError, DataError
from ragkit.evaluate import golds
from ragkit.evaluate.bootstrap import Interval
from ragkit.evaluate.predictions import PredictionFile
from ragkit.evaluate.run import FORMAT, read_json
from ragkit.protocols import Example, Prediction


@dataclass(frozen=True, slots=True)
class StoredRun:
    """The run of one folder.

    name: what tables call it. ids, questions, texts: of the N questions that were judged,
    in the order of the task. values: label of each metric to its numbers (N,), NaN where it
    has no meaning; units: "share", or what else a metric counts in. pooled: the figures that
    are no mean of these numbers (BLEU), by label; tables: what a metric is built of, where that
    is known. golds: N examples without question, or None where the run kept none.
    """

    name: str
    directory: Path
    config: Mapping[str, Any]
    ids: Sequence[str]
    questions: Sequence[str]
    texts: Sequence[str]
    values: Mapping[str, NDArray[np.float64]]
    units: Mapping[str, str]
    pooled: Mapping[str, Interval]
    tables: Mapping[str, Mapping[str, Any] | None]
    golds: Sequence[Example] | None
    golds_digest: str

    def __len__(self) -> int:
        return len(self.ids)

    def predictions(self) -> Iterator[Prediction]:
        """The N predictions with their passages, read from disk one at a time."""
        return iter(PredictionFile(self.directory / "predictions.jsonl", limit=len(self)))

    def examples(self) -> list[Example]:
        """Questions with their golds; none where the run kept no golds."""
        pairs = zip(self.golds or (), self.questions, strict=False)
        return [replace(gold, question=question) for gold, question in pairs]

    def answers(self, at: int) -> tuple[str, ...]:
        """The golds of question ``at``; none where the run kept none."""
        return () if self.golds is None else self.golds[at].answers


def open_runs(folders: Sequence[str | Path]) -> list[StoredRun]:
    """Runs that may be compared, in the order given, each with a name of its own.

    Raises `DataError` where a folder is given twice or holds no finished run, or where two
    answered other questions or were judged by other golds.
    """
    paths = [Path(folder) for folder in folders]
    seen: dict[Path, Path] = {}
    for path in paths:
        same = seen.setdefault(path.resolve(), path)
        if same is not path:
            raise DataError(f"{path} is given twice; name each run once")
    runs = [open_run(path, name) for path, name in zip(paths, _names(paths), strict=True)]
    for other in runs[1:]:
        check_same(runs[0], other)
    return runs


def open_run(folder: str | Path, name: str | None = None) -> StoredRun:
    """The finished run of a folder.

    Raises `DataError` where there is none or it is not finished, `CorruptError` where its
    files do not belong together.
    """
    directory = Path(folder)
    config, result = _heads(directory)
    rows = _rows(directory / "scores.jsonl")
    path = directory / "predictions.jsonl"
    ids: list[str] = []
    questions: list[str] = []
    texts: list[str] = []
    for record in PredictionFile(path, limit=len(rows)).records():
        ids.append(record["id"])
        questions.append(record["question"])
        texts.append(record["text"])
    if ids != [row.get("id") for row in rows]:
        raise CorruptError(
            f"{directory}: scores.jsonl is not of the questions of predictions.jsonl; "
            f"evaluate into that folder again, which answers nothing twice"
        )
    values = _values(directory, rows, list(result["metrics"]))
    return StoredRun(
        name=name or directory.resolve().name,
        directory=directory,
        config=config,
        ids=ids,
        questions=questions,
        texts=texts,
        values=values,
        units={label: one.get("unit", "share") for label, one in result["metrics"].items()},
        pooled={
            label: Interval(one["mean"], one["low"], one["high"], one.get("n", len(ids)))
            for label, one in result["metrics"].items()
            if _is_pooled(one, values[label])
        },
        tables={label: one.get("table") for label, one in result["metrics"].items()},
        golds=_golds(directory, ids),
        golds_digest=str(result.get("golds", "")),
    )


def check_same(first: StoredRun, other: StoredRun) -> None:
    """Raise `DataError` where the two did not answer the same questions in order."""
    about = f"{_about(first)}; {_about(other)}"
    for place, (a, b) in enumerate(zip(_asked(first), _asked(other), strict=False), start=1):
        if a != b:
            raise DataError(
                f"these runs answered other questions: number {place} is {a[0]!r} ({a[1]!r}) in "
                f"{first.name}, and {b[0]!r} ({b[1]!r}) in {other.name}. {about}. "
                f"Only runs of the same task, split and limit can be compared"
            )
    if len(first) != len(other):
        raise DataError(
            f"these runs answered other questions: {len(first):,} in {first.name}, and "
            f"{len(other):,} in {other.name}. {about}. Evaluate both with the same limit "
            f"(ragkit evaluate --limit {min(len(first), len(other))} goes on in the same folder)"
        )
    if first.golds_digest != other.golds_digest:
        raise DataError(
            f"the questions are the same, but {first.name} and {other.name} were judged by other "
            f"golds. {about}. Evaluate both again with the golds of today; nothing is "
            f"answered twice"
        )


def _asked(run: StoredRun) -> Iterator[tuple[str, str]]:
    return zip(run.ids, run.questions, strict=True)


def _about(run: StoredRun) -> str:
    return f"{run.name} is of {run.config.get('task')}, split {run.config.get('split')!r}"


def _names(paths: Sequence[Path]) -> list[str]:
    """The shortest ends of the paths that tell them apart."""
    parts = [path.resolve().parts for path in paths]
    for length in range(1, max(map(len, parts), default=0) + 1):
        names = ["/".join(one[-length:]) for one in parts]
        if len(set(names)) == len(names):
            break
    return names if parts else []


def _heads(directory: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    if not directory.is_dir():
        raise DataError(
            f"{directory} is no folder; type the folder of a run, "
            f"as ragkit evaluate --out writes it"
        )
    config, result = read_json(directory / "run.json"), read_json(directory / "result.json")
    if config is None:
        raise DataError(
            f"{directory} holds no run (there is no run.json); type the folder of a run, "
            f"as ragkit evaluate --out writes it"
        )
    if config.get("format") != FORMAT:
        raise DataError(
            f"{directory} was written in format {config.get('format')!r}, this version of "
            f"ragkit reads {FORMAT}; evaluate again, or update ragkit"
        )
    if result is None:
        raise DataError(
            f"{directory} holds a run that is not finished; "
            f"type the same ragkit evaluate again to go on with it"
        )
    if not isinstance(result.get("metrics"), dict) or not result["metrics"]:
        raise CorruptError(f"{directory / 'result.json'} has no metrics; evaluate again")
    return config, result


def _rows(path: Path) -> list[dict[str, Any]]:
    rows = []
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        raise CorruptError(f"{path} is missing; evaluate into that folder again") from None
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if not isinstance(row, dict):
            raise CorruptError(
                f"{path}, line {number}: not the scores of a question; evaluate into that folder "
                f"again, which answers nothing twice"
            )
        rows.append(row)
    return rows


def _values(
    directory: Path, rows: Sequence[Mapping[str, Any]], labels: Sequence[str]
) -> dict[str, NDArray[np.float64]]:
    """(N,) of each metric."""
    found = {}
    for label in labels:
        numbers = [math.nan if row.get(label) is None else row[label] for row in rows]
        try:
            found[label] = np.asarray(numbers, dtype=np.float64)
        except (TypeError, ValueError):
            raise CorruptError(
                f"{directory / 'scores.jsonl'}: {label} is not a number everywhere; evaluate "
                f"into that folder again, which answers nothing twice"
            ) from None
    return found


def _is_pooled(figure: Mapping[str, Any], numbers: NDArray[np.float64]) -> bool:
    known = numbers[~np.isnan(numbers)]
    if figure.get("mean") is None or not known.size:
        return False
    return not math.isclose(figure["mean"], float(known.mean()), rel_tol=1e-6, abs_tol=1e-9)


def _golds(directory: Path, ids: Sequence[str]) -> list[Example] | None:
    found = golds.load(directory)
    if found is not None and [one.id for one in found] != list(ids):
        raise CorruptError(
            f"{directory / golds.FILE} is not of the questions of predictions.jsonl; evaluate "
            f"into that folder again, which answers nothing twice"
        )
    return found
