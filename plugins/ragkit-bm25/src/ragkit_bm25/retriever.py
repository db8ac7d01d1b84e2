"""The retriever ``bm25``: passages by the words that they share with the question.

BM25 scores are the logits of the prior, as in the paper's ablation (section 4.6, Table 6), so
nothing in it learns. A passage that shares no word has the score 0 and follows those that do,
in order of rows, so that every question has its K passages. Knows nothing of vectors.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ragkit import KnowledgeBase
from ragkit.errors import ConfigError, DataError, KnowledgeBaseError
from ragkit.protocols import Retrieved
from ragkit_bm25.rows import Rows
from ragkit_bm25.terms import Options, TermIndex, identify

METHODS = ("lucene", "robertson", "atire", "bm25l", "bm25+")
PATTERN = r"(?u)\b\w\w+\b"
_OPTIONS, _TERMS, _COPY = "retriever.json", "terms", "knowledge_base"


class BM25Retriever(nn.Module):
    """BM25 over the titles and texts of a knowledge base, whose vectors are not looked at.

    Args:
        knowledge_base: an open one, or its folder.
        k1, b, delta: of the formula; ``delta`` counts in ``bm25l`` and ``bm25+`` alone.
        method: which variant of the formula: ``lucene``, ``robertson``, ``atire``, ``bm25l``
            or ``bm25+``.
        stopwords: a language that bm25s has a list for (``en``, ``de`` …), a list of words,
            or none.
        stemmer: a Snowball language (``english``, ``german`` …), by PyStemmer.
        pattern: what a word is, as a regular expression; by default two letters or digits
            at least.
        temperature: scores are divided by it; 1 is the paper's.
        directory: where indexes of terms are kept, so that the next retriever over the same
            passages opens one instead of making it. By default it is made in a passing
            folder.

    Raises:
        ConfigError: an option that cannot be. MissingDependency: no PyStemmer for a stemmer.
    """

    zero: Tensor
    floor = 0.0
    """The score of a passage for which nothing speaks."""

    def __init__(
        self,
        knowledge_base: KnowledgeBase | str | Path,
        k1: float = 1.2,
        b: float = 0.75,
        delta: float = 0.5,
        method: Literal["lucene", "robertson", "atire", "bm25l", "bm25+"] = "lucene",
        stopwords: str | list[str] | None = "en",
        stemmer: str | None = None,
        pattern: str = PATTERN,
        temperature: float = 1.0,
        directory: str | Path | None = None,
    ) -> None:
        super().__init__()
        _check(k1, b, delta, method, temperature)
        words = tuple(stopwords) if isinstance(stopwords, (list, tuple)) else stopwords
        options = Options(float(k1), float(b), float(delta), method, words, stemmer, pattern)
        _ = options.words  # a wrong language is found before any passage is read
        if isinstance(knowledge_base, (str, Path)):
            knowledge_base = KnowledgeBase.open(knowledge_base)
        place = None if directory is None else Path(directory)
        self._begin(knowledge_base, options, float(temperature), place, None)

    def _begin(
        self,
        base: KnowledgeBase,
        options: Options,
        temperature: float,
        directory: Path | None,
        ready: TermIndex | None,
    ) -> None:
        """``ready``: an index of terms that is there, taken if it is of these passages."""
        self.register_buffer("zero", torch.zeros(()), persistent=False)
        self.options = options
        self.temperature = temperature
        self.directory = directory
        self._ready = ready
        self.swap(base)

    # -------------------------------------------------------------- knowledge bases

    @property
    def knowledge_base(self) -> KnowledgeBase:
        """Where the passages are."""
        return self._held[0]

    @property
    def terms(self) -> TermIndex:
        """The index of terms over them."""
        return self._held[1]

    def prepare(self, knowledge_base: KnowledgeBase) -> None:
        """Make the index of terms for a `swap` that follows, which is then done at once."""
        self._ready = self._terms(knowledge_base)

    def swap(self, knowledge_base: KnowledgeBase) -> None:
        """Answer from another knowledge base from the next call on.

        Its passages are indexed first, unless an index of terms over them is there. What is on
        its way keeps the one that it came from.
        """
        self._held = (knowledge_base, self._terms(knowledge_base))
        self._ready = None

    def _terms(self, knowledge_base: KnowledgeBase) -> TermIndex:
        wanted = identify(knowledge_base, self.options)
        held = getattr(self, "_held", None)
        for index in (self._ready, held and held[1]):
            if index is not None and index.identity == wanted:
                return index
        return TermIndex.build(knowledge_base, self.options, self.directory)

    # -------------------------------------------------------------------- retrieving

    def retrieve(self, questions: Sequence[str], k: int) -> Retrieved:
        """The K = k best passages of each question, best first; ties by row number."""
        return self._retrieve(questions, k, None)

    def retrieve_from(
        self, questions: Sequence[str], k: int, allowed: Collection[str]
    ) -> Retrieved:
        """The same among the passages with these ids alone; word counts stay those of all.

        Raises `DataError` where there are none or the knowledge base lacks one.
        """
        if not allowed:
            raise DataError("allowed is empty, so no passage can be retrieved; name at least one")
        return self._retrieve(questions, k, allowed)

    def _retrieve(
        self, questions: Sequence[str], k: int, allowed: Collection[str] | None
    ) -> Retrieved:
        if isinstance(questions, str):
            raise DataError("questions is one string; give a list of them: [question]")
        if isinstance(k, bool) or not isinstance(k, int) or k < 1:
            raise DataError(f"k is {k!r}; it is the number of passages per question, at least 1")
        base, terms = self._held  # these to the end, whatever is swapped in
        among = None
        if allowed is not None:
            rows = np.unique(base.rows(list(allowed)))
            among = np.searchsorted(terms.rows, rows)  # (m,) places, ascending
        ids = np.full((len(questions), k), -1, dtype=np.int64)  # (B,K)
        scores = np.full((len(questions), k), -np.inf, dtype=np.float32)
        for b, question in enumerate(questions):
            found = terms.scores(question)  # (n,)
            if among is not None:
                found = found[among]
            places = best(found, k)
            scores[b, : len(places)] = found[places] / self.temperature
            ids[b, : len(places)] = terms.rows[places if among is None else among[places]]
        rows_ = torch.from_numpy(ids).to(self.zero.device)
        return Retrieved(
            passages=Rows(base, ids),
            ids=rows_,
            scores=torch.from_numpy(scores).to(self.zero.device),
            mask=rows_ >= 0,
            tokens=base.tokens,
        )

    # -------------------------------------------------------------------- on disk

    def save(self, directory: Path, copy_knowledge_base: bool = False) -> None:
        """Options, the index of terms, and the knowledge base by relative path or as a copy."""
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        base, terms = self._held
        reference = Path(base.directory)
        if copy_knowledge_base:
            base.copy(directory / _COPY)
            reference = directory / _COPY
        terms.copy(directory / _TERMS)
        options = {
            "knowledge_base": Path(os.path.relpath(reference, directory)).as_posix(),
            "temperature": self.temperature,
            **{name: getattr(self.options, name) for name in Options.__slots__},
        }
        (directory / _OPTIONS).write_text(json.dumps(options, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, directory: Path, knowledge_base: KnowledgeBase | None = None) -> Self:
        """What `save` wrote; ``knowledge_base`` takes the place of the one referred to.

        Where that holds other passages, they are indexed anew. Raises `ConfigError` where it is
        no such folder, `KnowledgeBaseError` where the knowledge base is not where it says.
        """
        directory = Path(directory)
        if not (directory / _OPTIONS).is_file():
            raise ConfigError(
                f"{directory} holds no retriever: {_OPTIONS} is missing; give a folder that "
                "BM25Retriever.save wrote"
            )
        options: dict[str, Any] = json.loads((directory / _OPTIONS).read_text(encoding="utf-8"))
        reference = directory / options.pop("knowledge_base")
        if knowledge_base is None:
            if not reference.is_dir():
                raise KnowledgeBaseError(
                    f"the knowledge base of {directory} is not at {reference}; move it back, or "
                    "give another: BM25Retriever.load(directory, knowledge_base=…)"
                )
            knowledge_base = KnowledgeBase.open(reference)
        words = options["stopwords"]
        options["stopwords"] = tuple(words) if isinstance(words, list) else words
        temperature = float(options.pop("temperature"))
        kept = Options(**options)
        made = cls.__new__(cls)
        nn.Module.__init__(made)
        made._begin(knowledge_base, kept, temperature, None, TermIndex(directory / _TERMS, kept))
        return made


def best(scores: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """Places of the k best of scores (n,), best first, the lower place first among equals."""
    if k >= len(scores):
        return np.argsort(-scores, kind="stable")
    bar = np.partition(scores, len(scores) - k)[len(scores) - k]  # the k-th best score
    above = np.flatnonzero(scores > bar)
    level = np.flatnonzero(scores == bar)[: k - len(above)]
    order = np.argsort(-scores[above], kind="stable")
    return np.concatenate([above[order], level])


def _check(k1: float, b: float, delta: float, method: str, temperature: float) -> None:
    faults = []
    if not (k1 >= 0 and math.isfinite(k1)):
        faults.append(f"k1 is {k1}; it must be a number of at least 0, and 1.2 is usual")
    if not 0 <= b <= 1:
        faults.append(f"b is {b}; it must lie between 0 and 1, and 0.75 is usual")
    if not (delta >= 0 and math.isfinite(delta)):
        faults.append(f"delta is {delta}; it must be a number of at least 0, and 0.5 is usual")
    if method not in METHODS:
        faults.append(f"method is {method!r}; it can be " + ", ".join(map(repr, METHODS)))
    if not (temperature > 0 and math.isfinite(temperature)):
        faults.append(f"temperature is {temperature}; it must be a number above 0")
    if faults:
        raise ConfigError(faults)
