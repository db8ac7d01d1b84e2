"""Runs against a baseline, question by question: `compare`.

For each run and metric: the mean difference with its percentile bootstrap interval, p of a
paired permutation test, p after Holm's correction for all the comparisons made, an effect
size, and how many questions were won, tied and lost. What is compared is the same questions
answered by two models: nothing is said of other training seeds.

Knows nothing of how the outcome is shown (`ragkit.evaluate.comparison.written`, the
command line).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragkit.errors import ConfigError, DataError, UnknownName, nearest
from ragkit.evaluate.bootstrap import (
    Interval,
    check,
    interval,
    paired_interval,
    paired_pooled_interval,
)
from ragkit.evaluate.comparison.decomposition import Decomposition, Support, decompose
from ragkit.evaluate.comparison.pooling import sums_of
from ragkit.evaluate.comparison.statistics import (
    Counts,
    counts,
    effect_size,
    holm,
    permutation_test,
    pooled_permutation_test,
)
from ragkit.evaluate.comparison.stored import StoredRun, open_runs


class Changed(dict[str, Any]):
    """A question on which two runs differ, as plain Python: id, question, answers, baseline,
    run (what each said), baseline_value and value."""


@dataclass(frozen=True, slots=True)
class Contrast:
    """A run minus the baseline by one metric, on the n questions where both have a value.

    unit: "share", or what the metric counts in. of: "mean"; "pooled" where the metric's figure is
    no mean (BLEU) and figures are compared; "single" where that cannot be done, and means of
    single questions are.

    mean, baseline_mean: of these questions. difference: mean, low, high and n. p: of the
    permutation test; exact: all cases were counted. corrected: p after Holm. effect:
    Cohen's d of the paired differences. counts: questions won (higher than the baseline),
    tied, lost. won, lost: examples, the largest differences first.
    """

    run: str
    metric: str
    unit: str
    of: str
    mean: float
    baseline_mean: float
    difference: Interval
    p: float
    exact: bool
    corrected: float
    effect: float
    counts: Counts
    won: Sequence[Changed]
    lost: Sequence[Changed]

    def as_dict(self) -> dict[str, Any]:
        return {
            "run": self.run,
            "metric": self.metric,
            "unit": self.unit,
            "of": self.of,
            "questions": self.difference.n,
            "mean": _plain(self.mean),
            "baseline_mean": _plain(self.baseline_mean),
            "difference": _plain(self.difference.mean),
            "low": _plain(self.difference.low),
            "high": _plain(self.difference.high),
            "p": _plain(self.p),
            "p_is_exact": self.exact,
            "p_holm": _plain(self.corrected),
            "effect_size": _plain(self.effect),
            **self.counts._asdict(),
            "won": [dict(one) for one in self.won],
            "lost": [dict(one) for one in self.lost],
        }


@dataclass(frozen=True, slots=True)
class Comparison:
    """The outcome of `compare`.

    runs: names in the order given; baseline is one of them. scores: run, then metric, to its
    mean with interval. contrasts: metric by metric, runs in order. left_out: metrics that not
    every run has. errors: the decomposition of each run, where the runs have EM and golds, or
    accuracy and known passages.
    """

    runs: Sequence[str]
    baseline: str
    metrics: Sequence[str]
    questions: int
    scores: Mapping[str, Mapping[str, Interval]]
    contrasts: Sequence[Contrast]
    left_out: Sequence[str]
    errors: Sequence[Decomposition]
    confidence: float
    resamples: int
    draws: int
    seed: int

    def as_dict(self) -> dict[str, Any]:
        """Plain Python for JSON."""
        return {
            "baseline": self.baseline,
            "runs": list(self.runs),
            "questions": self.questions,
            "scores": {
                run: {label: _interval(score) for label, score in scores.items()}
                for run, scores in self.scores.items()
            },
            "comparisons": [one.as_dict() for one in self.contrasts],
            "left_out": list(self.left_out),
            "errors": [one.as_dict() for one in self.errors],
            "confidence": self.confidence,
            "resamples": self.resamples,
            "draws": self.draws,
            "seed": self.seed,
        }


def compare(
    runs: Sequence[str | Path],
    *,
    baseline: str | Path | None = None,
    metrics: Sequence[str] | None = None,
    confidence: float = 0.95,
    resamples: int = 2000,
    draws: int = 10_000,
    seed: int = 0,
    examples: int = 3,
    support: Support = "any",
) -> Comparison:
    """Compare the runs in two or more folders, of the same questions, against one of them.

    Parameters
    ----------
    baseline: the folder or the name of a run; by default the first.
    metrics: labels as results have them ("EM", "answer R@5"); by default all that every run
        has. Holm's correction is over all that is compared, so name those you decide by.
    confidence, resamples, seed: of the bootstrap intervals.
    draws: of the permutation test, where its cases are too many to count.
    examples: questions won and lost that are shown, of each run and metric.
    support: of the errors' decomposition (`decompose`).

    Raises `DataError` for runs that cannot be compared, `UnknownName` for a baseline or a
    metric that is not there, `ConfigError` for numbers that make no sense.
    """
    check(confidence, resamples)
    if examples < 0:
        raise ConfigError(f"examples is {examples}; type 0 or more")
    if len(runs) < 2:
        raise DataError("one run cannot be compared; type the folders of two or more")
    opened = open_runs(runs)
    base = _baseline(opened, runs, baseline)
    labels, left_out = _labels(opened, metrics)
    drawing: dict[str, Any] = {"confidence": confidence, "resamples": resamples, "seed": seed}
    chance = {"draws": draws, "seed": seed}
    others = [run for run in opened if run is not base]
    raw = [
        _contrast(run, base, label, examples, drawing, chance) for label in labels for run in others
    ]
    corrected = holm([one["p"] for one in raw])
    return Comparison(
        runs=[run.name for run in opened],
        baseline=base.name,
        metrics=labels,
        questions=len(base),
        scores={
            run.name: {label: _score(run, label, raw, drawing) for label in labels}
            for run in opened
        },
        contrasts=[Contrast(**one, corrected=p) for one, p in zip(raw, corrected, strict=True)],
        left_out=left_out,
        errors=_errors(opened, support, confidence),
        confidence=confidence,
        resamples=resamples,
        draws=draws,
        seed=seed,
    )


def _baseline(
    opened: Sequence[StoredRun], given: Sequence[str | Path], wanted: str | Path | None
) -> StoredRun:
    if wanted is None:
        return opened[0]
    for run, path in zip(opened, given, strict=True):
        if (
            str(wanted) in (run.name, str(path))
            or Path(wanted).resolve() == run.directory.resolve()
        ):
            return run
    names = [run.name for run in opened]
    near = nearest(str(wanted), names) or "."
    raise UnknownName(f"no run is named {str(wanted)!r}{near} Runs: {', '.join(names)}")


def _labels(runs: Sequence[StoredRun], wanted: Sequence[str] | None) -> tuple[list[str], list[str]]:
    """The metrics to compare by, and those that not every run has."""
    every = list(dict.fromkeys(label for run in runs for label in run.values))
    shared = [label for label in every if all(label in run.values for run in runs)]
    left_out = [label for label in every if label not in shared]
    if wanted is None:
        if not shared:
            each = "; ".join(f"{run.name}: {', '.join(run.values)}" for run in runs)
            raise DataError(
                f"no metric was measured in all of the runs ({each}); measure one more with "
                f"ragkit evaluate --metric …, which answers nothing twice"
            )
        return shared, left_out
    for label in wanted:
        if label in left_out:
            without = ", ".join(run.name for run in runs if label not in run.values)
            raise DataError(
                f"{label} was not measured in {without}; measure it there with ragkit evaluate "
                f"--metric …, which answers nothing twice"
            )
        if label not in shared:
            near = nearest(label, shared) or "."
            raise UnknownName(f"no metric is named {label!r}{near} Metrics: {', '.join(shared)}")
    return list(dict.fromkeys(wanted)), []


def _contrast(
    run: StoredRun,
    base: StoredRun,
    label: str,
    examples: int,
    drawing: Mapping[str, Any],
    chance: Mapping[str, int],
) -> dict[str, Any]:
    """All of a `Contrast` but the corrected p, which is known when all are there."""
    ours, theirs = run.values[label], base.values[label]  # (N,), (N,)
    differences = ours - theirs  # (N,), NaN where either is
    ranked = np.argsort(-differences, kind="stable")  # the best first, NaNs last
    won = [int(i) for i in ranked if differences[i] > 0][:examples]
    lost = [int(i) for i in np.argsort(differences, kind="stable") if differences[i] < 0]
    return {
        "run": run.name,
        "metric": label,
        "unit": run.units[label],
        **_figures(run, base, label, drawing, chance),
        "counts": counts(differences),
        "won": [_changed(run, base, label, i) for i in won],
        "lost": [_changed(run, base, label, i) for i in lost[:examples]],
    }


def _figures(
    run: StoredRun,
    base: StoredRun,
    label: str,
    drawing: Mapping[str, Any],
    chance: Mapping[str, int],
) -> dict[str, Any]:
    """What is compared, the difference with its interval, and the test."""
    is_pooled = label in {*run.pooled, *base.pooled}
    sums = sums_of(run, base, label) if is_pooled else None
    if sums is not None:
        both = ~np.isnan(np.concatenate(sums[:2], axis=1)).any(axis=1)
        figures = [float(sums.pooled(rows[both].sum(axis=0)[None])[0]) for rows in sums[:2]]
        test = pooled_permutation_test(*sums, draws=chance["draws"], seed=chance["seed"])
        difference = paired_pooled_interval(*sums, **drawing)
        effect = math.nan  # there is no difference of a single question
        of = "pooled"
    else:
        ours, theirs = run.values[label], base.values[label]  # (N,), (N,)
        both = ~np.isnan(ours - theirs)
        figures = [_mean(ours[both]), _mean(theirs[both])]
        test = permutation_test(ours - theirs, **chance)
        difference = paired_interval(ours, theirs, **drawing)
        effect = effect_size(ours - theirs)
        of = "single" if is_pooled else "mean"
    return {
        "of": of,
        "mean": figures[0],
        "baseline_mean": figures[1],
        "difference": difference,
        "p": test.p,
        "exact": test.exact,
        "effect": effect,
    }


def _changed(run: StoredRun, base: StoredRun, label: str, at: int) -> Changed:
    return Changed(
        id=run.ids[at],
        question=run.questions[at],
        answers=list(base.answers(at)),
        baseline=base.texts[at],
        run=run.texts[at],
        baseline_value=float(base.values[label][at]),
        value=float(run.values[label][at]),
    )


def _errors(runs: Sequence[StoredRun], support: Support, confidence: float) -> list[Decomposition]:
    """By EM; by accuracy, whose golds are labels, only where passages are known."""
    golds = [one for run in runs for one in run.golds or ()]
    if any(run.golds is None for run in runs):
        return []
    if all("EM" in run.values for run in runs):
        metric = "EM"
    elif all("accuracy" in run.values for run in runs) and any(one.passage_ids for one in golds):
        metric, support = "accuracy", "passage"
    else:
        return []
    return [decompose(run, metric=metric, support=support, confidence=confidence) for run in runs]


def _score(
    run: StoredRun, label: str, raw: Sequence[Mapping[str, Any]], drawing: Mapping[str, Any]
) -> Interval:
    """A run's mean with its interval; a pooled figure as the run has it."""
    if label in run.pooled and all(one["of"] == "pooled" for one in raw if one["metric"] == label):
        return run.pooled[label]
    return interval(run.values[label], **drawing)


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if values.size else math.nan


def _interval(score: Interval) -> dict[str, Any]:
    return {
        "mean": _plain(score.mean),
        "low": _plain(score.low),
        "high": _plain(score.high),
        "n": score.n,
    }


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None
