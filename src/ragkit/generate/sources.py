"""Source token ids of (question, passage) pairs: where text meets tensors.

A source is ``prefix + passage tokens + question tokens + suffix`` (or the question
first). Passage tokens may come ready from a knowledge base. Where a source is longer
than the window the passage is cut, never the question (trap: the existing
implementation cuts the question first). Knows nothing of the model that reads them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ragkit.errors import DataError
from ragkit.generate.form import Form
from ragkit.protocols import Passage, Retrieved

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Sources(NamedTuple):
    """P tokenised pairs and which of them belong to which question.

    tokens: (P,S) int64; mask: (P,S) bool; segments: (P,S) int64 or None;
    rows: (B,K) int64, -1 where a passage is absent.
    """

    tokens: Tensor
    mask: Tensor
    segments: Tensor | None
    rows: Tensor


class Specials(NamedTuple):
    """What a tokenizer puts around one text and between two."""

    prefix: list[int]
    between: list[int]
    suffix: list[int]


def specials_of(tokenizer: PreTrainedTokenizerBase) -> Specials:
    """Found by looking at what the tokenizer does, since templates differ by family."""
    a: list[int] = tokenizer("a", add_special_tokens=False)["input_ids"]
    pair: list[int] = tokenizer("a", "a")["input_ids"]
    starts = [i for i in range(len(pair)) if pair[i : i + len(a)] == a]
    first, last = starts[0], starts[-1]
    return Specials(pair[:first], pair[first + len(a) : last], pair[last + len(a) :])


class SourceBuilder:
    """Composes sources by a form, for one tokenizer and one window.

    Args:
        tokenizer: any transformers tokenizer.
        form: how question and passage are joined.
        window: greatest number of tokens in a source, special tokens counted.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, form: Form, window: int) -> None:
        self.tokenizer = tokenizer
        self.form = form
        self.window = window
        self.specials = specials_of(tokenizer)

    @property
    def tokenization(self) -> str:
        """Fingerprint of all that decides a passage's tokens."""
        digest = hashlib.sha256()
        vocabulary = sorted(self.tokenizer.get_vocab().items(), key=lambda item: item[1])
        digest.update(repr((self.form.passage, self.form.passage_first, vocabulary)).encode())
        backend: Any = getattr(self.tokenizer, "backend_tokenizer", None)
        if backend is not None:  # normaliser, pre-tokeniser and merges as well
            digest.update(backend.to_str().encode())
        return digest.hexdigest()[:32]

    def of_passages(self, passages: Sequence[Passage]) -> list[list[int]]:
        """Tokens of the passage piece alone, uncut and without special tokens."""
        return self._tokens([self.form.of_passage(passage) for passage in passages])

    def of_pairs(self, questions: Sequence[str], retrieved: Retrieved) -> Sources:
        """All present pairs, question by question, best passage first.

        Raises `DataError` where a question leaves no room in the window.
        """
        heads = self._tokens([self.form.of_question(question) for question in questions])
        mask = retrieved.mask.cpu()  # (B,K)
        owner, column = mask.nonzero(as_tuple=True)  # (P,), (P,)
        rows = torch.full(mask.shape, -1, dtype=torch.int64)  # (B,K)
        rows[owner, column] = torch.arange(len(owner))
        bodies = self._bodies(retrieved, owner.tolist(), column.tolist())
        separated = self.form.separated
        extra = len(self.specials.prefix) + len(self.specials.suffix)
        extra += len(self.specials.between) if separated else 0
        for question, head in zip(questions, heads, strict=True):
            if len(head) + extra > self.window:
                raise DataError(
                    f"the question {question[:60]!r}… has {len(head)} tokens and the generator "
                    f"reads at most {self.window - extra}; shorten it or raise max_source"
                )
        ids: list[list[int]] = []
        cuts: list[int] = []  # where the second segment begins
        for b, body in zip(owner.tolist(), bodies, strict=True):
            body = body[: self.window - extra - len(heads[b])]
            first, second = (body, heads[b]) if self.form.passage_first else (heads[b], body)
            between = self.specials.between if separated else []
            first = [*self.specials.prefix, *first, *between]
            ids.append([*first, *second, *self.specials.suffix])
            cuts.append(len(first))
        tokens, token_mask = pad(ids, self._pad_id)
        segments = None
        if separated:
            position = torch.arange(tokens.shape[1])[None, :]
            segments = ((position >= torch.tensor(cuts)[:, None]) & token_mask).long()
        return Sources(tokens, token_mask, segments, rows)

    @property
    def _pad_id(self) -> int:
        pad_id = self.tokenizer.pad_token_id
        return 0 if pad_id is None else int(pad_id)

    def _tokens(self, texts: list[str]) -> list[list[int]]:
        if not texts:
            return []
        # verbose=False: longer than the model is no news here, it is cut below.
        out: Any = self.tokenizer(texts, add_special_tokens=False, verbose=False)
        return list(out["input_ids"])

    def _bodies(self, retrieved: Retrieved, owner: list[int], column: list[int]) -> list[list[int]]:
        ready = retrieved.tokens
        if ready is not None and ready.tokenization == self._fingerprint():
            ids = retrieved.ids.cpu().numpy()[owner, column].astype(np.int64)
            return [tokens.tolist() for tokens in ready.take(ids)]
        found = [retrieved.passages[b][k] for b, k in zip(owner, column, strict=True)]
        return self.of_passages([passage for passage in found if passage is not None])

    def _fingerprint(self) -> str:
        if not hasattr(self, "_known"):
            self._known = self.tokenization
        return self._known


def pad(ids: Sequence[Sequence[int]], pad_id: int) -> tuple[Tensor, Tensor]:
    """Right-padded (N,longest) int64 and its mask, from lists of ids."""
    longest = max((len(row) for row in ids), default=0)
    tokens = np.full((len(ids), longest), pad_id, dtype=np.int64)
    mask = np.zeros((len(ids), longest), dtype=bool)
    for i, row in enumerate(ids):
        tokens[i, : len(row)] = row
        mask[i, : len(row)] = True
    return torch.from_numpy(tokens), torch.from_numpy(mask)
