"""A text to the words that count: split, lower-cased, stop words gone, stemmed.

Knows nothing of scores and files.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Sequence

from bm25s.tokenization import Tokenizer

from ragkit.errors import ConfigError, MissingDependency, nearest


class Words:
    """Words of texts.

    Args:
        stopwords: a language that bm25s has a list for (``en``, ``de`` …), a list, or None.
        stemmer: a Snowball language (``english``, ``german`` …), by PyStemmer; None for none.
        pattern: what a word is, as a regular expression.

    Raises:
        ConfigError: a language or an expression that is none.
        MissingDependency: a stemmer is asked for and PyStemmer is not installed.
    """

    def __init__(
        self, stopwords: str | Sequence[str] | None, stemmer: str | None, pattern: str
    ) -> None:
        try:
            self._find = re.compile(pattern).findall
        except re.error as error:
            raise ConfigError(
                f"pattern {pattern!r} is no regular expression: {error}; the default is "
                r"'(?u)\b\w\w+\b'"
            ) from error
        self._stop = _stop(stopwords)
        self._stem = _stemmer(stemmer)
        self._lock = threading.Lock()  # a stemmer of PyStemmer serves one thread at a time

    def of(self, text: str) -> list[str]:
        """The words of a text, in order, each as often as it stands there."""
        found = [word for word in self._find(text.lower()) if word and word not in self._stop]
        if self._stem is None:
            return found
        with self._lock:
            return self._stem(found)


def _stop(stopwords: str | Sequence[str] | None) -> frozenset[str]:
    many = stopwords is not None and not isinstance(stopwords, str)
    try:
        listed = stopwords if many else Tokenizer(stopwords=stopwords).stopwords
    except ValueError as error:
        raise ConfigError(
            f"stopwords is {stopwords!r}: bm25s has no list of that language; name one such as "
            "'en', 'de', 'fr' or 'es', give a list of words, or none"
        ) from error
    return frozenset(listed or ())


def _stemmer(language: str | None) -> Callable[[list[str]], list[str]] | None:
    if language is None:
        return None
    try:
        import Stemmer
    except ImportError as error:
        raise MissingDependency(
            f"the stemmer {language!r} needs PyStemmer, not installed: pip install PyStemmer"
        ) from error
    known: list[str] = Stemmer.algorithms()
    if language not in known:
        raise ConfigError(
            f"stemmer is {language!r}{nearest(language, known) or '.'} PyStemmer has "
            + ", ".join(known)
        )
    stem: Callable[[list[str]], list[str]] = Stemmer.Stemmer(language).stemWords
    return stem
