"""Evaluate a retriever alone: `retrieval`, the harness without a generator.

A retriever is put where the harness wants a model; it says nothing and shows what it found.
So predictions, folders, resuming, metrics and intervals are those of every evaluation. Knows
nothing of how passages are found.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ragkit.errors import ConfigError
from ragkit.evaluate.harness import evaluate
from ragkit.evaluate.measures import as_table
from ragkit.evaluate.result import Result
from ragkit.evaluate.tasks import JsonlTask
from ragkit.protocols import Metric, Passage, Prediction, Retrieved, Retriever, SupportsFilter, Task

BY_ID = ("ndcg", "gold-recall", "rr", "r-precision")
"""Metrics that look at ids of passages alone."""
BY_TEXT = ("answer-recall", "answer-absent")
"""Metrics that look into passages, and still at no answer."""


def retrieval(
    retriever: Retriever,
    task: Task | str | Path,
    *,
    split: str = "dev",
    k: int = 100,
    metrics: Sequence[str | Mapping[str, Any] | Metric] | None = None,
    texts: bool = True,
    **rest: Any,
) -> Result:
    """Ask a retriever the questions of a task and measure what it finds; nothing is generated.

    Parameters
    ----------
    task: a `Task`, or the path of a jsonl file (`JsonlTask`).
    k: passages per question, as many as the deepest metric counts.
    metrics: as in `ragkit.evaluate`; by default those of the task that look at passages alone.
    texts: keep title and text of every passage in the predictions. Without them a run of
        many passages is small, and metrics that look into passages find nothing.
    rest: ``directory``, ``batch_size``, ``limit``, ``overwrite``, ``confidence``, ``resamples``,
        ``seed`` and ``progress`` of `ragkit.evaluate`, and ``allowed``: ids to keep to, where
        the retriever can.

    A prediction has the passages and the prior p(z|x) over them, no text and no posterior.

    Raises `ConfigError` and `DataError` as `ragkit.evaluate` does, and `ConfigError` where the
    task has no metric of passages.
    """
    task = JsonlTask(str(task)) if isinstance(task, str | Path) else task
    if metrics is None:
        metrics = of_passages(task, (*BY_ID, *BY_TEXT) if texts else BY_ID)
    model = Retrieving(retriever)
    return evaluate(model, task, split=split, k=k, metrics=metrics, texts=texts, **rest)


def of_passages(task: Task, names: Collection[str]) -> list[str]:
    """The metrics of a task that are among these names; raises `ConfigError` for none."""
    found = [
        one
        for one in task.metrics
        if (table := as_table(one, 1)) is not None and table.get("name") in names
    ]
    if not found:
        raise ConfigError(
            f"{task!r} is judged by {', '.join(task.metrics)}, and none of these looks at "
            f"passages alone; type metrics=['gold-recall'] (--metric gold-recall); there are: "
            f"{', '.join(names)}"
        )
    return found


class Retrieving:
    """A retriever as a model that answers with nothing but the passages it found."""

    def __init__(self, retriever: Retriever) -> None:
        self.retriever = retriever

    def state_dict(self) -> Mapping[str, Any]:
        """The retriever's weights, by which a run knows it again."""
        held = self.retriever
        return held.state_dict() if isinstance(held, nn.Module) else {}

    def answer(
        self,
        questions: Sequence[str],
        k: int,
        texts: bool = True,
        allowed: Collection[str] | None = None,
    ) -> list[Found]:
        """What was found for each question, without gradient and without dropout."""
        with torch.no_grad(), resting(self.retriever):
            found = self._retrieve(questions, k, allowed)
        # In double precision: of many passages the last have next to nothing.
        priors = found.scores.detach().double().log_softmax(dim=-1).exp().tolist()  # (B,K)
        return [
            _found(question, row, prior, texts)
            for question, row, prior in zip(questions, found.passages, priors, strict=True)
        ]

    def _retrieve(
        self, questions: Sequence[str], k: int, allowed: Collection[str] | None
    ) -> Retrieved:
        if allowed is None:
            return self.retriever.retrieve(questions, k)
        if isinstance(self.retriever, SupportsFilter):
            return self.retriever.retrieve_from(questions, k, allowed)
        raise ConfigError(f"{type(self.retriever).__name__} cannot filter: leave out allowed=")


@dataclass(frozen=True, slots=True)
class Found:
    """What was retrieved for one question, with the prior of each passage."""

    question: str
    passages: tuple[Passage, ...]
    prior: tuple[float, ...]

    def prediction(self, id: str) -> Prediction:
        """The same as a line of a run; no text was generated, so its likelihood is 0."""
        return Prediction(id, self.question, "", -math.inf, self.passages, self.prior)


def _found(
    question: str, row: Sequence[Passage | None], prior: Sequence[float], texts: bool
) -> Found:
    there = [
        (one if texts else Passage(one.id, "", ""), share)
        for one, share in zip(row, prior, strict=True)
        if one is not None
    ]
    return Found(question, tuple(one for one, _ in there), tuple(share for _, share in there))


@contextmanager
def resting(retriever: object) -> Iterator[None]:
    """Every part of a retriever in evaluation mode, and afterwards each as it was."""
    parts = list(retriever.modules()) if isinstance(retriever, nn.Module) else []
    modes = [part.training for part in parts]
    for part in parts:
        part.training = False
    try:
        yield
    finally:
        for part, mode in zip(parts, modes, strict=True):
            part.training = mode
