"""Golds of a run on disk, so that who reads the folder needs no other file.

``golds.jsonl`` holds a line per question, in the order of the task: its id, the answers, the
passages known to be right and, where they are graded, their grades. Their digest, kept beside
the result, says whether two runs were judged by the same golds. Knows nothing of models or
metrics.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ragkit.errors import CorruptError
from ragkit.evaluate.predictions import to_line
from ragkit.evaluate.run import write_bytes
from ragkit.protocols import Example

FILE = "golds.jsonl"


def digest(examples: Sequence[Example]) -> str:
    """Hex digest of all that metrics compare with."""
    total = hashlib.blake2b(digest_size=16)
    for one in examples:
        grades = _grades(one)  # absent where there are none: digests of before still hold
        held = [one.id, one.answers, one.passage_ids, *([grades] if grades else [])]
        total.update(json.dumps(held, sort_keys=True).encode())
    return total.hexdigest()


def save(directory: Path, examples: Sequence[Example]) -> None:
    """Write the golds of a run's questions; what is there of other questions is replaced."""
    write_bytes(
        directory / FILE,
        b"".join(to_line(_record(one)) for one in examples),
    )


def load(directory: Path) -> list[Example] | None:
    """Examples with id and golds, their question empty; None where a run kept none.

    Raises `CorruptError` with the line that is not what `save` writes.
    """
    path = directory / FILE
    if not path.exists():
        return None
    return [
        _example(path, number, line)
        for number, line in enumerate(path.read_bytes().splitlines(), start=1)
    ]


def _record(one: Example) -> dict[str, Any]:
    held = {"id": one.id, "answers": one.answers, "passage_ids": one.passage_ids}
    grades = _grades(one)
    return held | ({"relevance": grades} if grades else {})


def _grades(one: Example) -> dict[str, float]:
    """Grades by passage id; none where there are none, or what is there is no such thing."""
    said = one.extra.get("relevance")
    if not isinstance(said, Mapping) or not all(map(_number, said.values())):
        return {}
    return {str(id): grade for id, grade in said.items()}


def _number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _example(path: Path, number: int, line: bytes) -> Example:
    try:
        record = json.loads(line)
        answers, passages = record["answers"], record["passage_ids"]
        grades = dict(record.get("relevance", {}))
        assert all(isinstance(one, str) for one in [*answers, *passages])
        assert all(map(_number, grades.values()))
        extra = {"relevance": grades} if grades else {}
        return Example(record["id"], "", tuple(answers), tuple(passages), extra=extra)
    except (ValueError, TypeError, KeyError, AssertionError):
        raise CorruptError(
            f"{path}, line {number}: not the golds of a question; evaluate into that folder "
            f"again, which answers nothing twice and writes the file anew"
        ) from None
