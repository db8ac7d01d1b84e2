"""What transformers, datasets, faiss and DPR write, with random weights, made by themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import faiss
import numpy as np
import torch
from torch import Tensor
from transformers import (
    BertModel,
    DPRConfig,
    DPRContextEncoder,
    DPRQuestionEncoder,
    PreTrainedModel,
    RagConfig,
    RagRetriever,
    RagSequenceForGeneration,
    RagTokenForGeneration,
    RagTokenizer,
)

import tiny
from ragkit.protocols import Passage

KINDS: dict[str, Any] = {
    "rag-sequence": RagSequenceForGeneration,
    "rag-token": RagTokenForGeneration,
}
_TEXTS = {
    "Book": "it was written by her in spring",
    "River": "the long river runs north",
    "Year": "it was in 1984",
    '"Harbour"': "ships leave at nine",
    "Coal": "coal is black",
    "Plum": "a plum is violet",
}
PASSAGES = [
    # Of one length, since transformers' Thorough decoding attends to padding.
    Passage(name, title, text.ljust(40 - len(title.strip('"')), "."))
    for name, (title, text) in zip("abcdef", _TEXTS.items(), strict=True)
]
QUESTIONS = ["who wrote it", "where is the river", "when"]
TARGETS = ["she did", "in the north", "1984"]
K = 3


def dpr_config(projection: int = 0) -> DPRConfig:
    table = {k: v for k, v in tiny.bert_config().to_dict().items() if k != "model_type"}
    return DPRConfig(**{**table, "projection_dim": projection})


def dpr(kind: Any, seed: int, projection: int = 0) -> PreTrainedModel:
    """A question or context encoder whose vectors differ from text to text."""
    torch.manual_seed(seed)
    return kind(dpr_config(projection)).eval()


def vectors(tower: PreTrainedModel, passages: list[Passage] = PASSAGES) -> np.ndarray:
    """(N,D) as transformers' example of an own knowledge base makes them."""
    tokenizer = tiny.tokenizer()
    rows = []
    for one in passages:
        found = tokenizer(one.title, one.text.removeprefix('"'), return_tensors="pt")
        with torch.no_grad():
            rows.append(tower(found["input_ids"], found["attention_mask"]).pooler_output[0])
    return torch.stack(rows).numpy()


def dataset(path: Path, found: np.ndarray, ids: bool = True, **more: Any) -> Path:
    """A folder of save_to_disk with title, text, embeddings."""
    table: dict[str, Any] = {
        "title": [one.title for one in PASSAGES],
        "text": [one.text for one in PASSAGES],
        "embeddings": list(found),
        **more,
    }
    if ids:
        table["id"] = [one.id for one in PASSAGES]
    datasets.Dataset.from_dict(table).save_to_disk(str(path))
    return path


def index(path: Path, found: np.ndarray, made: Any) -> Path:
    if isinstance(made, faiss.IndexIDMap):
        made.add_with_ids(found, np.arange(len(found)))
    else:
        made.add(found)
    faiss.write_index(made, str(path))
    return path


def extended(found: np.ndarray) -> np.ndarray:
    """DPR's form: one more dimension, so that the nearest has the greatest inner product."""
    squared = (found**2).sum(1)
    return np.hstack([found, np.sqrt(squared.max() - squared)[:, None]]).astype(np.float32)


def checkpoint(
    folder: Path,
    mixing: str,
    *,
    seed: int = 0,
    scale: float = 0.5,
    binary: bool = False,
    projection: int = 0,
    end_to_end: bool = False,
    generator: PreTrainedModel | None = None,
    **settings: Any,
) -> PreTrainedModel:
    """A whole checkpoint of transformers' RAG, saved as its own code saves one."""
    question = dpr(DPRQuestionEncoder, seed + 1, projection)
    reader = generator or tiny.bart(seed=seed, scale=scale)
    special = {"bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1}
    config = RagConfig.from_question_encoder_generator_configs(
        question.config,
        reader.config,
        **{
            **special,
            "decoder_start_token_id": reader.config.decoder_start_token_id,
            "n_docs": K,
            "retrieval_vector_size": projection or question.config.hidden_size,
            "max_combined_length": 80,
            **settings,
        },
    )
    model = KINDS[mixing](config=config, question_encoder=question, generator=reader).eval()
    if end_to_end:
        model.set_context_encoder_for_training(dpr(DPRContextEncoder, seed + 2, projection))
    model.save_pretrained(folder)
    if binary:
        state = dict(model.state_dict())
        torch.save(state, folder / "pytorch_model.bin")
        (folder / "model.safetensors").unlink()
    RagTokenizer(tiny.tokenizer(), tiny.tokenizer()).save_pretrained(folder)
    return model


def losses(model: PreTrainedModel, retriever: RagRetriever) -> Tensor:
    """−log p(y|x) (B,) by transformers, retrieval and all."""
    tokenizer = tiny.tokenizer()
    found = []
    for question, target in zip(QUESTIONS, TARGETS, strict=True):
        asked = tokenizer(question, return_tensors="pt")["input_ids"]
        written = tokenizer(target, add_special_tokens=False)["input_ids"]
        start = model.config.generator.decoder_start_token_id
        labels = torch.tensor([[start, *written, model.config.eos_token_id]])
        context = _context(model, retriever, asked)
        with torch.no_grad():
            found.append(model(**context, labels=labels, n_docs=K).loss.reshape(()))
    return torch.stack(found)


def outputs(model: PreTrainedModel, retriever: RagRetriever, length: int = 10) -> list[list[int]]:
    """What transformers writes greedily, without start and padding."""
    found = []
    for question in QUESTIONS:
        asked = tiny.tokenizer()(question, return_tensors="pt")["input_ids"]
        context = _context(model, retriever, asked)
        # A one-token candidate of RAG-Sequence has no prior in transformers.
        (row,) = model.generate(
            **context, n_docs=K, num_beams=1, max_length=length, min_new_tokens=2
        )
        tokens = row.tolist()[1:]
        end = model.config.eos_token_id
        found.append(tokens[: tokens.index(end) + 1] if end in tokens else tokens)
    return found


def _context(model: PreTrainedModel, retriever: RagRetriever, asked: Tensor) -> dict[str, Tensor]:
    with torch.no_grad():
        q = model.question_encoder(asked)[0]
    found = retriever(
        asked.numpy(),
        q.numpy(),
        n_docs=K,
        return_tensors="pt",
        prefix=getattr(model.generator.config, "prefix", None),
    )
    scores = torch.einsum("bd,bkd->bk", q, found["retrieved_doc_embeds"].float())
    used = found["context_attention_mask"].bool().any(dim=0)
    return {
        "context_input_ids": found["context_input_ids"][:, used],
        "context_attention_mask": found["context_attention_mask"][:, used],
        "doc_scores": scores,
    }


def bert_states(seed: int) -> dict[str, Tensor]:
    """A BERT with its pooler, as DPR's own code names its weights."""
    torch.manual_seed(seed)
    return BertModel(tiny.bert_config()).state_dict()
