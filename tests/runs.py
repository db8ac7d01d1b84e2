"""Folders of runs without a model: the files that an evaluation writes, from what was said."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ragkit.evaluate import golds
from ragkit.evaluate.bootstrap import interval
from ragkit.evaluate.metrics import F1, ExactMatch
from ragkit.evaluate.run import configuration, opened, save_result
from ragkit.protocols import Example, Metric, Passage, Prediction

EM_AND_F1: Mapping[str, Metric] = {"EM": ExactMatch(), "F1": F1()}


def examples(n: int, word: str = "question") -> list[Example]:
    """n questions whose answer is a number; passage p{i} is known to hold that of question i."""
    return [Example(f"q{i}", f"{word} {i}?", (f"answer {i}",), (f"p{i}",)) for i in range(n)]


def write(
    folder: Path,
    asked: Sequence[Example],
    say: Callable[[int, Example], str],
    *,
    passages: Callable[[int, Example], Sequence[Passage]] = lambda i, one: (),
    metrics: Mapping[str, Metric] = EM_AND_F1,
    values: Mapping[str, Sequence[float]] | None = None,
    model: str = "Fake",
    keep_golds: bool = True,
    k: int = 5,
    change: Callable[[int, Prediction], Prediction] = lambda i, one: one,
) -> Path:
    """A finished run in which question i was answered by ``say(i, example)``.

    values: numbers of each metric, in place of what ``metrics`` find. change: what to make of
    prediction i before it is judged and kept.
    """
    said = [
        change(i, Prediction(one.id, one.question, say(i, one), -1.0, tuple(passages(i, one))))
        for i, one in enumerate(asked)
    ]
    found = values or {label: metric(said, asked) for label, metric in metrics.items()}
    with opened(folder, configuration({"class": model}, "Fake()", "dev", k, {})) as run:
        run.add(said, 1.0)
    figures = {label: interval(numbers) for label, numbers in found.items()}
    result: dict[str, Any] = {
        "metrics": {
            label: {"mean": one.mean if one.n else None, "low": one.low, "high": one.high}
            for label, one in figures.items()
        }
    }
    rows = [
        {"id": one.id}
        | {label: None if np.isnan(n[i]) else float(n[i]) for label, n in found.items()}
        for i, one in enumerate(asked)
    ]
    save_result(folder, result, rows, golds.digest(asked))
    if keep_golds:
        golds.save(folder, asked)
    return folder
