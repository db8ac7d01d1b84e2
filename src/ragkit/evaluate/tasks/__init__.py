"""Tasks: the questions of the paper's data sets, read from the files as they are handed out.

One file a family; each says in its ``ABOUT`` what there is to know of it before a file is
opened (`ragkit.evaluate.tasks.about`). They are made by name, as every component is:
``ragkit.make("task", "nq", path="data/nq-open")``. The names below are imported when first
asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ragkit.evaluate.tasks.about import About, Decoding, Layout, about_of, described
    from ragkit.evaluate.tasks.fever import evidence
    from ragkit.evaluate.tasks.files import FileTask, IncompleteWarning
    from ragkit.evaluate.tasks.jsonl import JsonlTask
    from ragkit.evaluate.tasks.squad import paragraphs
    from ragkit.evaluate.tasks.targets import with_targets

__all__ = [
    "About",
    "Decoding",
    "FileTask",
    "IncompleteWarning",
    "JsonlTask",
    "Layout",
    "about_of",
    "described",
    "evidence",
    "paragraphs",
    "with_targets",
]

_HOME = {
    "About": "about",
    "Decoding": "about",
    "FileTask": "files",
    "IncompleteWarning": "files",
    "JsonlTask": "jsonl",
    "Layout": "about",
    "about_of": "about",
    "described": "about",
    "evidence": "fever",
    "paragraphs": "squad",
    "with_targets": "targets",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
