"""DPR's contrastive warm-up: both towers learn from questions whose passage is known.

Karpukhin et al. 2020 (section 3.2; the paper's section 2.2 starts from its result): the
passage of a question against all other passages of the batch and against hard negatives,
L = −log exp(q·d⁺/τ) / Σ_d exp(q·d/τ). Enough to start from random weights. It comes before
a knowledge base is built; knows nothing of knowledge bases, generators and marginals.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset
from transformers import TrainerCallback

from ragkit.errors import ConfigError, DataError
from ragkit.protocols import Example, Passage
from ragkit.retrieve.dpr import DPREncoder
from ragkit.train.arguments import TrainingArguments
from ragkit.train.base import MeanTrainer, Terms
from ragkit.train.learner import recompute_activations


@dataclass(frozen=True, slots=True)
class Pair:
    """A question with passages that answer it and passages that only seem to.

    positives: the first is learnt; the others are merely never taken for negatives.
    negatives: hard ones, the hardest first.
    """

    question: str
    positives: tuple[Passage, ...]
    negatives: tuple[Passage, ...] = ()


def pairs(examples: Iterable[Example], passages: Iterable[Passage]) -> list[Pair]:
    """Examples joined with the passages that their ``passage_ids`` name.

    Raises `DataError` where an example names none, or one that is not there.
    """
    by_id = {passage.id: passage for passage in passages}
    found = []
    for place, example in enumerate(examples):
        if not example.passage_ids:
            raise DataError(
                f"example {place} ({example.id!r}) names no passage; give it passage_ids, or "
                "leave it out of the warm-up"
            )
        missing = [one for one in example.passage_ids if one not in by_id]
        if missing:
            raise DataError(
                f"example {place} ({example.id!r}) names the passage {missing[0]!r}, which is not "
                f"among the {len(by_id)} passages given"
            )
        found.append(Pair(example.question, tuple(by_id[one] for one in example.passage_ids)))
    return found


def as_pair(record: object, place: int) -> Pair:
    """A pair as it is, or one from a record of DPR's training files.

    Those have ``question``, ``positive_ctxs`` and ``hard_negative_ctxs``, lists of
    ``{title, text}``. Raises `DataError` naming the record.
    """
    if isinstance(record, Pair):
        pair = record
    elif isinstance(record, Mapping):
        question = record.get("question")
        if not isinstance(question, str):
            raise DataError(f"pair {place} has no question (keys: {', '.join(map(str, record))})")
        pair = Pair(
            question,
            _passages(record.get("positive_ctxs") or (), place, "positive_ctxs"),
            _passages(record.get("hard_negative_ctxs") or (), place, "hard_negative_ctxs"),
        )
    else:
        raise DataError(
            f"pair {place} is {type(record).__name__}; give ragkit.train.dpr.Pair, or dicts with "
            "question, positive_ctxs and hard_negative_ctxs"
        )
    if not pair.positives:
        raise DataError(
            f"pair {place} ({pair.question[:60]!r}) has no positive passage, so there is nothing "
            "to learn from it; give one, or leave it out"
        )
    return pair


def contrastive_loss(
    questions: Tensor, passages: Tensor, positive: Tensor, ignored: Tensor, temperature: float = 1.0
) -> Tensor:
    """−log softmax_d(q·d/τ) of each question's own passage: (B,) in nats, with gradient.

    Args:
        questions: (B,D) vectors.
        passages: (N,D) vectors of all passages of the batch.
        positive: (B,) int64, the column of each question's passage.
        ignored: (B,N) bool, True where a passage must not count as a negative.
        temperature: τ; 1 is the paper's, normalised vectors need about 0.05.
    """
    scores = _scores(questions, passages, ignored, temperature)  # (B,N)
    return nn.functional.cross_entropy(scores, positive, reduction="none")


class ContrastiveTrainer(MeanTrainer):
    """Teaches both towers of a `DPREncoder`; the passage tower is frozen again afterwards.

    ``per_device_train_batch_size`` is the number of questions that share their passages
    as negatives: of one process and one accumulation step. A passage that occurs twice in
    a batch counts once, and never against a question that it answers. Logs ``accuracy``,
    the share of questions whose own passage scores best in its batch. Stops, saves and
    resumes as `ragkit.Trainer` does. Knowledge bases built before no longer fit.

    Args:
        encoder: trained in place.
        args: `ragkit.TrainingArguments`; what concerns generation and k has no meaning here.
        train_dataset: `Pair`s, or records of DPR's training files.
        temperature: scores are divided by it.
        hard_negatives: how many of each question's negatives are used (DPR: 1).
        callbacks, optimizers: as in transformers.

    Raises:
        DataError: no pairs, or one without question or positive passage.
        ConfigError: options that cannot be.
    """

    def __init__(
        self,
        encoder: DPREncoder,
        args: TrainingArguments,
        train_dataset: Iterable[Pair | Mapping[str, Any]],
        temperature: float = 1.0,
        hard_negatives: int = 1,
        callbacks: Sequence[TrainerCallback] | None = None,
        optimizers: tuple[Any, Any] = (None, None),
    ) -> None:
        _check(args, temperature, hard_negatives)
        self.encoder = encoder
        self.temperature = temperature
        self.hard_negatives = hard_negatives
        self._right: Tensor | None = None  # (2,): answered right, and asked, since the last log
        super().__init__(
            _Towers(encoder, temperature, hard_negatives),
            args,
            _Pairs(train_dataset),
            lambda rows: {"pairs": list(rows), "count": len(rows)},
            callbacks=callbacks,
            optimizers=optimizers,
        )

    def train(self, resume_from_checkpoint: str | Path | bool | None = None, **more: Any) -> Any:
        """As `MeanTrainer.train`, with both towers learning."""
        with self.encoder.learning_passages():
            return super().train(resume_from_checkpoint, **more)

    def losses(self, model: nn.Module, batch: dict[str, Any]) -> Terms:
        """``loss`` (B,); whether the own passage was best goes into the log."""
        terms = dict(model(batch["pairs"]))
        right = terms["right"][: batch["count"]]
        now = torch.stack([right.sum(), torch.ones_like(right).sum()])
        self._right = now if self._right is None else self._right + now
        return terms

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds ``accuracy``."""
        if "loss" in logs and self._right is not None:
            answered, asked = self.over_processes(self._right).tolist()
            logs["accuracy"] = answered / max(asked, 1.0)
            self._right = None
        super().log(logs, start_time)

    def save_to(self, directory: Path) -> None:
        """As `DPREncoder.save`."""
        self.encoder.save(directory)

    def load_from(self, directory: Path) -> None:
        """Weights of a saved encoder into this one."""
        self.encoder.load_state_dict(DPREncoder.load(directory).state_dict())

    def course(self) -> dict[str, Any]:
        """Adds temperature, hard negatives and the training set."""
        return {
            **super().course(),
            "temperature": self.temperature,
            "hard_negatives": self.hard_negatives,
            "training set": cast(_Pairs, self.train_dataset).fingerprint(),
        }

    def memory(self) -> dict[str, Any]:
        """What no log has shown yet."""
        right = self._right
        return {"right": None if right is None else self.over_processes(right).tolist()}

    def remember(self, state: Mapping[str, Any]) -> None:
        """Take it up."""
        if state["right"] is not None:
            kept = torch.tensor(state["right"], device=self.args.device)
            self._right = kept if self.args.process_index == 0 else torch.zeros_like(kept)


class _Towers(nn.Module):
    """The encoder as the module that a trainer steps."""

    def __init__(self, encoder: DPREncoder, temperature: float, hard_negatives: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.temperature = temperature
        self.hard_negatives = hard_negatives

    def forward(self, batch: Sequence[Pair]) -> dict[str, Tensor]:
        """``loss`` (B,), and ``right`` (B,), 1 where the own passage scores best."""
        pool, positive, ignored = gather(batch, self.hard_negatives)
        questions = self.encoder.questions([pair.question for pair in batch])  # (B,D)
        passages = self.encoder.passages_with_gradient(pool)  # (N,D)
        positive, ignored = positive.to(questions.device), ignored.to(questions.device)
        with torch.autocast(questions.device.type, enabled=False):
            loss = contrastive_loss(questions, passages, positive, ignored, self.temperature)
            scores = _scores(questions.detach(), passages.detach(), ignored, self.temperature)
        return {"loss": loss, "right": (scores.argmax(-1) == positive).float()}

    def activation_checkpointing_enable(
        self, activation_checkpointing_kwargs: dict[str, Any] | None = None, **options: Any
    ) -> None:
        """Recompute activations in the backward pass: less memory, more time."""
        recompute_activations(self.encoder, activation_checkpointing_kwargs, **options)

    def gradient_checkpointing_enable(
        self, gradient_checkpointing_kwargs: dict[str, Any] | None = None, **options: Any
    ) -> None:
        """The same by its name in earlier transformers."""
        recompute_activations(self.encoder, gradient_checkpointing_kwargs, **options)


def gather(batch: Sequence[Pair], hard_negatives: int) -> tuple[list[Passage], Tensor, Tensor]:
    """The N different passages of a batch, each question's own, and whom not to count.

    Returns the passages, ``positive`` (B,) int64 and ``ignored`` (B,N) bool, True at the
    further positives of a question, wherever in the batch they come from. Passages are
    the same where title and text are, whatever their ids.
    """
    columns: dict[tuple[str, str], int] = {}
    pool: list[Passage] = []
    for passage in (
        *(pair.positives[0] for pair in batch),
        *(one for pair in batch for one in pair.negatives[:hard_negatives]),
    ):
        if columns.setdefault(passage[1:], len(pool)) == len(pool):
            pool.append(passage)
    positive = torch.tensor([columns[pair.positives[0][1:]] for pair in batch])  # (B,)
    ignored = torch.zeros(len(batch), len(pool), dtype=torch.bool)  # (B,N)
    for row, pair in enumerate(batch):
        for one in pair.positives[1:]:
            if one[1:] in columns:
                ignored[row, columns[one[1:]]] = True
    ignored[torch.arange(len(batch)), positive] = False
    return pool, positive, ignored


def _scores(questions: Tensor, passages: Tensor, ignored: Tensor, temperature: float) -> Tensor:
    """q·d/τ (B,N), -inf where ignored."""
    scores = questions.float() @ passages.float().T / temperature  # (B,N)
    return scores.masked_fill(ignored, -torch.inf)


class _Pairs(Dataset[Pair]):
    """Pairs by number."""

    def __init__(self, source: Iterable[Pair | Mapping[str, Any]]) -> None:
        self._pairs = [as_pair(record, place) for place, record in enumerate(source)]
        if not self._pairs:
            raise DataError("the training set is empty; give at least one pair")

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, place: int) -> Pair:
        return self._pairs[place]

    def fingerprint(self) -> str:
        """Of all texts and their order."""
        check = 0
        for pair in self._pairs:
            check = zlib.crc32(
                repr((pair.question, pair.positives, pair.negatives)).encode(), check
            )
        return f"{len(self)} pairs {check:08x}"


def _passages(records: Iterable[Mapping[str, Any]], place: int, field: str) -> tuple[Passage, ...]:
    found = []
    for record in records:
        text = record.get("text") if isinstance(record, Mapping) else None
        if not isinstance(text, str):
            raise DataError(f"pair {place}: an entry of {field} has no text: {record!r:.80}")
        identity = record.get("passage_id", record.get("id", ""))
        found.append(Passage(str(identity), str(record.get("title") or ""), text))
    return tuple(found)


def _check(args: object, temperature: float, hard_negatives: int) -> None:
    faults = []
    if not isinstance(args, TrainingArguments):
        faults.append(
            f"args is {type(args).__name__}; give ragkit.TrainingArguments, which has "
            "transformers' names"
        )
    if not 0 < temperature < float("inf"):
        faults.append(f"temperature is {temperature}; it must be a number above 0")
    if hard_negatives < 0:
        faults.append(f"hard_negatives is {hard_negatives}; it must not be negative")
    if faults:
        raise ConfigError(faults)
