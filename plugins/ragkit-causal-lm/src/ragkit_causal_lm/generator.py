"""The generator ``causal-lm``: any decoder-only model as p(y_i|x,z,y_<i).

Under ``rag-token`` it is the mixture of RePlug (Shi et al. 2023, section 3.2), under
``rag-sequence`` that of Lewis et al. with a language model in the encoder-decoder's
place. Joins prompts, reading and decoding; knows nothing of scores of passages.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, Self

import torch
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from ragkit.errors import ConfigError, DataError
from ragkit.generate.form import Form
from ragkit.protocols import Passage, Retrieved, Targets
from ragkit_causal_lm import lora as adapters
from ragkit_causal_lm import shared
from ragkit_causal_lm.prefix import check_cache
from ragkit_causal_lm.prompts import CHAT_FORM, FORM, PromptBuilder, Prompts
from ragkit_causal_lm.reading import CausalReading

_OPTIONS = "ragkit_causal_lm.json"


class CausalLMGenerator(nn.Module):
    """A language model that reads a passage and a question, and writes on.

    Args:
        model: folder or hub name of a decoder-only model, or the model itself.
        tokenizer: folder or hub name, or the tokenizer itself; by default the model's.
        form: template of a prompt with ``{question}``, ``{text}`` and ``{title}``, the
            question first or last.
        chat: put the form's text, as what the user says, into the tokenizer's chat template.
        system: the system message of that chat.
        max_source: tokens in a prompt at most; less where the model's positions do not
            leave room for ``max_target``. The passage is cut, never the question.
        max_target: tokens in a target at most.
        before_target: what stands between prompt and target; by default a blank, and
            nothing in a chat.
        lora: options of `peft.LoraConfig`, for adapters that learn in the model's place.
        device_map, dtype: as `AutoModelForCausalLM.from_pretrained` has them.

    Raises:
        ConfigError: a form, chat or model that cannot be used.
        MissingDependency: ``lora`` without peft.
    """

    conformance = "ragkit_causal_lm.conformance:CausalLMConformance"

    def __init__(
        self,
        model: str | Path | PreTrainedModel,
        tokenizer: str | Path | PreTrainedTokenizerBase | None = None,
        form: str | None = None,
        chat: bool = False,
        system: str = "",
        max_source: int = 1024,
        max_target: int = 64,
        before_target: str | None = None,
        lora: Mapping[str, Any] | None = None,
        device_map: str | Mapping[str, Any] | None = None,
        dtype: str | None = None,
    ) -> None:
        super().__init__()
        if system and not chat:
            raise ConfigError("system= is a message of a chat; give chat=True too")
        self._base: str | None = None  # the hub's name of a model that is not ours to copy
        if isinstance(model, (str, Path)):
            tokenizer = model if tokenizer is None else tokenizer
            self._base = None if Path(model).is_dir() else str(model)
            model = _load(model, device_map, dtype)
        elif device_map is not None or dtype is not None:
            raise ConfigError(
                "device_map and dtype are for loading; give the model by folder or name, or "
                "load it with them yourself"
            )
        if tokenizer is None:
            raise ConfigError(
                "a generator given as a model needs its tokenizer: CausalLMGenerator(model, "
                "tokenizer=…)"
            )
        if isinstance(tokenizer, (str, Path)):
            tokenizer = AutoTokenizer.from_pretrained(str(tokenizer))
        check_cache(model)
        shared.adopt(model)
        self.lora = None if lora is None else dict(lora)
        if lora is not None:
            adapters.add(model, lora)
        self.model = model
        self.tokenizer: PreTrainedTokenizerBase = tokenizer
        self.chat, self.system = chat, system
        self.max_target = max_target
        self.limit = _positions(model)
        self.max_source = _window(max_source, max_target, self.limit)
        self.before_target = ("" if chat else " ") if before_target is None else before_target
        self.form = Form.parse((CHAT_FORM if chat else FORM) if form is None else form)
        self.prompts = PromptBuilder(tokenizer, self.form, self.max_source, chat, system)
        self.generation_config = _generation_config(model, tokenizer)

    @property
    def device(self) -> torch.device:
        """Where prompts go: the device of the model's first layer."""
        device: torch.device = self.model.device
        return device

    @property
    def tokenization(self) -> str:
        """Fingerprint of the tokenizer and form that make a passage's tokens."""
        return self.prompts.tokenization

    def passage_tokens(self, passages: Sequence[Passage]) -> list[list[int]]:
        """Tokens to keep in a knowledge base, long enough for any question."""
        return [ids[: self.max_source] for ids in self.prompts.of_passages(passages)]

    def read(self, questions: Sequence[str], retrieved: Retrieved) -> CausalReading:
        """Run the model once over the prompt of each present (question, passage) pair.

        Raises `DataError` where a question leaves no room in the window.
        """
        prompts = self.prompts.of_pairs(questions, retrieved)
        here = Prompts(*(part.to(self.device) for part in prompts))
        return CausalReading(self.model, here, self.limit)

    def targets(self, texts: Sequence[str]) -> Targets:
        """Tokens (N,T) of targets: `before_target`, text, EOS.

        Raises `DataError` where a target is longer than ``max_target``.
        """
        written = [f"{self.before_target}{text}" for text in texts]
        found: Any = self.tokenizer(written, add_special_tokens=False, verbose=False)
        ids = [[*row, self._end] for row in found["input_ids"]]
        for text, row in zip(texts, ids, strict=True):
            if len(row) > self.max_target:
                raise DataError(
                    f"the target {text[:60]!r}… has {len(row)} tokens and the generator writes "
                    f"at most {self.max_target}; shorten it or raise max_target"
                )
        longest = max(map(len, ids), default=0)
        tokens = torch.full((len(ids), longest), self._end)  # (N,T)
        mask = torch.zeros((len(ids), longest), dtype=torch.bool)
        for n, row in enumerate(ids):
            tokens[n, : len(row)] = torch.tensor(row)
            mask[n, : len(row)] = True
        return Targets(tokens, mask)

    def text(self, tokens: Sequence[Sequence[int]]) -> list[str]:
        """Tokens back to text, without special tokens and outer white space."""
        found: list[str] = self.tokenizer.batch_decode(
            [list(row) for row in tokens], skip_special_tokens=True
        )
        return [text.strip() for text in found]

    def save(self, directory: Path) -> None:
        """Weights as safetensors, tokenizer, adapters and options, below a folder.

        A model with adapters that came from the hub by name is not copied: it has not
        changed, and is referred to by that name.
        """
        reference = self._base if self.lora is not None else None
        if self.lora is not None:
            adapters.save(self.model, directory)
        if reference is None:
            self._save_model(directory)
        self.tokenizer.save_pretrained(directory)
        options = {
            "base": reference,
            "form": self.form.template,
            "chat": self.chat,
            "system": self.system,
            "max_source": self.max_source,
            "max_target": self.max_target,
            "before_target": self.before_target,
            "lora": self.lora,
        }
        (directory / _OPTIONS).write_text(json.dumps(options, indent=2) + "\n")

    @classmethod
    def load(cls, directory: Path) -> Self:
        """What `save` wrote, wherever the folder is now."""
        file = directory / _OPTIONS
        options = json.loads(file.read_text()) if file.is_file() else {}
        base = options.pop("base", None)
        made = cls(base or str(directory), tokenizer=str(directory), **options)
        if made.lora is not None:
            adapters.load(made.model, directory)
        return made

    @property
    def _end(self) -> int:
        """What ends a target: of several EOS the tokenizer's own, which ends a turn of a chat."""
        ends = self.generation_config.eos_token_id
        ids = ends if isinstance(ends, list) else [ends]
        own = self.tokenizer.eos_token_id
        return int(own if own in ids else ids[0])

    def _save_model(self, directory: Path) -> None:
        if self.lora is None:
            self.model.save_pretrained(directory)
            return
        # transformers writes the adapters alone while it thinks that there are any.
        had = self.model._hf_peft_config_loaded
        self.model._hf_peft_config_loaded = False
        try:
            self.model.save_pretrained(directory, state_dict=adapters.base_weights(self.model))
        finally:
            self.model._hf_peft_config_loaded = had


def _load(name: str | Path, device_map: Any, dtype: str | None) -> PreTrainedModel:
    options = {"device_map": device_map, "dtype": dtype}
    given = {key: value for key, value in options.items() if value is not None}
    try:
        return AutoModelForCausalLM.from_pretrained(str(name), **given)
    except (OSError, ValueError) as error:
        first = str(error).strip().splitlines()[0]
        raise ConfigError(
            f"no language model could be loaded from {str(name)!r}: {first}\n"
            "  give a folder with config.json and model.safetensors, or a hub name while online"
        ) from error


def _positions(model: PreTrainedModel) -> int | None:
    """The model's greatest number of positions, None where it has no limit."""
    config: Any = model.config.get_text_config()
    limit = getattr(config, "max_position_embeddings", None)
    return int(limit) if limit else None


def _window(max_source: int, max_target: int, limit: int | None) -> int:
    if limit is None or max_source + max_target <= limit:
        return max_source
    if max_target >= limit:
        raise ConfigError(
            f"max_target={max_target} leaves no room for a prompt in the model's {limit} "
            "positions; lower it"
        )
    return limit - max_target


def _generation_config(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> GenerationConfig:
    """The model's own, with the special tokens that config and tokenizer know filled in."""
    config: Any = deepcopy(model.generation_config or GenerationConfig())
    for name in ("eos_token_id", "pad_token_id", "bos_token_id"):
        for source in (model.config, tokenizer):
            if getattr(config, name) is None:
                setattr(config, name, getattr(source, name, None))
    if config.eos_token_id is None:
        raise ConfigError(
            f"neither {type(model).__name__} nor its tokenizer says what ends a text; set "
            "model.generation_config.eos_token_id before making the generator"
        )
    # Searches begin a hypothesis with some token and never read it: the prompt stands there.
    first = (config.bos_token_id, config.pad_token_id, config.eos_token_id)
    ids = [one[0] if isinstance(one, list) else one for one in first if one is not None]
    config.decoder_start_token_id = ids[0]
    return config
