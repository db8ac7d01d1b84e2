"""A SentenceTransformer of straw: random weights, two layers, made in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import (
    Dense,
    Normalize,
    Pooling,
    Transformer,
)
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

WORDS = (
    "query passage : the a lighthouse keeper sea storm lamp who keeps tends is night ada holm "
    "gardens rain tram rides city old new green red"
)


def folder(where: Path, seed: int = 0) -> Path:
    """A transformers folder: a word tokenizer and a BERT of 2 layers, D=12."""
    words = WORDS.split()
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    raw = Tokenizer(
        models.WordLevel({word: i for i, word in enumerate(specials + words)}, unk_token="[UNK]")
    )
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    raw.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=16,
    )
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(specials) + len(words),
        hidden_size=12,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=16,
        initializer_range=0.4,
        hidden_dropout_prob=0.3,
    )
    BertModel(config).eval().save_pretrained(where)
    tokenizer.save_pretrained(where)
    return where


def model(
    where: Path, seed: int = 0, out: int | None = None, **options: Any
) -> SentenceTransformer:
    """The same with mean pooling, a dense layer if asked for, and vectors of length 1."""
    first = Transformer(str(folder(where, seed)))
    modules: list[Any] = [first, Pooling(12, pooling_mode="mean")]
    if out is not None:
        torch.manual_seed(seed)
        modules.append(Dense(12, out))
    modules.append(Normalize())
    return SentenceTransformer(modules=modules, device="cpu", **options)
