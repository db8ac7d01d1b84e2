"""How the hybrid is held to ragkit's laws where its parts are not given.

`ragkit plugins check` and the tests use it; nothing else imports it.
"""

from __future__ import annotations

from typing import Any, ClassVar

from ragkit import KnowledgeBase, registry
from ragkit.protocols import Retriever
from ragkit.testing import RetrieverConformance, samples, tiny
from ragkit_bm25.hybrid import HybridRetriever


class HybridConformance(RetrieverConformance):
    """A dense retriever with random weights, and BM25, over one knowledge base."""

    component: ClassVar[str | None] = "hybrid"
    steady: ClassVar[bool] = False  # what a passage is given depends on the lists it is in
    learns: ClassVar[bool | None] = False  # ranks have no gradient
    options: ClassVar[dict[str, Any]] = {}

    def make(self) -> HybridRetriever:
        """The same weights each time."""
        encoder = registry.make("encoder", "dpr", model=tiny.bert(), tokenizer=tiny.tokenizer())
        folder = self.folder() / "knowledge_base"
        base = KnowledgeBase.build(samples.PASSAGES, encoder, "exact", folder, dtype="float32")
        dense: Retriever = registry.make("retriever", "dense", encoder=encoder, knowledge_base=base)
        words: Retriever = registry.make("retriever", "bm25", knowledge_base=base)
        return HybridRetriever(dense, words, **self.options)
