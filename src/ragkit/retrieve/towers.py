"""One tower of an encoder: a transformers model, its window and how it is pooled.

The vector of a text is the [CLS] state without a projection (the paper's DPR), or the
mean of the states. Knows ids and states, nothing of texts, questions or passages.
"""

from __future__ import annotations

import contextlib
import hashlib
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, DPRContextEncoder, PreTrainedModel
from transformers.utils import logging

from ragkit.errors import ConfigError
from ragkit.weights import models

Pooling = Literal["cls", "mean"]
POOLINGS = ("cls", "mean")

_OFFSET_POSITIONS = ("roberta", "xlm-roberta", "camembert", "mpnet", "longformer", "xlm-roberta-xl")
"""Families whose first position is pad_token_id + 1, so that their window is shorter."""


def load_tower(name: str | Path) -> PreTrainedModel:
    """A transformers encoder from a folder or hub name, in float32.

    Raises `ConfigError` where there is none, or where it is no encoder.
    """
    try:
        config = AutoConfig.from_pretrained(str(name))
        context = "DPRContextEncoder" in (config.architectures or [])
        kind: Any = DPRContextEncoder if context else AutoModel
        model: PreTrainedModel
        with _errors_only():  # its report of a pooler that nobody uses is no news
            model, report = models.load(kind, name, dtype=torch.float32)
    except (OSError, ValueError) as error:
        first = str(error).strip().splitlines()[0]
        raise ConfigError(
            f"no encoder could be loaded from {str(name)!r}: {first}\n"
            "  give a folder with config.json and model.safetensors, or a hub name while online"
        ) from error
    missing = sorted(key for key in report["missing_keys"] if "pooler." not in key)
    if missing:
        warnings.warn(
            f"{str(name)!r} lacks {len(missing)} weights of {type(model).__name__}, such as "
            f"{missing[0]!r}; they are random now. Is it the right model?",
            stacklevel=2,
        )
    return model


@contextlib.contextmanager
def _errors_only() -> Iterator[None]:
    """transformers says nothing but errors within."""
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def prepare(model: PreTrainedModel) -> PreTrainedModel:
    """Check that a model can be a tower, and hold still the head that is not used.

    A head that no loss reaches would make distributed training wait for its gradient.
    """
    if model.config.is_encoder_decoder or getattr(model.config, "is_decoder", False):
        raise ConfigError(
            f"{type(model).__name__} is not an encoder; give one such as BertModel, or the "
            "encoder alone of an encoder-decoder"
        )
    pooler = getattr(model, "pooler", None)
    if isinstance(pooler, nn.Module):
        pooler.requires_grad_(False)
    return model


def window(model: PreTrainedModel, tokenizer_limit: int) -> int:
    """The number of tokens that the model can read."""
    config = model.config
    positions = int(getattr(config, "max_position_embeddings", 0) or tokenizer_limit)
    if config.model_type in _OFFSET_POSITIONS:
        positions -= int(config.pad_token_id) + 1
    return min(positions, tokenizer_limit)


def dimension(model: PreTrainedModel) -> int:
    """D, the length of a vector."""
    return int(getattr(model.config, "projection_dim", 0) or model.config.hidden_size)


def vectors(
    model: PreTrainedModel, batch: dict[str, Tensor], pooling: str, normalize: bool
) -> Tensor:
    """(N,D) float32 of padded inputs (N,S)."""
    out = model(**batch, return_dict=True)
    if model.config.model_type == "dpr":  # its pooler_output is the [CLS] state, projected if so
        pooled = out.pooler_output.float()  # (N,D)
    elif pooling == "cls":
        pooled = out.last_hidden_state[:, 0].float()  # (N,D)
    else:
        states = out.last_hidden_state.float()  # (N,S,D)
        mask = batch["attention_mask"].unsqueeze(-1).to(states.dtype)  # (N,S,1)
        pooled = (states * mask).sum(1) / mask.sum(1).clamp(min=1)  # (N,D)
    return nn.functional.normalize(pooled, dim=-1) if normalize else pooled


def collate(
    rows: Sequence[dict[str, list[int]]], pad_id: int, device: torch.device, multiple: int = 1
) -> dict[str, Tensor]:
    """Unpadded inputs to (N,S) tensors, padded on the right to the longest."""
    longest = max(len(row["input_ids"]) for row in rows)
    longest = -(-longest // multiple) * multiple
    batch = {}
    for name in rows[0]:
        fill = pad_id if name == "input_ids" else 0
        table = torch.full((len(rows), longest), fill, dtype=torch.long)  # (N,S)
        for i, row in enumerate(rows):
            table[i, : len(row[name])] = torch.tensor(row[name])
        batch[name] = table.to(device)
    if "attention_mask" not in batch:  # some tokenizers do not give one
        lengths = torch.tensor([len(row["input_ids"]) for row in rows])  # (N,)
        batch["attention_mask"] = (torch.arange(longest) < lengths[:, None]).long().to(device)
    return batch


def accepted(model: PreTrainedModel, rows: list[dict[str, list[int]]]) -> list[dict[str, Any]]:
    """Without segment ids where the model has none."""
    if getattr(model.config, "type_vocab_size", 0) or not rows or "token_type_ids" not in rows[0]:
        return rows
    return [{n: v for n, v in row.items() if n != "token_type_ids"} for row in rows]


def weights_fingerprint(model: PreTrainedModel) -> str:
    """Of all weights that a vector depends on, rounded to bfloat16.

    Rounded, so that a tower computing in bfloat16 goes with the knowledge base that the
    same tower made in float32, and the reverse.
    """
    digest = hashlib.sha256()
    for name, weight in sorted(model.state_dict().items()):
        if name.startswith("pooler.") or name.endswith("position_ids"):
            continue
        rounded = weight.detach().to("cpu")
        if rounded.is_floating_point():
            rounded = rounded.to(torch.bfloat16)
        digest.update(f"{name} {tuple(rounded.shape)}".encode())
        digest.update(rounded.contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
