"""A RAG and an objective as the one module that a trainer steps.

Its forward gives named terms, so that distributed training sees tensors and the user's
RAG is left as it was. Knows nothing of optimisers and data.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ragkit.protocols import Objective
from ragkit.rag import RAG
from ragkit.train import diagnostics

MEASURED = "_signs"
PASSAGES = "_passages"


class Learner(nn.Module):
    """Args: the RAG; what it minimises; label smoothing ε.

    Where the objective needs no gradient in the generator, its parameters are frozen.
    """

    def __init__(self, rag: RAG, objective: Objective, smoothing: float) -> None:
        super().__init__()
        self.rag = rag
        self.objective = objective
        self.smoothing = smoothing
        if not objective.needs_generator_gradient and isinstance(rag.generator, nn.Module):
            rag.generator.requires_grad_(False)

    def forward(self, questions: list[str], targets: list[str], k: int) -> dict[str, Tensor]:
        """Terms (B,) of the objective, `MEASURED` (B,3) and `PASSAGES` (2,)."""
        evidence, found = self.rag(
            questions, targets, k, self.objective.needs_generator_gradient, self.smoothing
        )
        terms = dict(self.objective(evidence))
        return {
            **terms,
            MEASURED: diagnostics.signs(evidence),
            PASSAGES: diagnostics.distinct(found.ids.to(evidence.scores.device)),
        }

    def activation_checkpointing_enable(
        self, activation_checkpointing_kwargs: dict[str, Any] | None = None, **options: Any
    ) -> None:
        """Recompute activations in the backward pass: less memory, more time."""
        recompute_activations(self.rag, activation_checkpointing_kwargs, **options)

    def gradient_checkpointing_enable(
        self, gradient_checkpointing_kwargs: dict[str, Any] | None = None, **options: Any
    ) -> None:
        """The same by its name in earlier transformers."""
        recompute_activations(self.rag, gradient_checkpointing_kwargs, **options)


def recompute_activations(
    module: nn.Module,
    activation_checkpointing_kwargs: dict[str, Any] | None = None,
    **options: Any,
) -> None:
    """Turn on activation checkpointing in all models below a module that learn."""
    for model in _learning_models(module):
        if hasattr(model, "activation_checkpointing_enable"):
            model.activation_checkpointing_enable(
                activation_checkpointing_kwargs=activation_checkpointing_kwargs, **options
            )
        else:  # earlier transformers
            model.gradient_checkpointing_enable(
                gradient_checkpointing_kwargs=activation_checkpointing_kwargs
                or {"use_reentrant": False}
            )


def _learning_models(module: nn.Module) -> list[Any]:
    """The outermost transformers models that have something to learn."""
    from transformers import PreTrainedModel

    found: list[Any] = []
    waiting: list[nn.Module] = [module]
    while waiting:
        module = waiting.pop()
        if not any(p.requires_grad for p in module.parameters()):
            continue
        if isinstance(module, PreTrainedModel):
            found.append(module)
        else:
            waiting += list(module.children())
    return found
