"""Rows that go on after prompts: what was read of the prompts, and where each row stands.

Without gradient the rows share the prompts' keys and values (`ragkit_causal_lm.shared`);
with it, and for models that attend in a way of their own, each row has a copy, through
which the gradient flows back. Knows nothing of hypotheses and targets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ragkit_causal_lm import shared
from ragkit_causal_lm.prefix import Prefix, copied, run

if TYPE_CHECKING:
    from transformers import PreTrainedModel

KEEP = 0.75
"""Prompts still followed, as a share of those held, below which the others are let go."""


class Following:
    """R rows, each after one of the prompts.

    Args:
        model: that read them.
        prefix: P prompts.
        pairs: (R,) int64, the prompt that each row follows.

    ``last`` (R,) is what each has to read first.
    """

    def __init__(self, model: PreTrainedModel, prefix: Prefix, pairs: Tensor) -> None:
        self.model = model
        self.pairs = pairs
        self.mask = prefix.mask[pairs]  # (R,C)
        self.places = prefix.lengths[pairs]  # (R,) position of what is read next
        self.last = prefix.last[pairs]  # (R,)
        self.is_shared = not torch.is_grad_enabled() and shared.can_share(model, prefix.cache)
        if self.is_shared:
            self.cache = shared.share(prefix.cache)
            self._let_go()
        else:
            self.cache = copied(prefix.cache, pairs)
        self.prefix, self.first = prefix, pairs  # of which copies are made if sharing fails

    def read(self, tokens: Tensor) -> Tensor:
        """Logits (R,L,V) after tokens (R,L) more."""
        length = tokens.shape[1]
        steps = torch.arange(length, device=tokens.device)
        places = self.places[:, None] + steps  # (R,L)
        self.mask = torch.nn.functional.pad(self.mask, (0, length), value=True)
        self.places = self.places + length
        if self.is_shared:
            try:
                with shared.sharing(self.cache, self.pairs):
                    return run(self.model, tokens, self.mask, places, self.cache)
            except shared.NotShared:  # by the first layer that is asked, so at the first step
                shared.give_up(self.model)
                self.is_shared = False
                self.cache = copied(self.prefix.cache, self.first)
        return run(self.model, tokens, self.mask, places, self.cache)

    def select(self, source: Tensor) -> None:
        """Go on with rows source (R′,), in that order."""
        self.cache.batch_select_indices(source)
        self.mask, self.places = self.mask[source], self.places[source]
        self.pairs = self.pairs[source]
        if self.is_shared:
            self._let_go()

    def _let_go(self) -> None:
        """Forget prompts that nobody follows, once they are many."""
        kept, pairs = torch.unique(self.pairs, return_inverse=True)
        if len(kept) < KEEP * len(self.cache.layers[0].prompt_keys):
            for layer in self.cache.layers:
                layer.keep(kept.to(layer.prompt_keys.device))
            self.pairs = pairs
