"""The laws of a generator, by ragkit's own kit: over three families, in a chat, with adapters."""

from __future__ import annotations

from typing import ClassVar

import causal_models as tiny
import torch
from ragkit_causal_lm.conformance import CausalLMConformance
from ragkit_causal_lm.generator import CausalLMGenerator

from ragkit.testing import check


class TestOverLlama(CausalLMConformance):
    pass


class TestOverGPT2InAChat(CausalLMConformance):
    def make(self) -> CausalLMGenerator:
        return CausalLMGenerator(tiny.gpt2(), tiny.tokenizer(), chat=True, system="Be brief.")


class TestOverMistralWithAdapters(CausalLMConformance):
    learns: ClassVar[bool | None] = True

    def make(self) -> CausalLMGenerator:
        with torch.random.fork_rng(devices=[]):
            model = tiny.mistral(window=200)
            options = {"r": 2, "target_modules": "all-linear", "init_lora_weights": False}
            return CausalLMGenerator(model, tiny.tokenizer(), max_source=300, lora=options).eval()


def test_by_its_name_it_passes_every_check() -> None:
    outcomes = check("generator", "causal-lm")
    assert len(outcomes) > 20
    assert not [one for one in outcomes if one.state == "failed"]
