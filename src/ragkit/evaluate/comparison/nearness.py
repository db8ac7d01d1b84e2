"""Near misses: answers that a metric called wrong and that a reader might call right.

`near_miss` names the first of these rules that holds for a gold, or none. Both texts are
first made into words: decomposed (NFKD), case folded, without marks, articles and signs;
"&" is "and", "1,000" is "1000", "21st" is "21", and the numbers and ordinals from zero to
ninety-nine are digits.

| rule | holds where |
|---|---|
| form | the words, written together, are the same: "Twenty-One" and "21" |
| order | they are the same in another order: "Holm, Ada" and "Ada Holm" |
| part | one is a run of words within the other, has at least half of its words, and what is left over holds no number, numeral or negation: "Ada Holm" and "Captain Ada Holm", but not "Henry" and "Henry VIII" |
| spelling | one edit for every eight letters of the shorter, at most, and no digit differs |

Of golds that are patterns, "part" holds where one is found anywhere in the answer, "form"
where it matches when marks are left out. The rules know nothing of the world: some near
misses are wrong answers, so their share is that of answers worth reading again.
"""  # noqa: E501 - a table's rows cannot be broken

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence

from ragkit.evaluate.text import has_pattern, matches_pattern

RULES = ("form", "order", "part", "spelling")

_UNITS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen nineteen"
)
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_ORDINALS = (
    "zeroth first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth "
    "thirteenth fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth"
)
_SMALL = {word: n for text in (_UNITS, _ORDINALS) for n, word in enumerate(text.split())}
_LARGE = {word: 10 * n for n, word in enumerate(_TENS.split(), start=2)}
_LARGE |= {word.removesuffix("y") + "ieth": n for word, n in _LARGE.items()}
_ARTICLES = {"a", "an", "the"}
_NEGATIONS = {"no", "not", "never", "none", "nor", "neither", "without", "non", "except"}
_SCALES = {"hundred", "thousand", "million", "billion", "trillion", "percent", "half", "double"}
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_ORDINAL = re.compile(r"\b(\d+)(?:st|nd|rd|th)\b")
_NUMERAL = re.compile(r"[ivxlc]+")
_LONGEST = 200  # letters; longer texts are not compared letter by letter


def near_miss(text: str, golds: Sequence[str], *, regex: bool = False) -> str | None:
    """The first rule by which the text is near one of the golds, or None.

    >>> near_miss("the ninth of May", ["9 May"])
    'part'
    >>> near_miss("1969", ["1968"]) is None
    True
    """
    if regex:
        return _near_pattern(text, golds)
    said = words(text)
    known = [gold for gold in map(words, golds) if gold]
    if not said:
        return None
    tests: tuple[tuple[str, _Rule], ...] = (
        ("form", _same_form),
        ("order", _same_words),
        ("part", _is_part),
        ("spelling", _same_spelling),
    )
    return next((rule for rule, near in tests if any(near(said, gold) for gold in known)), None)


_Rule = Callable[[Sequence[str], Sequence[str]], bool]


def words(text: str) -> list[str]:
    """The words that the rules compare.

    >>> words("The Twenty-First & 1,000 cafés")
    ['21', 'and', '1000', 'cafes']
    """
    bare = _without_marks(text).casefold().replace("&", " and ").replace("n't", " not")
    bare = _ORDINAL.sub(r"\1", _THOUSANDS.sub("", bare))
    # A sign within a word leaves nothing behind ("u.s."), one between words leaves a space.
    bare = re.sub(r"(?<=\w)[.'’](?=\w)", "", bare)
    found = "".join(c if c.isalnum() else " " for c in bare).split()
    return _in_digits([word for word in found if word not in _ARTICLES])


def _without_marks(text: str) -> str:
    decomposed = unicodedata.normalize("NFKD", text)
    return "".join(c for c in decomposed if unicodedata.category(c) != "Mn")


def _in_digits(found: Sequence[str]) -> list[str]:
    """The words with numbers below a hundred as digits: "twenty", "one" is "21"."""
    out: list[str] = []
    tens: int | None = None  # a word such as "twenty" that may go on
    for word in found:
        small = _SMALL.get(word)
        if tens is not None and small is not None and 0 < small < 10:
            out[-1] = str(tens + small)
            tens = None
            continue
        tens = _LARGE.get(word)
        number = small if tens is None else tens
        out.append(word if number is None else str(number))
    return out


def _same_form(a: Sequence[str], b: Sequence[str]) -> bool:
    return "".join(a) == "".join(b)


def _same_words(a: Sequence[str], b: Sequence[str]) -> bool:
    return sorted(a) == sorted(b)


def _is_part(a: Sequence[str], b: Sequence[str]) -> bool:
    short, long = sorted((list(a), list(b)), key=len)
    if not len(short) < len(long) <= 2 * len(short):
        return False
    for start in range(len(long) - len(short) + 1):
        if long[start : start + len(short)] == short:
            return not any(map(_decides, long[:start] + long[start + len(short) :]))
    return False


def _decides(word: str) -> bool:
    """Whether a word, left out, makes another answer."""
    if word in _NEGATIONS or word in _SCALES or any(c.isdigit() for c in word):
        return True
    return _NUMERAL.fullmatch(word) is not None


def _same_spelling(a: Sequence[str], b: Sequence[str]) -> bool:
    one, other = " ".join(a), " ".join(b)
    shorter = min(len(one), len(other))
    allowed = shorter // 8
    if not allowed or max(len(one), len(other)) > _LONGEST or _digits(one) != _digits(other):
        return False
    return abs(len(one) - len(other)) <= allowed and _edits(one, other) <= allowed


def _digits(text: str) -> str:
    return "".join(c for c in text if c.isdigit())


def _edits(a: str, b: str) -> int:
    """Letters to put in, take out or replace (Levenshtein's distance)."""
    row = list(range(len(b) + 1))
    for i, letter in enumerate(a, start=1):
        diagonal, row[0] = row[0], i
        for j, other in enumerate(b, start=1):
            diagonal, row[j] = (
                row[j],
                min(row[j] + 1, row[j - 1] + 1, diagonal + (letter != other)),
            )
    return row[-1]


def _near_pattern(text: str, patterns: Sequence[str]) -> str | None:
    bare = _without_marks(text)
    if matches_pattern(bare, [_without_marks(one) for one in patterns]):
        return "form"
    return "part" if has_pattern(text, patterns) else None
