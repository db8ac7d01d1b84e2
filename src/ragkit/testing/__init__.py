"""The conformance kit: the laws of every role, as tests that a component's author runs.

One class a role; each check is a method ``test_…`` whose docstring begins with its law::

    from ragkit.testing import IndexConformance

    class TestMine(IndexConformance):
        component = "mine"  # the name it is installed under, where it is

        def make(self):
            return MyIndex()

pytest collects such a class as it is; `run` and `check` do without pytest, which nothing here
imports. Names are loaded when first asked for. Knows no implementation.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ragkit.testing.encoder import EncoderConformance
    from ragkit.testing.generator import GeneratorConformance
    from ragkit.testing.index import IndexConformance
    from ragkit.testing.installed import CONFORMANCE, check
    from ragkit.testing.kit import Conformance, Outcome, run
    from ragkit.testing.marginalizer import MarginalizerConformance
    from ragkit.testing.metric import MetricConformance
    from ragkit.testing.objective import ObjectiveConformance
    from ragkit.testing.retriever import RetrieverConformance
    from ragkit.testing.task import TaskConformance

_WHERE = {
    "CONFORMANCE": "installed",
    "Conformance": "kit",
    "EncoderConformance": "encoder",
    "GeneratorConformance": "generator",
    "IndexConformance": "index",
    "MarginalizerConformance": "marginalizer",
    "MetricConformance": "metric",
    "ObjectiveConformance": "objective",
    "Outcome": "kit",
    "RetrieverConformance": "retriever",
    "TaskConformance": "task",
    "check": "installed",
    "run": "kit",
}

__all__ = [
    "CONFORMANCE",
    "Conformance",
    "EncoderConformance",
    "GeneratorConformance",
    "IndexConformance",
    "MarginalizerConformance",
    "MetricConformance",
    "ObjectiveConformance",
    "Outcome",
    "RetrieverConformance",
    "TaskConformance",
    "check",
    "run",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'ragkit.testing' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"ragkit.testing.{_WHERE[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
