"""The read prompts of a batch, and targets scored against them.

Each prompt is read once (`Prefix`); scoring runs the targets alone over its keys and
values. Only where layers are recomputed in the backward pass (gradient checkpointing),
which keeps no cache, are prompt and target run together. Gives log p(y_i|x,z,y_<i) of
section 2.3 of the paper; knows nothing of priors and marginals.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ragkit.errors import ConfigError, DataError
from ragkit.generate.gold import gold_log_probabilities
from ragkit.protocols import Targets
from ragkit_causal_lm.decoding import CausalDecoding
from ragkit_causal_lm.following import Following
from ragkit_causal_lm.prefix import Prefix, is_checkpointing, positions, run
from ragkit_causal_lm.prompts import Prompts

if TYPE_CHECKING:
    from transformers import PreTrainedModel

AT_ONCE = 1 << 26
"""Numbers (logits, keys and values) that scoring without gradient holds at once."""


class CausalReading:
    """P prompts; satisfies `ragkit.protocols.Reading` and `SupportsSmoothing`.

    Args:
        model: the language model.
        prompts: on the model's device.
        limit: the model's greatest number of positions, None where it has none.
    """

    def __init__(self, model: PreTrainedModel, prompts: Prompts, limit: int | None) -> None:
        self.model = model
        self.prompts = prompts
        self.rows = prompts.rows  # (B,K)
        self.limit = limit
        self._prefix: Prefix | None = None
        if len(prompts.tokens) and not is_checkpointing(model):
            self._prefix = Prefix.read(model, prompts.tokens, prompts.mask)

    @property
    def prefix(self) -> Prefix:
        """Keys and values of every prompt.

        Raises `ConfigError` under gradient checkpointing in training mode.
        """
        if self._prefix is None:
            if is_checkpointing(self.model):
                raise ConfigError(
                    "gradient checkpointing keeps no keys and values in training mode, and "
                    "writing needs them; call eval() on the model first, as RAG.answer does"
                )
            self._prefix = Prefix.read(self.model, self.prompts.tokens, self.prompts.mask)
        return self._prefix

    @property
    def vocabulary(self) -> int:
        """V."""
        return int(self.model.get_output_embeddings().weight.shape[0])

    def score(self, targets: Targets, rows: Tensor) -> Tensor:
        """Gold log-probabilities (N,M,T), 0 at padding and at absent pairs."""
        return self.score_smoothed(targets, rows, 0.0)

    def score_smoothed(self, targets: Targets, rows: Tensor, epsilon: float) -> Tensor:
        """As `score`, with label smoothing ε inside (see `SupportsSmoothing`).

        Raises `DataError` where prompt and target are longer than the model allows.
        """
        device = self.rows.device
        rows = rows.to(device)  # (N,M)
        mask = targets.mask.to(device)  # (N,T)
        # What does not count may be any id, also one outside the model's vocabulary.
        tokens = targets.tokens.to(device).clamp(0, self.vocabulary - 1)  # (N,T)
        length, n_read = tokens.shape[1], rows.shape[1]
        flat = rows.reshape(-1)
        cells = (flat >= 0).nonzero().squeeze(-1)  # (R,)
        out = torch.zeros(len(flat), length, device=device)  # (N·M,T)
        if not len(cells) or not length:
            return out.view(*rows.shape, length)
        self.check_length(length)
        for part in cells.split(self._at_once(len(cells), length)):
            owner = part // n_read  # (R,) which target each row scores
            logits = self._logits(tokens[owner], flat[part])  # (R,T,V)
            gold = gold_log_probabilities(
                logits.reshape(-1, logits.shape[-1]), tokens[owner].reshape(-1), epsilon
            ).view(-1, length)  # (R,T)
            gold = gold.to(device).masked_fill(~mask[owner], 0.0)
            out = out.to(gold.dtype).index_copy(0, part, gold)
        return out.view(*rows.shape, length)

    def start(self, rows: Tensor) -> CausalDecoding:
        """Begin N hypotheses, each against the M pairs of its row of rows (N,M)."""
        return CausalDecoding(self, rows.to(self.rows.device))

    def check_length(self, written: int) -> None:
        """Raises `DataError` where the longest prompt and so many tokens find no room."""
        longest = int(self.prompts.mask.sum(1).max())
        # The last token written is never read.
        if self.limit is not None and longest + written - 1 > self.limit:
            raise DataError(
                f"a prompt of {longest} tokens and {written} tokens of output are more than the "
                f"model's {self.limit} positions; lower max_source or max_new_tokens"
            )

    def _at_once(self, n_cells: int, length: int) -> int:
        """Rows scored together: all with gradient, else what fits `AT_ONCE`."""
        if torch.is_grad_enabled():  # everything is kept anyhow
            return n_cells
        by_logits = AT_ONCE // (length * self.vocabulary)
        if is_checkpointing(self.model):
            return max(1, by_logits)
        # Where prompts are copied for each row, as many as are held already will do.
        by_copies = max(len(self.prompts.tokens), AT_ONCE // max(1, self.prefix.elements()))
        return max(1, min(by_logits, by_copies))

    def _logits(self, tokens: Tensor, pairs: Tensor) -> Tensor:
        """(R,T,V) for targets (R,T) of which each follows the prompt of a pair (R,)."""
        if is_checkpointing(self.model):
            return self._whole(tokens, pairs)
        rows = Following(self.model, self.prefix, pairs)
        return rows.read(torch.cat([rows.last[:, None], tokens[:, :-1]], dim=1))

    def _whole(self, tokens: Tensor, pairs: Tensor) -> Tensor:
        """The same by prompt and target in one text, without a cache."""
        follow = tokens[:, :-1]  # (R,T-1)
        inputs = torch.cat([self.prompts.tokens[pairs], follow], dim=1)  # (R,S+T-1)
        present = torch.ones_like(follow, dtype=torch.bool)
        mask = torch.cat([self.prompts.mask[pairs], present], dim=1)
        return run(self.model, inputs, mask, positions(mask), keep=tokens.shape[1])
