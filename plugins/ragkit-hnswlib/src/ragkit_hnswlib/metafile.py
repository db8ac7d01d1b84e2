"""What is noted beside a graph: its shape, its options, the rows that are gone, its checksum.

Everything is checked when it is read, and the graph's bytes are compared with the checksum,
before anything else is done with them. Knows nothing of graphs.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ragkit.errors import CorruptError

_META = "hnswlib.json"
_REMOVED = "removed.i64"
FORMAT = 1
_NUMBERS = {"dimension": 1, "rows": 1, "elements": 1, "capacity": 1, "bytes": 1}


@dataclass(frozen=True, slots=True)
class Meta:
    """The notes of one index.

    rows: numbers given so far. elements: vectors in the graph. capacity: how many fit.
    options: of the constructor. removed: (R,) int64, ascending.
    """

    space: str
    dimension: int
    rows: int
    elements: int
    capacity: int
    options: dict[str, Any]
    removed: NDArray[np.int64]

    def write(self, directory: Path, graph: Path) -> None:
        """Write the notes of a graph file that is there already."""
        removed = self.removed.astype("<i8").tobytes()
        (directory / _REMOVED).write_bytes(removed)
        notes = {
            "format": FORMAT,
            "space": self.space,
            "dimension": self.dimension,
            "rows": self.rows,
            "elements": self.elements,
            "capacity": self.capacity,
            "options": self.options,
            "bytes": graph.stat().st_size,
            "sha256": _sum(graph),
            "removed": {"rows": len(self.removed), "sha256": hashlib.sha256(removed).hexdigest()},
        }
        (directory / _META).write_text(json.dumps(notes, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, directory: Path, graph: Path) -> Self:
        """The notes, once they and the bytes of the graph were found to be what was written.

        Raises `CorruptError` naming the file that is not.
        """
        notes = _notes(directory)
        size = graph.stat().st_size if graph.is_file() else None
        if size != notes["bytes"]:
            what = "is missing" if size is None else f"has {size} bytes"
            raise CorruptError(f"{graph.name} {what}, and should have {notes['bytes']}")
        if _sum(graph) != notes["sha256"]:
            raise CorruptError(f"{graph.name} is not what was written (its sha256 differs)")
        if not 0 < notes["elements"] <= min(notes["rows"], notes["capacity"]):
            raise CorruptError(
                f"{_META} says {notes['elements']} elements of {notes['rows']} rows, with room "
                f"for {notes['capacity']}; that cannot be"
            )
        return cls(
            space=str(notes["space"]),
            dimension=notes["dimension"],
            rows=notes["rows"],
            elements=notes["elements"],
            # hnswlib reserves it at once, so no more than growth by half can have made.
            capacity=min(notes["capacity"], 2 * notes["elements"] + 1),
            options=notes["options"],
            removed=_removed(directory, notes),
        )


def _notes(directory: Path) -> dict[str, Any]:
    try:
        notes = json.loads((directory / _META).read_text(encoding="utf-8"))
        numbers = {name: notes[name] for name in _NUMBERS}
        known = notes["space"], notes["sha256"], notes["removed"]["rows"]
        options, version = notes["options"], notes["format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CorruptError(
            f"the hnswlib index in {directory.name} cannot be read ({error})"
        ) from error
    if version != FORMAT:
        raise CorruptError(
            f"the hnswlib index in {directory.name} has format {version!r} and this reads "
            f"{FORMAT}: pip install --upgrade ragkit-hnswlib"
        )
    for name, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < _NUMBERS[name]:
            raise CorruptError(f"{_META}: {name} is {value!r}, which cannot be")
    if not isinstance(options, dict) or not isinstance(known[1], str):
        raise CorruptError(f"{_META} is incomplete")
    return dict(notes)


def _removed(directory: Path, notes: dict[str, Any]) -> NDArray[np.int64]:
    """(R,) rows that are gone."""
    file = directory / _REMOVED
    if not file.is_file():
        raise CorruptError(f"{_REMOVED} is missing")
    raw = file.read_bytes()
    said = notes["removed"]
    if len(raw) != 8 * said["rows"] or hashlib.sha256(raw).hexdigest() != said["sha256"]:
        raise CorruptError(f"{_REMOVED} is not what was written (its sha256 differs)")
    rows = np.frombuffer(raw, dtype="<i8").astype(np.int64)
    if len(rows) and not (rows[0] >= 0 and rows[-1] < notes["rows"] and (np.diff(rows) > 0).all()):
        raise CorruptError(f"{_REMOVED} holds rows that cannot be")
    return rows


def _sum(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
