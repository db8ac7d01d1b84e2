"""When two texts are the same answer, and when a passage holds an answer.

Two conventions, each as its source defines it: SQuAD's for comparing a prediction with
a gold (EM and F1), DPR's for finding a gold in a passage (answer recall, Figure 3 of
the paper). This module knows nothing of predictions, models or files.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Iterable, Sequence
from functools import lru_cache

import regex

_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
# `re`, as in SQuAD's script: `regex` sees no word end before a combining mark.
_ARTICLE = re.compile(r"\b(a|an|the)\b")
_DPR_TOKEN = regex.compile(r"[\p{L}\p{N}\p{M}]+|[^\p{Z}\p{C}]")
_PATTERN_FLAGS = regex.IGNORECASE | regex.UNICODE | regex.MULTILINE


def squad_normalise(text: str) -> str:
    """Lower case, no ASCII punctuation, no article, single spaces.

    Punctuation leaves no space behind (``"U.S."`` becomes ``"us"``), an article does.

    >>> squad_normalise("The  U.S. Senate's")
    'us senates'
    """
    bare = text.lower().translate(_NO_PUNCTUATION)
    return " ".join(_ARTICLE.sub(" ", bare).split())


def squad_tokens(text: str) -> list[str]:
    """The words that F1 counts: `squad_normalise` split at spaces."""
    return squad_normalise(text).split()


def dpr_tokens(text: str) -> list[str]:
    """Runs of letters, digits and marks, and every other visible character alone.

    After canonical decomposition (NFD), in lower case, as DPR's tokenizer has it.

    >>> dpr_tokens("St. John's, 1969")
    ['st', '.', 'john', "'", 's', ',', '1969']
    """
    return [token.lower() for token in _DPR_TOKEN.findall(unicodedata.normalize("NFD", text))]


def has_answer(text: str, answers: Iterable[str]) -> bool:
    """Whether the tokens of an answer are a contiguous run of the tokens of the text.

    An answer without a token (only spaces or control characters) is never found.
    """
    line = _token_line(text)
    return any(needle in line for needle in map(_token_line, answers) if needle != " ")


def has_pattern(text: str, patterns: Iterable[str]) -> bool:
    """Whether a regular expression is found anywhere in the text (CuratedTrec's golds).

    Ignoring case, ``^`` and ``$`` at lines; text and pattern in NFD. A pattern that is
    not a valid expression never matches.
    """
    decomposed = unicodedata.normalize("NFD", text)
    compiled = (_pattern(unicodedata.normalize("NFD", pattern)) for pattern in patterns)
    return any(one is not None and one.search(decomposed) is not None for one in compiled)


def matches_pattern(text: str, patterns: Sequence[str]) -> bool:
    """Whether a regular expression matches from the beginning of the text.

    How predictions are compared with golds that are patterns; flags as in `has_pattern`.
    """
    compiled = (_pattern(pattern) for pattern in patterns)
    return any(one is not None and one.match(text) is not None for one in compiled)


@lru_cache(maxsize=8192)  # the same passages are retrieved for many questions
def _token_line(text: str) -> str:
    # No token holds a space, so a run of tokens is a substring between spaces.
    return " ".join(["", *dpr_tokens(text), ""])


@lru_cache(maxsize=4096)
def _pattern(pattern: str) -> regex.Pattern[str] | None:
    try:
        return regex.compile(pattern, _PATTERN_FLAGS)
    except regex.error:
        return None
