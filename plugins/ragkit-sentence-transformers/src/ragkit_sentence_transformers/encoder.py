"""The encoder ``sentence-transformers``: any SentenceTransformer model on both sides.

As in the paper (sections 2.2 and 2.4), the question side learns and the passage side stays as
it was when the knowledge base was made. Knows nothing of knowledge bases and scores: text in,
vectors out.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn

from ragkit.errors import ConfigError, DataError
from ragkit.protocols import Passage
from ragkit_sentence_transformers import side
from ragkit_sentence_transformers.side import Side
from ragkit_sentence_transformers.workers import Workers

_OPTIONS = "encoder.json"
_QUESTION, _PASSAGE = "question_model", "passage_model"


class SentenceTransformerEncoder(nn.Module):
    """Two SentenceTransformers whose vectors' inner product scores a passage.

    ``question_model`` carries the gradient; ``passage_model`` is frozen: no gradient, and in
    evaluation mode whatever mode the rest is in.

    Most such models give vectors of length 1, so that the scores lie between -1 and 1 and the
    prior is flat: give the retriever a temperature of about 0.05.

    Args:
        model: folder, hub name or model of the question side.
        passage_model: the same of the passage side; by default a copy of ``model``.
        query_prompt, passage_prompt: text before each; by default the model's own prompts
            for ``query`` and for ``document``, ``passage`` or ``corpus``.
        truncate_dim: components kept of each vector, for models trained so (Matryoshka); by
            default as the model says.
        normalize: scale vectors to length 1, after they were truncated.
        passage_form: what of a passage is encoded, with ``{title}`` and ``{text}``. Of a
            passage without title, what precedes its text is left out.
        shared: one model for both sides, so both are frozen: half the memory, nothing learns.
        cut_questions: cut questions that are longer than the model reads, instead of
            refusing them. Longer passages are cut at the end.
        batch_size: passages encoded at once, of about the same length.
        devices: encode passages in processes of their own, one for each, as in
            ``["cuda:0", "cuda:1"]``. A script must then guard its start with
            ``if __name__ == "__main__"``, and should build a knowledge base with a
            ``batch_size`` of a thousand or so, for that many are shared out at a time.
        device: where both models go; by default one that is loaded stays on the CPU.

    Raises:
        ConfigError: a model that cannot be loaded, sides of different dimension, an option
            that cannot be.
    """

    conformance = "ragkit_sentence_transformers.conformance:TinyConformance"

    def __init__(
        self,
        model: str | Path | SentenceTransformer,
        passage_model: str | Path | SentenceTransformer | None = None,
        query_prompt: str | None = None,
        passage_prompt: str | None = None,
        truncate_dim: int | None = None,
        normalize: bool = False,
        passage_form: str = "{title} {text}",
        shared: bool = False,
        cut_questions: bool = False,
        batch_size: int = 64,
        devices: list[str] | None = None,
        device: str | None = None,
    ) -> None:
        super().__init__()
        _check(passage_form, batch_size, shared, passage_model, devices)
        question = side.load(model, device)
        if shared:
            passage = question
        elif passage_model is None:
            passage = copy.deepcopy(question)
        else:
            passage = side.load(passage_model, device)
        kept = question.truncate_dim if truncate_dim is None else truncate_dim
        self._dimension = side.dimension(question, kept)
        if side.dimension(passage, kept) != self._dimension:
            raise ConfigError(
                f"the question model makes vectors of {self._dimension} numbers and the passage "
                f"model of {side.dimension(passage, kept)}; give two of one dimension"
            )
        self.passage_form = passage_form
        self.shared = shared
        self.cut_questions = cut_questions
        self.batch_size = batch_size
        self.question_side = Side(
            side.prompt_of(question, side.QUERY, query_prompt), "query", kept, normalize
        )
        self.passage_side = Side(
            side.prompt_of(passage, side.DOCUMENT, passage_prompt), "document", kept, normalize
        )
        self.question_model = question
        self.passage_model = passage
        self.workers = Workers(devices) if devices else None
        self._fingerprint: str | None = None
        self._register_load_state_dict_pre_hook(self._forget)  # type: ignore[no-untyped-call]
        _hold_pooler(question)
        passage.requires_grad_(False)
        passage.eval()

    # ------------------------------------------------------------------- as Encoder

    @property
    def dimension(self) -> int:
        """D, after truncation."""
        return self._dimension

    @property
    def device(self) -> torch.device:
        """Where the question side is."""
        return torch.device(self.question_model.device)

    @property
    def fingerprint(self) -> str:
        """Of all that a passage's vector depends on: weights, tokens, prompt, form."""
        if self._fingerprint is None:
            found = self.passage_side.fingerprint(self.passage_model, self.passage_form)
            self._fingerprint = found
        return self._fingerprint

    def questions(self, texts: Sequence[str]) -> Tensor:
        """(B,D) float32, with gradient to the question model unless grad is off.

        Raises `DataError` where a question is too long (see ``cut_questions``).
        """
        if isinstance(texts, str):
            raise DataError("texts is one string; give a list of them: [question]")
        if not len(texts):
            return torch.empty(0, self.dimension, device=self.device)
        if not self.cut_questions:
            self.question_side.refuse_long(self.question_model, texts)
        return self.question_side.vectors(self.question_model, texts)

    def passages(self, passages: Sequence[Passage]) -> Tensor:
        """(N,D) float32, without gradient, in batches of about one length."""
        if not len(passages):
            return torch.empty(0, self.dimension, device=self.device)
        texts = [self._text(passage) for passage in passages]
        options = {
            **self.passage_side.options(),
            "batch_size": self.batch_size,
            "convert_to_tensor": True,
        }
        if self.workers is None:
            found = self.passage_model.encode(texts, **options)
        else:
            found = self.workers.encode(self.passage_model, texts, **options)
        # A copy, for what was made in inference mode can take part in no gradient at all.
        return torch.as_tensor(found).float().clone()  # (N,D)

    def _text(self, passage: Passage) -> str:
        if not passage.title:
            return passage.text
        values = {"title": passage.title, "text": passage.text}
        return re.sub(r"\{(\w+)\}", lambda field: values[field[1]], self.passage_form)

    # ---------------------------------------------------------------------- learning

    def train(self, mode: bool = True) -> Self:
        """As `nn.Module.train`, but the frozen side stays in evaluation mode."""
        super().train(mode)
        self.passage_model.eval()
        return self

    def close(self) -> None:
        """End the processes that encode passages, if there are any."""
        if self.workers is not None:
            self.workers.close()

    def _forget(self, *_: object) -> None:
        """Other weights are about to be loaded."""
        self._fingerprint = None
        self.close()

    # -------------------------------------------------------------------- on disk

    def save(self, directory: Path) -> None:
        """Models as safetensors and options, below a folder."""
        directory = Path(directory)
        self.question_model.save(str(directory / _QUESTION), create_model_card=False)
        if not self.shared:
            self.passage_model.save(str(directory / _PASSAGE), create_model_card=False)
        options = {
            "query_prompt": self.question_side.prompt,
            "passage_prompt": self.passage_side.prompt,
            "truncate_dim": self.question_side.truncate_dim,
            "normalize": self.question_side.normalize,
            "passage_form": self.passage_form,
            "shared": self.shared,
            "cut_questions": self.cut_questions,
            "batch_size": self.batch_size,
            "devices": self.workers.devices if self.workers is not None else None,
        }
        (directory / _OPTIONS).write_text(json.dumps(options, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, directory: Path) -> Self:
        """What `save` wrote, wherever the folder is now.

        Raises `ConfigError` where it is not such a folder.
        """
        directory = Path(directory)
        if not (directory / _OPTIONS).is_file():
            raise ConfigError(
                f"{directory} holds no encoder: {_OPTIONS} is missing; give a folder that "
                "SentenceTransformerEncoder.save wrote, or a SentenceTransformer's folder to "
                "SentenceTransformerEncoder(folder)"
            )
        options: dict[str, Any] = json.loads((directory / _OPTIONS).read_text(encoding="utf-8"))
        question = side.load(directory / _QUESTION, None, local=True)
        passage = None if options["shared"] else side.load(directory / _PASSAGE, None, local=True)
        return cls(question, passage, **options)


def _hold_pooler(model: SentenceTransformer) -> None:
    """A head that no vector depends on, and that distributed training would wait for."""
    for name, parameter in model.named_parameters():
        if "pooler." in name:
            parameter.requires_grad_(False)


def _check(
    passage_form: str, batch_size: int, shared: bool, passage_model: Any, devices: Any
) -> None:
    faults = []
    fields = re.findall(r"\{(\w*)\}", passage_form)
    if sorted(fields) not in (["text"], ["text", "title"]):
        faults.append(
            f"passage_form is {passage_form!r}; it needs {{text}} once and may have {{title}} "
            "once, as in '{title} {text}'"
        )
    if batch_size < 1:
        faults.append(f"batch_size is {batch_size}; it must be at least 1")
    if shared and passage_model is not None:
        faults.append("shared=True has one model for both sides, so leave passage_model out")
    if devices is not None and not devices:
        faults.append("devices is empty; name one for each process, or leave it out")
    if faults:
        raise ConfigError(faults)
