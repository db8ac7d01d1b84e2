"""The passages of a batch by row number, read from the knowledge base when somebody looks.

Knows nothing of scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

import numpy as np
from numpy.typing import NDArray

from ragkit import KnowledgeBase
from ragkit.protocols import Passage

Row = tuple[Passage | None, ...]


class Rows(Sequence[Row]):
    """B × K passages; None where the row is -1.

    Holds on to the knowledge base that the rows are of, so a swap meanwhile changes nothing.
    """

    def __init__(self, base: KnowledgeBase, rows: NDArray[np.int64]) -> None:
        self._base = base
        self._rows = rows  # (B,K)
        self._read: list[Row] | None = None

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        if self._read is None:
            wanted = np.unique(self._rows[self._rows >= 0])  # (U,), each read once
            found = dict(zip(wanted.tolist(), self._base.passages(wanted), strict=True))
            self._read = [tuple(found.get(row) for row in rows) for rows in self._rows.tolist()]
        return self._read[index]
