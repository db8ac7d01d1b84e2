"""Whether gradients are where a component declares them, and only there.

A component declares that it learns by having parameters that require a gradient. Knows
torch, no role.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ragkit.testing.asserting import must


def parameters(component: object) -> list[Tensor]:
    """The parameters of a component that require a gradient; none where it has none."""
    find = getattr(component, "parameters", None)
    if not callable(find):
        return []
    return [one for one in find() if isinstance(one, Tensor) and one.requires_grad]


def check_gradient(
    component: object, compute: Callable[[], Tensor], what: str, learns: bool | None
) -> None:
    """Assert that what is computed carries a gradient if, and only if, the component learns.

    learns: what its author says of it; None: as its parameters say.
    """
    known = parameters(component)
    expected = bool(known) if learns is None else learns
    with torch.enable_grad():
        found = compute()
    if not expected:
        must(
            not found.requires_grad,
            f"{what} carry a gradient, but no parameter of {type(component).__name__} requires "
            "one; detach them, or give the component the parameters (an nn.Module has them)",
        )
        return
    must(
        found.requires_grad,
        f"{what} carry no gradient, but {type(component).__name__} has parameters that require "
        "one; compute them without torch.no_grad, detach or numpy between",
    )
    finite = found[found.isfinite()]
    weights = torch.linspace(-1, 1, finite.numel(), device=found.device)  # no symmetry cancels
    grads = torch.autograd.grad((finite * weights).sum(), known, allow_unused=True)
    present = [one for one in grads if one is not None]
    must(
        any(bool((one != 0).any()) for one in present),
        f"the gradient of {what} reaches no parameter; is something detached on the way?",
    )
    must(
        all(bool(one.isfinite().all()) for one in present),
        f"the gradient of {what} is NaN or infinite; mask what is absent before, not after, you "
        "compute with it",
    )
    with torch.no_grad():
        off = compute()
    must(
        not off.requires_grad,
        f"{what} carry a gradient within torch.no_grad(); do not switch it on yourself",
    )


def step(component: object, loss: Tensor, rate: float = 0.1) -> list[Tensor]:
    """One step downhill; the parameters that it moved."""
    known = parameters(component)
    grads: list[Any] = list(torch.autograd.grad(loss, known, allow_unused=True))
    moved = []
    with torch.no_grad():
        for one, grad in zip(known, grads, strict=True):
            if grad is not None and bool((grad != 0).any()):
                one -= rate * grad
                moved.append(one)
    return moved


def numbers(found: Any, shape: tuple[int, ...], what: str) -> Tensor:
    """Assert that something is a tensor of floating point numbers of this shape."""
    must(
        isinstance(found, Tensor),
        f"{what} is {type(found).__name__}; give a torch tensor {shape}",
    )
    must(
        tuple(found.shape) == shape,
        f"{what} has the shape {tuple(found.shape)}; it must be {shape}",
    )
    must(
        found.is_floating_point(),
        f"{what} is {found.dtype}; it must be floating point (float32)",
    )
    tensor: Tensor = found
    return tensor
