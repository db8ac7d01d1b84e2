"""A small batch of questions with retrieved passages, and transformers' RAG as an oracle."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import (
    BartForConditionalGeneration,
    DPRConfig,
    DPRQuestionEncoder,
    RagConfig,
    RagSequenceForGeneration,
    RagTokenForGeneration,
)

from ragkit.generate.seq2seq import Seq2SeqGenerator
from ragkit.protocols import Passage, Retrieved, Targets
from tiny import bert_config

QUESTIONS = ["who wrote it", "where is the river", "when"]
PASSAGES = [
    Passage("0", "Book", "it was written by her in spring"),
    Passage("1", "River", "the long river runs north"),
    Passage("2", "Year", "1984"),
    Passage("3", "", "no title at all"),
    Passage("4", "Empty", ""),
]


def retrieved(
    n_questions: int = 2,
    n_passages: int = 3,
    absent: int = 0,
    seed: int = 0,
    scores: Tensor | None = None,
) -> Retrieved:
    """B × K passages with random scores, best first; the last row lacks ``absent`` of them."""
    random = torch.Generator().manual_seed(seed)
    ids = torch.stack(
        [torch.randperm(len(PASSAGES), generator=random)[:n_passages] for _ in range(n_questions)]
    )
    if scores is None:
        scores = torch.randn(n_questions, n_passages, generator=random) * 2
        scores = scores.sort(dim=1, descending=True).values
    mask = torch.ones(n_questions, n_passages, dtype=torch.bool)
    if absent:
        mask[-1, -absent:] = False
        ids = ids.masked_fill(~mask, -1)
        scores = scores.masked_fill(~mask, -torch.inf)
    passages = [[PASSAGES[int(i)] if i >= 0 else None for i in row] for row in ids]
    return Retrieved(passages, ids, scores, mask)


def oracle(
    kind: type[RagSequenceForGeneration] | type[RagTokenForGeneration],
    model: BartForConditionalGeneration,
    n_passages: int,
) -> RagSequenceForGeneration | RagTokenForGeneration:
    """transformers' RAG around the same generator weights."""
    encoder = DPRQuestionEncoder(
        DPRConfig(**{k: v for k, v in bert_config().to_dict().items() if k != "model_type"})
    )
    config = RagConfig.from_question_encoder_generator_configs(
        encoder.config, model.config, n_docs=n_passages
    )
    config.bos_token_id, config.eos_token_id, config.pad_token_id = 0, 2, 1
    config.decoder_start_token_id = model.config.decoder_start_token_id
    return kind(config=config, question_encoder=encoder, generator=model).eval()


def contexts(
    generator: Seq2SeqGenerator, questions: list[str], found: Retrieved
) -> dict[str, Tensor]:
    """What transformers' RAG takes in place of a retriever: the pairs, row by row."""
    sources = generator.sources.of_pairs(questions, found)
    return {
        "context_input_ids": sources.tokens,
        "context_attention_mask": sources.mask.long(),
        "doc_scores": found.scores,
    }


def random_targets(n_targets: int, length: int, vocabulary: int = 261, seed: int = 1) -> Targets:
    """Tokens (N,T) of different lengths, each ending in EOS."""
    random = torch.Generator().manual_seed(seed)
    tokens = torch.randint(5, vocabulary, (n_targets, length), generator=random)
    mask = torch.ones_like(tokens, dtype=torch.bool)
    for n in range(n_targets):
        end = max(1, length - n)
        tokens[n, end - 1], tokens[n, end:], mask[n, end:] = 2, 1, False
    return Targets(tokens, mask)
