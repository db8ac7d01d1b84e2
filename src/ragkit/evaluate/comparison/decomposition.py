"""Whose fault the errors are: the retrieval's, the reader's, or the metric's.

A question is right where its metric is 1. Each other one is counted once, by the first of
these that holds:

| errors of | where |
|---|---|
| the metric | the answer is a near miss of a gold (`ragkit.evaluate.comparison.nearness`) |
| retrieval | no passage that was read supports an answer |
| the reader | all others: an answer was there to be read, and another was given |

A passage supports an answer where its title and text hold a gold (DPR's tokens in a run,
or a pattern) or where it is known to be a right one. Right answers without such a passage
are counted as well: section 4.1 of the paper has 11.8 % of Natural Questions so. Where golds
are labels ("SUPPORTS"), which passages do not spell out, ``support="passage"`` goes by the
known passages alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

from ragkit.errors import ConfigError, DataError, UnknownName, nearest
from ragkit.evaluate.comparison.nearness import near_miss
from ragkit.evaluate.comparison.statistics import Share, share_of
from ragkit.evaluate.comparison.stored import StoredRun
from ragkit.evaluate.text import has_answer, has_pattern
from ragkit.progress import Progress
from ragkit.protocols import Example, Prediction

Support = Literal["any", "answer", "passage"]
KINDS = ("retrieval", "reader", "metric")


class Fault(NamedTuple):
    """An error: its kind and, for near misses, the rule."""

    kind: str
    rule: str
    id: str
    question: str
    text: str
    answers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Decomposition:
    """The errors of one run, as shares of all errors.

    errors: kind ("retrieval", "reader", "metric") to its share of the errors. unsupported:
    the share of right answers that no passage read supports. rules: near misses by rule.
    faults: every error, in the order of the task. questions: those that were judged.
    """

    run: str
    metric: str
    questions: int
    right: int
    unsupported: Share
    errors: Mapping[str, Share]
    rules: Mapping[str, int]
    faults: Sequence[Fault]

    def as_dict(self, examples: int = 3) -> dict[str, Any]:
        """Plain Python for JSON, with so many examples of each kind."""
        return {
            "run": self.run,
            "metric": self.metric,
            "questions": self.questions,
            "right": self.right,
            "wrong": self.questions - self.right,
            "errors": {kind: share.as_dict() for kind, share in self.errors.items()},
            "right_unsupported": self.unsupported.as_dict(),
            "near_misses": dict(self.rules),
            "examples": [one._asdict() for kind in KINDS for one in self.of(kind)[:examples]],
        }

    def of(self, kind: str) -> list[Fault]:
        """The errors of one kind."""
        return [one for one in self.faults if one.kind == kind]


def decompose(
    run: StoredRun,
    *,
    metric: str = "EM",
    regex: bool | None = None,
    support: Support = "any",
    confidence: float = 0.95,
) -> Decomposition:
    """The errors of a run, each laid at one door.

    regex: whether the golds are patterns; by default as they were for the metric. support: what
    a supporting passage is, see above. confidence: of the intervals. Raises `DataError` where the
    run kept no golds, or where they are not what ``support`` asks for; `UnknownName` where it has
    no such metric.
    """
    if support not in get_args(Support):
        known = ", ".join(get_args(Support))
        raise ConfigError(f"support is {support!r}; type one of {known}")
    if metric not in run.values:
        near = nearest(metric, run.values) or "."
        raise UnknownName(
            f"{run.name} has no metric {metric!r}{near} Metrics: {', '.join(run.values)}"
        )
    _check_golds(run, support)
    assert run.golds is not None
    if regex is None:
        regex = bool((run.tables.get(metric) or {}).get("regex", False))
    right = unsupported = 0
    faults: list[Fault] = []
    judged = zip(_read(run), run.golds, run.values[metric], strict=True)
    for prediction, gold, value in judged:
        if math.isnan(value):
            continue
        if value >= 1.0:
            right += 1
            unsupported += not _supported(prediction, gold, support, regex)
        else:
            faults.append(_fault(prediction, gold, support, regex))
    kinds = [one.kind for one in faults]
    return Decomposition(
        run=run.name,
        metric=metric,
        questions=right + len(faults),
        right=right,
        unsupported=share_of(unsupported, right, confidence),
        errors={kind: share_of(kinds.count(kind), len(faults), confidence) for kind in KINDS},
        rules=_counted([one.rule for one in faults if one.rule]),
        faults=faults,
    )


def _read(run: StoredRun) -> Iterator[Prediction]:
    """The predictions, with a bar at a terminal: passages of many questions take a while."""
    with Progress(f"errors of {run.name}", len(run)) as bar:
        for number, prediction in enumerate(run.predictions(), start=1):
            yield prediction
            bar.reach(number)


def _fault(prediction: Prediction, gold: Example, support: Support, regex: bool) -> Fault:
    rule = near_miss(prediction.text, gold.answers, regex=regex) or ""
    if rule:
        kind = "metric"
    else:
        kind = "reader" if _supported(prediction, gold, support, regex) else "retrieval"
    return Fault(kind, rule, prediction.id, prediction.question, prediction.text, gold.answers)


def _supported(prediction: Prediction, gold: Example, support: Support, regex: bool) -> bool:
    if support != "answer" and any(one.id in gold.passage_ids for one in prediction.passages):
        return True
    if support == "passage":
        return False
    holds = has_pattern if regex else has_answer
    return any(holds(f"{one.title} . {one.text}", gold.answers) for one in prediction.passages)


def _check_golds(run: StoredRun, support: Support) -> None:
    if run.golds is None:
        raise DataError(
            f"{run.directory} has no golds.jsonl, so it cannot be said which passages hold an "
            f"answer; type the same ragkit evaluate again, which answers nothing twice"
        )
    if support == "passage" and not any(one.passage_ids for one in run.golds):
        raise DataError(
            f"no question of {run.name} has a known passage; type support='any' (--support any), "
            f"or give passage_ids in the file of questions"
        )


def _counted(rules: Sequence[str]) -> dict[str, int]:
    return {rule: rules.count(rule) for rule in dict.fromkeys(rules)}
