"""The plugin ``ragkit-bm25``: what it offers, without importing it.

Loads nothing but ragkit's light modules, so that listing components costs nothing.
"""

from __future__ import annotations

from ragkit.hookspecs import Component, hookimpl

__version__ = "0.1.0"


@hookimpl
def ragkit_retrievers() -> list[Component]:
    return [
        Component(
            "bm25",
            "ragkit_bm25.retriever:BM25Retriever",
            "by words: BM25 scores as logits of the prior (section 4.6, Table 6)",
            needs=("bm25s",),
            install="pip install bm25s",
        ),
        Component(
            "hybrid",
            "ragkit_bm25.hybrid:HybridRetriever",
            "fuses any two retrievers by reciprocal rank or normalised sum",
        ),
    ]
