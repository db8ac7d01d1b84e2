"""Conversion: models, knowledge bases and retrieved passages of others, to ragkit's and back.

Each function writes a whole folder or none, runs nothing that a file holds (weights are
read as tensors alone, pickles are refused), and returns a `Report` of what was made, what
is to be known and what was dropped. The names below are imported when first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ragkit.convert.dpr import from_dpr
    from ragkit.convert.hf_rag import from_hf_rag
    from ragkit.convert.kb import to_knowledge_base
    from ragkit.convert.report import Report
    from ragkit.convert.retrieval import from_retrieval
    from ragkit.convert.to_hf import to_hf_rag

__all__ = [
    "Report",
    "from_dpr",
    "from_hf_rag",
    "from_retrieval",
    "to_hf_rag",
    "to_knowledge_base",
]

_HOME = {
    "Report": "report",
    "from_dpr": "dpr",
    "from_hf_rag": "hf_rag",
    "from_retrieval": "retrieval",
    "to_hf_rag": "to_hf",
    "to_knowledge_base": "kb",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
