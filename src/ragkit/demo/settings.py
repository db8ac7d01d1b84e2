"""The demo's settings, and what makes a quick one. Knows nothing else."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ragkit.errors import ConfigError


@dataclass(frozen=True)
class Settings:
    """How the demo trains and measures.

    steps, batch, k: of joint training. question_rate, generator_rate: learning rates.
    read: passages read for an answer. limit: test questions an edition, None for all.
    """

    steps: int = 250
    batch: int = 16
    k: int = 8
    question_rate: float = 1e-3
    generator_rate: float = 3e-4
    read: int = 5
    limit: int | None = None
    seed: int = 0

    @classmethod
    def of(
        cls,
        *,
        quick: bool = False,
        seed: int = 0,
        steps: int | None = None,
        k: int | None = None,
    ) -> Settings:
        """The demo's own, or a few steps and questions to see that all runs."""
        if steps is not None and steps < 1:
            raise ConfigError(f"--steps is {steps}; it must be at least 1")
        if k is not None and k < 1:
            raise ConfigError(f"--k is {k}; it must be at least 1")
        made = cls(seed=seed)
        if quick:
            made = replace(made, steps=4, batch=4, k=3, limit=12)
        if steps is not None:
            made = replace(made, steps=steps)
        return made if k is None else replace(made, k=k)
