"""A ranking that somebody else made, evaluated as if it had been retrieved here: `replay`.

A TREC run becomes a folder like that of every evaluation, which `ragkit compare` can hold
against a run of ragkit's own. Knows the rankings of `ragkit.evaluate.trec`, no retriever.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ragkit.errors import DataError
from ragkit.evaluate.harness import evaluate
from ragkit.evaluate.result import Result
from ragkit.evaluate.retrieving import BY_ID, Found, of_passages
from ragkit.evaluate.trec import Ranked, Ranking, read_qrels, read_run
from ragkit.protocols import Example, Metric, Passage, Prediction, Task


def replay(
    run: str | Path,
    task: Task | str | Path,
    *,
    split: str = "dev",
    k: int = 1000,
    metrics: Sequence[str | Mapping[str, Any] | Metric] | None = None,
    **rest: Any,
) -> Result:
    """Measure a TREC run.

    Parameters
    ----------
    run: the file, plain or gzip.
    task: whose questions were asked; their ids are the queries of the run. Or the path of a
        file of judgements (`Qrels`), TREC's or BEIR's.
    k: passages of each query that are looked at, the best ones.
    metrics: as in `ragkit.evaluate`; by default those of the task that look at ids alone, for
        a run has no texts.
    rest: what else `ragkit.evaluate` takes, such as ``directory``.

    A question that the run lacks counts with no passages, as in ir_measures (and in trec_eval
    with ``-c``); queries that the task lacks count nowhere. The prior is the softmax of the
    scores: where ragkit wrote the run, it is the prior that was.

    Raises `DataError` where a file is not what it should be, or the two have no query in
    common.
    """
    task = Qrels(task) if isinstance(task, str | Path) else task
    model = Replayed(run)
    known = {example.id for example in task.examples(split)}
    if not known & set(model.ranking):
        raise DataError(
            f"{run} and {task!r} have no query in common: there it is {min(model.ranking)!r}, "
            f"here {min(known, default='none')!r}; are both of one data set, and the split the "
            f"right one?"
        )
    chosen = of_passages(task, BY_ID) if metrics is None else metrics
    return evaluate(model, task, split=split, k=k, metrics=chosen, **rest)


class Qrels:
    """Judgements alone as a task: every query is asked by its id, for there is no text."""

    metrics: Sequence[str] = ("ndcg@10", "gold-recall@100", "rr@10")

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def __repr__(self) -> str:
        return f"Qrels({str(self.path)!r})"

    def examples(self, split: str) -> Iterator[Example]:
        """The judged queries; a file of judgements is of one split, whichever is named."""
        return iter(read_qrels(self.path))


@dataclass(frozen=True)
class TrecRun:
    """What a run is known by in a configuration: the name of its file, a digest of its bytes."""

    file: str
    digest: str


class Replayed:
    """A TREC run as a model: it answers a question with the passages of its id."""

    def __init__(self, run: str | Path) -> None:
        self.ranking: Ranking = read_run(run)
        content = hashlib.blake2b(Path(run).read_bytes(), digest_size=16).hexdigest()
        self.retriever = TrecRun(Path(run).name, content)

    def answer(self, questions: Sequence[str], k: int) -> list[Waiting]:
        """An answer for each question, which is looked up when it is told its id."""
        return [Waiting(self.ranking, question, k) for question in questions]


@dataclass(frozen=True, slots=True)
class Waiting:
    """An answer that waits for the id of its question, by which a run knows it."""

    ranking: Ranking
    question: str
    k: int

    def prediction(self, id: str) -> Prediction:
        """The passages of that query, best first; none where the run lacks it."""
        best = self.ranking.get(id, [])[: self.k]
        passages = tuple(Passage(one.id, "", "") for one in best)
        return Found(self.question, passages, _prior(best)).prediction(id)


def _prior(best: Sequence[Ranked]) -> tuple[float, ...]:
    """Softmax of the scores."""
    weights = [math.exp(one.score - best[0].score) for one in best]
    total = math.fsum(weights)
    return tuple(weight / total for weight in weights)
