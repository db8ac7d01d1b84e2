"""transformers models, and parts in general, from a folder that may be packed.

A packed model is built from its configuration and the tensors in memory: nothing is drawn
at random first, no file is written. Knows nothing of what a model is for.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor
from transformers import AutoConfig, GenerationConfig, PreTrainedModel
from transformers.initialization import no_init_weights

from ragkit.weights import packed

_GENERATION = "generation_config.json"


def load(auto: Any, folder: str | Path, **options: Any) -> tuple[PreTrainedModel, dict[str, Any]]:
    """A model and what loading it had to say (``missing_keys`` …).

    Args:
        auto: the class whose ``from_pretrained`` opens a folder that is not packed.
        folder: or a hub name.
        options: of ``from_pretrained``.

    Raises whatever ``from_pretrained`` does, and `CorruptError` for a damaged pack.
    """
    options["output_loading_info"] = True
    place = Path(folder)
    state = packed.tensors(place) if place.is_dir() else None
    if state is None:
        return auto.from_pretrained(str(folder), **options)  # type: ignore[no-any-return]
    config = AutoConfig.from_pretrained(str(place))
    names = config.architectures or ["?"]
    kind: Any = getattr(transformers, names[0], None)
    if kind is None:  # its code is not transformers' own
        with packed.unpacked(place) as real:
            return auto.from_pretrained(str(real), **options)  # type: ignore[no-any-return]
    model = _quickly(kind, config, state, options.get("dtype") or config.dtype)
    report: dict[str, Any] = {"missing_keys": set()}
    if model is None:
        model, report = kind.from_pretrained(None, config=config, state_dict=state, **options)
    if (place / _GENERATION).is_file():
        model.generation_config = GenerationConfig.from_pretrained(str(place))
    return model, report


def _quickly(
    kind: Any, config: Any, state: dict[str, Tensor], dtype: torch.dtype | None
) -> PreTrainedModel | None:
    """A float32 model that takes the tensors as they are, several times sooner.

    None where they are not just the model's own: then transformers knows what to do. The
    pooling head that an encoder may lack, and that nobody here uses, is zero.
    """
    if dtype not in (None, torch.float32):
        return None
    parts = [getattr(config, name, None) for name in getattr(config, "sub_configs", {})]
    for one in (config, *filter(None, parts)):
        one.dtype = torch.float32
    with no_init_weights():
        model: PreTrainedModel = kind(config)
    own = model.state_dict()
    missing = set(own) - set(state) - set(model.all_tied_weights_keys)
    shapes = {name: tensor.shape for name, tensor in state.items()}
    if (
        any("pooler." not in name for name in missing)
        or any(name not in own or own[name].shape != shapes[name] for name in state)
        or any(t.is_floating_point() and t.dtype != torch.float32 for t in state.values())
    ):
        return None
    state = state | {name: torch.zeros_like(own[name]) for name in missing}
    model.load_state_dict(state, strict=False, assign=True)
    model.tie_weights()
    return model.eval()


def load_part(kind: Any, folder: Path, **options: Any) -> Any:
    """``kind.load(folder, **options)`` of any part that can be saved.

    One that does not say that it reads packed weights (`SupportsPackedWeights`) gets the
    folder as it wrote it.
    """
    if getattr(kind, "reads_packed_weights", False) or not packed.holds(folder):
        return kind.load(folder, **options)
    with packed.unpacked(folder) as real:
        return kind.load(real, **options)


def save(model: PreTrainedModel, folder: Path) -> list[list[str]]:
    """``save_pretrained``, also of a model that shares weights more than its class says.

    Such weights are written several times. Returns their names, one list for each, for
    `tie` to make them one again.
    """
    declared = set(getattr(model, "all_tied_weights_keys", None) or ())
    holders: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if name not in declared:
            holders.setdefault(id(parameter), []).append(name)
    ties = [names for names in holders.values() if len(names) > 1]
    if not ties:
        model.save_pretrained(folder)
        return []
    state = dict(model.state_dict())
    for _, *others in ties:
        state.update((name, state[name].clone()) for name in others)
    model.save_pretrained(folder, state_dict=state)
    return ties


def tie(model: PreTrainedModel, ties: Sequence[Sequence[str]]) -> None:
    """Make the parameters that `save` found to be one, one again."""
    for first, *others in ties:
        shared = model.get_parameter(first)
        for name in others:
            owner, _, last = name.rpartition(".")
            setattr(model.get_submodule(owner), last, shared)
    if ties:
        model.tie_weights()  # what the class ties follows
