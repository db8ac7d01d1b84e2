"""An output in the spelling of the passage that holds it.

A tokenizer may lose case, accents and spacing (``u. s. $ 5. 2 million``); the passage
still has them. The output's ids are looked for among the ids of a passage, and the
characters that those came from are the answer. Knows nothing of models and scores; the
paper's BART keeps its spelling and has no need of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ragkit.errors import ConfigError
from ragkit.protocols import Passage

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_KEPT = 256
"""Texts whose tokens are kept: the n best of a question look into the same passages."""


class _Tokens(NamedTuple):
    """A text's ids, the characters each came from, and the word each belongs to."""

    ids: list[int]
    spans: list[tuple[int, int]]
    words: list[int | None]


class Quoter:
    """Finds token ids in passages.

    Args:
        tokenizer: a fast one, for the others do not say which characters a token is.

    Raises:
        ConfigError: the tokenizer is not a fast one.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        if not tokenizer.is_fast:
            raise ConfigError(
                f"{type(tokenizer).__name__} does not say which characters a token came from, so "
                "spelling='passage' is not possible; give a fast tokenizer or spelling='tokenizer'"
            )
        self.tokenizer = tokenizer
        # An unknown character is a token of the passage too, and can so be copied.
        self._special = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
        self._known: dict[str, _Tokens] = {}

    def quote(self, tokens: Sequence[int], passages: Sequence[Passage]) -> str | None:
        """The words of the first passage that holds these ids in a row, text before title.

        None where no passage does, or where there are no ids but special ones.
        """
        wanted = [int(token) for token in tokens if int(token) not in self._special]
        if not wanted:
            return None
        for passage in passages:
            for text in (passage.text, passage.title):
                found = self._within(wanted, text)
                if found:
                    return found
        return None

    def _within(self, wanted: list[int], text: str) -> str:
        """The first run of whole words, or else the first run; "" without one."""
        if not text:
            return ""
        there = self._tokens(text)
        runs = list(_runs(wanted, there.ids))
        if not runs:
            return ""
        n = len(wanted)
        start = next((i for i in runs if _whole(there.words, i, i + n)), runs[0])
        return text[there.spans[start][0] : there.spans[start + n - 1][1]].strip()

    def _tokens(self, text: str) -> _Tokens:
        if text not in self._known:
            if len(self._known) >= _KEPT:
                self._known.clear()
            found: Any = self.tokenizer(
                text, add_special_tokens=False, return_offsets_mapping=True, verbose=False
            )
            self._known[text] = _Tokens(
                found["input_ids"], found["offset_mapping"], found.word_ids(0)
            )
        return self._known[text]


def _runs(wanted: list[int], ids: list[int]) -> Iterator[int]:
    """Where ``wanted`` begins in ``ids``."""
    for start in range(len(ids) - len(wanted) + 1):
        if ids[start] == wanted[0] and ids[start : start + len(wanted)] == wanted:
            yield start


def _whole(words: list[int | None], start: int, end: int) -> bool:
    """Whether the tokens from start to end cut no word."""
    begins = start == 0 or words[start - 1] is None or words[start - 1] != words[start]
    return begins and (end == len(words) or words[end] is None or words[end] != words[end - 1])
