"""One side of the encoder: a SentenceTransformer, its prompt, and how long its vectors are.

Vectors are those of ``SentenceTransformer.encode_query`` and ``encode_document``: the prompt
before the text, all modules, then truncation, then, if asked for, length 1. Knows nothing of
passages, knowledge bases and scores.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn

from ragkit.errors import ConfigError, DataError

QUERY, DOCUMENT = ("query",), ("document", "passage", "corpus")
"""Names under which models keep the prompt of each side, the first that is there counts."""

_PROBE = ("Who wrote it?", "Éire’s “Łódź” 北京 12.5%", "unaffable hyperparameterisation ABC abc")
"""Texts on which tokenizers that differ are apt to differ: case, accents, scripts, pieces."""


@dataclass(frozen=True, slots=True)
class Side:
    """What is done to a text besides the model.

    prompt: set before it; None where the model has none. task: ``query`` or ``document``, for
    models that route by it. truncate_dim: components kept; None for all. normalize: to length
    1 after that.
    """

    prompt: str | None
    task: str
    truncate_dim: int | None
    normalize: bool

    def vectors(self, model: SentenceTransformer, texts: Sequence[str]) -> Tensor:
        """(B,D) float32 in one batch, with gradient to the model."""
        features = model.preprocess(list(texts), prompt=self.prompt, task=self.task)
        moved = {
            name: value.to(model.device) if isinstance(value, Tensor) else value
            for name, value in features.items()
        }
        call: Any = model
        whole: Tensor = call(moved, task=self.task)["sentence_embedding"].float()  # (B,D')
        found = whole[:, : self.truncate_dim]  # (B,D)
        return nn.functional.normalize(found, dim=-1) if self.normalize else found

    def options(self) -> dict[str, Any]:
        """The same for ``SentenceTransformer.encode``."""
        return {
            "prompt": self.prompt,
            "task": self.task,
            "truncate_dim": self.truncate_dim,
            "normalize_embeddings": self.normalize,
            "show_progress_bar": False,
        }

    def refuse_long(self, model: SentenceTransformer, texts: Sequence[str]) -> None:
        """Raise `DataError` where a text has more tokens than the model reads."""
        tokenizer: Any = getattr(model[0], "tokenizer", None)
        longest = model.max_seq_length
        if longest is None or not hasattr(tokenizer, "model_max_length"):
            return  # a bag of words has no end
        whole = [(self.prompt or "") + text for text in texts]
        rows = tokenizer(whole, truncation=False, verbose=False)["input_ids"]
        for text, row in zip(texts, rows, strict=True):
            if len(row) > longest:
                raise DataError(
                    f"the question {text[:60]!r}… has {len(row)} tokens and the encoder reads at "
                    f"most {longest}; shorten it, or cut such questions with cut_questions=True"
                )

    def fingerprint(self, model: SentenceTransformer, form: str) -> str:
        """Of all that a vector of this side depends on: weights, tokens, modules, form."""
        digest = hashlib.sha256()
        features = model.preprocess(list(_PROBE), prompt=self.prompt, task=self.task)
        tokens = {
            name: value.tolist() if isinstance(value, Tensor) else str(value)
            for name, value in features.items()
        }
        modules = []
        for place, (name, module) in enumerate(model.named_children()):
            # What the first one does shows in the tokens; its notes change between versions.
            config = (
                module.get_config_dict() if place and hasattr(module, "get_config_dict") else {}
            )
            modules.append([name, type(module).__name__, config])
        known = {
            "form": form,
            "prompt": self.prompt or "",
            "truncate_dim": self.truncate_dim,
            "normalize": self.normalize,
            "window": model.max_seq_length,
            "tokens": tokens,
            "modules": modules,
        }
        digest.update(json.dumps(known, sort_keys=True, default=str).encode())
        for name, weight in sorted(model.state_dict().items()):
            if "pooler." in name or name.endswith("position_ids"):
                continue  # no vector depends on them
            held = weight.detach().cpu().contiguous()
            digest.update(f"{name} {held.dtype} {tuple(held.shape)}".encode())
            digest.update(held.reshape(-1).view(torch.uint8).numpy().data)
        return digest.hexdigest()


def prompt_of(model: SentenceTransformer, names: Sequence[str], given: str | None) -> str | None:
    """The prompt that was given, or else the model's own for one of these names."""
    if given is not None:
        return given
    for name in names:
        if name in model.prompts:
            return str(model.prompts[name])
    if model.default_prompt_name is not None:
        return str(model.prompts[model.default_prompt_name])
    return None


def dimension(model: SentenceTransformer, truncate_dim: int | None) -> int:
    """D. Raises `ConfigError` where the model's is less than what is to be kept."""
    full = model.get_embedding_dimension()
    if full is None:
        with torch.no_grad():
            full = Side(None, "document", None, False).vectors(model, ["?"]).shape[1]
    if truncate_dim is None:
        return int(full)
    if not 1 <= truncate_dim <= full:
        raise ConfigError(
            f"truncate_dim is {truncate_dim} and the model's vectors have {full} dimensions; "
            f"give a number from 1 to {full}"
        )
    return truncate_dim


def load(
    model: str | Path | SentenceTransformer, device: str | None, local: bool = False
) -> SentenceTransformer:
    """A model from a folder or hub name. Raises `ConfigError` where there is none."""
    if isinstance(model, SentenceTransformer):
        return model if device is None else model.to(device)
    try:
        return SentenceTransformer(str(model), device=device or "cpu", local_files_only=local)
    except (OSError, ValueError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ConfigError(
            f"no SentenceTransformer could be loaded from {str(model)!r}: {first}\n"
            "  give a folder that one was saved in, or a hub name while online"
        ) from error
