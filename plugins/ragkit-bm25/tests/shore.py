"""Passages of a small coast, an encoder of letters, and BM25 written out."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ragkit import KnowledgeBase, Passage

PASSAGES = [
    Passage(
        "light", "Skerry lighthouse", "Ada Holm keeps the lighthouse, and its lamp, at Skerry."
    ),
    Passage("tram", "Tram", "The tram runs from the harbour to the old town."),
    Passage(
        "bakery", "Bakery", "Rye bread and rye rolls: rye, rye, rye, from four in the morning."
    ),
    Passage("moss", "Moss", "Mosses drink rain. Rain runs off stones."),
    Passage(
        "harbour", "Harbour", "Boats wait in the harbour for the tide; keepers of boats wait too."
    ),
    Passage("empty", "", "..."),
    Passage(
        "storm", "Storm", "A storm put out the lamp once, and the keeper lit it again in the rain."
    ),
    Passage("town", "Old town", "The old town is old."),
]
QUESTIONS = [
    "Who keeps the lighthouse lamp?",
    "Where does the tram run from the harbour?",
    "rye rye bread",
    "Zzyzx?",
]
STOP = {
    "the",
    "and",
    "in",
    "is",
    "it",
    "its",
    "at",
    "of",
    "to",
    "too",
    "who",
    "does",
    "where",
    "off",
}


class Letters(nn.Module):
    """Text to the counts of its letters, scaled; the question side has one weight to learn."""

    dimension = 26
    fingerprint = "letters"

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(26))

    def questions(self, texts: Sequence[str]) -> Tensor:
        return self._count(texts) * self.scale

    def passages(self, passages: Sequence[Passage]) -> Tensor:
        return self._count([f"{p.title} {p.text}" for p in passages])

    def _count(self, texts: Sequence[str]) -> Tensor:
        rows = [[t.lower().count(chr(97 + i)) / (1 + len(t)) for i in range(26)] for t in texts]
        return torch.tensor(rows).reshape(len(rows), 26)


def base(where: Path, passages: Any = PASSAGES) -> KnowledgeBase:
    return KnowledgeBase.build(passages, Letters(), "exact", where, progress=False)


def words(text: str, stop: Any = STOP) -> list[str]:
    return [w for w in re.findall(r"\w\w+", text.lower()) if w not in stop]


def bm25(
    question: str,
    passages: Sequence[Passage] = PASSAGES,
    method: str = "lucene",
    k1: float = 1.2,
    b: float = 0.75,
    delta: float = 0.5,
    tokens: Any = words,
) -> list[float]:
    """The formulas of Kamphuis et al. 2020 and Lv and Zhai 2011, in double precision."""
    documents = [tokens(f"{p.title} {p.text}") for p in passages]
    n, mean = len(documents), sum(map(len, documents)) / len(documents)
    df = Counter(word for document in documents for word in set(document))
    scores = []
    for document in documents:
        counts, total = Counter(document), 0.0
        norm = 1 - b + b * len(document) / mean
        for word in tokens(question):
            tf, f = counts[word], df[word]
            if not f:
                continue
            part = tf / (tf + k1 * norm) if tf else 0.0
            if method == "lucene":
                total += math.log(1 + (n - f + 0.5) / (f + 0.5)) * part
            elif method == "robertson":
                total += max(0.0, math.log((n - f + 0.5) / (f + 0.5))) * part
            elif method == "atire":
                total += math.log(n / f) * part * (k1 + 1)
            elif method == "bm25l":
                c = tf / norm if tf else 0.0
                total += math.log((n + 1) / (f + 0.5)) * (k1 + 1) * (c + delta) / (k1 + c + delta)
            elif method == "bm25+":
                total += math.log((n + 1) / f) * (part * (k1 + 1) + delta)
        scores.append(total)
    return scores
