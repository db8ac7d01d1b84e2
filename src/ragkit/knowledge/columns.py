"""The columns of a knowledge base as files, written in a stream and read by mapping.

Passages (Arrow), vectors (flat), tokens (flat ids and offsets), and a sorted table from
id to row. Nothing here holds a corpus in memory. Knows nothing of generations.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ragkit.errors import CorruptError, DataError
from ragkit.index.mapping import mapped
from ragkit.protocols import Passage

VECTORS, IDS, REMOVED = "vectors.raw", "ids.raw", "removed.raw"
TOKENS, OFFSETS = "tokens.raw", "offsets.raw"
_SCHEMA = pa.schema([(name, pa.large_string()) for name in Passage._fields])
_ROW_BITS = np.uint64(32)
_ROW_MASK = np.uint64(0xFFFFFFFF)


# ----------------------------------------------------------------------- passages


def write_passages(path: Path, shards: Iterable[Sequence[Passage]]) -> None:
    """One Arrow record batch for each shard."""
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, _SCHEMA) as writer:
        for shard in shards:
            columns = [pa.array(column, pa.large_string()) for column in zip(*shard, strict=True)]
            writer.write_batch(pa.record_batch(columns, schema=_SCHEMA))


class PassageColumn:
    """Passages by row, read from mapped Arrow files, one after another."""

    def __init__(self, *paths: Path) -> None:
        self._batches = []
        for path in paths:
            try:
                reader = pa.ipc.open_file(pa.memory_map(str(path)))
                found = [reader.get_batch(i) for i in range(reader.num_record_batches)]
            except (pa.ArrowInvalid, OSError) as error:
                raise CorruptError(f"{path.name} is no whole Arrow file: {error}") from error
            self._batches += found
        sizes = [batch.num_rows for batch in self._batches]
        self._ends = np.cumsum(sizes, dtype=np.int64)

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getitem__(self, row: int) -> Passage:
        number = int(np.searchsorted(self._ends, row, side="right"))
        place = row - (int(self._ends[number - 1]) if number else 0)
        batch = self._batches[number]
        return Passage(*(batch.column(i)[place].as_py() for i in range(3)))

    def id(self, row: int) -> str:
        number = int(np.searchsorted(self._ends, row, side="right"))
        place = row - (int(self._ends[number - 1]) if number else 0)
        return str(self._batches[number].column(0)[place].as_py())

    def ids(self) -> Iterator[list[str]]:
        """All ids, a batch at a time."""
        for batch in self._batches:
            yield batch.column(0).to_pylist()

    def between(self, start: int, end: int) -> list[Passage]:
        """The passages of rows start…end-1."""
        found: list[Passage] = []
        first = int(np.searchsorted(self._ends, start, side="right"))
        for number in range(first, len(self._batches)):
            begins = int(self._ends[number - 1]) if number else 0
            if begins >= end:
                break
            place = max(start - begins, 0)
            part = self._batches[number].slice(place, end - begins - place)
            columns = (part.column(i).to_pylist() for i in range(3))
            found += [Passage(*values) for values in zip(*columns, strict=True)]
        return found

    def __iter__(self) -> Iterator[Passage]:
        for batch in self._batches:
            for values in zip(*(batch.column(i).to_pylist() for i in range(3)), strict=True):
                yield Passage(*values)


# ------------------------------------------------------------------------- tokens


class StoredTokens:
    """A generator's passage tokens; satisfies `ragkit.protocols.PassageTokens`."""

    def __init__(self, generation: Path, tokenization: str, count: int) -> None:
        self.tokenization = tokenization
        # Plain views of the maps: slicing np.memmap itself is several times slower.
        self._offsets = np.asarray(mapped(generation / OFFSETS, np.int64, (count + 1,)))
        total, size = int(self._offsets[-1]), (generation / TOKENS).stat().st_size
        if total * 4 != size:
            raise CorruptError(
                f"{OFFSETS} ends at {total} tokens, and {TOKENS} holds {size // 4}; build it again"
            )
        flat = mapped(generation / TOKENS, np.int32, (total,))
        self._flat = np.asarray(flat)

    def check(self) -> None:
        """Raises `CorruptError` where the offsets do not ascend from 0."""
        if self._offsets[0] != 0 or bool((np.diff(self._offsets) < 0).any()):
            raise CorruptError(f"{OFFSETS} does not ascend from 0; build it again")

    def take(self, rows: NDArray[np.int64]) -> list[NDArray[np.int32]]:
        """The tokens of these rows, each of its own length."""
        rows = np.asarray(rows, dtype=np.int64)
        bounds = zip(self._offsets[rows].tolist(), self._offsets[rows + 1].tolist(), strict=True)
        return [self._flat[start:end] for start, end in bounds]


# ----------------------------------------------------------------------------- ids


def id_hash(passage_id: str) -> int:
    """32 bits of a passage id."""
    return int.from_bytes(hashlib.blake2b(passage_id.encode(), digest_size=4).digest(), "little")


def write_ids(
    path: Path, passages: PassageColumn, removed: NDArray[np.int64] | None = None
) -> None:
    """The table id → row: sorted numbers, hash in the upper half and row in the lower.

    Rows that were removed are left out. Sorted in place in a mapped file. Raises
    `DataError` where two passages share an id.
    """
    gone = np.zeros(0, dtype=np.int64) if removed is None else removed
    count = len(passages) - len(gone)
    if not count:
        path.write_bytes(b"")
        return
    table: Any = np.memmap(path, dtype=np.uint64, mode="w+", shape=(count,))
    row = filled = 0
    for batch in passages.ids():
        hashes = np.fromiter(map(id_hash, batch), np.uint64, len(batch))
        rows = np.arange(row, row + len(batch), dtype=np.uint64)
        keys = ((hashes << _ROW_BITS) | rows)[~np.isin(rows.astype(np.int64), gone)]
        table[filled : filled + len(keys)] = keys
        row += len(batch)
        filled += len(keys)
    table.sort()
    table.flush()
    for start in range(0, count, 1 << 20):
        part = table[start : start + (1 << 20) + 1]
        hashes = part >> _ROW_BITS
        for place in np.nonzero(hashes[1:] == hashes[:-1])[0].tolist():
            end = start + place
            while end < count and table[end] >> _ROW_BITS == hashes[place]:
                end += 1
            _refuse_twins(passages, table[start + place : end] & _ROW_MASK)


def _refuse_twins(passages: PassageColumn, rows: NDArray[np.uint64]) -> None:
    seen: dict[str, int] = {}
    for row in sorted(rows.tolist()):
        name = passages.id(int(row))
        if name in seen:
            raise DataError(
                f"passages {seen[name]} and {row} (counted from 0) both have the id {name!r}; "
                "ids must be unique"
            )
        seen[name] = int(row)


class IdColumn:
    """Rows by id, by binary search in the mapped table."""

    def __init__(self, path: Path, passages: PassageColumn) -> None:
        self._table = mapped(path, np.uint64, (path.stat().st_size // 8,))
        self._passages = passages

    def check(self, removed: int) -> None:
        """Every passage but the removed ones stands in the table once, in order."""
        whole = len(self._table) == len(self._passages) - removed
        for start in range(0, len(self._table), 1 << 20):
            part = self._table[start : start + (1 << 20) + 1]
            whole = whole and bool((part[1:] > part[:-1]).all())
            whole = whole and bool(((part & _ROW_MASK) < len(self._passages)).all())
        if not whole:
            raise CorruptError(f"{IDS} does not list every passage once; build it again")

    def find(self, passage_id: str) -> int | None:
        """The row of an id, or None."""
        key = np.uint64(id_hash(passage_id)) << _ROW_BITS
        at = int(np.searchsorted(self._table, key))
        while at < len(self._table) and self._table[at] >> _ROW_BITS == key >> _ROW_BITS:
            row = int(self._table[at] & _ROW_MASK)
            if self._passages.id(row) == passage_id:
                return row
            at += 1
        return None
