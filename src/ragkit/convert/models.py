"""transformers models made of a configuration and named tensors, complete or not at all.

Knows nothing of where the tensors come from.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import (
    AutoModelForSeq2SeqLM,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from ragkit.errors import ConfigError, DataError
from ragkit.progress import quiet


def under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Those whose names begin with a prefix, without it."""
    return {name[len(prefix) :]: one for name, one in tensors.items() if name.startswith(prefix)}


def make(
    kind: Any, config: PreTrainedConfig, state: dict[str, Tensor], what: str
) -> tuple[PreTrainedModel, list[str]]:
    """A model in float32 with these weights, and the names of those that it has no use for.

    A pooler may be missing, since nothing here uses one. Raises `DataError` for any other
    weight that is missing or of another shape.
    """
    if not state:
        raise DataError(f"the checkpoint has no weights of {what}; is it a whole one?")
    try:
        with quiet():
            model, report = kind.from_pretrained(
                None, config=config, state_dict=state, dtype=torch.float32, output_loading_info=True
            )
    except (RuntimeError, ValueError) as error:
        first = next((line for line in str(error).splitlines() if "size" in line), str(error))
        raise DataError(
            f"the weights of {what} are not those of its configuration: {first.strip()[:200]}"
        ) from error
    missing = sorted(name for name in report["missing_keys"] if "pooler." not in name)
    if missing:
        raise DataError(
            f"the checkpoint lacks {len(missing)} weights of {what}, such as {missing[0]!r}; is "
            "the download complete, and its configuration the right one?"
        )
    return model.eval(), sorted(report["unexpected_keys"])


def seq2seq_kind(config: PreTrainedConfig) -> Any:
    """The class of an encoder-decoder. Raises `ConfigError` where the configuration is of none."""
    try:
        with torch.device("meta"):  # no weight is made, only the class is wanted
            return type(AutoModelForSeq2SeqLM.from_config(config))
    except (ValueError, TypeError, RuntimeError) as error:
        raise ConfigError(
            f"the generator is {config.model_type!r}, and no encoder-decoder that transformers "
            "makes; ragkit converts those alone"
        ) from error


def check_words(words: PreTrainedTokenizerBase, size: int, where: object) -> None:
    """Raises `ConfigError` where a tokenizer has not the words of a model with ``size`` ids.

    transformers makes an empty one where the file of its vocabulary is missing.
    """
    if len(words) * 2 < size:
        raise ConfigError(
            f"the tokenizer of {where} has {len(words)} tokens, and the model {size}; is the "
            "download complete, with the file of its vocabulary?"
        )
