"""Golds of a run on disk, so that who reads the folder needs no other file.

``golds.jsonl`` holds a line per question, in the order of the task: its id, the answers and
the passages known to be right. Their digest, kept beside the result, says whether two runs
were judged by the same golds. Knows nothing of models or metrics.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from ragkit.errors import CorruptError
from ragkit.evaluate.predictions import to_line
from ragkit.evaluate.run import write_bytes
from ragkit.protocols import Example

FILE = "golds.jsonl"


def digest(examples: Sequence[Example]) -> str:
    """Hex digest of all that metrics compare with."""
    total = hashlib.blake2b(digest_size=16)
    for one in examples:
        total.update(json.dumps([one.id, one.answers, one.passage_ids]).encode())
    return total.hexdigest()


def save(directory: Path, examples: Sequence[Example]) -> None:
    """Write the golds of a run's questions; what is there of other questions is replaced."""
    write_bytes(
        directory / FILE,
        b"".join(
            to_line({"id": one.id, "answers": one.answers, "passage_ids": one.passage_ids})
            for one in examples
        ),
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


def _example(path: Path, number: int, line: bytes) -> Example:
    try:
        record = json.loads(line)
        answers, passages = record["answers"], record["passage_ids"]
        assert all(isinstance(one, str) for one in [*answers, *passages])
        return Example(record["id"], "", tuple(answers), tuple(passages))
    except (ValueError, TypeError, KeyError, AssertionError):
        raise CorruptError(
            f"{path}, line {number}: not the golds of a question; evaluate into that folder "
            f"again, which answers nothing twice and writes the file anew"
        ) from None
