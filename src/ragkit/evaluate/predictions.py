"""Predictions on disk: one JSON line per question, added at the end, never rewritten.

`PredictionFile` is a sequence that reads a line when asked for it, so a run may be
larger than memory. A process that died while writing leaves at most one torn line at
the end, which the next one cuts off. This module knows nothing of models or metrics.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, overload

from ragkit.errors import CorruptError, LockedError
from ragkit.protocols import Passage, Prediction


class PredictionFile(Sequence[Prediction]):
    """The predictions of a jsonl file, by position; the first ``limit`` where given.

    A torn last line is not counted. ``end`` is the byte after the last whole line.
    """

    def __init__(self, path: Path, limit: int | None = None) -> None:
        self.path = path
        starts, self.end = _line_starts(path)
        self._starts = starts[:limit]

    def __len__(self) -> int:
        return len(self._starts)

    @overload
    def __getitem__(self, at: int) -> Prediction: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Prediction]: ...
    def __getitem__(self, at: int | slice) -> Prediction | Sequence[Prediction]:
        if isinstance(at, slice):
            return [self[i] for i in range(*at.indices(len(self)))]
        position = range(len(self))[at]
        with self.path.open("rb") as file:
            file.seek(self._starts[position])
            return from_record(self._record(position, file.readline()))

    def __iter__(self) -> Iterator[Prediction]:
        return (from_record(record) for record in self.records())

    def records(self) -> Iterator[dict[str, Any]]:
        """The raw objects in order; raises `CorruptError` at a line that is none."""
        with self.path.open("rb") as file:
            for position in range(len(self)):
                yield self._record(position, file.readline())

    def _record(self, position: int, line: bytes) -> dict[str, Any]:
        try:
            record = json.loads(line)
            _ = record["id"], record["question"], record["text"], record["log_likelihood"]
        except (ValueError, TypeError, KeyError):
            raise CorruptError(
                f"{self.path}, line {position + 1}: not a prediction; take the line and all "
                f"after it out and run again, or evaluate into another folder"
            ) from None
        return dict(record)


@contextmanager
def appending(path: Path) -> Iterator[tuple[BinaryIO, PredictionFile]]:
    """The file open for adding lines, and what it holds; a torn last line is cut off.

    Raises `LockedError` where another process is adding to it.
    """
    with path.open("ab") as file:
        _lock(file, path)
        stored = PredictionFile(path)  # read under the lock: nobody adds behind our back
        file.truncate(stored.end)
        yield file, stored


def to_record(prediction: Prediction, seconds: float) -> dict[str, Any]:
    """A prediction as an object for JSON, with the seconds that answering took."""
    record: dict[str, Any] = {
        "id": prediction.id,
        "question": prediction.question,
        "text": prediction.text,
        "log_likelihood": _finite(prediction.log_likelihood),
        "passages": [passage._asdict() for passage in prediction.passages],
        "prior": list(prediction.prior),
        "posterior": list(prediction.posterior),
        "seconds": round(seconds, 6),
    }
    if prediction.token_posterior:  # of RAG-Token alone, so that other lines do not grow
        record["tokens"] = list(prediction.tokens)
        record["token_posterior"] = [list(shares) for shares in prediction.token_posterior]
    return record


def from_record(record: dict[str, Any]) -> Prediction:
    """A prediction from such an object; passages may lack title or text."""
    logp = record["log_likelihood"]
    return Prediction(
        id=record["id"],
        question=record["question"],
        text=record["text"],
        log_likelihood=-math.inf if logp is None else logp,
        passages=tuple(
            Passage(one["id"], one.get("title", ""), one.get("text", ""))
            for one in record.get("passages", ())
        ),
        prior=tuple(record.get("prior", ())),
        posterior=tuple(record.get("posterior", ())),
        tokens=tuple(record.get("tokens", ())),
        token_posterior=tuple(map(tuple, record.get("token_posterior", ()))),
    )


def to_line(record: dict[str, Any]) -> bytes:
    return json.dumps(record, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None  # JSON has no infinity


def _line_starts(path: Path) -> tuple[list[int], int]:
    """Where each whole line begins, and where the last one ends."""
    starts, end = [], 0
    if path.exists():
        with path.open("rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    break
                starts.append(end)
                end += len(line)
    return starts, end


def _lock(file: BinaryIO, path: Path) -> None:
    try:
        import fcntl
    except ImportError:  # no such lock on this system; two writers are then not noticed
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise LockedError(
            f"{path}: another process is adding to this run; wait for it, "
            f"or evaluate into another folder"
        ) from None
