"""ragkit: retrieval-augmented generation as trainable, swappable parts (arXiv 2005.11401).

Public names are imported when first asked for, so ``import ragkit`` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ragkit.answer import Answer, ReadPassage
    from ragkit.config import build
    from ragkit.errors import (
        ConfigError,
        CorruptError,
        DataError,
        EncoderMismatch,
        KnowledgeBaseError,
        LockedError,
        MissingDependency,
        PluginError,
        RagkitError,
        UnknownName,
    )
    from ragkit.evaluate import evaluate
    from ragkit.hookspecs import Component, Model, hookimpl
    from ragkit.knowledge import KnowledgeBase
    from ragkit.protocols import Example, Passage, Prediction
    from ragkit.rag import RAG
    from ragkit.registry import components, make
    from ragkit.train import Trainer, TrainingArguments

__version__ = "0.1.0"

_WHERE = {
    "Answer": "ragkit.answer",
    "Component": "ragkit.hookspecs",
    "ConfigError": "ragkit.errors",
    "CorruptError": "ragkit.errors",
    "DataError": "ragkit.errors",
    "EncoderMismatch": "ragkit.errors",
    "Example": "ragkit.protocols",
    "KnowledgeBase": "ragkit.knowledge",
    "KnowledgeBaseError": "ragkit.errors",
    "LockedError": "ragkit.errors",
    "MissingDependency": "ragkit.errors",
    "Model": "ragkit.hookspecs",
    "Passage": "ragkit.protocols",
    "PluginError": "ragkit.errors",
    "Prediction": "ragkit.protocols",
    "RAG": "ragkit.rag",
    "RagkitError": "ragkit.errors",
    "ReadPassage": "ragkit.answer",
    "Trainer": "ragkit.train",
    "TrainingArguments": "ragkit.train",
    "UnknownName": "ragkit.errors",
    "build": "ragkit.config",
    "components": "ragkit.registry",
    "evaluate": "ragkit.evaluate",
    "hookimpl": "ragkit.hookspecs",
    "make": "ragkit.registry",
}

__all__ = [
    "RAG",
    "Answer",
    "Component",
    "ConfigError",
    "CorruptError",
    "DataError",
    "EncoderMismatch",
    "Example",
    "KnowledgeBase",
    "KnowledgeBaseError",
    "LockedError",
    "MissingDependency",
    "Model",
    "Passage",
    "PluginError",
    "Prediction",
    "RagkitError",
    "ReadPassage",
    "Trainer",
    "TrainingArguments",
    "UnknownName",
    "__version__",
    "build",
    "components",
    "evaluate",
    "hookimpl",
    "make",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'ragkit' has no attribute {name!r}")
    value = getattr(importlib.import_module(_WHERE[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
