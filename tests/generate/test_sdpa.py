"""The gradient of attention against torch's own, in float64 by finite differences."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from ragkit.generate import sdpa


def tensors(dtype: torch.dtype, length: int = 5, keys: int = 7) -> list[torch.Tensor]:
    torch.manual_seed(0)
    return [torch.randn(2, 3, n, 4, dtype=dtype, requires_grad=True) for n in (length, keys, keys)]


@pytest.mark.parametrize("masked", [False, True])
def test_gradient_by_finite_differences(masked: bool) -> None:
    q, k, v = tensors(torch.float64)
    mask = torch.ones(2, 1, 1, 7, dtype=torch.bool)
    mask[0, ..., 4:] = False
    torch.autograd.gradcheck(
        lambda *x: sdpa.attention(*x, mask if masked else None, 0.7), (q, k, v)
    )


def test_bfloat16_is_as_near_to_the_truth_as_torch() -> None:
    q, k, v = tensors(torch.float32, 64, 64)
    mask = torch.zeros(2, 1, 1, 64)
    mask[1, ..., 50:] = torch.finfo(torch.bfloat16).min
    weight = torch.randn(2, 3, 64, 4)
    (scaled_dot_product_attention(q, k, v, attn_mask=mask) * weight).sum().backward()
    truth = [t.grad for t in (q, k, v)]
    errors = []
    for function in (
        lambda *x: sdpa.attention(*x, mask, None),
        lambda *x: scaled_dot_product_attention(*x, attn_mask=mask.bfloat16()),
    ):
        low = [t.detach().bfloat16().requires_grad_() for t in (q, k, v)]
        (function(*low).float() * weight).sum().backward()
        errors.append(
            [(a.grad.float() - b).norm() / b.norm() for a, b in zip(low, truth, strict=True)]
        )
    for ours, torchs in zip(*errors, strict=True):
        assert ours < max(2 * torchs, 0.02)


def test_only_where_it_pays() -> None:
    low = torch.zeros(1, 1, 2, 4, dtype=torch.bfloat16, requires_grad=True)
    assert sdpa.wanted(low, 0.0)
    assert not sdpa.wanted(low, 0.1)
    assert not sdpa.wanted(low.detach(), 0.0)
    assert not sdpa.wanted(low.detach().float().requires_grad_(), 0.0)
    with torch.no_grad():
        assert not sdpa.wanted(low, 0.0)


def test_a_row_that_may_look_at_nothing_is_finite() -> None:
    q, k, v = (t.detach().bfloat16().requires_grad_() for t in tensors(torch.float32))
    mask = torch.full((2, 1, 1, 7), torch.finfo(torch.float32).min)
    out = sdpa.attention(q, k, v, mask, None)
    out.sum().backward()
    assert all(t.isfinite().all() for t in (out, q.grad, k.grad, v.grad))
