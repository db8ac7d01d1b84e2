"""Two lists of passages to one: whose passages they are, and what each list gives for them.

Both ways of fusing give each list's word for a passage as a number from 0 to 1, so that what
comes out lies between 0 and 1 too. Knows row numbers and scores, nothing of text.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def union(lists: Sequence[NDArray[np.int64]]) -> tuple[NDArray[np.int64], list[NDArray[np.int64]]]:
    """The rows (B,U) that any of the lists (B,k') has, ascending, -1 at the end; and for each
    list the column (B,U) where it has that row, -1 where it lacks it."""
    batch = len(lists[0])
    found = [np.unique(np.concatenate([one[b] for one in lists])) for b in range(batch)]
    found = [rows[rows >= 0] for rows in found]
    width = max((len(rows) for rows in found), default=0)
    rows = np.full((batch, width), -1, dtype=np.int64)  # (B,U)
    columns = [np.full((batch, width), -1, dtype=np.int64) for _ in lists]
    for b, held in enumerate(found):
        rows[b, : len(held)] = held
        for column, one in zip(columns, lists, strict=True):
            present = np.flatnonzero(one[b] >= 0)
            column[b, np.searchsorted(held, one[b][present])] = present
    return rows, columns


def aligned(scores: Tensor, columns: Tensor) -> Tensor:
    """A list's scores (B,k') at its columns (B,U); -inf where it lacks the row."""
    if not scores.shape[1]:
        return scores.new_full(columns.shape, -torch.inf)
    return scores.gather(1, columns.clamp(min=0)).masked_fill(columns < 0, -torch.inf)


def by_rank(columns: Tensor, credited: Tensor, constant: float) -> Tensor:
    """(B,U): (c + 1) / (c + rank), 1 for the first of a list; 0 where it is not credited.

    Reciprocal rank fusion (Cormack, Clarke and Büttcher 2009), scaled by c + 1.
    """
    return ((constant + 1) / (constant + 1 + columns)).masked_fill(~credited, 0.0)


def by_score(scores: Tensor, columns: Tensor, credited: Tensor, floor: float | None) -> Tensor:
    """(B,U): (s - least) / (greatest - least) of a list, with gradient; 0 where not credited.

    ``least`` is the score of the list's last, or ``floor`` where the list has one. Where all are
    equal, each has 1.
    """
    present = columns >= 0  # (B,U)
    least = scores.masked_fill(~present, torch.inf).amin(1, keepdim=True)  # (B,1)
    if floor is not None:
        least = torch.full_like(least, floor)
    greatest = scores.amax(1, keepdim=True)
    span = greatest - least
    flat = ~(span > 0)  # also of a list that has nothing, whose span is no number
    # Filled before dividing, for 0/0 would poison the gradient even where it is not taken.
    safe = span.masked_fill(flat, 1.0)
    kept = credited & ~flat
    value = (scores.masked_fill(~kept, 0.0) - least.masked_fill(flat, 0.0)) / safe
    return torch.where(credited & flat, torch.ones_like(value), value.masked_fill(~kept, 0.0))
