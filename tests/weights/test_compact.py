"""Rounding one tensor: the definition of symmetric int8 by row, and half precision."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ragkit.errors import ConfigError
from ragkit.weights import compact

shapes = pytest.mark.parametrize("shape", [(64, 16), (7, 300), (30, 5, 16), (2, 3, 20, 20)])


@shapes
@pytest.mark.parametrize("spread", [1e-6, 1.0, 1e4])
def test_no_number_is_off_by_more_than_half_a_step_of_its_row(shape, spread):
    torch.manual_seed(0)
    tensor = torch.randn(shape) * spread
    tensor[0] *= 1000  # a loud row coarsens only itself
    kept, scales = compact.stored(tensor, "int8")
    assert kept.dtype == torch.int8
    assert kept.shape == tensor.shape
    back = compact.restored(kept, scales, torch.float32)
    for row, again, scale in zip(tensor.double(), back.double(), scales.double(), strict=True):
        step = float(row.abs().max()) / 127
        assert step <= scale <= step * (1 + 2**-15)
        assert (row - again).abs().max() <= scale / 2 * (1 + 1e-6)
        # To the next step: no other whole number of steps is nearer.
        assert torch.equal(again, (row / scale).round() * scale)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**31), power=st.integers(-20, 20))
def test_rounding_again_changes_nothing(seed, power):
    torch.manual_seed(seed)
    tensor = torch.randn(40, 32) * torch.rand(40, 1) * 2.0**power
    kept, scales = compact.stored(tensor, "int8")
    back = compact.restored(kept, scales, torch.float32)
    again, same = compact.stored(back, "int8")
    assert torch.equal(again, kept)
    assert torch.equal(same, scales)


def test_rows_of_zeros_and_of_dust_are_zero():
    tensor = torch.randn(64, 16)
    tensor[3] = 0.0
    tensor[5] = 1e-42
    back = compact.restored(*compact.stored(tensor, "int8"), torch.float32)
    assert not back[[3, 5]].any()
    assert back[4].any()


@pytest.mark.parametrize(
    "tensor",
    [
        torch.randn(5000),  # a vector
        torch.randn(2, 20),  # small
        torch.randn(500, 4),  # the scales would be a quarter of it
        torch.arange(4096).view(64, 64),
        torch.full((64, 64), torch.inf),
        torch.ones(64, 64, dtype=torch.bool),
        torch.zeros(0, 64),
        torch.tensor(3.0),
    ],
    ids=lambda tensor: f"{tensor.dtype} {tuple(tensor.shape)}",
)
def test_what_stays_as_it_is_under_int8(tensor):
    kept, scales = compact.stored(tensor, "int8")
    assert kept is tensor
    assert scales is None


@pytest.mark.parametrize(("weights", "dtype"), [("float16", "float16"), ("bfloat16", "bfloat16")])
def test_half_precision_is_torchs(weights, dtype):
    dtype = getattr(torch, dtype)
    tensor = torch.randn(3, 4)
    kept, scales = compact.stored(tensor, weights)
    assert scales is None
    assert torch.equal(kept, tensor.to(dtype))
    assert torch.equal(compact.restored(kept, None, torch.float32), tensor.to(dtype).float())
    assert compact.stored(kept, weights)[0] is kept


def test_what_half_precision_cannot_hold_is_not_rounded():
    tensor = torch.tensor([1.0, 1e6])
    assert compact.stored(tensor, "float16")[0] is tensor
    assert compact.stored(tensor, "bfloat16")[0].dtype == torch.bfloat16


def test_restored_tensors_have_memory_of_their_own():
    tensor = torch.randn(4)
    assert compact.restored(tensor, None, torch.float32).data_ptr() != tensor.data_ptr()


def test_an_unknown_kind_is_refused():
    with pytest.raises(ConfigError, match="'float32', 'float16', 'bfloat16', 'int8'"):
        compact.check("int4")
