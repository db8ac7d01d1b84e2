"""What metrics share: going through pairs, the best gold, cuts at k, packages they need.

Knows no metric.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

from ragkit.errors import ConfigError, MissingDependency
from ragkit.protocols import Example, Prediction


def each(
    one: Callable[[Prediction, Example], float],
    predictions: Sequence[Prediction],
    examples: Sequence[Example],
) -> list[float]:
    """A number for each pair; raises where there are more of one than of the other."""
    return [one(*pair) for pair in zip(predictions, examples, strict=True)]


def at(name: str, k: int | None) -> str:
    """A label that names the cut."""
    return name if k is None else f"{name}@{k}"


def checked(k: int | None, name: str) -> int | None:
    """k, which must count at least one passage. Raises `ConfigError`."""
    if k is not None and k < 1:
        raise ConfigError(
            f"metric {name}: k is {k}, but at least one passage must count; "
            f"type k=1 or more, or leave k out for all that were retrieved"
        )
    return k


def needed(module: str, metric: str) -> Any:
    """A module of the extra ``metrics``. Raises `MissingDependency`."""
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingDependency(
            f"metric {metric} needs {module.partition('.')[0]}, which is not installed; "
            f'type: pip install "ragkit[metrics]"'
        ) from error
