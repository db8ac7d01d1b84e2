"""Scaled dot-product attention whose gradient is quick in bfloat16 on CPU.

Forward as torch has it. torch's backward of the same costs five to twelve times its
forward there, more than all else in a training step of a small model; written as five
matrix products it costs a third of that. Everywhere else torch's own is taken.
Knows nothing of rows, pairs and models.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import scaled_dot_product_attention


def wanted(query: Tensor, dropout: float) -> bool:
    """Whether the backward written here is the quicker one."""
    return (
        query.device.type == "cpu"
        and query.dtype == torch.bfloat16
        and dropout == 0.0
        and torch.is_grad_enabled()
        and query.requires_grad
    )


class Attention(torch.autograd.Function):
    """softmax(q·kᵀ·scale + mask)·v for q (R,H,L,·), k and v (R,H,S,·)."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, scale: float
    ) -> Tensor:
        """bias: added to the logits, broadcast to (R,H,L,S), or None."""
        out = scaled_dot_product_attention(query, key, value, attn_mask=bias, scale=scale)
        ctx.save_for_backward(query, key, value, bias, out)
        ctx.scale = scale
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """With a = softmax: da = g·vᵀ, ds = a ∘ (da − Σ g∘out), then q, k and v."""
        query, key, value, bias, out = ctx.saved_tensors
        with torch.autocast("cpu", enabled=False):
            scores = (query * ctx.scale) @ key.transpose(-1, -2)  # (R,H,L,S)
            if bias is not None:
                scores += bias
            a = scores.softmax(-1)
            grad_value = a.transpose(-1, -2) @ grad
            centre = (grad.float() * out.float()).sum(-1, keepdim=True).to(grad.dtype)
            ds = (grad @ value.transpose(-1, -2)).sub_(centre).mul_(a).mul_(ctx.scale)
            return ds @ key, ds.transpose(-1, -2) @ query, grad_value, None, None


def attention(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float | None
) -> Tensor:
    """As torch's, for tensors of `wanted`; mask is bool (True: look) or added to logits."""
    if mask is not None and mask.dtype == torch.bool:
        bias = torch.zeros_like(mask, dtype=query.dtype)
        mask = bias.masked_fill(~mask, torch.finfo(query.dtype).min)
    if mask is not None:
        # The least float32 would become -inf, and a row of nothing else NaN.
        mask = mask.to(query.dtype).clamp_min(torch.finfo(query.dtype).min)
    factor = query.shape[-1] ** -0.5 if scale is None else scale
    out: Tensor = Attention.apply(query, key, value, mask, factor)  # type: ignore[no-untyped-call]
    return out
