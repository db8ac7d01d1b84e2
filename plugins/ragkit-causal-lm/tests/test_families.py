"""Many families of language models: what differs in positions, masks and caches."""

from __future__ import annotations

from typing import Any

import causal_models as tiny
import pytest
import torch
import transformers
from ragkit_causal_lm import shared
from ragkit_causal_lm.generator import CausalLMGenerator

from ragkit.errors import ConfigError

LLAMA_LIKE = {
    "vocab_size": 263,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "initializer_range": 0.3,
    **tiny.SPECIAL,
}
PLAIN = {"vocab_size": 263, "hidden_size": 32, "initializer_range": 0.3, **tiny.SPECIAL}
LATENT = {
    **LLAMA_LIKE,
    "num_key_value_heads": 4,
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "n_group": 1,
    "topk_group": 1,
    "moe_intermediate_size": 16,
    "first_k_dense_replace": 1,
}
FAMILIES: dict[str, tuple[str, str, dict[str, Any], bool]] = {
    # name: configuration, model, options, whether hypotheses share keys without copies
    "norms of queries": ("Qwen3Config", "Qwen3ForCausalLM", {**LLAMA_LIKE, "head_dim": 8}, True),
    "experts": ("MixtralConfig", "MixtralForCausalLM", LLAMA_LIKE, True),
    "parallel blocks": ("PhiConfig", "PhiForCausalLM", LLAMA_LIKE, True),
    "learned positions with an offset": (
        "OPTConfig",
        "OPTForCausalLM",
        {
            "vocab_size": 263,
            "hidden_size": 32,
            "word_embed_proj_dim": 32,
            "ffn_dim": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "max_position_embeddings": 256,
            "init_std": 0.3,
            "dropout": 0.0,
            **tiny.SPECIAL,
        },
        True,
    ),
    "windows and whole texts by turns": (
        "Gemma3TextConfig",
        "Gemma3ForCausalLM",
        {
            **LLAMA_LIKE,
            "head_dim": 8,
            "sliding_window": 6,
            "layer_types": ["sliding_attention", "full_attention"],
        },
        False,
    ),
    "capped scores": (
        "Gemma2Config",
        "Gemma2ForCausalLM",
        {**LLAMA_LIKE, "head_dim": 8, "sliding_window": 6},
        False,
    ),
    "sinks": (
        "GptOssConfig",
        "GptOssForCausalLM",
        {**LLAMA_LIKE, "head_dim": 8, "sliding_window": 6},
        False,
    ),
    "positions by distance": (
        "BloomConfig",
        "BloomForCausalLM",
        {**PLAIN, "n_layer": 2, "n_head": 4},
        False,
    ),
    "one key for all heads": (
        "FalconConfig",
        "FalconForCausalLM",
        {**PLAIN, "num_hidden_layers": 2, "num_attention_heads": 4},
        False,
    ),
    "keys made of something smaller": (
        "DeepseekV3Config",
        "DeepseekV3ForCausalLM",
        LATENT,
        False,
    ),
}


def made(config: str, model: str, options: dict[str, Any]) -> Any:
    torch.manual_seed(0)
    return getattr(transformers, model)(getattr(transformers, config)(**options)).eval()


@pytest.mark.parametrize("family", FAMILIES)
def test_scores_and_steps_are_those_of_the_plain_model(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared, "_unfit", set())
    config, name, options, shares = FAMILIES[family]
    model = made(config, name, options)
    generator = CausalLMGenerator(model, tiny.tokenizer(), max_source=150)
    found = tiny.retrieved(3, 2, absent=1)
    targets = generator.targets(["a", "two words", "longer"])
    prompts = generator.prompts.of_pairs(tiny.QUESTIONS, found)
    with torch.no_grad():
        reading = generator.read(tiny.QUESTIONS, found)
        scores = reading.score(targets, reading.rows)
        for b, k in (reading.rows >= 0).nonzero().tolist():
            gold = targets.tokens[b][targets.mask[b]].tolist()
            want = tiny.plain(model, tiny.unpadded(prompts, int(reading.rows[b, k])), gold)
            torch.testing.assert_close(scores[b, k, : len(gold)], want, atol=1e-4, rtol=1e-4)
        decoding, rows = reading.start(reading.rows), reading.rows
        texts: list[list[int]] = [[], [], []]
        for parents in ([0, 0, 2, 1, 1], [4, 3, 2, 1, 0, 0], [5, 1]):
            logp = decoding.next()
            for n, m in (rows >= 0).nonzero().tolist():
                whole = [*tiny.unpadded(prompts, int(rows[n, m])), *texts[n]]
                logits = model(input_ids=torch.tensor([whole]), use_cache=False).logits[0, -1]
                torch.testing.assert_close(logp[n, m], logits.log_softmax(-1), atol=1e-4, rtol=1e-4)
            tokens = torch.arange(len(parents)) + 60
            decoding.append(tokens, torch.tensor(parents))
            texts = [[*texts[p], int(t)] for p, t in zip(parents, tokens, strict=True)]
            rows = rows[parents]
    assert decoding.following.is_shared is shares


def test_a_model_that_counts_columns_and_one_that_keeps_a_state_are_refused() -> None:
    options = {
        "vocab_size": 263,
        "d_model": 32,
        "decoder_layers": 2,
        "decoder_attention_heads": 4,
        "decoder_ffn_dim": 64,
        "init_std": 0.5,
        **tiny.SPECIAL,
    }
    with pytest.raises(ConfigError, match="padding on the left"):
        CausalLMGenerator(made("BartConfig", "BartForCausalLM", options), tiny.tokenizer())
    with pytest.raises(ConfigError, match="LinearAttentionLayer"):
        CausalLMGenerator(made("JambaConfig", "JambaForCausalLM", LLAMA_LIKE), tiny.tokenizer())
    small = {"hidden_size": 8, "num_hidden_layers": 1, "vocab_size": 263}
    with pytest.raises(ConfigError, match="keeps no keys and values"):
        CausalLMGenerator(made("MambaConfig", "MambaForCausalLM", small), tiny.tokenizer())
