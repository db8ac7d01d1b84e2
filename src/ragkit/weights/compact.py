"""One tensor in fewer bits: int8 with a scale for each row, or half precision.

int8 is symmetric and by row, the output channel of a linear layer and the token of an
embedding: w ≈ q·s with q in -127…127 and s = max|w| / 127. The scale is rounded up to 16
significant bits, so that q·s is exact in float32 and rounding again gives the same q and s:
a model that is loaded and saved keeps its numbers. Knows nothing of files.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from ragkit.errors import ConfigError

Weights = Literal["float32", "float16", "bfloat16", "int8"]

LEVELS = 127
_LEAST = 1024
"""Matrices with fewer numbers are kept as they are: nothing is won."""
_SHORTEST = 16
"""Rows shorter than this are kept too: the scale would be a large part of what is stored."""
_LOW_BITS = 0xFF
"""The 8 bits of a float32's significand that a scale does without."""


def check(weights: str) -> None:
    """Raises `ConfigError` where weights cannot be stored that way."""
    if weights not in get_args(Weights):
        known = ", ".join(repr(one) for one in get_args(Weights))
        raise ConfigError(f"weights is {weights!r}; it can be {known}")


def stored(tensor: Tensor, weights: str) -> tuple[Tensor, Tensor | None]:
    """What is written for a tensor: itself or its rounding, and the scales (R,) of int8.

    Numbers that are not floating-point, and those that half precision cannot hold, stay
    as they are; vectors and small matrices do too under int8.
    """
    if not tensor.is_floating_point() or weights == "float32":
        return tensor, None
    if weights == "int8":
        if tensor.dim() < 2 or tensor.numel() < _LEAST or tensor[0].numel() < _SHORTEST:
            return tensor, None
        if not bool(torch.isfinite(tensor).all()):
            return tensor, None
        return rounded(tensor)
    half = tensor.to(torch.float16 if weights == "float16" else torch.bfloat16)
    if tensor.element_size() <= half.element_size():
        return tensor, None
    return (half if torch.equal(half.isfinite(), tensor.isfinite()) else tensor), None


def rounded(tensor: Tensor) -> tuple[Tensor, Tensor]:
    """int8 numbers of the tensor's shape (R,…), and the scale of each row (R,) float32."""
    rows = tensor.detach().float().flatten(1)  # (R,n)
    scales = rows.abs().amax(1) / LEVELS  # (R,)
    bits = scales.contiguous().view(torch.int32)
    scales = ((bits + _LOW_BITS) & ~_LOW_BITS).view(torch.float32)
    # A row of zeros, or of numbers too small for a scale, is zero.
    scales = scales.where(scales > torch.finfo(torch.float32).tiny, torch.zeros(()))
    by = scales.where(scales > 0, torch.ones(()))
    whole = (rows / by[:, None]).round_().clamp_(-LEVELS, LEVELS)  # (R,n)
    whole = whole.where((scales > 0)[:, None], torch.zeros(()))
    return whole.to(torch.int8).view(tensor.shape), scales


def restored(found: Tensor, scales: Tensor | None, dtype: torch.dtype) -> Tensor:
    """The tensor that `stored` was given, as far as it was kept; memory of its own."""
    if scales is None:
        return found.to(dtype, copy=True)
    wide = found.to(torch.float32)
    wide.flatten(1).mul_(scales[:, None])
    return wide.to(dtype)
