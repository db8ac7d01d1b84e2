"""Passages with their vectors as others keep them: `datasets` on disk, parquet, or a file of
passages beside a faiss index. Read in a stream, a block in memory.

Knows nothing of encoders and knowledge bases.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ragkit.convert.faiss_file import FaissFile
from ragkit.convert.parquet import ParquetTable, whole_table
from ragkit.errors import DataError, nearest
from ragkit.knowledge import read as read_passages
from ragkit.protocols import Passage

EMBEDDINGS = "embeddings"
_READ = 4096


class Source(Protocol):
    """Rows of passages and vectors, in one order."""

    dimension: int
    notes: list[str]

    def passages(self) -> Iterator[Passage]:
        """All passages in order; each call begins anew."""
        ...

    def vectors(self, start: int, end: int) -> NDArray[np.float32]:
        """The vectors (n,D) of rows start…end-1."""
        ...


def of(path: Path, split: str | None, column: str, index: FaissFile | None) -> Source:
    """A source from what lies at a path.

    Raises `DataError` where nothing can be read there, or vectors are missing.
    """
    if not path.exists():
        raise DataError(f"there is no file or folder {str(path)!r}; give passages")
    if path.suffix == ".pkl":
        raise DataError(
            f"{path.name} is a pickle, which can run any code, and is not opened; give the "
            "passages as psgs_w100.tsv, from which it was made"
        )
    table = _dataset(path, split)
    if table is None:
        if index is None:
            next(read_passages(path), None)  # what is not even passages is said by the reader
            raise DataError(
                f"{path.name} has passages without vectors; give the faiss index that holds them "
                "(faiss=, --faiss), or encode them: `ragkit kb build`"
            )
        return FileSource(path, index)
    return TableSource(table, path, column, index)


class TableSource:
    """A `datasets.Dataset`, as `wiki_dpr` is one: title, text, embeddings, and perhaps id."""

    def __init__(self, table: Any, path: Path, column: str, index: FaissFile | None) -> None:
        self.notes: list[str] = []
        names = list(table.column_names)
        if "text" not in names:
            raise DataError(
                f"{path.name} has the columns {', '.join(names)}; passages need text, and should "
                "have title, id and embeddings"
            )
        if not len(table):
            raise DataError(f"{path.name} has no rows")
        self._table, self._path, self._index = table.with_format("arrow"), path, index
        self._names = [name for name in ("id", "title", "text") if name in names]
        if "id" not in names:
            self.notes.append("the passages have no id, so their numbers from 0 are their ids")
        others = [name for name in names if name not in (*self._names, column)]
        if others:
            self.notes.append(f"columns that passages have no use for: {', '.join(others)}")
        self._column = column if column in names else None
        self._vectors = self._table.select_columns([column]) if self._column else None
        if self._column is None and index is None:
            near = nearest(column, names)
            raise DataError(
                f"{path.name} has no column {column!r}{near or '.'} Columns: {', '.join(names)}. "
                "Name the one with vectors (column=, --column), or give the faiss index that "
                "holds them (faiss=, --faiss)"
            )
        if index is not None and len(index) != len(table):
            raise DataError(
                f"{index.path.name} has {len(index):,} vectors, and {path.name} "
                f"{len(table):,} passages; they do not belong together"
            )
        self.dimension = index.dimension if index is not None else 0
        if self._column is not None:
            self.dimension = self.vectors(0, 1).shape[1]

    def __len__(self) -> int:
        return len(self._table)

    def passages(self) -> Iterator[Passage]:
        """All passages in order."""
        table = self._table.select_columns(self._names)
        row = 0
        for batch in table.iter(_READ):
            columns = {name: batch.column(name).to_pylist() for name in self._names}
            for place, text in enumerate(columns["text"]):
                title = columns["title"][place] if "title" in columns else None
                name = columns["id"][place] if "id" in columns else row
                yield self._passage(row, name, title, text)
                row += 1

    def _passage(self, row: int, name: Any, title: Any, text: Any) -> Passage:
        where = f"{self._path.name}, row {row}"
        if isinstance(name, bool) or not isinstance(name, (str, int)) or name == "":
            raise DataError(f"{where}: id is {name!r}; it must be a text or a whole number")
        if not isinstance(text, str) or not isinstance(title, (str, type(None))):
            raise DataError(f"{where}: title {title!r:.40}, text {text!r:.40}; they must be texts")
        return Passage(str(name), title or "", text)

    def vectors(self, start: int, end: int) -> NDArray[np.float32]:
        """The vectors (n,D) of rows start…end-1; of the column, or else of the index."""
        if self._vectors is None:
            assert self._index is not None
            return self._index.vectors(start, end)
        with whole_table(self._path):
            column = self._vectors[start:end].column(0)
        return _matrix(
            column.combine_chunks(), f"{self._path.name}, column {self._column!r}", start
        )


class FileSource:
    """A file of passages in the order of an index, which holds the vectors (DPR's way)."""

    def __init__(self, path: Path, index: FaissFile) -> None:
        self.notes: list[str] = []
        self._path, self._index = path, index
        self.dimension = index.dimension
        index.vectors(0, min(1, len(index)))  # refused now, if it keeps none

    def __len__(self) -> int:
        return len(self._index)

    def passages(self) -> Iterator[Passage]:
        """All passages; raises `DataError` where there are more or fewer than vectors."""
        count = 0
        for count, passage in enumerate(read_passages(self._path), start=1):  # noqa: B007
            yield passage
        if count != len(self):
            raise DataError(
                f"{self._index.path.name} has {len(self):,} vectors, and {self._path.name} "
                f"{count:,} passages; they do not belong together"
            )

    def vectors(self, start: int, end: int) -> NDArray[np.float32]:
        """The vectors (n,D) of rows start…end-1."""
        return self._index.vectors(start, end)


def _matrix(column: Any, what: str, start: int) -> NDArray[np.float32]:
    """An Arrow column of lists of numbers as (n,D); all of one length, none missing."""
    import pyarrow as pa

    kind = column.type
    if isinstance(column, pa.ChunkedArray):
        column = pa.concat_arrays(column.chunks)
    if isinstance(kind, pa.ExtensionType):
        column, kind = column.storage, column.storage.type
    lists = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    if not (lists or pa.types.is_fixed_size_list(kind)):
        raise DataError(f"{what} is of {kind}, not of lists of numbers; name the right column")
    if not (pa.types.is_floating(kind.value_type) or pa.types.is_integer(kind.value_type)):
        raise DataError(f"{what} has lists of {kind.value_type}, not of numbers")
    if column.null_count:
        raise DataError(f"{what} has a missing vector among rows {start}…{start + len(column) - 1}")
    flat = column.flatten()
    if flat.null_count or not len(column) or len(flat) % len(column):
        raise DataError(f"{what} has vectors of different lengths after row {start}")
    width = len(flat) // len(column)
    if not pa.types.is_fixed_size_list(kind):
        lengths = column.value_lengths().to_numpy(zero_copy_only=False)
        if (lengths != width).any():
            row = start + int(np.argmax(lengths != width))
            raise DataError(f"{what} has vectors of different lengths, as in row {row}")
    numbers = flat.to_numpy(zero_copy_only=False).astype(np.float32, copy=False)
    return np.ascontiguousarray(numbers.reshape(len(column), width))


def _dataset(path: Path, split: str | None) -> Any:
    """A `datasets.Dataset`, mapped; None where the path is of no such thing."""
    files = [path] if path.suffix == ".parquet" else sorted(path.glob("*.parquet"))
    if files:
        return ParquetTable(path, files)
    if not path.is_dir() or not any((path / n).exists() for n in _MARKS):
        return _no_dataset(path)
    import datasets

    with whole_table(path):
        found = datasets.load_from_disk(str(path))
    if isinstance(found, datasets.DatasetDict):
        name = split or (next(iter(found)) if len(found) == 1 else None)
        if name not in found:
            asked = f"no split {split!r}" if split else "several splits"
            raise DataError(
                f"{path} has {asked}; there are {', '.join(found)}. Name one: split= (--split)"
            )
        found = found[name]
    return found


_MARKS = ("state.json", "dataset_dict.json", "dataset_info.json")


def _no_dataset(path: Path) -> None:
    """None for files of passages; raises `DataError` for a folder of arrow files alone."""
    if path.is_dir() and any(path.glob("*.arrow")):
        raise DataError(
            f"{path} has Arrow files but no state.json, so it is no whole dataset of "
            "save_to_disk. Is the download complete?"
        )
