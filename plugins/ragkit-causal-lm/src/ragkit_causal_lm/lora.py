"""Low-rank adapters (LoRA, Hu et al. 2021) through peft, where it is installed.

The model stays what it was, with small trainable matrices inside its linear layers;
everything else stops learning. A saved generator keeps the adapters' weights apart from
the model's. Knows nothing of retrieval.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from ragkit.errors import ConfigError, CorruptError, MissingDependency

if TYPE_CHECKING:
    from transformers import PreTrainedModel

FILE = "lora.safetensors"


def add(model: PreTrainedModel, options: Mapping[str, Any]) -> None:
    """Put fresh adapters into a model, in place; what they are made of stands in options.

    Args:
        model: whose weights then no longer learn.
        options: of `peft.LoraConfig` (``r``, ``lora_alpha``, ``target_modules`` …).

    Raises:
        MissingDependency: peft is not installed.
        ConfigError: options that peft does not know or cannot apply.
    """
    try:
        from peft import LoraConfig
    except ImportError as error:
        raise MissingDependency(
            "lora= needs peft, which is not installed: pip install 'ragkit-causal-lm[lora]'"
        ) from error
    if getattr(model, "_hf_peft_config_loaded", False):
        raise ConfigError("the model has adapters already; leave out lora=, or load it without")
    try:
        with warnings.catch_warnings():
            # GPT-2 keeps its matrices transposed; peft sees that by itself, and says so.
            warnings.filterwarnings("ignore", message="fan_in_fan_out is set to False")
            model.add_adapter(LoraConfig(task_type="CAUSAL_LM", **options))
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"lora={dict(options)!r} is refused by peft: {error}\n"
            "  a usual choice is lora={'r': 8, 'lora_alpha': 16, 'target_modules': 'all-linear'}"
        ) from error


def weights(model: PreTrainedModel) -> dict[str, Tensor]:
    """The adapters' own, by name."""
    return {name: value for name, value in model.state_dict().items() if _is_adapter(name)}


def base_weights(model: PreTrainedModel) -> dict[str, Tensor]:
    """The model's own, by the names that they have without adapters."""
    return {
        name.replace(".base_layer.", "."): value
        for name, value in model.state_dict().items()
        if not _is_adapter(name)
    }


def save(model: PreTrainedModel, directory: Path) -> None:
    """Write the adapters into a folder."""
    save_file({n: w.contiguous() for n, w in weights(model).items()}, directory / FILE)


def load(model: PreTrainedModel, directory: Path) -> None:
    """Read them back into a model that has the same adapters; `CorruptError` if it has not."""
    file = directory / FILE
    if not file.is_file():
        raise CorruptError(f"{file} is missing, but the generator was saved with adapters")
    saved, own = load_file(file), weights(model)
    if set(saved) != set(own):
        odd = sorted(set(saved) ^ set(own))
        raise CorruptError(
            f"{file} holds other adapters than its options say: {', '.join(odd[:3])}"
        )
    for name, weight in own.items():
        weight.copy_(saved[name])


def _is_adapter(name: str) -> bool:
    return ".lora_" in name
