"""What an evaluation found: a number per question, their means and intervals, times.

Knows nothing of how the predictions came about.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragkit.evaluate.bootstrap import Interval
from ragkit.protocols import Prediction


@dataclass(frozen=True, slots=True)
class Timing:
    """seconds: spent answering, all sittings of a resumed run together; n: questions."""

    seconds: float
    n: int

    @property
    def per_second(self) -> float:
        """Questions per second; NaN where nothing was timed."""
        return self.n / self.seconds if self.seconds > 0 else math.nan


@dataclass(frozen=True, slots=True)
class Result:
    """The outcome of `ragkit.evaluate`.

    scores: label of each metric ("EM", "answer R@5") to mean or pooled figure, low, high
        (shares, 0 to 1, where ``units`` says nothing else) and n, the questions for which the
        metric has a meaning.
    values: the same labels to the numbers of all N questions, (N,) float64, NaN where the
        metric has no meaning.
    predictions: the N predictions, read from disk when asked where there is a folder.
    statistics: of metrics whose figure is no mean (BLEU), the rows (N,S) that it is made of.
    units: label to "share", or to the unit that a metric counts in ("nats").
    """

    scores: Mapping[str, Interval]
    values: Mapping[str, NDArray[np.float64]]
    predictions: Sequence[Prediction]
    timing: Timing
    config: Mapping[str, Any]
    directory: Path | None = None
    statistics: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)

    def __getitem__(self, label: str) -> Interval:
        return self.scores[label]

    def as_dict(self) -> dict[str, Any]:
        """Plain Python for JSON: metrics, timing and configuration, no predictions."""
        return {
            "metrics": {
                label: {
                    "mean": _plain(score.mean),
                    "low": _plain(score.low),
                    "high": _plain(score.high),
                    "n": score.n,
                    "unit": self.units.get(label, "share"),
                }
                for label, score in self.scores.items()
            },
            "questions": len(self.predictions),
            "seconds": round(self.timing.seconds, 6),
            "questions_per_second": _plain(self.timing.per_second),
            "config": dict(self.config),
        }


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else value
