"""The points of a report's curves: recall@k, figures against k, reliability.

Recall@k is of the passages that a run read (Figure 3, centre): the share of questions with an
answer, or a known passage, among the first k. Figures against k (Figure 3, left and right)
take runs that differ in k alone. Reliability puts the share of right answers beside p(y|x).
Shares have exact (Clopper–Pearson) intervals. Knows nothing of how points are drawn.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ragkit.evaluate.comparison.statistics import share_of
from ragkit.evaluate.report.gathered import Gathered

BINS = 10


class Point(NamedTuple):
    """y at x with the ends of its interval, of n questions."""

    x: float
    y: float
    low: float
    high: float
    n: int


class Curve(NamedTuple):
    """A named row of points. tone: which of the page's colours it has; dashed: drawn so."""

    name: str
    points: Sequence[Point]
    tone: int = 0
    dashed: bool = False


def recall(ranks: NDArray[np.float64], deepest: int, confidence: float = 0.95) -> list[Point]:
    """Share of questions with their rank (N,) at most k, for k from 1 to ``deepest``.

    NaNs are left out: nothing is known to be found. Empty where all are.
    """
    known = ranks[~np.isnan(ranks)]
    n = int(known.size)
    if not n:
        return []
    shares = [share_of(int((known <= k).sum()), n, confidence) for k in range(1, deepest + 1)]
    return [Point(k, one.share, one.low, one.high, n) for k, one in enumerate(shares, start=1)]


def recalls(runs: Sequence[Gathered], confidence: float = 0.95) -> list[Curve]:
    """Two curves a run, where known: answers in full, known passages dashed."""
    found = []
    for tone, one in enumerate(runs):
        deepest = int(one.read.max(initial=0))
        for what, ranks, dashed in (
            ("an answer", one.answer_rank, False),
            ("a known passage", one.gold_rank, True),
        ):
            points = recall(ranks, deepest, confidence)
            if points:
                name = what if len(runs) == 1 else f"{one.run.name}: {what}"
                found.append(Curve(name, points, tone, dashed))
    return found


def against_k(runs: Sequence[Gathered], metric: str) -> list[Curve]:
    """A metric against k: a curve for each set of runs that differ in nothing but k."""
    groups: dict[str, list[Gathered]] = {}
    for one in runs:
        if metric in one.figures:
            groups.setdefault(_but_for_k(one), []).append(one)
    curves: list[Curve] = []
    for members in groups.values():
        points = {}
        for one in members:
            figure = one.figures[metric]
            k = one.run.config.get("k")
            if figure.get("mean") is not None and isinstance(k, int):
                points[k] = _point(k, figure, len(one.run))
        if len(points) > 1:
            names = " · ".join(one.run.name for one in members)
            curves.append(Curve(names, [points[k] for k in sorted(points)], len(curves)))
    return curves


def reliability(one: Gathered, confidence: float = 0.95, bins: int = BINS) -> list[Point]:
    """Share right (y) at the mean p(y|x) (x) of each bin (m/bins, (m+1)/bins] that is not empty."""
    right = one.right
    known = ~np.isnan(right)
    p, right = one.confidence[known], right[known]  # (n,), (n,)
    columns = np.clip(np.ceil(p * bins).astype(np.int64), 1, bins)  # (n,)
    points = []
    for column in range(1, bins + 1):
        here = columns == column
        n = int(here.sum())
        if n:
            share = share_of(int(right[here].sum()), n, confidence)
            points.append(Point(float(p[here].mean()), share.share, share.low, share.high, n))
    return points


def _point(k: int, figure: Mapping[str, Any], questions: int) -> Point:
    mean = float(figure["mean"])
    low, high = (mean if figure.get(end) is None else float(figure[end]) for end in ("low", "high"))
    low, high = (mean if math.isnan(end) else end for end in (low, high))
    return Point(k, mean, low, high, int(figure.get("n", questions)))


def _but_for_k(one: Gathered) -> str:
    config = one.run.config
    return json.dumps([config.get("model"), config.get("options")], sort_keys=True)
