"""Log-probabilities of gold tokens from logits, without a log-softmax over V.

What is kept for the backward pass is the logits themselves, turned in place into
their gradient (softmax minus one-hot) when it is asked for: one (·,V) tensor where
``log_softmax`` followed by ``gather`` keeps two and makes a third.
Knows nothing of passages: rows are rows.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

CHUNK = 1 << 24
"""Logits worked on at once in the forward pass (elements): fp32 copies stay this small."""

_FORGETFUL = frozenset(
    f"{name}Backward"
    for name in ("Add", "Addmm", "Mm", "UnsafeView", "View", "ReshapeAlias", "Slice", "Clone")
)
"""Operations whose backward pass does not look at their output."""


def log_normalizer(logits: Tensor) -> Tensor:
    """log Σ_v exp(logits), (R,) of float32 or better from (R,V) of any precision."""
    step = max(1, CHUNK // max(1, logits.shape[-1]))
    parts = [_wide(part).logsumexp(-1) for part in logits.split(step)]
    return torch.cat(parts) if parts else logits.new_zeros(0, dtype=torch.float32)


def _wide(logits: Tensor) -> Tensor:
    """At least float32."""
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits


class _Gold(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, tokens: Tensor, epsilon: float, in_place: bool) -> Tensor:
        normalizer = log_normalizer(logits)  # (R,)
        gold = _wide(logits.gather(-1, tokens[:, None])).squeeze(-1)  # (R,)
        ctx.save_for_backward(logits, tokens, normalizer)
        ctx.epsilon, ctx.in_place, ctx.spent = epsilon, in_place, False
        if epsilon:
            mean = logits.mean(-1, dtype=gold.dtype)  # (R,)
            gold = (1 - epsilon) * gold + epsilon * mean
        return gold - normalizer

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        if ctx.spent:
            raise RuntimeError(
                "the logits have become their own gradient: go backward through a score once, "
                "or call score again"
            )
        logits, tokens, normalizer = ctx.saved_tensors
        epsilon, step = ctx.epsilon, max(1, CHUNK // max(1, logits.shape[-1]))
        # ∂/∂logits = (1-ε)·onehot + ε/V - softmax, times grad. The logits are not needed any
        # more, so they become it; `data`, because autograd counts versions.
        out = logits.data if ctx.in_place else torch.empty_like(logits)
        ctx.spent = ctx.in_place
        for i in range(0, len(out), step):
            part = slice(i, i + step)
            softmax = (_wide(logits.data[part]) - normalizer[part, None]).exp_()
            softmax.sub_(epsilon / out.shape[-1])
            softmax.scatter_add_(
                -1, tokens[part, None], torch.full_like(softmax[:, :1], epsilon - 1.0)
            )
            out[part] = softmax.mul_(-grad[part, None])
        return out, None, None, None


def gold_log_probabilities(logits: Tensor, tokens: Tensor, epsilon: float = 0.0) -> Tensor:
    """log softmax(logits)[tokens]: (R,) float32 from logits (R,V) and tokens (R,).

    With ``epsilon`` ε, (1-ε)·log p(token) + ε·mean_v log p(v): label smoothing.
    Takes the logits over: after a backward pass they hold their gradient, so hand in
    logits that nobody else reads, and go backward through them once.
    """
    # An operation that keeps its own output (tanh, say) would find it overwritten.
    maker = type(logits.grad_fn).__name__.rstrip("0123456789")
    apply: Any = _Gold.apply
    found: Tensor = apply(logits, tokens, epsilon, maker in _FORGETFUL)
    return found
