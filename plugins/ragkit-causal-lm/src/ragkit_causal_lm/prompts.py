"""A question and a passage as the prompt of a language model: text meets tensors here.

A prompt is ``prefix + passage tokens + question tokens + suffix``, in the order of the
form. Without a chat template the prefix is what the tokenizer puts before a text (BOS)
and the suffix is empty; with one they are what the template writes before and after the
user's words. Prompts are padded on the left, so that every one ends at the last column
and what is written next stands in the same place for all. Knows nothing of the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from ragkit.errors import ConfigError
from ragkit.generate.form import Form
from ragkit.generate.sources import SourceBuilder, Specials
from ragkit.protocols import Passage, Retrieved

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

FORM = "Knowledge: {title}. {text}\nQuestion: {question}\nAnswer:"
"""The prompt of plain language models, as RePlug prepends passages (Shi et al. 2023)."""

CHAT_FORM = "{title}\n{text}\n\nAnswer in a few words, from the passage.\n{question}"
"""The user's words in a chat."""

_MARK = "the-words-of-the-user-stand-here"


class Prompts(NamedTuple):
    """P tokenised prompts, and which of them belong to which question.

    tokens: (P,S) int64, padded on the left; mask: (P,S) bool;
    rows: (B,K) int64, -1 where a passage is absent.
    """

    tokens: Tensor
    mask: Tensor
    rows: Tensor


class PromptBuilder:
    """Composes prompts for one tokenizer and one window.

    Args:
        tokenizer: any transformers tokenizer.
        form: template with ``{question}``, ``{text}`` and perhaps ``{title}``.
        window: greatest number of tokens in a prompt.
        chat: wrap it in the tokenizer's chat template.
        system: the system message of the chat; none where empty.

    Raises:
        ConfigError: a form without question or text, no chat template or one that cannot
            be used.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        form: Form,
        window: int,
        chat: bool = False,
        system: str = "",
    ) -> None:
        if form.separated:
            raise ConfigError(
                f"form {form.template!r}: [SEP] is for encoders; a language model reads plain "
                f"text, as in {FORM!r}"
            )
        self._sources = SourceBuilder(tokenizer, form, window)
        if chat:
            self._sources.specials = _around(tokenizer, system)
        else:
            self._sources.specials = self._sources.specials._replace(between=[], suffix=[])

    @property
    def tokenization(self) -> str:
        """Fingerprint of all that decides a passage's tokens."""
        return self._sources.tokenization

    def of_passages(self, passages: Sequence[Passage]) -> list[list[int]]:
        """Tokens of the passage piece alone, uncut."""
        return self._sources.of_passages(passages)

    def of_pairs(self, questions: Sequence[str], retrieved: Retrieved) -> Prompts:
        """All present pairs, question by question, best passage first.

        Too long a passage is cut, never the question; raises `ragkit.DataError` where a
        question leaves no room in the window.
        """
        sources = self._sources.of_pairs(questions, retrieved)
        return Prompts(*pad_left(sources.tokens, sources.mask), sources.rows)


def pad_left(tokens: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Rows (P,S) padded on the right, with their padding moved to the left and made 0."""
    n_tokens = tokens.shape[1]
    missing = n_tokens - mask.sum(1, keepdim=True)  # (P,1)
    place = (torch.arange(n_tokens)[None, :] - missing) % max(n_tokens, 1)  # (P,S)
    moved, present = tokens.gather(1, place), mask.gather(1, place)
    # A padding token may lie outside the model's vocabulary, where it was added later.
    return moved.masked_fill(~present, 0), present


def _around(tokenizer: PreTrainedTokenizerBase, system: str) -> Specials:
    """What the chat template writes before and after the user's words."""
    if not getattr(tokenizer, "chat_template", None):
        raise ConfigError(
            "chat=True needs a chat template and this tokenizer has none; leave chat out, or "
            "take the tokenizer of an instruction-tuned model"
        )
    said = [{"role": "system", "content": system}] if system else []
    said.append({"role": "user", "content": _MARK})
    try:
        written: Any = tokenizer.apply_chat_template(
            said, tokenize=False, add_generation_prompt=True
        )
    except Exception as error:  # templates raise what they like
        hint = "; leave out system=" if system else ""
        raise ConfigError(
            f"the tokenizer's chat template refuses the messages: {error}{hint}"
        ) from error
    if written.count(_MARK) != 1:
        raise ConfigError(
            f"the tokenizer's chat template writes the user's words {written.count(_MARK)} "
            "times; it must write them once, unchanged. Leave chat out and put the model's "
            "markup into form="
        )
    head, tail = written.split(_MARK)
    ids: Any = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in (head, tail)]
    return Specials(list(ids[0]), [], list(ids[1]))
