"""Two ends to hold a model against: no passage at all, and the right one.

Both are retrievers, so the same generator, marginalizer and harness serve them:
closed book is the generator reading the question alone (the BART rows of the paper's
tables), gold passage is the best that any retriever could hand it. This module knows
nothing of metrics or files.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from ragkit.errors import ConfigError, DataError, nearest
from ragkit.protocols import Example, Generator, Marginalizer, Passage, PassageTokens, Retrieved

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ragkit.rag import RAG

EMPTY = Passage(id="", title="", text="")
"""What the generator reads instead of a passage when the book is closed."""


class PassageStore(Protocol):
    """The part of a knowledge base that finds passages by id."""

    @property
    def tokens(self) -> PassageTokens | None: ...

    def rows(self, ids: Sequence[str], /) -> NDArray[np.int64]: ...

    def passages(self, rows: NDArray[np.int64], /) -> Sequence[Passage]: ...


class NoPassage(nn.Module):
    """A retriever that finds one empty passage, with prior 1, whatever is asked."""

    zero: Tensor

    def __init__(self) -> None:
        super().__init__()
        # Its only use is to follow the model to a device.
        self.register_buffer("zero", torch.zeros(()), persistent=False)

    def retrieve(self, questions: Sequence[str], k: int) -> Retrieved:
        """K = 1 for every question: `EMPTY`, score 0."""
        _check_k(k)
        shape = (len(questions), 1)
        return Retrieved(
            passages=[[EMPTY] for _ in questions],
            ids=torch.zeros(shape, dtype=torch.int64, device=self.zero.device),  # (B,1)
            scores=self.zero.expand(shape),  # (B,1)
            mask=torch.ones(shape, dtype=torch.bool, device=self.zero.device),  # (B,1)
        )


class GoldRetriever(nn.Module):
    """A retriever that finds the gold passages of a question by looking them up.

    golds: question to ids of its gold passages. Where a question has several, they share
    the prior equally; the first k are given.

    Raises `DataError` where a question has no gold passage, and whatever
    ``knowledge_base.rows`` raises where an id is not there.
    """

    zero: Tensor

    def __init__(self, golds: Mapping[str, Sequence[str]], knowledge_base: PassageStore) -> None:
        super().__init__()
        self.register_buffer("zero", torch.zeros(()), persistent=False)
        self.golds = {question: tuple(ids) for question, ids in golds.items()}
        self.knowledge_base = knowledge_base

    @classmethod
    def of(cls, examples: Iterable[Example], knowledge_base: PassageStore) -> GoldRetriever:
        """From examples; a question that is asked twice has the golds of both."""
        golds: dict[str, dict[str, None]] = {}
        for example in examples:
            golds.setdefault(example.question, {}).update(dict.fromkeys(example.passage_ids))
        return cls({question: tuple(ids) for question, ids in golds.items()}, knowledge_base)

    def retrieve(self, questions: Sequence[str], k: int) -> Retrieved:
        """K = the most golds that one of these questions has, k at most; others masked."""
        _check_k(k)
        found = [self._ids(question)[:k] for question in questions]
        width = max(map(len, found), default=0)
        ids = np.full((len(found), width), -1, dtype=np.int64)  # (B,K)
        passages: list[list[Passage | None]] = []
        for line, one in zip(ids, found, strict=True):
            line[: len(one)] = self.knowledge_base.rows(one)
            absent = [None] * (width - len(one))
            passages.append([*self.knowledge_base.passages(line[: len(one)]), *absent])
        rows = torch.from_numpy(ids).to(self.zero.device)  # (B,K)
        mask = rows >= 0  # (B,K)
        return Retrieved(
            passages=passages,
            ids=rows,
            scores=self.zero.expand(rows.shape).masked_fill(~mask, -torch.inf),  # (B,K)
            mask=mask,
            tokens=self.knowledge_base.tokens,
        )

    def _ids(self, question: str) -> tuple[str, ...]:
        ids = self.golds.get(question, ())
        if not ids:
            near = "" if question in self.golds else nearest(question, self.golds)
            raise DataError(
                f"no gold passage is known for {question!r}{near}; give passage_id in the "
                f"task's file, or evaluate only questions that have one"
            )
        return ids


def closed_book(generator: Generator, marginalizer: Marginalizer | str = "rag-sequence") -> RAG:
    """The generator alone as a model: it reads the question and an empty passage."""
    from ragkit.rag import RAG

    return RAG(NoPassage(), generator, marginalizer)


def gold_passage(
    model: RAG, examples: Iterable[Example], knowledge_base: PassageStore | None = None
) -> RAG:
    """The model with its retriever replaced by the gold passages of these examples.

    knowledge_base: where the passages are; by default that of the model's retriever.

    Raises `ConfigError` where there is none.
    """
    from ragkit.rag import RAG

    base = knowledge_base or getattr(model.retriever, "knowledge_base", None)
    if base is None:
        raise ConfigError(
            f"gold passages need a knowledge base, and {type(model.retriever).__name__} has "
            f"none; type knowledge_base=KnowledgeBase.open(…)"
        )
    return RAG(GoldRetriever.of(examples, base), model.generator, model.marginalizer)


def _check_k(k: int) -> None:
    if k < 1:
        raise DataError(f"k is {k}, but at least one passage must be read; type k=1 or more")
