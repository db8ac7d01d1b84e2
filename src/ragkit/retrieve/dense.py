"""The retriever ``dense``: p(z|x) by the inner product of two encoders (section 2.2).

The index only proposes candidates; the vectors stored in the knowledge base decide, in
float32 and with the gradient into the question (2.4: the passage side stays frozen).
Here numpy meets torch. Knows nothing of generators, targets and losses.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ragkit import registry
from ragkit.errors import ConfigError, DataError, KnowledgeBaseError
from ragkit.knowledge import KnowledgeBase
from ragkit.protocols import Encoder, Retrieved, SupportsSave
from ragkit.retrieve.passages import LazyPassages
from ragkit.weights import models

_OPTIONS = "retriever.json"
_COPY = "knowledge_base"


class DenseRetriever(nn.Module):
    """An encoder, a knowledge base made by it, and a temperature.

    Args:
        encoder: text to vectors.
        knowledge_base: an open one, or its folder; None for a model that is given one later.
        temperature: scores are divided by it. 1 is the paper's; encoders that normalise
            need about 0.05, or their prior is flat.
        learn_temperature: make its logarithm a parameter.
        oversample: how many times k candidates the index is asked for.

    Raises:
        EncoderMismatch: the knowledge base was made by another encoder.
        ConfigError: a temperature or oversample that cannot be.
    """

    reads_packed_weights = True

    def __init__(
        self,
        encoder: Encoder,
        knowledge_base: KnowledgeBase | str | Path | None,
        temperature: float = 1.0,
        learn_temperature: bool = False,
        oversample: int = 4,
    ) -> None:
        super().__init__()
        if not (temperature > 0 and math.isfinite(temperature)):
            raise ConfigError(f"temperature is {temperature}; it must be a number above 0")
        if oversample < 1:
            raise ConfigError(f"oversample is {oversample}; it must be at least 1")
        self.encoder = encoder
        self.oversample = oversample
        self.learn_temperature = learn_temperature
        self._temperature = float(temperature)
        if learn_temperature:
            self.log_temperature = nn.Parameter(torch.tensor(math.log(temperature)))
        if isinstance(knowledge_base, (str, Path)):
            knowledge_base = KnowledgeBase.open(Path(knowledge_base))
        self.knowledge_base: KnowledgeBase | None = None
        if knowledge_base is not None:
            self.swap(knowledge_base)

    @property
    def temperature(self) -> float:
        """What scores are divided by, now."""
        return self.log_temperature.exp().item() if self.learn_temperature else self._temperature

    def swap(self, knowledge_base: KnowledgeBase) -> None:
        """Answer from another knowledge base of the same encoder, from the next call on.

        What is on its way keeps the one that it came from. Raises `EncoderMismatch`.
        """
        knowledge_base.check_encoder(self.encoder)
        self.knowledge_base = knowledge_base

    def retrieve(self, questions: Sequence[str], k: int) -> Retrieved:
        """The K = k best passages of each question, best first; ties by row number.

        Raises `DataError` where k is not positive or a question has no finite vector,
        `KnowledgeBaseError` where there is no knowledge base yet.
        """
        return self._retrieve(questions, k, None)

    def retrieve_from(
        self, questions: Sequence[str], k: int, allowed: Collection[str]
    ) -> Retrieved:
        """The same among the passages with these ids alone.

        Raises `DataError` where there are none or the knowledge base lacks one.
        """
        if not allowed:
            raise DataError("allowed is empty, so no passage can be retrieved; name at least one")
        return self._retrieve(questions, k, allowed)

    def _retrieve(
        self, questions: Sequence[str], k: int, allowed: Collection[str] | None
    ) -> Retrieved:
        _check(questions, k)
        knowledge_base = self.knowledge_base  # this one to the end, whatever is swapped in
        if knowledge_base is None:
            raise KnowledgeBaseError(
                "this model has no knowledge base to answer from; give it one: "
                "RAG.from_pretrained(name, knowledge_base=DIR), rag.swap(KnowledgeBase.open(DIR)), "
                "or --kb DIR on the command line (`ragkit kb build FILES --out DIR` makes one)"
            )
        q = self.encoder.questions(questions)  # (B,D)
        queries = q.detach().float().cpu().numpy()  # (B,D): the search is cut off, on purpose
        if not np.isfinite(queries).all():
            raise DataError(
                "the question encoder gave a vector with NaN or infinity; training may have "
                "diverged (lower the learning rate) or the model file is damaged"
            )
        rows = None if allowed is None else knowledge_base.rows(list(allowed))
        candidates = _candidates(knowledge_base, queries, k, self.oversample, rows)  # (B,k')
        scores = self._scores(knowledge_base, q, candidates)  # (B,k')
        best, order = scores.sort(dim=-1, descending=True, stable=True)
        ids = torch.from_numpy(candidates).to(q.device).gather(1, order)
        best, ids = _width(best, k, -math.inf), _width(ids, k, -1)  # (B,K)
        return Retrieved(
            passages=LazyPassages(knowledge_base, ids.cpu().numpy()),
            ids=ids,
            scores=best,
            mask=ids >= 0,
            tokens=knowledge_base.tokens,
        )

    def _scores(
        self, knowledge_base: KnowledgeBase, q: Tensor, candidates: NDArray[np.int64]
    ) -> Tensor:
        """s = q·d / temperature (B,k') of the stored vectors, -inf where absent."""
        present = candidates >= 0  # (B,k')
        distinct, place = np.unique(candidates[present], return_inverse=True)  # (U,)
        stored = torch.from_numpy(np.asarray(knowledge_base.vectors(distinct)))  # (U,D)
        slot = np.zeros(candidates.shape, dtype=np.int64)
        slot[present] = place
        with torch.autocast(q.device.type, enabled=False):
            d = stored.to(q.device).float()[torch.from_numpy(slot).to(q.device)]  # (B,k',D)
            scores = torch.einsum("bd,bkd->bk", q.float(), d)
            if self.learn_temperature:
                scores = scores * (-self.log_temperature).exp()
            else:
                scores = scores / self._temperature
        absent = torch.from_numpy(~present).to(q.device)
        return scores.masked_fill(absent, -math.inf)

    # -------------------------------------------------------------------- on disk

    def save(self, directory: Path, copy_knowledge_base: bool = False) -> None:
        """Encoder, options, and the knowledge base, if any, by relative path or as a copy.

        Raises `ConfigError` where the encoder cannot be saved, or there is nothing to copy.
        """
        directory = Path(directory)
        name = _savable(self.encoder)
        (directory / "encoder").mkdir(parents=True, exist_ok=True)
        self.encoder.save(directory / "encoder")  # type: ignore[attr-defined]
        options = {
            "encoder": name,
            "knowledge_base": self._reference(directory, copy_knowledge_base),
            "temperature": self.temperature,
            "learn_temperature": self.learn_temperature,
            "oversample": self.oversample,
        }
        (directory / _OPTIONS).write_text(json.dumps(options, indent=2) + "\n")

    def _reference(self, directory: Path, copy: bool) -> str | None:
        """Where the knowledge base lies from a folder, into which it is copied if asked."""
        if self.knowledge_base is None:
            if copy:
                raise ConfigError(
                    "copy_knowledge_base=True, but this model has no knowledge base; leave it out"
                )
            return None
        place = Path(self.knowledge_base.directory)
        if copy:
            place = directory / _COPY
            self.knowledge_base.copy(place)
        return Path(os.path.relpath(place, directory)).as_posix()

    @classmethod
    def load(cls, directory: Path, knowledge_base: KnowledgeBase | None = None) -> Self:
        """What `save` wrote; ``knowledge_base`` takes the place of the one referred to.

        Raises `ConfigError` where it is no such folder, `KnowledgeBaseError` where the
        knowledge base is not where the folder says.
        """
        directory = Path(directory)
        if not (directory / _OPTIONS).is_file():
            raise ConfigError(
                f"{directory} holds no retriever: {_OPTIONS} is missing; give a folder that "
                "DenseRetriever.save wrote"
            )
        options: dict[str, Any] = json.loads((directory / _OPTIONS).read_text())
        found: Any = registry.find("encoder", options.pop("encoder"))
        encoder = models.load_part(found, directory / "encoder")
        where = options.pop("knowledge_base")
        if knowledge_base is None and where is not None:
            reference = directory / where
            if not reference.is_dir():
                raise KnowledgeBaseError(
                    f"the knowledge base of {directory} is not at {reference}; move it back, or "
                    "give another: DenseRetriever.load(directory, knowledge_base=…)"
                )
            knowledge_base = KnowledgeBase.open(reference)
        return cls(encoder, knowledge_base, **options)


def _check(questions: Sequence[str], k: int) -> None:
    if isinstance(questions, str):
        raise DataError("questions is one string; give a list of them: [question]")
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise DataError(f"k is {k!r}; it is the number of passages per question, at least 1")


def _savable(encoder: object) -> str:
    """The name by which an encoder can be found again; a name, never an import path."""
    if not isinstance(encoder, SupportsSave):
        raise ConfigError(
            f"{type(encoder).__name__} cannot be saved: it has no save and load "
            "(ragkit.protocols.SupportsSave)"
        )
    target = f"{type(encoder).__module__}:{type(encoder).__qualname__}"
    for listing in registry.components():
        if listing.role == "encoder" and listing.component.target == target:
            return listing.component.name
    raise ConfigError(
        f"the encoder {target} cannot be saved, for no component has that target; register it "
        "with the hook ragkit_encoders (ragkit.hookspecs)"
    )


def _candidates(
    knowledge_base: KnowledgeBase,
    queries: NDArray[np.float32],
    k: int,
    oversample: int,
    rows: NDArray[np.int64] | None,
) -> NDArray[np.int64]:
    """Row numbers (B,k') from the index, ascending, -1 at the end.

    Ascending, so that a stable sort by score breaks ties by row.
    """
    exist = len(knowledge_base) if rows is None else len(rows)
    wanted = min(max(k * oversample, k), max(exist, 1))
    ids = np.array(knowledge_base.propose(queries, wanted, rows).ids)  # (B,k')
    if len(ids) and not (ids >= 0).any(axis=1).all():
        raise KnowledgeBaseError(
            f"the index of {knowledge_base.directory} found no passage at all for a question; "
            "check it with `ragkit kb verify`"
        )
    last = np.iinfo(np.int64).max
    ids[ids < 0] = last
    ids.sort(axis=1)
    ids[ids == last] = -1
    return ids


def _width(table: Tensor, k: int, absent: float) -> Tensor:
    """(B,k') to (B,K): the first k columns, or all and then absent ones."""
    missing = k - table.shape[1]
    return nn.functional.pad(table, (0, missing), value=absent) if missing > 0 else table[:, :k]
