"""The plugin ``ragkit-sentence-transformers``: what it offers, without importing it.

Loads nothing but ragkit's light modules, so that listing components costs nothing.
"""

from __future__ import annotations

from ragkit.hookspecs import Component, hookimpl

__version__ = "0.1.0"


@hookimpl
def ragkit_encoders() -> list[Component]:
    return [
        Component(
            "sentence-transformers",
            "ragkit_sentence_transformers.encoder:SentenceTransformerEncoder",
            "any SentenceTransformer model, with its prompts; the question side learns",
            needs=("sentence_transformers",),
            install="pip install sentence-transformers",
        )
    ]
