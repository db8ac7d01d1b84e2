"""Long texts to passages: disjoint chunks of 100 words, as the paper cuts Wikipedia
(section 3), or whole sentences up to so many words. Knows nothing of where texts come from.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from ragkit.errors import DataError
from ragkit.protocols import Passage

_SENTENCE = re.compile(r"(?<=[.!?…])[\"”’)\]]*\s+(?=[\"“‘(\[]?[A-Z0-9À-Þ])|\n{2,}")


def split_words(passages: Iterable[Passage], words: int = 100) -> Iterator[Passage]:
    """Disjoint passages of ``words`` words; the last of a text may be shorter.

    Ids become ``id#0``, ``id#1`` …; a text that is short enough keeps its id.
    """
    _check(words)
    for passage in passages:
        tokens = passage.text.split()
        if len(tokens) <= words:
            yield passage
            continue
        for part, start in enumerate(range(0, len(tokens), words)):
            text = " ".join(tokens[start : start + words])
            yield Passage(f"{passage.id}#{part}", passage.title, text)


def split_sentences(passages: Iterable[Passage], words: int = 100) -> Iterator[Passage]:
    """Disjoint passages of whole sentences, at most ``words`` words each.

    A single sentence that is longer stays whole.
    """
    _check(words)
    for passage in passages:
        parts: list[list[str]] = [[]]
        size = 0
        for sentence in _SENTENCE.split(passage.text):
            sentence = " ".join(sentence.split())
            count = len(sentence.split())
            if not count:
                continue
            if size and size + count > words:
                parts.append([])
                size = 0
            parts[-1].append(sentence)
            size += count
        texts = [" ".join(part) for part in parts]
        if len(texts) == 1:
            yield passage
            continue
        for number, text in enumerate(texts):
            yield Passage(f"{passage.id}#{number}", passage.title, text)


def _check(words: int) -> None:
    if isinstance(words, bool) or not isinstance(words, int) or words < 1:
        raise DataError(f"words is {words!r}; it must be a whole number of at least 1")
