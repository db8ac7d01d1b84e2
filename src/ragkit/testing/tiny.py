"""Models with random weights and a tokenizer of bytes, made in memory: for checks, offline.

So small that a check takes milliseconds; every text has tokens, and tokens give it again.
Knows transformers, no role.
"""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    BertConfig,
    BertModel,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

SPECIALS = ("<s>", "<pad>", "</s>", "<unk>")
VOCABULARY = len(SPECIALS) + 256


def tokenizer() -> PreTrainedTokenizerFast:
    """A token for every byte: `VOCABULARY` ids, the special ones first."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    raw = Tokenizer(
        models.BPE(
            vocab={token: i for i, token in enumerate((*SPECIALS, *alphabet))},
            merges=[],
            unk_token="<unk>",
        )
    )
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    raw.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> $B </s>",
        special_tokens=[("<s>", 0), ("</s>", 2)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=raw,
        bos_token="<s>",
        cls_token="<s>",
        pad_token="<pad>",
        eos_token="</s>",
        sep_token="</s>",
        unk_token="<unk>",
    )


def bert(seed: int = 0) -> BertModel:
    """An encoder of two layers, D = 16, a window of 256 tokens."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = BertConfig(
            vocab_size=VOCABULARY,
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=256,
            initializer_range=0.3,
            pad_token_id=1,
        )
        return BertModel(config).eval()


def bart(seed: int = 0) -> BartForConditionalGeneration:
    """An encoder-decoder of two layers each; its weights are spread, so its outputs differ."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = BartConfig(
            vocab_size=VOCABULARY,
            d_model=16,
            encoder_layers=2,
            decoder_layers=2,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
            encoder_ffn_dim=32,
            decoder_ffn_dim=32,
            max_position_embeddings=512,
            init_std=0.6,
            dropout=0.0,
            bos_token_id=0,
            pad_token_id=1,
            eos_token_id=2,
            decoder_start_token_id=2,
            forced_eos_token_id=None,
        )
        return BartForConditionalGeneration(config).eval()


def folder(model: PreTrainedModel, path: Path) -> Path:
    """A model and the tokenizer, saved as a folder that transformers opens."""
    model.save_pretrained(path)
    tokenizer().save_pretrained(path)
    return path
