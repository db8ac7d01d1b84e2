"""Tiny language models and a tokenizer, made in memory, and the plain model as an oracle."""

from __future__ import annotations

import torch
from ragkit_causal_lm.prompts import Prompts, pad_left
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from tokenizers import decoders as token_decoders
from torch import Tensor
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedTokenizerFast,
)

from ragkit.protocols import Passage, Retrieved

CHAT = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
QUESTIONS = ["who wrote it", "where is the river", "when"]
PASSAGES = [
    Passage("0", "Book", "it was written by her in spring"),
    Passage("1", "River", "the long river runs north"),
    Passage("2", "Year", "1984"),
    Passage("3", "", "no title at all"),
    Passage("4", "Empty", ""),
]


def tokenizer(chat: str | None = CHAT) -> PreTrainedTokenizerFast:
    """Byte-level, without merges: every string has tokens. It puts EOS after a text."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    specials = ["<s>", "<pad>", "</s>", "<unk>", "<|system|>", "<|user|>", "<|assistant|>"]
    vocabulary = {token: i for i, token in enumerate(specials + alphabet)}
    raw = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = token_decoders.ByteLevel()
    raw.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> $B </s>",
        special_tokens=[("<s>", 0), ("</s>", 2)],
    )
    made = PreTrainedTokenizerFast(
        tokenizer_object=raw,
        bos_token="<s>",
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        additional_special_tokens=specials[4:],
    )
    made.chat_template = chat
    return made


SPECIAL = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2}


def gpt2(vocabulary: int = 263, seed: int = 0, positions: int = 256) -> GPT2LMHeadModel:
    """Learned positions: padding that shifts a text would show."""
    torch.manual_seed(seed)
    config = GPT2Config(
        vocab_size=vocabulary,
        n_embd=16,
        n_layer=2,
        n_head=2,
        n_positions=positions,
        initializer_range=0.5,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        **SPECIAL,
    )
    return GPT2LMHeadModel(config).eval()


def _llama_like(vocabulary: int) -> dict[str, object]:
    return {
        "vocab_size": vocabulary,
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "initializer_range": 0.4,
        **SPECIAL,
    }


def llama(vocabulary: int = 263, seed: int = 0) -> LlamaForCausalLM:
    """Rotary positions, keys shared between heads."""
    torch.manual_seed(seed)
    return LlamaForCausalLM(LlamaConfig(**_llama_like(vocabulary))).eval()


def mistral(vocabulary: int = 263, seed: int = 0, window: int = 6) -> MistralForCausalLM:
    """Attention to the last few tokens alone."""
    torch.manual_seed(seed)
    config = MistralConfig(**_llama_like(vocabulary), sliding_window=window)
    return MistralForCausalLM(config).eval()


FAMILIES = {"gpt2": gpt2, "llama": llama, "mistral": mistral}


def prompts(ids: list[list[int]], rows: Tensor) -> Prompts:
    """Prompts of these ids, padded on the left."""
    longest = max(map(len, ids))
    tokens = torch.tensor([[*one, *[0] * (longest - len(one))] for one in ids])
    lengths = torch.tensor([[len(one)] for one in ids])
    return Prompts(*pad_left(tokens, torch.arange(longest)[None] < lengths), rows)


def plain(model: torch.nn.Module, prompt: list[int], target: list[int]) -> Tensor:
    """(T,) log-probabilities of a target after a prompt: one text, no padding, no cache."""
    whole = torch.tensor([prompt + target])
    logits = model(input_ids=whole, use_cache=False).logits[0]
    gold = torch.tensor(target)
    every: Tensor = logits[len(prompt) - 1 : -1].log_softmax(-1)  # (T,V)
    return every.gather(-1, gold[:, None]).squeeze(-1)


def plain_many(
    model: torch.nn.Module, prompt: list[int], targets: list[tuple[int, ...]]
) -> dict[tuple[int, ...], list[float]]:
    """The same for many targets: those of a length together, so still without padding."""
    found: dict[tuple[int, ...], list[float]] = {}
    for length in sorted({len(y) for y in targets}):
        group = [y for y in targets if len(y) == length]
        gold = torch.tensor(group)  # (N,T)
        whole = torch.cat([torch.tensor([prompt]).expand(len(group), -1), gold], dim=1)
        with torch.no_grad():
            logits = model(input_ids=whole, use_cache=False).logits[:, len(prompt) - 1 : -1]
        lines = logits.log_softmax(-1).gather(-1, gold[..., None]).squeeze(-1)
        found.update(zip(group, lines.tolist(), strict=True))
    return found


def unpadded(found: Prompts, pair: int) -> list[int]:
    return found.tokens[pair][found.mask[pair]].tolist()


def retrieved(n_questions: int = 2, n_passages: int = 3, absent: int = 0) -> Retrieved:
    """B × K passages with random scores, best first; the last row lacks ``absent``."""
    random = torch.Generator().manual_seed(0)
    ids = torch.stack(
        [torch.randperm(len(PASSAGES), generator=random)[:n_passages] for _ in range(n_questions)]
    )
    scores = torch.randn(n_questions, n_passages, generator=random) * 2
    scores = scores.sort(dim=1, descending=True).values
    mask = torch.ones_like(ids, dtype=torch.bool)
    if absent:
        mask[-1, -absent:] = False
        ids = ids.masked_fill(~mask, -1)
        scores = scores.masked_fill(~mask, -torch.inf)
    passages = [[PASSAGES[int(i)] if i >= 0 else None for i in row] for row in ids]
    return Retrieved(passages, ids, scores, mask)
