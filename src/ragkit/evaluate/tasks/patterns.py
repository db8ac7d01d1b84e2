"""Answers that are regular expressions: checked before they are used, and read as text.

`checked` compiles one as the metrics do (`ragkit.evaluate.text`), and refuses what cannot be
compiled or would call every answer right. `literal` finds a text that an expression stands
for: what a model can learn where no passages are at hand. Nothing is run. Knows no file.
"""

from __future__ import annotations

import re

import regex

from ragkit.errors import DataError

FLAGS = regex.IGNORECASE | regex.UNICODE | regex.MULTILINE
LONGEST = 20_000
"""Characters of an expression; CuratedTrec's longest has a few hundred."""
_SECONDS = 2.0
_TRIED = 64


def checked(pattern: str, where: str) -> regex.Pattern[str]:
    """The compiled expression; raises `DataError` where it is none, or matches anything."""
    if len(pattern) > LONGEST:
        raise DataError(
            f"{where}: a regular expression of {len(pattern):,} characters; "
            f"{LONGEST:,} are the most, so cut it in several answers"
        )
    try:
        compiled = regex.compile(pattern, FLAGS)
        empty = compiled.search("", timeout=_SECONDS)
    except regex.error as error:
        raise DataError(
            f"{where}: {pattern!r:.80} is no regular expression ({error}); "
            f"correct it, or write a backslash before a sign that is meant as text"
        ) from None
    except (TimeoutError, RecursionError, MemoryError, OverflowError):
        raise DataError(
            f"{where}: {pattern!r:.80} takes too long to try; write it more plainly"
        ) from None
    if empty:
        raise DataError(
            f"{where}: {pattern!r:.80} matches the empty text, so every answer would be right; "
            f"take out the empty alternative"
        )
    return compiled


def literal(pattern: str) -> str | None:
    """A text that the whole expression matches: the first of its alternatives, spelled out.

    None where there is none to be found: for look-around, back references and the like.
    """
    compiled = regex.compile(pattern, FLAGS)
    for dot in (" ", "."):
        for spaced in (True, False):
            try:
                text = _Speller(pattern, dot, spaced).all()
                text = " ".join(text.split())
                if text and compiled.fullmatch(text, timeout=_SECONDS):
                    return text
            except (_NotSpelled, TimeoutError, RecursionError):
                continue
    return None


class _NotSpelled(Exception):
    """An expression of a kind that is not spelled out."""


class _Speller:
    """Reads an expression from left to right and writes a text that it matches.

    dot: what stands for any sign. spaced: whether spaces that may be missing are written.
    """

    def __init__(self, pattern: str, dot: str, spaced: bool) -> None:
        self.pattern = pattern
        self.dot = dot
        self.spaced = spaced
        self.at = 0

    def all(self) -> str:
        return self._first_of_alternatives()

    def _next(self) -> str:
        return self.pattern[self.at : self.at + 1]

    def _take(self) -> str:
        sign = self._next()
        if not sign:
            raise _NotSpelled
        self.at += 1
        return sign

    def _first_of_alternatives(self) -> str:
        found = [self._sequence()]
        while self._next() == "|":
            self.at += 1
            found.append(self._sequence())
        return next((one for one in found if one.strip()), found[0])

    def _sequence(self) -> str:
        text = ""
        while self._next() not in ("", "|", ")"):
            atom = self._atom()
            least, most = self._times()
            if least == 0:
                # What may be missing is written where it is a word's, or as is wished.
                word = atom.strip().isalnum() and atom != self.dot
                text += atom if most and (word or (self.spaced and atom == " ")) else ""
            else:
                text += atom * min(least, _TRIED)
        return text

    def _atom(self) -> str:
        sign = self._take()
        if sign == "(":
            if self.pattern.startswith("?:", self.at):
                self.at += 2
            elif self._next() == "?":
                raise _NotSpelled
            text = self._first_of_alternatives()
            self._take()
            return text
        if sign == "[":
            return self._class()
        if sign == "\\":
            return self._escaped(self._take())
        if sign == ".":
            return self.dot
        return "" if sign in "^$" else sign

    def _escaped(self, sign: str) -> str:
        known = {"s": " ", "d": "1", "w": "a", "S": "a", "D": " ", "W": " ", "b": "", "B": ""}
        known |= dict.fromkeys("nrt", " ")
        if sign in known:
            return known[sign]
        if sign.isascii() and sign.isalnum():
            raise _NotSpelled
        return sign

    def _class(self) -> str:
        """A sign that a class has; of a negated one, a sign that it has not."""
        negated = self._next() == "^"
        self.at += negated
        start = self.at
        self.at += self._next() == "]"  # at the beginning it is a sign
        while self._take() != "]":
            if self.pattern[self.at - 1] == "\\":
                self.at += 1
        inner = self.pattern[start : self.at - 1]
        if negated:
            one = regex.compile(f"[^{inner}]", FLAGS)
            return next((sign for sign in " a1" if one.fullmatch(sign)), "")
        return self._escaped(inner[1]) if inner[0] == "\\" else inner[0]

    def _times(self) -> tuple[int, int]:
        """The least and the greatest number of times; whether lazy or not does not matter."""
        found = _TIMES.match(self.pattern, self.at)
        if found is None:
            return 1, 1
        self.at = found.end()
        if found["sign"]:
            return {"?": (0, 1), "*": (0, 1), "+": (1, 1)}[found["sign"]]
        least = int(found["least"] or 0)
        return least, max(least, 1)


_TIMES = re.compile(r"(?:(?P<sign>[?*+])|\{(?P<least>\d{1,4})(?:,\d{0,4})?\})[?+]?")
