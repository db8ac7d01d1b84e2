"""The trained model as the folder that is shipped: int8 at rest, what is shared once.

The passage encoder comes rounded already, so that the knowledge base of the joint training
and that of whoever installs the model are of one encoder. Knows nothing of training.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import joint
import settings
import torch

from ragkit import RAG
from ragkit.retrieve.dense import DenseRetriever


def write(rag: RAG, out: Path) -> dict[str, Any]:
    """Save below a folder; returns its size in bytes, file by file, and its parameters."""
    retriever: Any = rag.retriever
    words = retriever.encoder.passage_encoder.embeddings.word_embeddings.weight
    with torch.no_grad():  # the reader's own were never trained: the same, stored once
        rag.generator.model.get_encoder().get_input_embeddings().weight.copy_(words)
    alone = DenseRetriever(retriever.encoder, None, temperature=retriever.temperature)
    shipped = RAG(
        alone, joint.generator(rag.generator.model, settings.MAX_SOURCE), rag.marginalizer
    )
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    card = (Path(__file__).parent / "card.md").read_text()
    (out / "README.md").write_text(card)
    model: Any = rag.generator.model
    for config in (model.config.encoder, model.config.decoder):
        config._name_or_path = "sentence-transformers/all-MiniLM-L6-v2"  # not where it lay here
    shipped.save_pretrained(out, weights="int8")
    sizes = {
        str(file.relative_to(out)): file.stat().st_size for file in out.rglob("*") if file.is_file()
    }
    numbers = sum(weight.numel() for weight in shipped.parameters())
    return {"bytes": sum(sizes.values()), "parameters": numbers, "files": sizes}
