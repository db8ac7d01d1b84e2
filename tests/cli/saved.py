"""A saved RAG with random weights, for the verbs that open one."""

from __future__ import annotations

import json
from pathlib import Path

import tiny
from ragkit.generate.seq2seq import Seq2SeqGenerator
from ragkit.knowledge import KnowledgeBase
from ragkit.rag import RAG
from ragkit.retrieve.dense import DenseRetriever
from ragkit.retrieve.dpr import DPREncoder

TEXTS = ["the sky is blue", "a plum is violet", "coal is black", "grass is green", "a rose is red"]


def model(directory: Path, marginalizer: str = "rag-token") -> Path:
    """Save one below ``directory``, with a knowledge base of five passages."""
    encoder = DPREncoder(tiny.bert(), tokenizer=tiny.tokenizer(), pooling="mean")
    generator = Seq2SeqGenerator(tiny.bart(scale=0.4), tiny.tokenizer())
    passages = [
        {"id": f"p{i}", "title": text.split()[-1], "text": text} for i, text in enumerate(TEXTS)
    ]
    base = KnowledgeBase.build(
        passages, encoder, "exact", directory / "kb", generator=generator, dtype="float32"
    )
    rag = RAG(DenseRetriever(encoder, base, temperature=4.0), generator, marginalizer)
    rag.save_pretrained(directory / "model")
    return directory / "model"


def questions(path: Path, n: int = 4) -> Path:
    """Write a task: what colour the first n things are, with the gold passage of each."""
    lines = [
        {"question": f"what is {text.split()[-3]}?", "answers": [text], "passage_id": f"p{i}"}
        for i, text in enumerate(TEXTS[:n])
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path
