"""How this plugin is held to ragkit's laws where no model is given: over tiny random ones.

`ragkit plugins check` and the tests use it; nothing else imports it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar, Literal

from torch import Tensor

from ragkit.protocols import Decoding, Evidence, Targets
from ragkit.testing import (
    GeneratorConformance,
    MarginalizerConformance,
    ObjectiveConformance,
    tiny,
)
from ragkit_fid.generator import FiDGenerator
from ragkit_fid.marginalizer import NoMixture
from ragkit_fid.objective import Distillation


class FiDConformance(GeneratorConformance):
    """A BART of two layers each and random weights."""

    component: ClassVar[str | None] = "fid"

    def make(self) -> FiDGenerator:
        """The same weights each time."""
        return FiDGenerator(tiny.bart(), tiny.tokenizer())


class NoMixtureConformance(MarginalizerConformance):
    """One pair a question, that holds all passages."""

    component: ClassVar[str | None] = "none"
    kind: ClassVar[Literal["sequence", "token", "fused"] | None] = "fused"

    def make(self) -> NoMixture:
        """It has no options."""
        return NoMixture()


class DistillationConformance(ObjectiveConformance):
    """The kit's evidence has no reading; here it gets one that looks at likely passages."""

    component: ClassVar[str | None] = "fid-distillation"
    true_gradient: ClassVar[bool] = False  # the reader's attention is a constant, on purpose

    def make(self) -> Distillation:
        """The objective, given what it needs."""
        return _WithReading()


class _WithReading(Distillation):
    """The objective itself, for the kit asks whether it is the one that the name stands for."""

    def __call__(self, evidence: Evidence) -> Mapping[str, Tensor]:
        return super().__call__(replace(evidence, reading=_Looking(evidence)))


class _Looking:
    """A reading that was looked at as its passages made the target likely."""

    def __init__(self, evidence: Evidence) -> None:
        counted = evidence.token_logp.detach() * evidence.target_mask[:, None, :]  # (B,K,T)
        self.seen = counted.sum(-1).masked_fill(~evidence.mask, -float("inf"))  # (B,K)
        self.rows = evidence.mask.long() - 1  # nobody reads it

    def passage_scores(self) -> Tensor:
        return self.seen

    def score(self, targets: Targets, rows: Tensor) -> Tensor:
        raise AssertionError("an objective scores nothing")

    def start(self, rows: Tensor) -> Decoding:
        raise AssertionError("an objective writes nothing")
