"""What hits must look like, and when two answers of an index are the same.

Knows `ragkit.protocols.Hits`, but not what was searched.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragkit.protocols import Hits
from ragkit.testing.asserting import attempt, difference, must

_FORM = "it must return Hits(ids, scores), padded with -1 and -inf where there are fewer"


def search(index: Any, queries: NDArray[np.float32], k: int, advice: str = _FORM) -> Hits:
    """What an index finds; raises `AssertionError` where it has not the form of `Hits`.

    advice: what to do where the search raises.
    """
    with attempt(f"search(queries of {queries.shape}, k = {k})", advice):
        hits = index.search(queries, k)
    return structure(hits, len(queries), k)


def structure(hits: Any, count: int, k: int) -> Hits:
    """Assert that hits are ids (B,k) of int64 and scores (B,k) of float32."""
    must(
        hasattr(hits, "ids") and hasattr(hits, "scores"),
        f"search returned {type(hits).__name__}; return ragkit.protocols.Hits(ids, scores)",
    )
    for name, dtype in (("ids", np.int64), ("scores", np.float32)):
        table = getattr(hits, name)
        must(
            isinstance(table, np.ndarray),
            f"{name} of the hits is {type(table).__name__}; give a numpy array",
        )
        must(
            table.shape == (count, k),
            f"{name} has the shape {table.shape} for {count} queries and k = {k}; it must be "
            f"({count}, {k}), padded with -1 and -inf",
        )
        must(
            table.dtype == dtype,
            f"{name} is {table.dtype}; it must be {np.dtype(dtype)}: use astype",
        )
    return Hits(hits.ids, hits.scores)


def padded(hits: Hits, exist: int, all_of_them: bool) -> None:
    """Assert that -1 and -inf stand for what is absent where ``exist`` rows could be found.

    all_of_them: whether every one of those rows must be among the hits.
    """
    absent = hits.ids < 0  # (B,k)
    must(
        (hits.ids[absent] == -1).all(),
        f"an absent id is {hits.ids.min()}; it must be -1",
    )
    must(
        np.isneginf(hits.scores[absent]).all(),
        f"the score of an absent hit (id -1) is {hits.scores[absent].max(initial=-np.inf)}; it "
        "must be -inf, for 0 is above real scores that are negative",
    )
    must(
        np.isfinite(hits.scores[~absent]).all(),
        "the score of a present hit is not finite; only absent ones are -inf, with the id -1",
    )
    must(
        (np.diff(absent.astype(int), axis=1) >= 0).all(),
        "an absent hit (id -1) stands before a present one; put those at the end",
    )
    for ids in hits.ids:
        held = ids[ids >= 0]
        must(len(np.unique(held)) == len(held), "a row is given twice; fill up with -1 instead")
    present = (~absent).sum(axis=1)  # (B,)
    most = min(exist, hits.ids.shape[1])
    must(
        (present <= exist).all() and (present > 0).all(),
        f"{present.max()} hits were given where {exist} rows exist; fill the rest with -1",
    )
    must(
        not all_of_them or (present == most).all(),
        f"{present.min()} hits were given where {most} could be, and recall is 1.0; give them all",
    )


def recalled(hits: Hits, truth: NDArray[np.int64], share: float, advice: str) -> None:
    """Assert that at least a share of the true ids (B,·) is among the hits."""
    pairs = zip(truth, hits.ids, strict=True)
    found = float(np.mean([np.isin(want, got).mean() for want, got in pairs]))
    must(
        found >= share,
        f"{found:.0%} of the nearest rows were found, and recall = {share:.0%} must be; {advice}, "
        "or set recall to what your index promises",
    )


def equal(got: Hits, want: Hits, message: str) -> None:
    """Assert that two answers are the same to the last bit."""
    must(
        np.array_equal(got.ids, want.ids) and np.array_equal(got.scores, want.scores),
        f"{message}; fix the seeds, or the order in which ties are broken",
    )


def close(got: Hits, want: Hits, tolerance: float, rough: bool, message: str) -> None:
    """Assert that two answers are the same but for rounding.

    Rows whose scores are equal may change places. rough: codes are so coarse that rows
    beyond the k-th may have its score too.
    """
    found = difference(got.scores, want.scores, tolerance)
    must(not found, f"{message} (a score is {found})")
    gap = 1e-5 * (1 + np.abs(np.where(np.isfinite(want.scores), want.scores, 0)))  # (B,k)
    with np.errstate(invalid="ignore"):
        step = np.diff(want.scores, axis=1) > -gap[:, 1:]  # (B,k-1) tied with the next
    tied = np.zeros(want.ids.shape, dtype=bool)
    tied[:, 1:] |= step
    tied[:, :-1] |= step
    if rough:
        tied |= want.scores <= want.scores[:, -1:] + gap
    wrong = (got.ids != want.ids) & ~tied
    for b in np.nonzero(wrong.any(axis=1))[0]:
        raise AssertionError(
            f"{message} (ids {got.ids[b].tolist()} instead of {want.ids[b].tolist()})"
        )
