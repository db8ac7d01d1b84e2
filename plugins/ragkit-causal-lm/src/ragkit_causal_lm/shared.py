"""Self-attention in which many hypotheses read one prompt without copies of its keys.

The keys of a hypothesis are those of its prompt, one row for each (question, passage)
pair, and those that it wrote itself. Registered with transformers under the name
``ragkit-causal-lm``: SDPA, except within `sharing`. There the queries of the rows that
follow one prompt are laid side by side against the prompt's keys, as they are, and one
softmax goes over both parts. Knows nothing of what the rows are.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface, DynamicCache
from transformers.cache_utils import DynamicLayer
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NAME = "ragkit-causal-lm"


class _Slots(NamedTuple):
    """Where R rows stand when those of a prompt are side by side, ``width`` for each of P.

    place: (R,) int64, prompt·width + number within the prompt.
    """

    cache: Any
    pairs: Tensor
    place: Tensor
    width: int


_unfit: set[type] = set()
"""Models that were seen to make their keys of what they keep: only whole caches serve them."""


class NotShared(Exception):
    """Raised within `sharing`, by a model to whose attention the cache gave no keys."""


_slots: ContextVar[_Slots | None] = ContextVar("ragkit_causal_lm_slots", default=None)


class SharedLayer(DynamicLayer):  # type: ignore[misc]
    """A layer's keys and values: of P prompts, which stay, and of R rows, which grow.

    transformers asks it for lengths as of any layer; `update` gives the rows' own part.
    """

    keys: Tensor
    values: Tensor

    def __init__(self, prompt: DynamicLayer) -> None:
        super().__init__()
        self.prompt_keys: Tensor = prompt.keys  # (P,H′,S,·)
        self.prompt_values: Tensor = prompt.values  # (P,H′,S,·)

    def get_seq_length(self) -> int:
        """S and what was written."""
        own = self.keys.shape[-2] if self.is_initialized else 0
        return int(self.prompt_keys.shape[-2] + own)

    def batch_select_indices(self, indices: Tensor) -> None:
        """Rows (R′,) follow their hypotheses; prompts stay."""
        if self.is_initialized:
            self.keys, self.values = self.keys[indices], self.values[indices]

    def keep(self, prompts: Tensor) -> None:
        """Let the other prompts go."""
        self.prompt_keys = self.prompt_keys[prompts]
        self.prompt_values = self.prompt_values[prompts]


def share(cache: Any) -> Any:
    """A cache over the same prompts to which rows can be added; nothing is copied."""
    made: Any = DynamicCache()
    made.layers = [SharedLayer(layer) for layer in cache.layers]
    return made


def can_share(model: PreTrainedModel, cache: Any) -> bool:
    """Whether a model's layers look at whole prompts, by the attention of this module."""
    return (
        model.config._attn_implementation == NAME
        and type(model) not in _unfit
        and all(type(layer) is DynamicLayer and layer.is_initialized for layer in cache.layers)
    )


def give_up(model: PreTrainedModel) -> None:
    """Never share again with models of this class, after one raised `NotShared`."""
    _unfit.add(type(model))


def adopt(model: PreTrainedModel) -> None:
    """Give a model this attention, where it would take SDPA; whoever chose another keeps it."""
    if model.config._attn_implementation == "sdpa" and model._can_set_attn_implementation():
        model.set_attn_implementation(NAME)


@contextmanager
def sharing(cache: Any, pairs: Tensor) -> Iterator[None]:
    """Within: row r of a batch follows prompt pairs[r] (R,) of a shared cache."""
    counts = torch.bincount(pairs, minlength=len(cache.layers[0].prompt_keys))  # (P,)
    order = torch.argsort(pairs, stable=True)
    first = counts.cumsum(0) - counts
    number = torch.empty_like(pairs)
    number[order] = torch.arange(len(pairs), device=pairs.device) - first[pairs[order]]
    width = int(counts.max())
    token = _slots.set(_Slots(cache, pairs, pairs * width + number, width))
    try:
        yield
    finally:
        _slots.reset(token)


def attention(
    module: torch.nn.Module,
    query: Tensor,  # (R,H,L,·)
    key: Tensor,  # (R,H′,t,·)
    value: Tensor,  # (R,H′,t,·)
    attention_mask: Tensor | None,  # (R,1,L,S+t)
    **options: Any,
) -> tuple[Tensor, Tensor | None]:
    """(R,L,H,·), as transformers' attention functions give it."""
    slots = _slots.get()
    if slots is None:
        plain: tuple[Tensor, Tensor | None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, **options
        )
        return plain
    layer = slots.cache.layers[getattr(module, "layer_idx", 0)]
    if key is not layer.keys or value is not layer.values:
        raise NotShared  # latent attention, say: the prompt's part would be missing
    scaling = options.get("scaling") or query.shape[-1] ** -0.5
    prompts = _of_prompts(query, layer.prompt_keys.transpose(-1, -2), slots)  # (R,H,L,S)
    groups = query.shape[1] // key.shape[1]  # heads that use one key
    key, value = (part.repeat_interleave(groups, dim=1) for part in (key, value))
    own = query @ key.transpose(-1, -2)  # (R,H,L,t)
    scores = torch.cat([prompts, own], dim=-1) * scaling
    assert attention_mask is not None, "within sharing the mask is always written out"
    if attention_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attention_mask, torch.finfo(scores.dtype).min)
    else:
        scores = scores + attention_mask
    wide = torch.promote_types(scores.dtype, torch.float32)
    weights = scores.softmax(-1, dtype=wide).to(query.dtype)
    length = layer.prompt_keys.shape[2]
    out = _of_prompts(weights[..., :length], layer.prompt_values, slots)
    out = out + weights[..., length:] @ value  # (R,H,L,·)
    return out.transpose(1, 2).contiguous(), None


def _of_prompts(rows: Tensor, held: Tensor, slots: _Slots) -> Tensor:
    """rows (R,H,L,a) @ held (P,H′,a,b) of the prompt that each follows: (R,H,L,b)."""
    _, heads, length, inner = rows.shape
    n_prompts, kept, _, outer = held.shape
    groups, width, place = heads // kept, slots.width, slots.place.to(rows.device)
    laid = rows.new_zeros(n_prompts * width, heads, length, inner)
    laid = laid.index_copy(0, place, rows).view(n_prompts, width, kept, groups * length, inner)
    side_by_side = laid.transpose(1, 2).reshape(n_prompts, kept, -1, inner)
    found = side_by_side @ held  # (P,H′,W·g·L,b)
    found = found.view(n_prompts, kept, width, groups * length, outer).transpose(1, 2)
    return found.reshape(n_prompts * width, heads, length, outer).index_select(0, place)


def _mask(*args: Any, **options: Any) -> Tensor | None:
    """SDPA's mask, written out within `sharing`, where columns are not all of one tensor."""
    if _slots.get() is not None:
        options["allow_is_causal_skip"] = False
    mask: Tensor | None = sdpa_mask(*args, **options)
    return mask


AttentionInterface.register(NAME, attention)
AttentionMaskInterface.register(NAME, _mask)
