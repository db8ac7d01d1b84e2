"""How this plugin is held to ragkit's laws where no model is given: over a tiny random one.

`ragkit plugins check causal-lm` and the tests use it; nothing else imports it.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from ragkit.testing import GeneratorConformance, tiny
from ragkit_causal_lm.generator import CausalLMGenerator


class CausalLMConformance(GeneratorConformance):
    """A Llama of two layers and random weights."""

    component: ClassVar[str | None] = "causal-lm"

    def make(self) -> CausalLMGenerator:
        """The same weights each time."""
        config = LlamaConfig(
            vocab_size=tiny.VOCABULARY,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=512,
            initializer_range=0.4,
            bos_token_id=0,
            pad_token_id=1,
            eos_token_id=2,
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = LlamaForCausalLM(config).eval()
        return CausalLMGenerator(model, tiny.tokenizer(), max_source=256)
