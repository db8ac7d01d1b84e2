"""What a model keeps of prompts that it has read: keys and values, once for each pair.

The last token of a prompt is held back: whoever scores or writes reads it as its first
input, so its logits are those of the first target token. Hypotheses take rows of the
cache and never read a prompt again. Knows nothing of targets and beams.
"""

from __future__ import annotations

import copy
import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import DynamicCache

from ragkit.errors import ConfigError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


_TAKE = "take a model whose layers are attention (GPT-2, Llama, Qwen, Mistral, Gemma …)"


@dataclass(frozen=True)
class Prefix:
    """P prompts read up to their last token.

    cache: keys and values of every layer, (P,·,S,·).
    mask: (P,S) bool, padding on the left.
    last: (P,) int64, the last token of each prompt.
    lengths: (P,) int64, real tokens before it; so the last token stands at this position.
    """

    cache: Any
    mask: Tensor
    last: Tensor
    lengths: Tensor

    @classmethod
    def read(cls, model: PreTrainedModel, tokens: Tensor, mask: Tensor) -> Prefix:
        """Run the model over prompts (P,S+1), padded on the left, with gradient if it is on."""
        before = mask[:, :-1]  # (P,S)
        lengths = before.sum(1)  # (P,)
        cache: Any = DynamicCache(config=model.config)
        if before.any():  # else every prompt is a single token
            run(model, tokens[:, :-1], before, positions(before), cache, keep=1)
        return cls(cache, before, tokens[:, -1], lengths)

    def elements(self) -> int:
        """Numbers kept for one pair, all layers together."""
        kept = 0
        for layer in self.cache.layers:
            for part in (getattr(layer, "keys", None), getattr(layer, "values", None)):
                kept += 0 if part is None or not len(part) else part[0].numel()
        return kept


def copied(cache: Any, pairs: Tensor) -> Any:
    """Rows (R,) of a cache as one of their own, which may grow; gradient flows back."""
    made = copy.copy(cache)
    # A layer replaces its tensors when it grows, so copies of the shells are enough.
    made.layers = [copy.copy(layer) for layer in cache.layers]
    made.batch_select_indices(pairs)
    return made


def positions(mask: Tensor) -> Tensor:
    """(P,S) places of tokens in their own text, from 0; 0 at padding on the left."""
    return (mask.long().cumsum(1) - 1).clamp(min=0)


def run(
    model: PreTrainedModel,
    tokens: Tensor,
    mask: Tensor,
    places: Tensor,
    cache: Any = None,
    keep: int = 0,
) -> Tensor:
    """Logits (R,L,V) of tokens (R,L) at places (R,L), after a cache of C columns.

    mask: (R,C+L), of the cache's columns and the tokens. keep: of how many last tokens the
    logits are wanted; 0 for all.
    """
    takes = inspect.signature(model.forward).parameters
    options: dict[str, Any] = {}
    if "position_ids" in takes:  # others see the places in the mask (ALiBi)
        options["position_ids"] = places
    if keep and "logits_to_keep" in takes:
        options["logits_to_keep"] = keep
    output = model(
        input_ids=tokens,
        attention_mask=mask.long(),
        past_key_values=cache,
        use_cache=cache is not None,
        **options,
    )
    logits: Tensor = output.logits
    return logits[:, -keep:] if keep else logits


def check_cache(model: PreTrainedModel) -> None:
    """Raises `ConfigError` for a model whose memory cannot be handed to hypotheses, or to
    which padding on the left is text."""
    takes = inspect.signature(model.forward).parameters
    if "past_key_values" not in takes:
        raise ConfigError(
            f"{type(model).__name__} keeps no keys and values, which hypotheses share; {_TAKE}"
        )
    cache: Any = DynamicCache(config=model.config)
    odd = sorted(
        {
            type(layer).__name__
            for layer in cache.layers
            if type(layer).__name__ not in ("DynamicLayer", "DynamicSlidingWindowLayer")
        }
    )
    if getattr(model, "_is_stateful", False):
        odd.append("a recurrent state")
    if odd:
        raise ConfigError(
            f"{type(model).__name__} keeps {', '.join(odd)}, which hypotheses cannot share; {_TAKE}"
        )
    if "position_ids" not in takes and not _ignores_padding(model):
        raise ConfigError(
            f"{type(model).__name__} counts positions from the first column, so padding on the "
            f"left would change what it says; {_TAKE}"
        )


@torch.no_grad()
def _ignores_padding(model: PreTrainedModel) -> bool:
    """Whether a text says the same with padding before it, by trying."""
    was_training = model.training
    model.eval()
    text = torch.tensor([[0, 1, 2]], device=model.device)
    padded = torch.nn.functional.pad(text, (4, 0))
    mask = torch.nn.functional.pad(torch.ones_like(text), (4, 0)).bool()
    alone, beside = (
        run(model, tokens, seen, positions(seen))[:, -1].float().log_softmax(-1)
        for tokens, seen in ((text, mask[:, 4:]), (padded, mask))
    )
    model.train(was_training)
    return torch.allclose(alone, beside, atol=0.1, rtol=0.01)  # half precision is that rough


def is_checkpointing(model: PreTrainedModel) -> bool:
    """Whether layers are recomputed in the backward pass: then they keep no cache.

    So in training mode alone, but there also where gradients are off.
    """
    # The model's own property has had several names; its layers' flag has had one.
    return bool(model.training) and any(
        getattr(module, "gradient_checkpointing", False) for module in model.modules()
    )
