"""The signs of retrieval collapse, measured at every step (appendix H of the paper).

A collapsed retriever returns the same passages whatever the input, and the generator
learns to ignore them. Knows probabilities and passage numbers, nothing of models.
"""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ragkit.protocols import Evidence

SIGNS = ("prior_entropy", "prior_entropy_share", "posterior_rank")
"""Named sums over the questions of a batch, in this order, in `signs`."""


class CollapseWarning(UserWarning):
    """Retrieval seems to have collapsed, or not to choose at all."""


@torch.no_grad()
def signs(evidence: Evidence) -> Tensor:
    """(B,3): per question, what `SIGNS` names.

    The entropy of the prior in nats and as a share of log K (of the passages present),
    and the rank of a passage (from 1) averaged by the posterior.
    """
    prior = evidence.scores.float().log_softmax(dim=-1)  # (B,K)
    share = prior.exp()  # (B,K)
    entropy = -(share * prior.masked_fill(~evidence.mask, 0.0)).sum(-1)  # (B,)
    present = evidence.mask.sum(-1).clamp(min=2)  # (B,), of one passage the entropy is 0
    posterior = evidence.marginalizer.posterior(
        prior, evidence.token_logp, evidence.target_mask
    ).exp()  # (B,K) or (B,K,T)
    if posterior.dim() == 3:  # a passage for each token: their mean
        counts = evidence.target_mask.unsqueeze(1).to(posterior.dtype)  # (B,1,T)
        posterior = (posterior * counts).sum(-1) / counts.sum(-1).clamp(min=1)  # (B,K)
    ranks = torch.arange(1, prior.shape[1] + 1, device=prior.device)  # (K,)
    rank = (posterior * ranks).sum(-1)  # (B,)
    return torch.stack([entropy, entropy / present.log(), rank], dim=-1)


@torch.no_grad()
def distinct(ids: Tensor) -> Tensor:
    """(2,): how many different passages and how many passages there are in ids (B,K).

    By sorting, since `torch.unique` would wait for the device.
    """
    flat = ids.flatten().sort().values  # (B·K,)
    present = flat >= 0
    first = torch.ones_like(present)
    first[1:] = flat[1:] != flat[:-1]
    return torch.stack([(present & first).sum(), present.sum()]).float()


def overlap(before: Sequence[Sequence[int]], now: Sequence[Sequence[int]]) -> float:
    """Mean share of a question's passages that it had before."""
    shares = []
    for old, new in zip(before, now, strict=True):
        kept = {i for i in old if i >= 0}
        if kept:
            shares.append(len(kept & set(new)) / len(kept))
    return sum(shares) / len(shares) if shares else 1.0


class Meter:
    """Sums over the questions since the last log, kept on the device.

    Nothing is read from the device before `flush`, which reads once.
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self.sums: Tensor | None = None  # terms, signs, questions, distinct, present

    def add(self, terms: Mapping[str, Tensor], measured: Tensor, passages: Tensor, n: int) -> None:
        """Terms (B,) each, measured (B,3), passages (2,); the first n questions count."""
        self.names = [name for name in terms if name != "loss"]
        parts = [terms[name].detach()[:n].float().sum() for name in self.names]
        parts += list(measured[:n].sum(0))
        parts += [measured.new_tensor(float(n)), passages[0], passages[1]]
        now = torch.stack([part.double() for part in parts])
        self.sums = now if self.sums is None else self.sums + now

    def flush(self, sums: Tensor | None = None) -> dict[str, float]:
        """Means by name since the last time; empty where nothing was added."""
        sums = self.sums if sums is None else sums
        self.sums = None
        if sums is None:
            return {}
        *means, count, different, present = sums.tolist()
        count = max(count, 1.0)
        found = {
            name: value / count for name, value in zip((*self.names, *SIGNS), means, strict=True)
        }
        found["distinct_passages"] = different / max(present, 1.0)
        return found


class Watch:
    """Remembers how retrieval began, and warns once for each sign that it went wrong."""

    def __init__(self, window: int, least_distinct: float, most_entropy: float) -> None:
        self.window = window
        self.least_distinct = least_distinct
        self.most_entropy = most_entropy
        self.first_ids: list[list[int]] | None = None
        self.first_distinct: list[float] = []
        self.recent: deque[list[float]] = deque(maxlen=window)
        self.last_overlap = 1.0
        self.warned: set[str] = set()

    def compare(self, ids: Tensor) -> float:
        """Overlap of the probe's passages ids (P,K) with those of the first time."""
        now = ids.tolist()
        if self.first_ids is None:
            self.first_ids = now
        self.last_overlap = overlap(self.first_ids, now)
        return self.last_overlap

    def see(self, logs: Mapping[str, float]) -> None:
        """Take in what was logged at a step, and warn where that is called for."""
        if "distinct_passages" not in logs:
            return
        if len(self.first_distinct) < self.window:
            self.first_distinct.append(logs["distinct_passages"])
        self.recent.append([logs["distinct_passages"], logs["prior_entropy_share"]])
        if len(self.recent) < self.window:
            return
        n = len(self.recent)
        variety, entropy = (sum(row[i] for row in self.recent) / n for i in (0, 1))
        start = sum(self.first_distinct) / len(self.first_distinct)
        if variety < self.least_distinct * start and self.last_overlap < 0.5:
            self._warn(
                "collapse",
                f"retrieval seems to have collapsed: over the last {n} logged steps "
                f"{variety:.0%} of the retrieved passages were distinct, {start:.0%} at first, "
                f"and {self.last_overlap:.0%} of the first passages are still retrieved. "
                "Lower question_encoder_learning_rate, warm the encoder up with "
                "ragkit.train.dpr, or train longer with the encoder frozen (rate 0).",
            )
        if self.most_entropy < 1 and entropy > self.most_entropy:
            self._warn(
                "flat",
                f"the prior over passages is flat: its entropy is {entropy:.1%} of log K over the "
                f"last {n} logged steps, so retrieval hardly chooses. An encoder that normalises "
                "its vectors needs a temperature of about 0.05: DenseRetriever(…, "
                "temperature=0.05).",
            )

    def _warn(self, kind: str, message: str) -> None:
        if kind not in self.warned:
            self.warned.add(kind)
            warnings.warn(message, CollapseWarning, stacklevel=3)

    def state(self) -> dict[str, Any]:
        """All that it remembers, as plain values."""
        return {
            "first_ids": self.first_ids,
            "first_distinct": self.first_distinct,
            "recent": list(self.recent),
            "last_overlap": self.last_overlap,
            "warned": sorted(self.warned),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up what `state` gave."""
        self.first_ids = state["first_ids"]
        self.first_distinct = list(state["first_distinct"])
        self.recent = deque((list(row) for row in state["recent"]), maxlen=self.window)
        self.last_overlap = state["last_overlap"]
        self.warned = set(state["warned"])
