"""The passages of a batch, read from the knowledge base only when somebody looks.

Training on ready tokens never does. Knows nothing of scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, overload

import numpy as np
from numpy.typing import NDArray

from ragkit.protocols import Passage

if TYPE_CHECKING:
    from ragkit.knowledge import KnowledgeBase

Row = tuple[Passage | None, ...]


class LazyPassages(Sequence[Row]):
    """B x K passages by row number; None where the row is -1.

    Holds on to the knowledge base that the rows are of, so a swap meanwhile changes
    nothing. The first look reads all rows at once, each distinct one a single time.
    """

    def __init__(self, knowledge_base: KnowledgeBase, rows: NDArray[np.int64]) -> None:
        self._knowledge_base = knowledge_base
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
            wanted = np.unique(self._rows[self._rows >= 0])  # (U,)
            found: dict[int, Passage] = dict(
                zip(wanted.tolist(), self._knowledge_base.passages(wanted), strict=True)
            )
            self._read = [tuple(found.get(row) for row in rows) for rows in self._rows.tolist()]
        return self._read[index]
