"""ragkit-tiny: a small trained retrieval-augmented model, offered to ragkit by name.

The weights lie in the folder ``model`` beside this file; importing it loads nothing heavy.
"""

from __future__ import annotations

from ragkit import Model, hookimpl

__version__ = "0.1.0"


@hookimpl
def ragkit_models() -> list[Model]:
    return [
        Model(
            "ragkit-tiny",
            "ragkit_tiny:model",
            "answers short questions from your own texts, in English, on a CPU",
            licence="CC-BY-SA-4.0",
        )
    ]
