"""Right implementations, as small as can be, that the wrong ones are made from."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn

from ragkit.errors import CorruptError, DataError
from ragkit.protocols import Example, Hits, Passage, Prediction, Retrieved

D = 12


class BruteIndex:
    """Every inner product; grows, forgets and filters."""

    def __init__(self) -> None:
        self.held: np.ndarray | None = None
        self.gone = np.zeros(0, dtype=np.int64)

    @property
    def dimension(self) -> int:
        return 0 if self.held is None else self.held.shape[1]

    def __len__(self) -> int:
        return 0 if self.held is None else len(self.held)

    def build(self, vectors: np.ndarray) -> None:
        self.check_vectors(vectors)
        self.held = np.array(vectors, dtype=np.float32)

    def add(self, vectors: np.ndarray) -> None:
        self.check_vectors(vectors)
        if vectors.shape[1] != self.dimension:
            raise DataError(f"vectors have {vectors.shape[1]} dimensions, not {self.dimension}")
        self.held = np.concatenate([self.held, vectors.astype(np.float32)])

    def remove(self, rows: np.ndarray) -> None:
        if (rows < 0).any() or (rows >= len(self)).any():
            raise DataError(f"rows must lie in 0…{len(self) - 1}")
        self.gone = np.union1d(self.gone, rows)

    def search(self, queries: np.ndarray, k: int) -> Hits:
        return self.among(queries, k, np.arange(len(self)))

    def search_allowed(self, queries: np.ndarray, k: int, allowed: np.ndarray) -> Hits:
        rows = np.unique(allowed)
        if len(rows) == 0 or rows[0] < 0 or rows[-1] >= len(self):
            raise DataError(f"allowed rows must be some of 0…{len(self) - 1}")
        return self.among(queries, k, rows)

    def among(self, queries: np.ndarray, k: int, rows: np.ndarray) -> Hits:
        self.check_queries(queries, k)
        rows = np.setdiff1d(rows, self.gone).astype(np.int64)
        scores = self.score(np.ascontiguousarray(queries), self.held[rows])
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return self.pad(rows[order], np.take_along_axis(scores, order, 1), k)

    def score(self, queries: np.ndarray, vectors: np.ndarray) -> np.ndarray:
        # One query at a time: products of a batch are rounded otherwise than those of one.
        return np.stack([vectors @ query for query in queries]).astype(np.float32)

    def pad(self, ids: np.ndarray, scores: np.ndarray, k: int) -> Hits:
        width = ((0, 0), (0, k - ids.shape[1]))
        return Hits(
            np.pad(ids, width, constant_values=-1),
            np.pad(scores, width, constant_values=-np.inf),
        )

    def check_vectors(self, vectors: np.ndarray) -> None:
        if vectors.ndim != 2 or len(vectors) == 0:
            raise DataError(f"vectors have the shape {vectors.shape}; they must be (N,D)")
        if not np.isfinite(vectors).all():
            raise DataError("a vector has NaN or infinity; look at the encoder")

    def check_queries(self, queries: np.ndarray, k: int) -> None:
        if self.held is None:
            raise DataError("the index is empty: call build(vectors) or load(directory)")
        if queries.ndim != 2 or queries.shape[1] != self.dimension:
            raise DataError(f"queries have the shape {queries.shape}; they must be (B,D)")
        if not np.isfinite(queries).all():
            raise DataError("a query has NaN or infinity; look at the encoder")
        if k < 1:
            raise DataError(f"k is {k}; it must be at least 1")

    def save(self, directory: Path) -> None:
        raw = self.held.tobytes()
        (directory / "vectors").write_bytes(raw)
        meta = {"shape": self.held.shape, "gone": self.gone.tolist(), "crc": zlib.crc32(raw)}
        (directory / "index.json").write_text(json.dumps(meta))

    @classmethod
    def load(cls, directory: Path) -> Self:
        try:
            meta = json.loads((directory / "index.json").read_text())
            raw = (directory / "vectors").read_bytes()
        except (OSError, ValueError) as error:
            raise CorruptError(f"the index cannot be read: {error}") from error
        if zlib.crc32(raw) != meta["crc"]:
            raise CorruptError("the file of vectors is not what was written")
        index = cls()
        index.held = np.frombuffer(raw, dtype=np.float32).reshape(meta["shape"])
        index.gone = np.array(meta["gone"], dtype=np.int64)
        return index


def word(text: str) -> Tensor:
    """(D,) of one word, the same for the same word."""
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "little")
    return torch.randn(D, generator=torch.Generator().manual_seed(seed))


class WordEncoder(nn.Module):
    """The mean of vectors of words; a matrix for questions that learns, none for passages."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.eye(D) + 0.1)
        self.scale = 1.0

    @property
    def dimension(self) -> int:
        return D

    @property
    def fingerprint(self) -> str:
        return f"words {self.scale}"

    def questions(self, texts: Sequence[str]) -> Tensor:
        return self.pool(texts) @ self.weight

    def passages(self, passages: Sequence[Passage]) -> Tensor:
        return self.pool([f"{one.title} {one.text}" for one in passages])

    def pool(self, texts: Sequence[str]) -> Tensor:
        rows = [[word(one) for one in text.split()] or [torch.zeros(D)] for text in texts]
        longest = max(len(row) for row in rows)
        table = torch.zeros(len(rows), longest, D)
        mask = torch.zeros(len(rows), longest)
        for i, row in enumerate(rows):
            table[i, : len(row)], mask[i, : len(row)] = torch.stack(row), 1
        return self.mean(table, mask) * self.scale

    def mean(self, table: Tensor, mask: Tensor) -> Tensor:
        return (table * mask[:, :, None]).sum(1) / mask.sum(1)[:, None]

    def save(self, directory: Path) -> None:
        options = {"scale": self.scale, "weight": self.weight.tolist()}
        (directory / "encoder.json").write_text(json.dumps(options))

    @classmethod
    def load(cls, directory: Path) -> Self:
        options = json.loads((directory / "encoder.json").read_text())
        encoder = cls()
        encoder.scale = options["scale"]
        encoder.weight.data = torch.tensor(options["weight"])
        return encoder


class WordRetriever(nn.Module):
    """Inner products with every passage."""

    def __init__(self, passages: Sequence[Passage]) -> None:
        super().__init__()
        self.held = list(passages)
        self.encoder = WordEncoder()
        self.vectors = self.encoder.passages(self.held)

    def retrieve(self, questions: Sequence[str], k: int) -> Retrieved:
        return self.among(questions, k, list(range(len(self.held))))

    def retrieve_from(
        self, questions: Sequence[str], k: int, allowed: Collection[str]
    ) -> Retrieved:
        known: ClassVar = {one.id: row for row, one in enumerate(self.held)}
        if not allowed or not set(allowed) <= set(known):
            raise DataError(f"allowed is {set(allowed)}; name some of the passages there are")
        return self.among(questions, k, sorted(known[one] for one in allowed))

    def among(self, questions: Sequence[str], k: int, rows: list[int]) -> Retrieved:
        if k < 1:
            raise DataError(f"k is {k}; it must be at least 1")
        products = self.encoder.questions(questions) @ self.vectors[rows].T
        scores, place = products.sort(dim=1, descending=True, stable=True)
        return self.cut(scores, torch.tensor(rows)[place], k)

    def cut(self, scores: Tensor, ids: Tensor, k: int) -> Retrieved:
        more = max(0, k - ids.shape[1])
        ids = nn.functional.pad(ids[:, :k], (0, more), value=-1)
        scores = nn.functional.pad(scores[:, :k], (0, more), value=-torch.inf)
        return self.record(scores, ids)

    def record(self, scores: Tensor, ids: Tensor) -> Retrieved:
        passages = [[self.held[i] if i >= 0 else None for i in row] for row in ids.tolist()]
        return Retrieved(passages, ids, scores, ids >= 0)


class ListTask:
    """Examples from a list."""

    known: ClassVar = {
        "dev": [
            Example("1", "who keeps it", ("Ada",)),
            Example("2", "when does it leave", ("nine",), ("ferry",)),
            Example("3", "what is baked", ("bread",)),
        ]
    }
    metrics: Any = ("em", "f1")

    def examples(self, split: str) -> Iterator[Example]:
        if split not in self.known:
            raise DataError(f"no split is named {split!r}; there is: dev")
        return iter(self.known[split])


class SameText:
    """1 where the text is an answer."""

    label = "same"

    def __call__(
        self, predictions: Sequence[Prediction], examples: Sequence[Example]
    ) -> list[float]:
        pairs = zip(predictions, examples, strict=True)
        return [self.one(prediction, example) for prediction, example in pairs]

    def one(self, prediction: Prediction, example: Example) -> float:
        if not example.answers:
            return float("nan")
        return float(prediction.text in example.answers)


class WordShare:
    """The share of the words of all answers together that are in a gold."""

    label = "words"

    def __call__(
        self, predictions: Sequence[Prediction], examples: Sequence[Example]
    ) -> list[float]:
        return [float(one) for one in self.pooled(self.statistics(predictions, examples))]

    def statistics(
        self, predictions: Sequence[Prediction], examples: Sequence[Example]
    ) -> np.ndarray:
        rows = [self.row(*pair) for pair in zip(predictions, examples, strict=True)]
        return np.array(rows, dtype=np.float64).reshape(-1, 2)

    def pooled(self, totals: np.ndarray) -> np.ndarray:
        return totals[:, 0] / totals[:, 1]

    def ends(self, totals: np.ndarray, resampled: np.ndarray, tail: float) -> tuple[float, float]:
        found = self.pooled(totals[None])[0]
        low, high = np.quantile(self.pooled(resampled), [tail, 1 - tail])
        return min(low, found), max(high, found)

    def row(self, prediction: Prediction, example: Example) -> tuple[float, float]:
        words, golds = prediction.text.split(), " ".join(example.answers).split()
        if not words or not golds:
            return float("nan"), float("nan")
        return sum(word in golds for word in words), len(words)
