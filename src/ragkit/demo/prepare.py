"""The demo's parts: models from the starting checkpoint, a knowledge base of each edition.

Knows nothing of training and figures.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from ragkit.cli.terminal import status
from ragkit.demo import world
from ragkit.generate.seq2seq import Seq2SeqGenerator
from ragkit.knowledge import KnowledgeBase
from ragkit.protocols import Example
from ragkit.rag import RAG
from ragkit.retrieve.dense import DenseRetriever
from ragkit.retrieve.dpr import DPREncoder

TEMPERATURE = 0.05  # the checkpoint's encoder makes vectors of length 1


class Parts(NamedTuple):
    """A model over the first edition, and the knowledge base of each."""

    rag: RAG
    bases: dict[str, KnowledgeBase]


def prepare(folder: Path, checkpoint: Path = world.CHECKPOINT) -> Parts:
    """Open the small models in float32 and build both knowledge bases below a folder."""
    with status("opening the starting models"):
        encoder = DPREncoder(checkpoint / "encoder", pooling="mean", normalize=True).float()
        generator = Seq2SeqGenerator(checkpoint / "generator")
    generator.float()
    bases = {}
    for edition in world.EDITIONS:
        target = folder / f"facts-{edition}"
        shutil.rmtree(target, ignore_errors=True)  # a demo begins anew every time
        bases[edition] = KnowledgeBase.build(
            world.passages(edition), encoder, "exact", target, generator=generator
        )
    retriever = DenseRetriever(encoder, bases[world.EDITIONS[0]], temperature=TEMPERATURE)
    return Parts(RAG(retriever, generator, "rag-sequence"), bases)


def examples(
    edition: str, split: str, *, forms: int | None = 1, changed: bool | None = None
) -> list[Example]:
    """Questions about people with the answer of an edition."""
    return [
        Example(
            id=asked["id"],
            question=asked["question"],
            answers=tuple(asked["answers"]),
            passage_ids=(asked["passage_id"],),
        )
        for asked in world.questions(edition, split, forms=forms, changed=changed)
    ]


class Asked:
    """A list of examples as a task; satisfies `ragkit.protocols.Task`."""

    metrics = ("em",)

    def __init__(self, given: Iterable[Example]) -> None:
        self._given = list(given)

    def __repr__(self) -> str:
        return f"<{len(self._given)} questions of the demo>"

    def examples(self, split: str) -> list[Example]:
        """The same for every split."""
        return self._given
