"""How questions and passages become the token ids of an encoder.

The paper's forms are DPR's: a question with straight apostrophes; a passage as
``[CLS] title [SEP] text [SEP]`` with line breaks and outer double quotes gone, all
segment ids zero. Knows tokenizers, but nothing of models, vectors and scores.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from transformers import PreTrainedTokenizerBase

from ragkit.errors import ConfigError, DataError
from ragkit.protocols import Passage

PassageForm = Literal["title [SEP] text", "title. text", "title text", "text"]
PASSAGE_FORMS = ("title [SEP] text", "title. text", "title text", "text")

_PROBE = (
    ("Who wrote it?", None),
    ("Éire\u2019s “Łódź” 北京 12.5%", "naïve\tfaçade, x_y; \ufb01ne\u200b"),
    ("unaffable hyperparameterisation", "ABC abc"),
)
"""Texts on which tokenizers that differ are apt to differ: case, accents, scripts, pieces."""


@dataclass(frozen=True, slots=True)
class EncoderForm:
    """The options that decide which ids a text becomes.

    max_question, max_passage: tokens with special tokens. A longer passage is cut at
        its end; a longer question is refused unless ``cut_questions``.
    passage: what of a passage is encoded.
    segments: give the tokenizer's segment ids instead of zeros.
    question_prefix, passage_prefix: text set before each (E5's ``query: ``).
    """

    max_question: int
    max_passage: int
    passage: str = "title [SEP] text"
    segments: bool = False
    cut_questions: bool = False
    question_prefix: str = ""
    passage_prefix: str = ""

    def __post_init__(self) -> None:
        if self.passage not in PASSAGE_FORMS:
            raise ConfigError(
                f"passage_form is {self.passage!r}; it can be "
                + ", ".join(repr(form) for form in PASSAGE_FORMS)
            )
        for name in ("max_question", "max_passage"):
            if getattr(self, name) < 4:
                raise ConfigError(
                    f"{name} is {getattr(self, name)}; it is a number of tokens, at least 4"
                )

    def question_ids(
        self, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]
    ) -> list[dict[str, list[int]]]:
        """The model inputs of each question, unpadded.

        Raises `DataError` where a question is longer than ``max_question`` tokens.
        """
        cleaned = [self.question_prefix + clean_question(text) for text in texts]
        length = self.max_question if self.cut_questions else None
        rows = self._rows(tokenizer, cleaned, None, length)
        for text, row in zip(texts, rows, strict=True):
            if len(row["input_ids"]) > self.max_question:
                raise DataError(
                    f"the question {text[:60]!r}… has {len(row['input_ids'])} tokens and the "
                    f"encoder reads at most {self.max_question}; shorten it, raise max_question "
                    "if the model allows it, or cut such questions with cut_questions=True"
                )
        return rows

    def passage_ids(
        self, tokenizer: PreTrainedTokenizerBase, passages: Sequence[Passage]
    ) -> list[dict[str, list[int]]]:
        """The model inputs of each passage, unpadded, cut at ``max_passage`` tokens."""
        pairs: list[int] = []
        singles: list[int] = []
        texts: list[str] = []
        for place, passage in enumerate(passages):
            text = clean_passage(passage.text)
            if self.passage in ("title. text", "title text") and passage.title:
                text = f"{passage.title}{self.passage[5:-4]}{text}"
            as_pair = self.passage == "title [SEP] text" and bool(passage.title)
            (pairs if as_pair else singles).append(place)
            texts.append(text if as_pair else self.passage_prefix + text)
        rows: dict[int, dict[str, list[int]]] = {}
        if singles:
            found = self._rows(tokenizer, [texts[i] for i in singles], None, self.max_passage)
            rows.update(zip(singles, found, strict=True))
        if pairs:
            titles = [self.passage_prefix + passages[i].title for i in pairs]
            found = self._rows(tokenizer, titles, [texts[i] for i in pairs], self.max_passage)
            rows.update(zip(pairs, found, strict=True))
        return [rows[place] for place in range(len(passages))]

    def _rows(
        self,
        tokenizer: PreTrainedTokenizerBase,
        texts: list[str],
        seconds: list[str] | None,
        max_length: int | None,
    ) -> list[dict[str, list[int]]]:
        encoded: Mapping[str, list[list[int]]] = tokenizer(
            texts,
            seconds,
            truncation=max_length is not None,
            max_length=max_length,
            verbose=False,
        )
        names = [name for name in encoded if name in _INPUTS]
        rows = [{name: encoded[name][i] for name in names} for i in range(len(texts))]
        if not self.segments:
            for row in rows:
                if "token_type_ids" in row:
                    row["token_type_ids"] = [0] * len(row["token_type_ids"])
        return rows

    def of_passages(self) -> dict[str, Any]:
        """The options that change what a passage becomes."""
        return {
            name: value
            for name, value in asdict(self).items()
            if name not in ("max_question", "cut_questions", "question_prefix")
        }


_INPUTS = ("input_ids", "attention_mask", "token_type_ids")


def clean_question(text: str) -> str:
    """DPR's normalisation of a question."""
    return text.replace("\u2019", "'")


def clean_passage(text: str) -> str:
    """DPR's normalisation of a passage's text."""
    return text.replace("\n", " ").replace("\u2019", "'").removeprefix('"').removesuffix('"')


def tokenizer_fingerprint(tokenizer: PreTrainedTokenizerBase) -> str:
    """What a tokenizer does, not how it is written down.

    Of its vocabulary and of the ids of a few probing texts: so it stays the same when a
    tokenizer is saved and read by another version that serialises it differently.
    """
    probe = [list(tokenizer(first, second)["input_ids"]) for first, second in _PROBE]
    vocabulary = sorted(tokenizer.get_vocab().items())
    return hashlib.sha256(json.dumps([vocabulary, probe]).encode()).hexdigest()
