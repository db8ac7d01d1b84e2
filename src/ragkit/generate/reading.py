"""The encoded pairs of a batch, and targets scored against them.

Every pair is encoded once (way of the data, step 5); scoring (step 6) lets any number
of targets read any pairs. Knows nothing of priors and marginals: it gives
log p(y_i|x,z,y_<i) of section 2.3 and nothing else.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutput

from ragkit.generate.attention import ragged
from ragkit.generate.decoding import Seq2SeqDecoding
from ragkit.generate.gold import gold_log_probabilities
from ragkit.generate.head import logits_at
from ragkit.generate.positions import can_be_given, in_decoder
from ragkit.generate.prefixes import WORTH, Trees, Trie, log_probabilities
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
        out = torch.zeros(n_targets * n_read * length, dtype=wide, device=device)
        if layout.cells.numel() == 0 or length == 0:
            return out.view(n_targets, n_read, length)
        start = tokens.new_full((n_targets, 1), self.start_id)
        inputs = torch.cat([start, tokens[:, :-1]], dim=1)  # (N,T) shifted right
        rows_at_once = len(layout.cells)
        if not torch.is_grad_enabled():  # nothing is kept, so logits need not be whole
            trees = self._trees(inputs, mask, layout, n_read) if epsilon == 0.0 else None
            if trees is not None:
                return self._score_trees(*trees, targets=tokens, mask=mask, out=out)
            rows_at_once = self._at_once(length)
        for part in layout.split(rows_at_once):
            owner = part.cells // n_read  # (R,) which target each row scores
            counted = mask[owner].view(-1).nonzero().squeeze(-1)  # (E,) of R·T
            logits = logits_at(self.model, counted, partial(self._logits, inputs[owner], part))
            gold = gold_log_probabilities(  # (E,)
                logits, tokens[owner].view(-1)[counted], epsilon
            )
            place = part.cells[counted // length] * length + counted % length
            out = out.index_copy(0, place, gold)  # (N·M·T,)
        return out.view(n_targets, n_read, length)

    def _at_once(self, length: int) -> int:
        """Rows of this length whose logits are held at once."""
        vocabulary: int = self.model.get_output_embeddings().weight.shape[0]
        return max(1, AT_ONCE // (length * vocabulary))

    def _trees(
        self, inputs: Tensor, mask: Tensor, layout: Layout, n_read: int
    ) -> tuple[Trie, Trees] | None:
        """The targets of each pair as trees, where that is less to read."""
        alone = len(layout.cells) == len(layout.pairs)
        if alone or not self.grouped or not can_be_given(self.model):
            return None
        needed = mask.flip(1).cummax(1).values.flip(1)  # (N,T) up to the last that counts
        needed[:, 0] = True  # a row has at least its root
        trie = Trie.of(inputs)
        trees = Trees.of(layout, trie, needed, n_read)
        return (
            (trie, trees)
            if trees.nodes.numel() <= WORTH * inputs[0].numel() * len(layout.cells)
            else None
        )

    def _score_trees(
        self, trie: Trie, trees: Trees, targets: Tensor, mask: Tensor, out: Tensor
    ) -> Tensor:
        """As `score_smoothed` without smoothing, into out (N·M·T,)."""
        n_targets, length = targets.shape
        n_read = len(out) // targets.numel()
        out = out.view(-1, length)
        for part in trees.split(self._at_once(trees.nodes.shape[1])):
            inputs, depth, sees = part.inputs(trie)
            pairs, counts = torch.unique_consecutive(part.pair, return_counts=True)
            states, source_mask = self.of_pairs(pairs)
            real = (part.nodes >= 0).view(-1).nonzero().squeeze(-1)  # (E,)
            with ragged(counts), in_decoder(self.model, depth) as options:
                options["decoder_attention_mask"] = sees
                logits = logits_at(  # (E,V)
                    self.model, real, partial(self.run, states, source_mask, inputs, **options)
                )
            owner = part.cells // n_read
            gold = log_probabilities(logits, part, targets[owner])  # (C,T)
            out[part.cells] = gold.masked_fill(~mask[owner], 0.0).to(out.dtype)
        return out.view(n_targets, n_read, -1)

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

    def run(
        self, states: Tensor, mask: Tensor, inputs: Tensor, cache: Any = None, **options: Tensor
    ) -> Tensor:
        """Logits (R,L,V) of decoder inputs (R,L) over states (P,S,·)."""
        output = self.model(
            encoder_outputs=BaseModelOutput(last_hidden_state=states),
            attention_mask=mask,
            decoder_input_ids=inputs,
            past_key_values=cache,
            use_cache=cache is not None,
            **options,
        )
        return output.logits  # type: ignore[no-any-return]
