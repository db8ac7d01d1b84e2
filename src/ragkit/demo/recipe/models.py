"""Tokenizer and freshly initialised models of the starting checkpoint.

The initialisation is mimetic: attention maps begin near the identity, so that equal tokens already
attend to each other and copying is found in minutes. Knows nothing of the data.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch import nn
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    BertConfig,
    BertModel,
    PreTrainedTokenizerFast,
)

SPECIALS = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]


def train_tokenizer(texts: Iterable[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE in which a word has one form, whether it opens a text or not."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Strip(" ", 1, 0)])
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=SPECIALS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return wrap(tokenizer)


def wrap(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        mask_token="<mask>",
        cls_token="<s>",
        sep_token="</s>",
        model_max_length=256,
        clean_up_tokenization_spaces=False,
    )


def sinusoids(positions: int, width: int, scale: float) -> torch.Tensor:
    angle = torch.arange(positions)[:, None] / 10_000 ** (torch.arange(0, width, 2) / width)
    table = torch.zeros(positions, width)  # (positions,D)
    table[:, 0::2], table[:, 1::2] = angle.sin(), angle.cos()
    return table * scale


def near_identity(linear: nn.Linear, identity: float, noise: float) -> None:
    width = linear.in_features
    with torch.no_grad():
        linear.weight.copy_(
            identity * torch.eye(width) + noise / math.sqrt(width) * torch.randn(width, width)
        )
        if linear.bias is not None:
            linear.bias.zero_()


def new_reader(vocabulary: int, options: dict[str, int]) -> BartForConditionalGeneration:
    width = options["width"]
    config = BartConfig(
        vocab_size=vocabulary,
        d_model=width,
        encoder_layers=options["encoder_layers"],
        decoder_layers=options["decoder_layers"],
        encoder_attention_heads=options["heads"],
        decoder_attention_heads=options["heads"],
        encoder_ffn_dim=options["ffn"],
        decoder_ffn_dim=options["ffn"],
        max_position_embeddings=256,
        dropout=0.0,
        attention_dropout=0.0,
        activation_dropout=0.0,
        bos_token_id=0,
        pad_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=2,
        forced_bos_token_id=None,
        forced_eos_token_id=None,
    )
    model = BartForConditionalGeneration(config)
    with torch.no_grad():
        model.model.shared.weight.normal_(0, 1 / math.sqrt(width))
        for part in (model.model.encoder, model.model.decoder):
            table = part.embed_positions.weight
            table.copy_(sinusoids(len(table), width, 0.125))
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and "attn" in name:
            if name.endswith(("q_proj", "k_proj")):
                near_identity(module, 1.0, 0.3)
            else:
                near_identity(module, 0.7, 0.3)
    model.generation_config.forced_bos_token_id = None
    model.generation_config.forced_eos_token_id = None
    model.generation_config.max_length = 32
    return model


def new_encoder(vocabulary: int, options: dict[str, int]) -> BertModel:
    width = options["width"]
    config = BertConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        num_hidden_layers=options["layers"],
        num_attention_heads=options["heads"],
        intermediate_size=options["ffn"],
        max_position_embeddings=256,
        type_vocab_size=1,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        bos_token_id=0,
        pad_token_id=1,
        eos_token_id=2,
    )
    model = BertModel(config, add_pooling_layer=False)
    with torch.no_grad():
        model.embeddings.word_embeddings.weight.normal_(0, 1 / math.sqrt(width))
        table = model.embeddings.position_embeddings.weight
        table.copy_(sinusoids(len(table), width, 0.05))
        model.embeddings.token_type_embeddings.weight.zero_()
    return model


def save(model: nn.Module, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Half-precision safetensors with config and tokenizer beside them."""
    bare = {"add_pooling_layer": False} if isinstance(model, BertModel) else {}
    kind: Any = type(model)
    half = kind(model.config, **bare)
    half.load_state_dict(model.state_dict())
    half.half().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
