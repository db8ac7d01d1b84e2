"""What was evaluated, in plain Python: enough to refuse mixing two models in one run.

Names the classes and simple options of a model's parts, its knowledge base, and a
digest of all its weights. Knows no class of ragkit: it asks every object for the
attributes that it may have.
"""

from __future__ import annotations

import hashlib
from dataclasses import is_dataclass
from typing import Any

_PARTS = ("retriever", "generator", "marginalizer")


def identity(model: object) -> dict[str, Any]:
    """Class, parts, knowledge base and weights of a model, as far as it has them."""
    found: dict[str, Any] = {"class": type(model).__name__}
    for part in _PARTS:
        value = getattr(model, part, None)
        if value is not None:
            found[part] = {"class": type(value).__name__, **_options(value)}
    knowledge_base = getattr(getattr(model, "retriever", None), "knowledge_base", None)
    if knowledge_base is not None:
        found["knowledge_base"] = _knowledge_base(knowledge_base)
    if hasattr(model, "state_dict"):
        found["weights"] = digest(model.state_dict())
    return found


def digest(state: Any) -> str:
    """Hex digest of named tensors: names, types, shapes and bytes."""
    import torch

    total = hashlib.blake2b(digest_size=16)
    for name in sorted(state):
        tensor = state[name]
        if isinstance(tensor, torch.Tensor):
            flat = tensor.detach().cpu().contiguous().reshape(-1)
            total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            total.update(flat.view(torch.uint8).numpy().data)  # bytes: numpy has no bfloat16
    return total.hexdigest()


def _options(part: object) -> dict[str, Any]:
    """What decides a part's answers besides its weights: its simple public attributes.

    Records (dataclasses) count as well, by their repr; ``training`` is a passing state.
    """
    names = [name for name in vars(part) if not name.startswith("_") and name != "training"]
    names += ["temperature"] if hasattr(part, "temperature") else []
    values = {name: getattr(part, name) for name in sorted(set(names))}
    return {
        name: repr(value) if is_dataclass(value) else value
        for name, value in values.items()
        if is_dataclass(value) or isinstance(value, str | int | float | bool)
    }


def _knowledge_base(base: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"passages": len(base)} if hasattr(base, "__len__") else {}
    for name in ("fingerprint", "generation"):
        if hasattr(base, name):
            found[name] = str(getattr(base, name))
    return found
