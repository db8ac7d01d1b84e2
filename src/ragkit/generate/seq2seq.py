"""The generator ``seq2seq``: any transformers encoder-decoder as p(y_i|x,z,y_<i).

BART by default (section 2.3), T5 and its kin, `EncoderDecoderModel`. Joins the parts of
this room: form and sources in, reading and decoding out. Knows nothing of scores of
passages: it writes down what the text says, whatever the prior.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, Literal, Self

import torch
from torch import nn
from transformers import (
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    EncoderDecoderModel,
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from ragkit.errors import ConfigError, DataError
from ragkit.generate import attention
from ragkit.generate.encode import encode
from ragkit.generate.form import BART, Form
from ragkit.generate.quoting import Quoter
from ragkit.generate.reading import Seq2SeqReading
from ragkit.generate.sources import SourceBuilder, pad
from ragkit.protocols import Passage, Retrieved, Targets
from ragkit.weights import models

_OPTIONS = "ragkit_generator.json"


class Seq2SeqGenerator(nn.Module):
    """An encoder-decoder that reads passages and writes targets.

    Args:
        model: folder or hub name of an encoder-decoder, or the model itself.
        tokenizer: folder or hub name, or the tokenizer itself; by default the model's.
        form: template of a source with ``{question}``, ``{text}`` and ``{title}``;
            ``[SEP]`` between question and passage gives segment ids (BERT).
        max_source: tokens in a source at most; the released models' 300, or the model's
            own limit where that is less. The passage is cut, never the question.
        max_target: tokens in a target at most; the model's own limit by default.
        spelling: of answers: as the ``tokenizer`` decodes them, or, for one that loses case
            or spacing, as the ``passage`` that holds the answer's tokens has them.

    Raises:
        ConfigError: a form without question or text, a model that cannot be loaded, the
            passage's spelling without a fast tokenizer.
    """

    reads_packed_weights = True

    def __init__(
        self,
        model: str | Path | PreTrainedModel = "facebook/bart-large",
        tokenizer: str | Path | PreTrainedTokenizerBase | None = None,
        form: str = BART,
        max_source: int = 300,
        max_target: int | None = None,
        spelling: Literal["tokenizer", "passage"] = "tokenizer",
    ) -> None:
        super().__init__()
        if isinstance(model, (str, Path)):
            tokenizer = model if tokenizer is None else tokenizer
            model = _load(model)
        if tokenizer is None:
            raise ConfigError(
                "a generator given as a model needs its tokenizer: Seq2SeqGenerator(model, "
                "tokenizer=…)"
            )
        if isinstance(tokenizer, (str, Path)):
            tokenizer = AutoTokenizer.from_pretrained(str(tokenizer))
        _drop_pooler(model)
        self.model = model
        self.tokenizer: PreTrainedTokenizerBase = tokenizer
        reads, writes = _positions(model, "encoder"), _positions(model, "decoder")
        self.max_source = min(max_source, reads or max_source)
        self.max_target = min(max_target or writes or 1 << 30, writes or 1 << 30)
        self.form = Form.parse(form)
        self.sources = SourceBuilder(tokenizer, self.form, self.max_source)
        if spelling not in ("tokenizer", "passage"):
            raise ConfigError(f"spelling is {spelling!r}; it can be 'tokenizer' or 'passage'")
        self.spelling = spelling
        self._quoter = Quoter(tokenizer) if spelling == "passage" else None
        self.grouped = _share_pairs(model)
        self.generation_config = _generation_config(model)

    @property
    def device(self) -> torch.device:
        device: torch.device = self.model.device
        return device

    @property
    def tokenization(self) -> str:
        """Fingerprint of the tokenizer and form that make a passage's tokens."""
        return self.sources.tokenization

    def passage_tokens(self, passages: Sequence[Passage]) -> list[list[int]]:
        """Tokens to keep in a knowledge base, long enough for any question."""
        return [ids[: self.max_source] for ids in self.sources.of_passages(passages)]

    def read(self, questions: Sequence[str], retrieved: Retrieved) -> Seq2SeqReading:
        """Encode each present (question, passage) pair once.

        Raises `DataError` where a question leaves no room in the window.
        """
        sources = self.sources.of_pairs(questions, retrieved)
        tokens, mask = sources.tokens.to(self.device), sources.mask.to(self.device)  # (P,S)
        segments = None
        if sources.segments is not None and _has_segments(self.model):
            segments = sources.segments.to(self.device)
        states = encode(self.model, tokens, mask, segments, self.grouped)  # (P,S,·)
        start = self.generation_config.decoder_start_token_id
        return Seq2SeqReading(
            self.model, states, mask, sources.rows.to(self.device), start, self.grouped
        )

    def targets(self, texts: Sequence[str]) -> Targets:
        """Tokens (N,T) of targets: forced BOS if the model has one, text, EOS.

        A forced token has probability 1 and does not count: it is masked.
        Raises `DataError` where a target is longer than ``max_target``.
        """
        config = self.generation_config
        bos = [] if config.forced_bos_token_id is None else [config.forced_bos_token_id]
        eos = config.eos_token_id
        eos_id = eos[0] if isinstance(eos, list) else eos
        found: Any = self.tokenizer(list(texts), add_special_tokens=False, verbose=False)
        ids = [[*bos, *row, eos_id] for row in found["input_ids"]]
        for text, row in zip(texts, ids, strict=True):
            if len(row) > self.max_target:
                raise DataError(
                    f"the target {text[:60]!r}… has {len(row)} tokens and the generator writes "
                    f"at most {self.max_target}; shorten it or raise max_target"
                )
        tokens, mask = pad(ids, self.sources._pad_id)
        mask[:, : len(bos)] = False
        return Targets(tokens, mask)

    def text(self, tokens: Sequence[Sequence[int]]) -> list[str]:
        """Tokens back to text, without special tokens and outer white space."""
        return [
            text.strip()
            for text in self.tokenizer.batch_decode(
                [list(row) for row in tokens], skip_special_tokens=True
            )
        ]

    def quote(self, tokens: Sequence[int], passages: Sequence[Passage]) -> str | None:
        """These tokens as the first passage that holds them in a row spells them.

        None where none does, and where the spelling is the tokenizer's.
        """
        return None if self._quoter is None else self._quoter.quote(tokens, passages)

    def save(self, directory: Path) -> None:
        """Weights as safetensors, tokenizer and options, below a folder."""
        ties = models.save(self.model, directory)
        self.tokenizer.save_pretrained(directory)
        options = {
            "form": self.form.template,
            "max_source": self.max_source,
            "max_target": self.max_target,
            "spelling": self.spelling,
            **({"ties": ties} if ties else {}),
        }
        (directory / _OPTIONS).write_text(json.dumps(options, indent=2) + "\n")

    @classmethod
    def load(cls, directory: Path) -> Self:
        """What `save` wrote, wherever the folder is now."""
        file = directory / _OPTIONS
        options = json.loads(file.read_text()) if file.is_file() else {}
        ties = options.pop("ties", [])
        made = cls(str(directory), **options)
        models.tie(made.model, ties)
        return made


def _load(name: str | Path) -> PreTrainedModel:
    try:
        return models.load(AutoModelForSeq2SeqLM, name)[0]
    except (OSError, ValueError) as error:
        first = str(error).strip().splitlines()[0]
        raise ConfigError(
            f"no encoder-decoder could be loaded from {str(name)!r}: {first}\n"
            "  give a folder with config.json and model.safetensors, or a hub name while online"
        ) from error


def _positions(model: PreTrainedModel, side: str) -> int | None:
    """The greatest number of positions on one side, None where it has no limit."""
    config: Any = model.config
    if isinstance(model, EncoderDecoderModel):  # two models, each with its own
        config = getattr(model.config, side)
    limit = getattr(config, "max_position_embeddings", None)
    return int(limit) if limit else None


def _drop_pooler(model: PreTrainedModel) -> None:
    """Take the encoder's pooler away: a generator attends to all states, never to a pooled one.

    A checkpoint without it would come back with one of random weights, so that a model
    would not have the parameters that it was saved with.
    """
    encoder: Any = model.get_encoder()
    if isinstance(getattr(encoder, "pooler", None), nn.Module):
        encoder.pooler = None


def _has_segments(model: PreTrainedModel) -> bool:
    config: Any = model.config.encoder if isinstance(model, EncoderDecoderModel) else model.config
    return getattr(config, "type_vocab_size", 0) > 1


def _share_pairs(model: PreTrainedModel) -> bool:
    """Give the model the attention that shares pairs, where it can take it."""
    if not model._can_set_attn_implementation():
        return False
    model.set_attn_implementation(attention.NAME)
    encoder = model.get_encoder()  # of its own configuration in an EncoderDecoderModel
    if encoder is not None and encoder._can_set_attn_implementation():
        encoder.set_attn_implementation(attention.NAME)
        # There the encoder was given another configuration than its layers were made with.
        for part in encoder.modules():
            held = getattr(part, "config", None)
            if isinstance(held, PreTrainedConfig):
                held._attn_implementation = attention.NAME
    return bool(model.config._attn_implementation == attention.NAME)


def _generation_config(model: PreTrainedModel) -> GenerationConfig:
    """The model's own, with the special tokens that its config knows filled in."""
    config = deepcopy(model.generation_config or GenerationConfig())
    for name in ("decoder_start_token_id", "eos_token_id", "pad_token_id", "bos_token_id"):
        if getattr(config, name) is None:
            setattr(config, name, getattr(model.config, name, None))
    if config.decoder_start_token_id is None:
        config.decoder_start_token_id = config.bos_token_id
    missing = [n for n in ("decoder_start_token_id", "eos_token_id") if getattr(config, n) is None]
    if missing:
        raise ConfigError(
            f"the model {type(model).__name__} does not say its {' and '.join(missing)}; set "
            f"model.generation_config.{missing[0]} before making the generator"
        )
    return config
