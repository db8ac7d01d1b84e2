"""Comparing runs: which is better, by how much, how surely, and what their errors are.

Works on the folders that an evaluation wrote and needs no model. The names below are
imported when first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ragkit.evaluate.comparison.comparing import Comparison, Contrast, compare
    from ragkit.evaluate.comparison.decomposition import Decomposition, decompose
    from ragkit.evaluate.comparison.nearness import near_miss
    from ragkit.evaluate.comparison.statistics import holm, permutation_test
    from ragkit.evaluate.comparison.stored import StoredRun, open_run, open_runs

__all__ = [
    "Comparison",
    "Contrast",
    "Decomposition",
    "StoredRun",
    "compare",
    "decompose",
    "holm",
    "near_miss",
    "open_run",
    "open_runs",
    "permutation_test",
]

_HOME = {
    "Comparison": "comparing",
    "Contrast": "comparing",
    "compare": "comparing",
    "Decomposition": "decomposition",
    "decompose": "decomposition",
    "near_miss": "nearness",
    "holm": "statistics",
    "permutation_test": "statistics",
    "StoredRun": "stored",
    "open_run": "stored",
    "open_runs": "stored",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
