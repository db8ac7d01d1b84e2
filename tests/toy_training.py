"""A retrieval problem small enough to train on within seconds.

Every passage says one letter; every question asks for one passage by name, and its
answer is that letter. Nobody says which passage that is.
"""

from __future__ import annotations

from pathlib import Path

import torch

import tiny
from ragkit.generate.seq2seq import Seq2SeqGenerator
from ragkit.knowledge import KnowledgeBase
from ragkit.protocols import Example, Passage, Retrieved
from ragkit.rag import RAG
from ragkit.retrieve.dense import DenseRetriever
from ragkit.retrieve.dpr import DPREncoder

NAMES = ("ant", "bee", "cat", "dog", "eel", "fox")
LETTERS = "uvwxyz"
PASSAGES = [Passage(n, n, c) for n, c in zip(NAMES, LETTERS, strict=True)]


class Blind(Seq2SeqGenerator):
    """Reads the passages without the question, so that only retrieval can know more."""

    def read(self, questions, retrieved):
        return super().read([""] * len(questions), retrieved)


def examples(repeat: int = 1) -> list[Example]:
    return [
        Example(f"{n}{i}", f"{n}?", (c,), (n,))
        for i in range(repeat)
        for n, c in zip(NAMES, LETTERS, strict=True)
    ]


def encoder(dropout: float = 0.0) -> DPREncoder:
    towers = []
    for seed in (0, 1):
        model = tiny.bert(seed=seed)
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = dropout
        towers.append(model)
    return DPREncoder(*towers, tiny.tokenizer(), pooling="mean")


def model(
    directory: Path,
    marginalizer: str = "rag-sequence",
    dropout: float = 0.0,
    temperature: float = 1.0,
    scale: float = 0.3,
    blind: bool = False,
) -> RAG:
    """A RAG of tiny random models over the six passages."""
    towers = encoder(dropout)
    generator = tiny.bart(scale=scale)
    for module in generator.modules():
        if isinstance(getattr(module, "dropout", None), float):
            module.dropout = dropout
    writer = (Blind if blind else Seq2SeqGenerator)(generator, tiny.tokenizer())
    folder = Path(directory) / "knowledge"
    if folder.exists():
        base = KnowledgeBase.open(folder)
    else:
        base = KnowledgeBase.build(PASSAGES, towers, "exact", folder, generator=writer)
    return RAG(DenseRetriever(towers, base, temperature), writer, marginalizer)


def teach_copying(generator: Seq2SeqGenerator, steps: int = 200) -> float:
    """Train a generator to write what one passage says. Returns the last loss.

    Without it, generator and retriever would agree on any pairing of passages with
    answers: the toy is too small for copying to be the easiest way.
    """
    one = torch.arange(len(PASSAGES)).view(-1, 1)  # (B,K=1)
    given = Retrieved([[p] for p in PASSAGES], one, torch.zeros(one.shape), one >= 0)
    optimizer = torch.optim.Adam(generator.parameters(), lr=5e-3)
    targets = generator.targets(list(LETTERS))
    for _ in range(steps):
        reading = generator.read([""] * len(PASSAGES), given)
        loss = -reading.score(targets, reading.rows).sum(-1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return float(loss.detach())


def recall_at_1(rag: RAG) -> float:
    rag.eval()
    with torch.no_grad():
        found = rag.retriever.retrieve([f"{n}?" for n in NAMES], 1)
    return sum(found.passages[i][0].id == n for i, n in enumerate(NAMES)) / len(NAMES)
