"""The encoded pairs of a batch, and targets scored against them.

Every pair is encoded once (way of the data, step 5); scoring (step 6) lets any number
of targets read any pairs. Knows nothing of priors and marginals: it gives
log p(y_i|x,z,y_<i) of section 2.3 and nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutput

from ragkit.generate.attention import ragged
from ragkit.generate.decoding import Seq2SeqDecoding
from ragkit.generate.gold import gold_log_probabilities
from ragkit.generate.rows import Layout
from ragkit.protocols import Targets

if TYPE_CHECKING:
    from transformers import PreTrainedModel

AT_ONCE = 1 << 26
"""Logits that scoring without gradient holds at once (elements)."""


class Seq2SeqReading:
    """Encoder states of P pairs; satisfies `ragkit.protocols.Reading`.

    Args:
        model: the encoder-decoder.
        states: (P,S,·) encoder states, with gradient.
        mask: (P,S) bool.
        rows: (B,K) int64, -1 where absent.
        start_id: decoder start token.
        grouped: whether the model's cross-attention can share pairs between rows.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        states: Tensor,
        mask: Tensor,
        rows: Tensor,
        start_id: int,
        grouped: bool,
    ) -> None:
        self.model = model
        self.states = states
        self.mask = mask
        self.rows = rows
        self.start_id = start_id
        self.grouped = grouped

    def score(self, targets: Targets, rows: Tensor) -> Tensor:
        """Gold log-probabilities (N,M,T), 0 at padding and at absent pairs."""
        return self.score_smoothed(targets, rows, 0.0)

    def score_smoothed(self, targets: Targets, rows: Tensor, epsilon: float) -> Tensor:
        """As `score`, with label smoothing ε inside (see `SupportsSmoothing`)."""
        device = self.states.device
        tokens, mask = targets.tokens.to(device), targets.mask.to(device)  # (N,T)
        layout = Layout.of(rows.to(device))
        n_targets, n_read = rows.shape
        length = tokens.shape[1]
        wide = torch.promote_types(self.states.dtype, torch.float32)
        out = torch.zeros(n_targets * n_read, length, dtype=wide, device=device)
        if layout.cells.numel() == 0 or length == 0:
            return out.view(n_targets, n_read, length)
        start = tokens.new_full((n_targets, 1), self.start_id)
        inputs = torch.cat([start, tokens[:, :-1]], dim=1)  # (N,T) shifted right
        rows_at_once = len(layout.cells)
        if not torch.is_grad_enabled():  # nothing is kept, so logits need not be whole
            vocabulary = self.model.get_output_embeddings().weight.shape[0]
            rows_at_once = max(1, AT_ONCE // (length * vocabulary))
        for part in layout.split(rows_at_once):
            owner = part.cells // n_read  # (R,) which target each row scores
            logits = self._logits(inputs[owner], part)  # (R,T,V)
            gold = gold_log_probabilities(
                logits.view(-1, logits.shape[-1]), tokens[owner].reshape(-1), epsilon
            ).view(-1, length)  # (R,T)
            gold = gold.masked_fill(~mask[owner], 0.0)
            out = out.index_copy(0, part.cells, gold)  # (N·M,T)
        return out.view(n_targets, n_read, length)

    def start(self, rows: Tensor) -> Seq2SeqDecoding:
        """Begin N hypotheses, each against the M pairs of its row of rows (N,M)."""
        return Seq2SeqDecoding(self, rows.to(self.states.device))

    def _logits(self, inputs: Tensor, layout: Layout) -> Tensor:
        """(R,T,V) for decoder inputs (R,T) whose rows are sorted by pair."""
        states, mask = self.of_pairs(layout.pairs)
        even = bool((layout.counts == layout.counts[0]).all())
        if not self.grouped or (torch.is_grad_enabled() and not even):
            # Recomputation under gradient checkpointing happens outside `ragged`.
            states = states.repeat_interleave(layout.counts, dim=0)
            mask = mask.repeat_interleave(layout.counts, dim=0)
            return self.run(states, mask, inputs)
        with ragged(layout.counts):
            return self.run(states, mask, inputs)

    def of_pairs(self, pairs: Tensor) -> tuple[Tensor, Tensor]:
        """States and mask of these pairs (sorted); no copy where it is all of them."""
        if len(pairs) == len(self.states):
            return self.states, self.mask
        return self.states.index_select(0, pairs), self.mask.index_select(0, pairs)

    def run(self, states: Tensor, mask: Tensor, inputs: Tensor, cache: Any = None) -> Tensor:
        """Logits (R,L,V) of decoder inputs (R,L) over states (P,S,·)."""
        output = self.model(
            encoder_outputs=BaseModelOutput(last_hidden_state=states),
            attention_mask=mask,
            decoder_input_ids=inputs,
            past_key_values=cache,
            use_cache=cache is not None,
        )
        return output.logits  # type: ignore[no-any-return]
