"""The plugin's entry: what it offers to ragkit, without loading any of it."""

from __future__ import annotations

from ragkit import Component, hookimpl


@hookimpl
def ragkit_generators() -> list[Component]:
    """The generator ``causal-lm``."""
    return [
        Component(
            "causal-lm",
            "ragkit_causal_lm.generator:CausalLMGenerator",
            "any decoder-only model of transformers: prompts, chat templates, LoRA",
            needs=("torch", "transformers"),
            install="pip install ragkit-causal-lm",
            protocol=1,
        )
    ]
