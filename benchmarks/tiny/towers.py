"""A retriever whose both towers learn: passages are encoded anew, with gradient.

The stored vectors only propose; the k passages' scores come from the passage encoder as
it is now, so the marginal likelihood's gradient reaches it too (the paper keeps it still;
the "end-to-end" variant does not). Stored vectors grow old meanwhile: the knowledge base
is built again between two stages. Knows nothing of the generator and the loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ragkit import Trainer
from ragkit.generate import attention
from ragkit.protocols import Passage, Retrieved
from ragkit.retrieve import towers
from ragkit.retrieve.dense import DenseRetriever
from ragkit.retrieve.dpr import DPREncoder

_ROWS = 32
"""Passages encoded at once, and the multiple that their lengths are padded to: few shapes,
for a kernel is compiled for each."""


class BothTowers(nn.Module):
    """Scores of a dense retriever's passages by an encoder that is one for both sides."""

    def __init__(self, dense: DenseRetriever) -> None:
        super().__init__()
        self.dense = dense
        encoder: Any = dense.encoder
        self.encoder: DPREncoder = encoder
        self.encoder.question_encoder.set_attn_implementation(attention.NAME)

    def retrieve(self, questions: Sequence[str], k: int) -> Retrieved:
        """As the dense retriever; with gradient, scored by vectors of this moment."""
        with torch.no_grad():
            found = self.dense.retrieve(questions, k)
        if not (torch.is_grad_enabled() and self.training):
            return found
        q = self.encoder.questions(questions)  # (B,D)
        passages = [one for row in found.passages for one in row if one is not None]
        d = self._vectors(passages)  # (P,D)
        rows = found.mask.nonzero()[:, 0]  # (P,)
        of_pairs = (q[rows] * d).sum(-1) / self.dense.temperature  # (P,)
        scores = torch.full_like(found.scores, -torch.inf).masked_scatter(found.mask, of_pairs)
        return replace(found, scores=scores)

    def _vectors(self, passages: Sequence[Passage]) -> Tensor:
        """(P,D) with gradient, encoded in groups of about one length."""
        model, form = self.encoder.question_encoder, self.encoder.form
        rows = form.passage_ids(self.encoder.tokenizer, passages)
        order = sorted(range(len(rows)), key=lambda i: len(rows[i]["input_ids"]))
        pad: Any = self.encoder.tokenizer.pad_token_id
        parts = []
        for i in range(0, len(order), _ROWS):
            batch = towers.collate(
                towers.accepted(model, [rows[j] for j in order[i : i + _ROWS]]),
                pad,
                model.device,
                _ROWS,
            )
            parts.append(towers.vectors(model, batch, "mean", normalize=True))
        back = torch.tensor(order).argsort()
        return torch.cat(parts)[back]


class TowersTrainer(Trainer):
    """Keeps the encoder alone in a checkpoint: nothing else learns."""

    def save_to(self, directory: Path) -> None:
        encoder: Any = self.rag.retriever
        encoder.encoder.save(directory / "encoder")

    def load_from(self, directory: Path) -> None:
        mine: Any = self.rag.retriever
        saved = DPREncoder.load(directory / "encoder")
        mine.encoder.question_encoder.load_state_dict(saved.question_encoder.state_dict())
