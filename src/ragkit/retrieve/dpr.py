"""The encoder ``dpr``: two towers, one for questions that learns, one for passages that
stays as it was when the knowledge base was made (section 2.2 and 2.4).

Knows nothing of knowledge bases and scores: text in, vectors out.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from ragkit.errors import ConfigError
from ragkit.protocols import Passage
from ragkit.retrieve import towers
from ragkit.retrieve.form import EncoderForm, PassageForm, tokenizer_fingerprint

PAPER_QUESTION_MODEL = "facebook/dpr-question_encoder-multiset-base"
PAPER_PASSAGE_MODEL = "facebook/dpr-ctx_encoder-multiset-base"

_OPTIONS = "encoder.json"
_CPU_BFLOAT16_MULTIPLE = 32
"""bfloat16 on CPU compiles a kernel per shape: so few shapes, padded up to this."""


class DPREncoder(nn.Module):
    """Two transformers encoders whose vectors' inner product scores a passage.

    ``question_encoder`` carries the gradient; ``passage_encoder`` is frozen: no gradient,
    and in evaluation mode whatever mode the rest is in.

    Args:
        model: folder, hub name or model of the question tower; by default the DPR that
            the paper starts from.
        passage_model: the same of the passage tower; by default a copy of ``model``.
        tokenizer: folder, hub name or tokenizer; by default the model's.
        pooling: ``cls`` (the paper's) or ``mean``. DPR checkpoints pool by themselves.
        normalize: scale vectors to length 1 (the paper does not).
        shared: one tower for both sides, so both are frozen: half the memory, nothing
            learns but in `ragkit.train.dpr`, which trains both sides.
        max_question, max_passage: tokens, with special tokens; 256 as in DPR, or the
            model's window where that is shorter. Longer passages are cut at the end.
        cut_questions: cut longer questions too, instead of refusing them.
        passage_form: ``title [SEP] text`` (the paper's), ``title. text``,
            ``title text`` or ``text``.
        segments: the tokenizer's segment ids; by default all are zero as in DPR.
        question_prefix, passage_prefix: text before each, for models trained with one.
        dtype: what the passage tower computes in. The question tower learns, so it stays
            in float32 (autocast makes it faster); vectors are float32 always.
        batch_size: passages encoded at once, of about the same length.
        device: where both towers go; by default they stay where they are.

    Raises:
        ConfigError: a model that cannot be loaded or is no encoder, towers of different
            dimension, an option that is not one, more tokens than the model's window.
    """

    reads_packed_weights = True

    def __init__(
        self,
        model: str | Path | PreTrainedModel | None = None,
        passage_model: str | Path | PreTrainedModel | None = None,
        tokenizer: str | Path | PreTrainedTokenizerBase | None = None,
        pooling: Literal["cls", "mean"] = "cls",
        normalize: bool = False,
        shared: bool = False,
        max_question: int | None = None,
        max_passage: int | None = None,
        cut_questions: bool = False,
        passage_form: PassageForm = "title [SEP] text",
        segments: bool = False,
        question_prefix: str = "",
        passage_prefix: str = "",
        dtype: Literal["float32", "bfloat16"] = "float32",
        batch_size: int = 64,
        device: str | None = None,
    ) -> None:
        super().__init__()
        _check(pooling, dtype, batch_size, shared, passage_model)
        if model is None:
            model = PAPER_QUESTION_MODEL
            passage_model = passage_model or (None if shared else PAPER_PASSAGE_MODEL)
        self.tokenizer = _tokenizer(tokenizer, model)
        question = _tower(model)
        passage = question if shared else _passage_tower(passage_model, question)
        if towers.dimension(question) != towers.dimension(passage):
            raise ConfigError(
                f"the question tower makes vectors of {towers.dimension(question)} and the "
                f"passage tower of {towers.dimension(passage)} numbers; give two of one dimension"
            )
        self.pooling, self.normalize, self.shared = pooling, normalize, shared
        self.dtype, self.batch_size = dtype, batch_size
        self.form = EncoderForm(
            max_question=_length("max_question", max_question, question, self.tokenizer),
            max_passage=_length("max_passage", max_passage, passage, self.tokenizer),
            passage=passage_form,
            segments=segments,
            cut_questions=cut_questions,
            question_prefix=question_prefix,
            passage_prefix=passage_prefix,
        )
        self.question_encoder = question
        self.passage_encoder = passage
        self._passages_learn = False
        self._fingerprint: str | None = None
        self._register_load_state_dict_pre_hook(  # type: ignore[no-untyped-call]
            self._forget_fingerprint
        )
        self._freeze()
        if device is not None:
            self.to(device)

    # ------------------------------------------------------------------- as Encoder

    @property
    def dimension(self) -> int:
        """D."""
        return towers.dimension(self.question_encoder)

    @property
    def device(self) -> torch.device:
        """Where the question tower is."""
        device: torch.device = self.question_encoder.device
        return device

    @property
    def fingerprint(self) -> str:
        """Of all that a passage's vector depends on: weights, tokenizer, form, pooling."""
        if self._fingerprint is None:
            parts = {
                "weights": towers.weights_fingerprint(self.passage_encoder),
                "tokenizer": tokenizer_fingerprint(self.tokenizer),
                "form": self.form.of_passages(),
                "pooling": self.pooling,
                "normalize": self.normalize,
            }
            text = json.dumps(parts, sort_keys=True)
            self._fingerprint = hashlib.sha256(text.encode()).hexdigest()
        return self._fingerprint

    def questions(self, texts: Sequence[str]) -> Tensor:
        """(B,D) float32, with gradient to the question tower unless grad is off.

        Raises `DataError` where a question is too long (see ``cut_questions``).
        """
        if not texts:
            return torch.empty(0, self.dimension, device=self.device)
        rows = self.form.question_ids(self.tokenizer, texts)
        return self._vectors(self.question_encoder, rows)

    def passages(self, passages: Sequence[Passage]) -> Tensor:
        """(N,D) float32, without gradient, computed in batches of about one length."""
        device = self.passage_encoder.device
        found = torch.empty(len(passages), self.dimension, device=device)  # (N,D)
        rows = self.form.passage_ids(self.tokenizer, passages)
        by_length = sorted(range(len(rows)), key=lambda i: len(rows[i]["input_ids"]))
        with torch.no_grad():
            for start in range(0, len(rows), self.batch_size):
                places = by_length[start : start + self.batch_size]
                found[places] = self._vectors(self.passage_encoder, [rows[i] for i in places])
        return found

    # ---------------------------------------------------------------------- learning

    def train(self, mode: bool = True) -> Self:
        """As `nn.Module.train`, but a frozen tower stays in evaluation mode."""
        super().train(mode)
        if not self._passages_learn:
            _still(self.passage_encoder)
        return self

    @contextlib.contextmanager
    def learning_passages(self) -> Iterator[None]:
        """Within it, both towers learn (contrastive warm-up, before a knowledge base)."""
        self._passages_learn = True
        _cast(self.passage_encoder, torch.float32)
        self.passage_encoder.requires_grad_(True)
        towers.prepare(self.passage_encoder)
        try:
            yield
        finally:
            self._passages_learn = False
            self._freeze()

    def passages_with_gradient(self, passages: Sequence[Passage]) -> Tensor:
        """(N,D) float32 in one batch, with gradient within `learning_passages`."""
        return self._vectors(self.passage_encoder, self.form.passage_ids(self.tokenizer, passages))

    def _freeze(self) -> None:
        self.passage_encoder.requires_grad_(False)
        _still(self.passage_encoder)
        if self.dtype == "bfloat16":
            _cast(self.passage_encoder, torch.bfloat16)
        self._fingerprint = None

    def _forget_fingerprint(self, *_: object) -> None:
        self._fingerprint = None  # other weights are about to be loaded

    def _vectors(self, model: PreTrainedModel, rows: list[dict[str, list[int]]]) -> Tensor:
        shapes = model.dtype == torch.bfloat16 and model.device.type == "cpu"
        pad = self.tokenizer.pad_token_id
        batch = towers.collate(
            towers.accepted(model, rows),
            pad if isinstance(pad, int) else 0,
            model.device,
            _CPU_BFLOAT16_MULTIPLE if shapes else 1,
        )  # (N,S)
        longest = towers.window(model, 1 << 30)
        batch = {name: table[:, :longest] for name, table in batch.items()}  # after rounding up
        return towers.vectors(model, batch, self.pooling, self.normalize)

    # -------------------------------------------------------------------- on disk

    def save(self, directory: Path) -> None:
        """Towers as safetensors, tokenizer and options, below a folder."""
        directory = Path(directory)
        self.question_encoder.save_pretrained(directory / "question_encoder")
        if not self.shared:
            self.passage_encoder.save_pretrained(directory / "passage_encoder")
        self.tokenizer.save_pretrained(directory / "tokenizer")
        form = asdict(self.form)
        options = {
            "pooling": self.pooling,
            "normalize": self.normalize,
            "shared": self.shared,
            "passage_form": form.pop("passage"),
            **form,
            "dtype": self.dtype,
            "batch_size": self.batch_size,
        }
        (directory / _OPTIONS).write_text(json.dumps(options, indent=2) + "\n")

    @classmethod
    def load(cls, directory: Path) -> Self:
        """What `save` wrote, wherever the folder is now.

        Raises `ConfigError` where it is not such a folder.
        """
        directory = Path(directory)
        if not (directory / _OPTIONS).is_file():
            raise ConfigError(
                f"{directory} holds no encoder: {_OPTIONS} is missing; give a folder that "
                "DPREncoder.save wrote, or load a transformers folder with DPREncoder(folder)"
            )
        options: dict[str, Any] = json.loads((directory / _OPTIONS).read_text())
        passage = None if options["shared"] else directory / "passage_encoder"
        return cls(directory / "question_encoder", passage, directory / "tokenizer", **options)


def _cast(model: nn.Module, dtype: torch.dtype) -> None:
    model.to(dtype)


def _still(model: nn.Module) -> None:
    """Evaluation mode: no dropout."""
    model.eval()


def _check(pooling: str, dtype: str, batch_size: int, shared: bool, passage_model: Any) -> None:
    faults = []
    if pooling not in towers.POOLINGS:
        faults.append(f"pooling is {pooling!r}; it can be 'cls' or 'mean'")
    if dtype not in ("float32", "bfloat16"):
        faults.append(f"dtype is {dtype!r}; it can be 'float32' or 'bfloat16'")
    if batch_size < 1:
        faults.append(f"batch_size is {batch_size}; it must be at least 1")
    if shared and passage_model is not None:
        faults.append("shared=True has one tower for both sides, so leave passage_model out")
    if faults:
        raise ConfigError(faults)


def _tower(model: str | Path | PreTrainedModel) -> PreTrainedModel:
    return towers.prepare(model if isinstance(model, PreTrainedModel) else towers.load_tower(model))


def _passage_tower(
    model: str | Path | PreTrainedModel | None, question: PreTrainedModel
) -> PreTrainedModel:
    if model is None or model is question:
        return copy.deepcopy(question)
    return _tower(model)


def _tokenizer(
    tokenizer: str | Path | PreTrainedTokenizerBase | None, model: str | Path | PreTrainedModel
) -> PreTrainedTokenizerBase:
    if isinstance(tokenizer, PreTrainedTokenizerBase):
        return tokenizer
    name = tokenizer if tokenizer is not None else model
    if isinstance(name, PreTrainedModel):
        raise ConfigError(
            "an encoder given as a model needs its tokenizer: DPREncoder(model, tokenizer=…)"
        )
    try:
        found: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(str(name))
    except (OSError, ValueError) as error:
        first = str(error).strip().splitlines()[0]
        raise ConfigError(
            f"no tokenizer could be loaded from {str(name)!r}: {first}\n"
            "  give tokenizer= a folder that holds one, or a hub name while online"
        ) from error
    return found


def _length(
    name: str, asked: int | None, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> int:
    window = towers.window(model, tokenizer.model_max_length)
    if asked is None:
        return min(256, window)
    if asked > window:
        raise ConfigError(
            f"{name} is {asked} and the model reads at most {window} tokens; give {name}={window} "
            "or less"
        )
    return asked
