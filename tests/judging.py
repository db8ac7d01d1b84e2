"""Predictions and examples in a line each, for tests of what judges them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ragkit.protocols import Example, Metric, Passage, Prediction


def said(
    text: str = "",
    *ids: str,
    logp: float = -1.0,
    prior: Sequence[float] = (),
    posterior: Sequence[float] = (),
    texts: Sequence[str] = (),
) -> Prediction:
    """A prediction whose passages have these ids, and texts where they are given."""
    held = [*texts, *[""] * (len(ids) - len(texts))]
    passages = tuple(Passage(id, f"title of {id}", t) for id, t in zip(ids, held, strict=True))
    return Prediction("q", "?", text, logp, passages, tuple(prior), tuple(posterior))


def gold(*answers: str, ids: Sequence[str] = (), extra: Mapping[str, Any] | None = None) -> Example:
    return Example("q", "?", answers, tuple(ids), extra=extra or {})


def one(metric: Metric, prediction: Prediction, example: Example) -> float:
    (value,) = metric([prediction], [example])
    return value
