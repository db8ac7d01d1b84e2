"""Tiny encoder-decoders and a tokenizer, made in memory, and the plain model as an oracle."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from ragkit_fid.generator import FiDGenerator
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from tokenizers import decoders as token_decoders
from torch import Tensor
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    BertConfig,
    BertLMHeadModel,
    BertModel,
    EncoderDecoderModel,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)
from transformers.modeling_outputs import BaseModelOutput

from ragkit.protocols import Passage, Retrieved

QUESTIONS = ["who wrote it", "where is the river", "when"]
PASSAGES = [
    Passage("0", "Book", "it was written by her in spring"),
    Passage("1", "River", "the long river runs north"),
    Passage("2", "Year", "1984"),
    Passage("3", "", "no title at all"),
    Passage("4", "Empty", ""),
]


def tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level, without merges: every string has tokens. 261 ids."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    raw = Tokenizer(
        models.BPE(
            vocab={token: i for i, token in enumerate(specials + alphabet)},
            merges=[],
            unk_token="<unk>",
        )
    )
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


def bart(vocabulary: int = 261, seed: int = 0) -> BartForConditionalGeneration:
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
        max_position_embeddings=256,
        init_std=0.6,
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
        initializer_factor=1.5,
    )
    return T5ForConditionalGeneration(config).eval()


def bert2bert(vocabulary: int = 261, seed: int = 0) -> EncoderDecoderModel:
    torch.manual_seed(seed)

    def config(**options: object) -> BertConfig:
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

    decoder = BertLMHeadModel(config(is_decoder=True, add_cross_attention=True))
    model = EncoderDecoderModel(encoder=BertModel(config()), decoder=decoder)
    for one in (model.config, model.generation_config):
        one.decoder_start_token_id, one.eos_token_id, one.pad_token_id = 0, 2, 1
    return model.eval()


FAMILIES: dict[str, Any] = {
    "bart": (bart, {}),
    "t5": (t5, {}),
    "bert2bert": (bert2bert, {"form": "{question} [SEP] {title} {text}"}),
}


def make(family: str = "bart", **options: Any) -> FiDGenerator:
    model, own = FAMILIES[family]
    return FiDGenerator(model(), tokenizer(), **{**own, **options})


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


def take(found: Retrieved, b: int, columns: list[int] | None = None) -> Retrieved:
    """One question of a batch, and of it these passages."""
    keep = list(range(found.ids.shape[1])) if columns is None else columns
    return Retrieved(
        [[found.passages[b][k] for k in keep]],
        found.ids[b : b + 1, keep],
        found.scores[b : b + 1, keep],
        found.mask[b : b + 1, keep],
    )


def eager(model: PreTrainedModel) -> PreTrainedModel:
    """A copy whose attention is transformers' plainest."""
    copied = deepcopy(model)
    copied.set_attn_implementation("eager")
    return copied


def fused_by_hand(
    model: PreTrainedModel, generator: FiDGenerator, questions: list[str], found: Retrieved, b: int
) -> tuple[Tensor, list[int]]:
    """States (1,L,·) of one question: its pairs encoded alone, unpadded, laid end to end."""
    sources = generator.reader.sources.of_pairs(questions, found)
    states, lengths = [], []
    for pair in sources.rows[b].tolist():
        if pair < 0:
            lengths.append(0)
            continue
        length = int(sources.mask[pair].sum())
        options = {}
        if sources.segments is not None:
            options["token_type_ids"] = sources.segments[pair, :length][None]
        states.append(
            model.get_encoder()(
                input_ids=sources.tokens[pair, :length][None],
                attention_mask=torch.ones(1, length, dtype=torch.long),
                **options,
            ).last_hidden_state
        )
        lengths.append(length)
    return torch.cat(states, dim=1), lengths


def plain_logits(
    model: PreTrainedModel, states: Tensor, inputs: list[int], **options: object
) -> Any:
    """What transformers' model makes of encoder states and decoder inputs."""
    return model(
        encoder_outputs=BaseModelOutput(last_hidden_state=states),
        attention_mask=torch.ones(states.shape[:2], dtype=torch.long),
        decoder_input_ids=torch.tensor([inputs]),
        use_cache=False,
        **options,
    )
