"""Evaluate anything that answers questions: `evaluate`, one loop for every model.

A model is whatever has ``answer(questions, k=…)``: a `RAG`, a closed-book or
gold-passage baseline (`ragkit.evaluate.baselines`), or a stranger's. The harness asks
the questions of a task in batches, keeps every prediction with its passages, and
averages the metrics with bootstrap intervals. It knows nothing of retrieval, decoding or
files beyond that: folders are `ragkit.evaluate.run`'s, metrics
`ragkit.evaluate.measures`'s.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from ragkit.errors import ConfigError, DataError
from ragkit.evaluate import golds
from ragkit.evaluate.bootstrap import check
from ragkit.evaluate.identity import identity
from ragkit.evaluate.measures import (
    as_metrics,
    as_table,
    figures,
    measure,
    score_rows,
    statistics,
    units,
)
from ragkit.evaluate.predictions import PredictionFile
from ragkit.evaluate.result import Result, Timing
from ragkit.evaluate.run import configuration, opened, save_result
from ragkit.evaluate.tasks import JsonlTask
from ragkit.progress import Progress
from ragkit.protocols import Example, Metric, Prediction, Task

Report = Callable[[int, int], None]
"""Called with questions answered and questions in all."""


class SaysPrediction(Protocol):
    """An answer, as far as the harness looks at it."""

    def prediction(self, id: str, /) -> Prediction: ...


class Answering(Protocol):
    """Anything that can be evaluated."""

    @property
    def answer(self) -> Callable[..., Sequence[SaysPrediction]]:
        """``answer(questions, k=…, **options)``: one answer for each question, in order."""
        ...


def evaluate(
    model: Answering,
    task: Task | str | Path,
    *,
    split: str = "dev",
    k: int = 5,
    metrics: Sequence[str | Mapping[str, Any] | Metric] | None = None,
    directory: str | Path | None = None,
    batch_size: int = 16,
    limit: int | None = None,
    overwrite: bool = False,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
    progress: Report | None = None,
    **options: Any,
) -> Result:
    """Ask a model the questions of a task and measure its answers.

    Parameters
    ----------
    task: a `Task`, or the path of a jsonl file (`JsonlTask`).
    k: passages per question.
    metrics: names ("em", "answer-recall@20", "em,regex=true"), tables or metrics; by default
        the task's.
    directory: where predictions, scores and configuration are kept (`ragkit.evaluate.run`).
        A run found there is continued where it stopped; nothing in it is answered twice.
    batch_size: questions asked at once.
    limit: the first so many questions only.
    overwrite: throw away what a run of another configuration left in ``directory``.
    confidence, resamples, seed: of the bootstrap intervals.
    progress: called with questions answered and questions in all; by default a bar on
        stderr, where that is a terminal.
    options: decoding options, given to ``model.answer`` at every call.

    Raises `ConfigError` for arguments that make no sense, `DataError` for a task or a
    folder that is not right, before the first question is asked.

    Examples:
        >>> from pathlib import Path
        >>> from ragkit import Answer, evaluate
        >>> class Parrot:
        ...     def answer(self, questions, k, **options):
        ...         return [Answer(one, "at nine", -1.0, (), (), ()) for one in questions]
        >>> line = '{"question": "When does it leave?", "answers": ["At nine."]}'
        >>> _ = Path("dev.jsonl").write_text(line)
        >>> evaluate(Parrot(), "dev.jsonl", metrics=["em"]).scores["EM"].mean
        1.0
    """
    _check(k=k, batch_size=batch_size, limit=limit)
    check(confidence, resamples)
    task = JsonlTask(str(task)) if isinstance(task, str | Path) else task
    wanted = task.metrics if metrics is None else metrics
    chosen = as_metrics(wanted, k)
    examples = _examples(task, split, limit)
    config = configuration(identity(model), task, split, k, options)
    ask = _Asking(model, examples, k, batch_size, options, progress)
    predictions: Sequence[Prediction]
    if directory is None:
        predictions, timing = ask.in_memory()
    else:
        predictions, timing = ask.on_disk(Path(directory), config, overwrite)
    values = measure(chosen, predictions, examples)
    pooled = statistics(chosen, predictions, examples)
    draws: dict[str, Any] = {"confidence": confidence, "resamples": resamples, "seed": seed}
    result = Result(
        scores=figures(chosen, values, pooled, **draws),
        values=values,
        predictions=predictions,
        timing=timing,
        config=config | draws,
        directory=None if directory is None else Path(directory),
        statistics=pooled,
        units=units(chosen),
    )
    if result.directory is not None:
        rows = score_rows(values, examples)
        record = result.as_dict()
        for label, one in zip(chosen, wanted, strict=True):
            record["metrics"][label]["table"] = as_table(one, k)  # it can be built again
        save_result(result.directory, record, rows, golds.digest(examples))
        golds.save(result.directory, examples)
    return result


class _Asking:
    """The questions of one evaluation, asked batch by batch."""

    def __init__(
        self,
        model: Answering,
        examples: Sequence[Example],
        k: int,
        batch_size: int,
        options: Mapping[str, Any],
        progress: Report | None,
    ) -> None:
        self.model = model
        self.examples = examples
        self.k = k
        self.batch_size = batch_size
        self.options = {**options, **_batching(model, batch_size)}
        self.progress = progress

    def in_memory(self) -> tuple[list[Prediction], Timing]:
        predictions: list[Prediction] = []
        seconds = 0.0
        for batch, took in self._batches(0):
            predictions += batch
            seconds += took
        return predictions, Timing(seconds, len(predictions))

    def on_disk(
        self, directory: Path, config: Mapping[str, Any], overwrite: bool
    ) -> tuple[PredictionFile, Timing]:
        with opened(directory, config, overwrite) as run:
            run.check(self.examples)
            for batch, took in self._batches(len(run)):
                run.add(batch, took)
        stored = PredictionFile(directory / "predictions.jsonl", limit=len(self.examples))
        seconds = sum(record.get("seconds", 0.0) for record in stored.records())
        return stored, Timing(seconds, len(stored))

    def _batches(self, start: int) -> Iterator[tuple[list[Prediction], float]]:
        total = len(self.examples)
        with Progress("questions", total, show=None if self.progress is None else False) as bar:
            report = self.progress or (lambda done, _: bar.reach(done))
            report(min(start, total), total)
            for at in range(start, total, self.batch_size):
                yield self._answer(self.examples[at : at + self.batch_size])
                report(min(at + self.batch_size, total), total)

    def _answer(self, batch: Sequence[Example]) -> tuple[list[Prediction], float]:
        """Predictions of a batch and the seconds they took."""
        began = time.perf_counter()
        answers = self.model.answer([one.question for one in batch], k=self.k, **self.options)
        took = time.perf_counter() - began
        if len(answers) != len(batch):
            raise DataError(
                f"{type(self.model).__name__}.answer returned {len(answers)} answers to "
                f"{len(batch)} questions; it must return one for each, in order"
            )
        pairs = zip(answers, batch, strict=True)
        return [answer.prediction(example.id) for answer, example in pairs], took


def _batching(model: Answering, batch_size: int) -> dict[str, int]:
    """The size of a batch, for models that would otherwise cut one up by themselves."""
    takes = inspect.signature(model.answer).parameters
    return {"batch_size": batch_size} if "batch_size" in takes else {}


def _examples(task: Task, split: str, limit: int | None) -> list[Example]:
    examples = list(islice(task.examples(split), limit))
    if not examples:
        raise DataError(
            f"{task!r} has no question in split {split!r}; "
            f"type the name of another split, or give a file that has lines"
        )
    seen: set[str] = set()
    for example in examples:
        if example.id in seen:
            raise DataError(
                f"{task!r} gives id {example.id!r} to two questions of split {split!r}; "
                f"ids must differ, for predictions are kept by them"
            )
        seen.add(example.id)
    return examples


def _check(**counts: Any) -> None:
    faults = [
        f"{name} is {value!r}; type a whole number of 1 or more"
        for name, value in counts.items()
        if value is not None and (type(value) is not int or value < 1)
    ]
    if faults:
        raise ConfigError(faults)
