"""Runs as a page: tables, curves and every question, in one HTML file that needs no network.

Works on the folders that an evaluation wrote and needs no model. The names below are
imported when first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ragkit.evaluate.report.gathered import Gathered, gather
    from ragkit.evaluate.report.learning import Log, read_log
    from ragkit.evaluate.report.page import write

__all__ = ["Gathered", "Log", "gather", "read_log", "write"]

_HOME = {
    "Gathered": "gathered",
    "gather": "gathered",
    "Log": "learning",
    "read_log": "learning",
    "write": "page",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
