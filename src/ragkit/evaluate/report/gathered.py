"""What a report needs of one run: what each question came to, and where its answer stood.

Every question gets one kind. With golds: "right", "unsupported" (right, though no passage that
was read supports it), or whose the error is, as `ragkit.evaluate.comparison.decomposition`
has it: "retrieval", "reader", "metric". Without golds: "right" or "wrong". Where the metric
that says what is right has no number: "unjudged".

Passages are read from disk one question at a time. Knows nothing of pages or figures.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragkit.errors import UnknownName, nearest
from ragkit.evaluate.comparison.decomposition import Decomposition, Support, decompose
from ragkit.evaluate.comparison.stored import StoredRun
from ragkit.evaluate.metrics.calibration import confidence as confidence_of
from ragkit.evaluate.run import read_json
from ragkit.evaluate.text import has_answer, has_pattern
from ragkit.progress import Progress
from ragkit.protocols import Example, Prediction

KINDS = ("right", "unsupported", "retrieval", "reader", "metric", "wrong", "unjudged")
JUDGES = ("EM", "accuracy")
"""Metrics that say what is right, the first that a run has."""


@dataclass(frozen=True, slots=True)
class Gathered:
    """One run of N questions, as a report shows it.

    figures: each metric as the run's result has it: mean, low, high, n, unit. judge: the
    metric that says what is right, or None where none does. kinds: N of `KINDS`. errors:
    where these come from, if the run has golds.

    confidence: p(y|x), (N,). read: how many passages were read, (N,). answer_rank: the rank,
    from 1, of the first passage whose text holds an answer (DPR's convention), and gold_rank
    of the first that is known to be right, (N,); infinite where none was read, NaN where no
    answer, or no such passage, is known.
    """

    run: StoredRun
    figures: Mapping[str, Mapping[str, Any]]
    judge: str | None
    kinds: Sequence[str]
    errors: Decomposition | None
    confidence: NDArray[np.float64]
    read: NDArray[np.int64]
    answer_rank: NDArray[np.float64]
    gold_rank: NDArray[np.float64]

    @property
    def right(self) -> NDArray[np.float64]:
        """1 where right, 0 where wrong, NaN where not judged, (N,)."""
        table = {"right": 1.0, "unsupported": 1.0, "unjudged": math.nan}
        return np.array([table.get(kind, 0.0) for kind in self.kinds], dtype=np.float64)


def judge_of(runs: Sequence[StoredRun], wanted: str | None) -> str | None:
    """The metric by which all of these say what is right: the one wanted, EM, or accuracy.

    Raises `UnknownName` where a run lacks the one that is wanted.
    """
    if wanted is None:
        return next((one for one in JUDGES if all(one in run.values for run in runs)), None)
    for run in runs:
        if wanted not in run.values:
            near = nearest(wanted, run.values) or "."
            raise UnknownName(
                f"{run.name} has no metric {wanted!r}{near} Metrics: {', '.join(run.values)}"
            )
    return wanted


def gather(run: StoredRun, judge: str | None = None, *, confidence: float = 0.95) -> Gathered:
    """Read all of a run's predictions, one at a time.

    judge: the metric that says what is right, by being 1; None where none does. confidence:
    of the intervals of its errors.
    """
    regex = bool((run.tables.get(judge or "") or {}).get("regex", False))
    support = _support(run, judge)
    errors = None
    if judge is not None and support is not None:
        errors = decompose(run, metric=judge, support=support, confidence=confidence)
    faults = {} if errors is None else {fault.id: fault.kind for fault in errors.faults}
    n = len(run)
    kinds: list[str] = []
    found = np.full((n, 4), math.nan)  # (N,4): confidence, read, rank of answer, rank of gold
    golds = run.golds or [Example(id, "", ()) for id in run.ids]
    with Progress(f"passages of {run.name}", n) as bar:
        for i, (said, gold) in enumerate(zip(run.predictions(), golds, strict=True)):
            found[i] = (
                confidence_of(said),
                len(said.passages),
                _answer_rank(said, gold, regex),
                _gold_rank(said, gold),
            )
            value = math.nan if judge is None else float(run.values[judge][i])
            kind = _kind(value, faults.get(said.id))
            if kind == "right" and support is not None and not _holds(said, gold, support, regex):
                kind = "unsupported"
            kinds.append(kind)
            bar.reach(i + 1)
    return Gathered(
        run=run,
        figures=(read_json(run.directory / "result.json") or {})["metrics"],
        judge=judge,
        kinds=kinds,
        errors=errors,
        confidence=found[:, 0],
        read=found[:, 1].astype(np.int64),
        answer_rank=found[:, 2],
        gold_rank=found[:, 3],
    )


def _support(run: StoredRun, judge: str | None) -> Support | None:
    """What a supporting passage is; labels are no text that a passage holds. None: unknown."""
    if run.golds is None:
        return None
    if judge == "accuracy":
        return "passage" if any(one.passage_ids for one in run.golds) else None
    return "any"


def _kind(value: float, fault: str | None) -> str:
    if math.isnan(value):
        return "unjudged"
    return "right" if value >= 1.0 else fault or "wrong"


def _answer_rank(said: Prediction, gold: Example, regex: bool) -> float:
    if not gold.answers:
        return math.nan
    holds = has_pattern if regex else has_answer
    ranks = (r for r, one in enumerate(said.passages, 1) if holds(one.text, gold.answers))
    return float(next(ranks, math.inf))


def _gold_rank(said: Prediction, gold: Example) -> float:
    if not gold.passage_ids:
        return math.nan
    # A passage that is read twice takes one place, as for the metric gold-recall.
    order = dict.fromkeys(one.id for one in said.passages)
    return float(next((r for r, id in enumerate(order, 1) if id in gold.passage_ids), math.inf))


def _holds(said: Prediction, gold: Example, support: Support, regex: bool) -> bool:
    """Whether a passage supports an answer, as the decomposition of errors has it."""
    if any(one.id in gold.passage_ids for one in said.passages):
        return True
    if support == "passage":
        return False
    holds = has_pattern if regex else has_answer
    return any(holds(f"{one.title} . {one.text}", gold.answers) for one in said.passages)
