"""Tiny models and tokenizers with random weights, made in memory: no download, no file.

Vocabulary and sizes are small enough that brute force is possible.
"""

from __future__ import annotations

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from tokenizers import decoders as token_decoders
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    BertConfig,
    BertLMHeadModel,
    BertModel,
    BlenderbotConfig,
    BlenderbotForConditionalGeneration,
    BlenderbotSmallConfig,
    BlenderbotSmallForConditionalGeneration,
    EncoderDecoderModel,
    MarianConfig,
    MarianMTModel,
    MBartConfig,
    MBartForConditionalGeneration,
    PegasusConfig,
    PegasusForConditionalGeneration,
    PLBartConfig,
    PLBartForConditionalGeneration,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def tokenizer(extra: str = "") -> PreTrainedTokenizerFast:
    """A byte-level tokenizer without merges: every string has tokens. 261 ids."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    vocabulary = {token: i for i, token in enumerate(specials + alphabet)}
    raw = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = token_decoders.ByteLevel()
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
        mask_token="<mask>",
    )


def bart(vocabulary: int = 261, seed: int = 0, scale: float = 0.6) -> BartForConditionalGeneration:
    """A BART of 2+2 layers; ``scale`` is the spread of its weights (peaked outputs)."""
    torch.manual_seed(seed)
    config = BartConfig(
        vocab_size=vocabulary,
        d_model=16,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        max_position_embeddings=512,
        init_std=scale,
        dropout=0.0,
        bos_token_id=0,
        pad_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=2,
        forced_eos_token_id=None,
    )
    return BartForConditionalGeneration(config).eval()


def t5(vocabulary: int = 261, seed: int = 0) -> T5ForConditionalGeneration:
    torch.manual_seed(seed)
    config = T5Config(
        vocab_size=vocabulary,
        d_model=16,
        d_kv=8,
        d_ff=32,
        num_layers=2,
        num_heads=2,
        dropout_rate=0.0,
        pad_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
        initializer_factor=3.0,
    )
    return T5ForConditionalGeneration(config).eval()


def bert_config(vocabulary: int = 261, **options: object) -> BertConfig:
    return BertConfig(
        vocab_size=vocabulary,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=256,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        initializer_range=0.3,
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
        **options,
    )


def bert(vocabulary: int = 261, seed: int = 0) -> BertModel:
    torch.manual_seed(seed)
    return BertModel(bert_config(vocabulary)).eval()


def bert2bert(vocabulary: int = 261, seed: int = 0) -> EncoderDecoderModel:
    torch.manual_seed(seed)
    decoder = BertLMHeadModel(bert_config(vocabulary, is_decoder=True, add_cross_attention=True))
    model = EncoderDecoderModel(encoder=BertModel(bert_config(vocabulary)), decoder=decoder)
    for config in (model.config, model.generation_config):
        config.decoder_start_token_id = 0
        config.eos_token_id = 2
        config.pad_token_id = 1
    return model.eval()


KIN = {
    "blenderbot": (BlenderbotConfig, BlenderbotForConditionalGeneration),
    "blenderbot-small": (BlenderbotSmallConfig, BlenderbotSmallForConditionalGeneration),
    "marian": (MarianConfig, MarianMTModel),
    "mbart": (MBartConfig, MBartForConditionalGeneration),
    "pegasus": (PegasusConfig, PegasusForConditionalGeneration),
    "plbart": (PLBartConfig, PLBartForConditionalGeneration),
}
"""BART's kin: sinusoidal or learned positions, norms before or after."""


def kin(name: str) -> PreTrainedModel:
    """A model of `KIN` of 2+2 layers."""
    config, model = KIN[name]
    torch.manual_seed(0)
    return model(
        config(
            vocab_size=261,
            d_model=16,
            encoder_layers=2,
            decoder_layers=2,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
            encoder_ffn_dim=32,
            decoder_ffn_dim=32,
            max_position_embeddings=64,
            init_std=0.6,
            dropout=0.0,
            attention_dropout=0.0,
            pad_token_id=1,
            eos_token_id=2,
            decoder_start_token_id=2,
        )
    ).eval()
