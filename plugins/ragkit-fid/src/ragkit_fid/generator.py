"""The generator ``fid``: Fusion-in-Decoder over any encoder-decoder of transformers.

Izacard & Grave 2020, "Leveraging Passage Retrieval with Generative Models for Open Domain
Question Answering". Reads as ragkit's ``seq2seq`` does and fuses what was read. Knows
nothing of scores of passages: p(y|x,z_1…z_K) does not depend on the prior.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Self

import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ragkit.generate.reading import Seq2SeqReading
from ragkit.generate.seq2seq import Seq2SeqGenerator
from ragkit.protocols import Passage, Retrieved, Targets
from ragkit_fid import attention
from ragkit_fid.reading import FiDReading

FORM = "question: {question} title: {title} context: {text}"
"""The source of one passage, as in the paper (section 3)."""


class FiDGenerator(nn.Module):
    """An encoder-decoder whose decoder sees all passages of a question together.

    Args:
        model: folder or hub name of an encoder-decoder, or the model itself.
        tokenizer: folder or hub name, or the tokenizer itself; by default the model's.
        form: template of a source with ``{question}``, ``{text}`` and ``{title}``.
        max_source: tokens in the source of one passage at most; the paper's 250. The
            passage is cut, never the question.
        max_target: tokens in a target at most; the model's own limit by default.
        spelling: of answers, as `Seq2SeqGenerator` has it.

    Raises:
        ConfigError: a form without question or text, a model that cannot be loaded.
    """

    conformance = "ragkit_fid.conformance:FiDConformance"

    fuses = True

    def __init__(
        self,
        model: str | Path | PreTrainedModel = "google-t5/t5-base",
        tokenizer: str | Path | PreTrainedTokenizerBase | None = None,
        form: str = FORM,
        max_source: int = 250,
        max_target: int | None = None,
        spelling: Literal["tokenizer", "passage"] = "tokenizer",
    ) -> None:
        super().__init__()
        self._take(Seq2SeqGenerator(model, tokenizer, form, max_source, max_target, spelling))

    def _take(self, reader: Seq2SeqGenerator) -> None:
        if reader.grouped:  # the model takes ragkit's attention, so it takes this one
            reader.model.set_attn_implementation(attention.NAME)
        self.reader = reader
        self.generation_config = reader.generation_config

    @property
    def device(self) -> torch.device:
        return self.reader.device

    @property
    def tokenization(self) -> str:
        """Fingerprint of the tokenizer and form that make a passage's tokens."""
        return self.reader.tokenization

    def passage_tokens(self, passages: Sequence[Passage]) -> list[list[int]]:
        """Tokens to keep in a knowledge base, long enough for any question."""
        return self.reader.passage_tokens(passages)

    def read(self, questions: Sequence[str], retrieved: Retrieved) -> FiDReading:
        """Encode each present (question, passage) pair once, and fuse those of a question.

        Raises `ragkit.DataError` where a question leaves no room in the window.
        """
        if retrieved.mask.any():
            return FiDReading(self.reader.read(questions, retrieved))
        rows = torch.full(retrieved.mask.shape, -1, device=self.device)  # (B,K)
        nothing = torch.zeros(0, 0, 1, device=self.device)
        start = self.generation_config.decoder_start_token_id
        pairs = Seq2SeqReading(
            self.reader.model, nothing, nothing[..., 0] > 0, rows, start, self.reader.grouped
        )
        return FiDReading(pairs)

    def targets(self, texts: Sequence[str]) -> Targets:
        """Tokens (N,T) of targets, each ending in EOS.

        Raises `ragkit.DataError` where a target is longer than ``max_target``.
        """
        return self.reader.targets(texts)

    def text(self, tokens: Sequence[Sequence[int]]) -> list[str]:
        """Tokens back to text, without special tokens and outer white space."""
        return self.reader.text(tokens)

    def quote(self, tokens: Sequence[int], passages: Sequence[Passage]) -> str | None:
        """These tokens in the spelling of a passage, where ``spelling`` asks for it."""
        return self.reader.quote(tokens, passages)

    def save(self, directory: Path) -> None:
        """Weights as safetensors, tokenizer and options, below a folder."""
        self.reader.save(directory)

    @classmethod
    def load(cls, directory: Path) -> Self:
        """What `save` wrote, wherever the folder is now."""
        reader = Seq2SeqGenerator.load(directory)
        made = cls(reader.model, reader.tokenizer)
        made._take(reader)
        return made
