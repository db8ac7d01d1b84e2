"""Evaluation: tasks, metrics, and the harness that runs any model over them.

``ragkit.evaluate`` is this package and, called, its main function: both
``ragkit.evaluate(rag, "questions.jsonl", k=5)`` and ``from ragkit.evaluate import Result``
are meant to be typed. The names below are imported when first asked for.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ragkit.evaluate.baselines import GoldRetriever, NoPassage, closed_book, gold_passage
    from ragkit.evaluate.bootstrap import Interval, interval, paired_interval
    from ragkit.evaluate.harness import Answering, evaluate
    from ragkit.evaluate.predictions import PredictionFile
    from ragkit.evaluate.replaying import replay
    from ragkit.evaluate.result import Result
    from ragkit.evaluate.retrieving import retrieval
    from ragkit.evaluate.search import BeirSearch, MtebSearch
    from ragkit.evaluate.tasks import JsonlTask
    from ragkit.evaluate.trec import read_qrels, read_run, write_qrels, write_run

__all__ = [
    "Answering",
    "BeirSearch",
    "GoldRetriever",
    "Interval",
    "JsonlTask",
    "MtebSearch",
    "NoPassage",
    "PredictionFile",
    "Result",
    "closed_book",
    "evaluate",
    "gold_passage",
    "interval",
    "paired_interval",
    "read_qrels",
    "read_run",
    "replay",
    "retrieval",
    "write_qrels",
    "write_run",
]

_HOME = {
    "GoldRetriever": "baselines",
    "NoPassage": "baselines",
    "closed_book": "baselines",
    "gold_passage": "baselines",
    "Interval": "bootstrap",
    "interval": "bootstrap",
    "paired_interval": "bootstrap",
    "Answering": "harness",
    "PredictionFile": "predictions",
    "Result": "result",
    "JsonlTask": "tasks",
    "replay": "replaying",
    "retrieval": "retrieving",
    "BeirSearch": "search",
    "MtebSearch": "search",
    "read_qrels": "trec",
    "read_run": "trec",
    "write_qrels": "trec",
    "write_run": "trec",
}


def __getattr__(name: str) -> Any:
    if name == "evaluate":  # the same object whichever way it is reached
        return sys.modules[__name__]
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)


class _CallablePackage(ModuleType):
    """Python binds ``ragkit.evaluate`` to this package as soon as any part is imported,
    so for the function to keep that name, the package itself must take the call."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        from ragkit.evaluate.harness import evaluate

        return evaluate(*arguments, **options)


sys.modules[__name__].__class__ = _CallablePackage
