"""How this plugin is held to ragkit's laws where no model is given: over a tiny random one.

`ragkit plugins check` and the tests use it; nothing else imports it.
"""

from __future__ import annotations

from typing import Any, ClassVar

from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer

from ragkit.testing import EncoderConformance, tiny
from ragkit_sentence_transformers.encoder import SentenceTransformerEncoder


class TinyConformance(EncoderConformance):
    """A BERT of two layers and random weights, its states' mean, length 1; with prompts."""

    component: ClassVar[str | None] = "sentence-transformers"
    options: ClassVar[dict[str, Any]] = {}

    def make(self) -> SentenceTransformerEncoder:
        """The same weights each time."""
        folder = tiny.folder(tiny.bert(), self.folder() / "model")
        modules = [Transformer(str(folder)), Pooling(16, pooling_mode="mean"), Normalize()]
        prompts = {"query": "query: ", "document": "passage: "}
        model = SentenceTransformer(modules=modules, prompts=prompts, device="cpu")
        return SentenceTransformerEncoder(model, **self.options)
