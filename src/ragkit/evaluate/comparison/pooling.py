"""Figures that are no mean of single questions (BLEU), made again from what a run holds.

The metric is built from the table that the run kept, its statistics come from predictions
and golds, and they count only if they give the figure that the run has. Knows nothing of
tests and intervals.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ragkit import config
from ragkit.errors import RagkitError
from ragkit.evaluate.bootstrap import Pooled
from ragkit.evaluate.comparison.stored import StoredRun
from ragkit.evaluate.measures import statistics
from ragkit.evaluate.predictions import PredictionFile
from ragkit.protocols import SupportsPooling


class Sums(NamedTuple):
    """Statistics (N,S) of either run, and how sums of them make a figure."""

    ours: NDArray[np.float64]
    theirs: NDArray[np.float64]
    pooled: Pooled


def sums_of(run: StoredRun, base: StoredRun, label: str) -> Sums | None:
    """What a pooled figure of the two is made of; None where it cannot be made again."""
    table = run.tables[label]
    if table is None or table != base.tables[label] or run.golds is None or base.golds is None:
        return None
    try:
        metric = config.build("metric", dict(table))
        if not isinstance(metric, SupportsPooling):
            return None
        made = [_statistics(metric, one, label) for one in (run, base)]
    except RagkitError:  # a plugin that is not here
        return None
    for one, rows in zip((run, base), made, strict=True):
        known = rows[~np.isnan(rows).any(axis=1)]
        kept = one.pooled[label].mean if label in one.pooled else np.nanmean(one.values[label])
        if not len(known):
            return None
        again = float(metric.pooled(known.sum(axis=0)[None])[0])
        if not math.isclose(again, float(kept), rel_tol=1e-6, abs_tol=1e-9):
            return None  # it looks at more than a run keeps
    return Sums(made[0], made[1], metric.pooled)


def _statistics(metric: Any, run: StoredRun, label: str) -> NDArray[np.float64]:
    predictions = PredictionFile(run.directory / "predictions.jsonl", limit=len(run))
    return statistics({label: metric}, predictions, run.examples())[label]
