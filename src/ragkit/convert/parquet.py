"""Parquet files as a table that is read in a stream: as the hub keeps ``wiki_dpr`` today.

Without the second copy on disk that `datasets` makes of them. Knows nothing of passages.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ragkit.errors import DataError


@contextlib.contextmanager
def whole_table(path: Path) -> Iterator[None]:
    """Faults of reading are answered with what is wrong."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:  # of datasets, of Arrow, of JSON, of the system
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise DataError(
            f"no dataset could be read from {path}: {first[:200]}. Is the download complete?"
        ) from error


class ParquetTable:
    """As much of a `datasets.Dataset` as is needed here; one group of rows is in memory."""

    def __init__(self, path: Path, files: Sequence[Path], columns: list[str] | None = None) -> None:
        import pyarrow.parquet as pq

        self._path, self._paths = path, files
        with whole_table(path):
            self._files = [pq.ParquetFile(one) for one in files]
        self.column_names = columns or list(self._files[0].schema_arrow.names)
        self._starts = [0]
        self._groups: list[tuple[int, int]] = []
        for number, file in enumerate(self._files):
            for group in range(file.num_row_groups):
                self._groups.append((number, group))
                rows = file.metadata.row_group(group).num_rows
                self._starts.append(self._starts[-1] + rows)
        self._kept: tuple[int, Any] = (-1, None)

    def __len__(self) -> int:
        return self._starts[-1]

    def with_format(self, _: str) -> ParquetTable:
        """Itself: its rows are of Arrow in any case."""
        return self

    def select_columns(self, names: list[str]) -> ParquetTable:
        """The same with these columns alone."""
        return self if names == self.column_names else ParquetTable(self._path, self._paths, names)

    def iter(self, size: int) -> Iterator[Any]:
        """All rows, so many at most at once."""
        for file in self._files:
            with whole_table(self._path):
                yield from file.iter_batches(size, columns=self.column_names)

    def _group(self, place: int) -> Any:
        if self._kept[0] != place:
            number, group = self._groups[place]
            with whole_table(self._path):
                table = self._files[number].read_row_group(group, columns=self.column_names)
            self._kept = (place, table)
        return self._kept[1]

    def __getitem__(self, rows: slice) -> Any:
        import pyarrow as pa

        parts = []
        for place, start in enumerate(self._starts[:-1]):
            end = self._starts[place + 1]
            low, high = max(rows.start, start), min(rows.stop, end)
            if low < high:
                parts.append(self._group(place).slice(low - start, high - low))
        return pa.concat_tables(parts)
