"""What to measure: from names to metrics that suit a run of k passages.

``"em"`` is the metric of that name, ``"answer-recall@20"`` counts 20 passages, and one
that takes a k counts the run's where none is said. This module knows the registry, and
no metric by name.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ragkit import config, registry
from ragkit.errors import ConfigError, DataError
from ragkit.evaluate.bootstrap import Interval, interval, pooled_interval
from ragkit.protocols import Example, Metric, Prediction, SupportsEnds, SupportsPooling

IR_MEASURES = {
    "nDCG": "ndcg",
    "R": "gold-recall",
    "Rprec": "r-precision",
    "RR": "rr",
    "MRR": "rr",
}
"""What ir_measures calls a metric, to ours."""
_BLOCK = 256  # predictions held at once: with their passages they may exceed memory


def as_metrics(wanted: Sequence[str | Mapping[str, Any] | Metric], k: int) -> dict[str, Metric]:
    """Metrics by label, in order.

    Raises `ConfigError` where two have one label, or where one counts more passages than
    the run retrieves.
    """
    found: dict[str, Metric] = {}
    for one in wanted:
        metric = _metric(one, k)
        label = getattr(metric, "label", None) or (
            one if isinstance(one, str) else type(metric).__name__
        )
        if label in found:
            raise ConfigError(f"metric {label} is asked for twice; name it once")
        counted = getattr(metric, "k", None)
        if counted is not None and counted > k:
            raise ConfigError(
                f"metric {label} counts {counted} passages, but the run retrieves {k}; "
                f"type k={counted} (-k {counted}), or a metric of {k} or fewer"
            )
        found[label] = metric
    if not found:
        raise ConfigError("no metric is asked for; type metrics=['em'] (--metric em)")
    return found


def measure(
    metrics: Mapping[str, Metric],
    predictions: Sequence[Prediction],
    examples: Sequence[Example],
) -> dict[str, NDArray[np.float64]]:
    """The numbers (N,) of every metric; NaN where it has no meaning.

    Raises `DataError` where a metric does not return one number per prediction.
    """
    values: dict[str, list[float]] = {label: [] for label in metrics}
    for start in range(0, len(examples), _BLOCK):
        golds = examples[start : start + _BLOCK]
        block = predictions[start : start + _BLOCK]
        for label, metric in metrics.items():
            numbers = metric(block, golds)
            if len(numbers) != len(golds):
                raise DataError(
                    f"metric {label} returned {len(numbers)} numbers for {len(golds)} "
                    f"predictions; it must return one for each, NaN where it has no meaning"
                )
            values[label] += numbers
    return {label: np.asarray(numbers, dtype=np.float64) for label, numbers in values.items()}


def statistics(
    metrics: Mapping[str, Metric],
    predictions: Sequence[Prediction],
    examples: Sequence[Example],
) -> dict[str, NDArray[np.float64]]:
    """The statistics (N,S) of every metric whose figure is no mean (`SupportsPooling`).

    Raises `DataError` where a metric does not return one row per prediction.
    """
    found = {}
    for label, metric in metrics.items():
        if isinstance(metric, SupportsPooling):
            rows = np.asarray(metric.statistics(predictions, examples), dtype=np.float64)
            if rows.ndim != 2 or len(rows) != len(examples):
                raise DataError(
                    f"metric {label} returned statistics {rows.shape} for {len(examples)} "
                    f"predictions; it must return a row for each, NaN where it has no meaning"
                )
            found[label] = rows
    return found


def figures(
    metrics: Mapping[str, Metric],
    values: Mapping[str, NDArray[np.float64]],
    pooled: Mapping[str, NDArray[np.float64]],
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, Interval]:
    """What the table shows: means of `measure`'s values, or what `statistics` pool to."""
    how: dict[str, Any] = {"confidence": confidence, "resamples": resamples, "seed": seed}
    found = {}
    for label, metric in metrics.items():
        if isinstance(metric, SupportsPooling):
            ends = metric.ends if isinstance(metric, SupportsEnds) else None
            found[label] = pooled_interval(pooled[label], metric.pooled, ends=ends, **how)
        else:
            found[label] = interval(values[label], **how)
    return found


def units(metrics: Mapping[str, Metric]) -> dict[str, str]:
    """The unit of every metric: what it says in an attribute ``unit``, else a share."""
    return {label: str(getattr(metric, "unit", "share")) for label, metric in metrics.items()}


def score_rows(
    values: Mapping[str, NDArray[np.float64]], examples: Sequence[Example]
) -> list[dict[str, Any]]:
    """One row per question, as scores.jsonl has it."""
    return [
        {"id": example.id} | {label: _plain(float(numbers[i])) for label, numbers in values.items()}
        for i, example in enumerate(examples)
    ]


def as_table(wanted: str | Mapping[str, Any] | Metric, k: int) -> dict[str, Any] | None:
    """The table that a metric is built of in a run of k passages; None where it is built."""
    if isinstance(wanted, str):
        table = _table(wanted)
    elif isinstance(wanted, Mapping):
        table = dict(wanted)
    else:
        return None
    if "k" not in table and _takes_k(str(table.get("name", ""))):
        table["k"] = k
    return table


def _metric(wanted: str | Mapping[str, Any] | Metric, k: int) -> Metric:
    table = as_table(wanted, k)
    return cast(Metric, wanted if table is None else config.build("metric", table))


def _table(wanted: str) -> dict[str, Any]:
    """``name@k,option=value,…`` as a table; values are read as YAML."""
    head, *options = wanted.split(",")
    name, at, cut = head.strip().partition("@")
    table: dict[str, Any] = {"name": IR_MEASURES.get(name, name)}
    if at:
        table["k"] = _cut(wanted, cut)
    return config.override(table, options)


def _takes_k(name: str) -> bool:
    return bool(name) and "k" in inspect.signature(registry.find("metric", name)).parameters


def _cut(wanted: str, cut: str) -> int:
    if not cut.isdecimal():
        raise ConfigError(f"metric {wanted!r}: {cut!r} is no number; type answer-recall@5")
    return int(cut)


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else value
