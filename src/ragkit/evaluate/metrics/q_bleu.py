"""Q-BLEU-1: how answerable a generated question is (Nema and Khapra 2018; Table 2).

Q-BLEU-1 = δ·answerability + (1 - δ)·BLEU-1, and answerability weighs how well four kinds of
words agree with a gold question: named entities, the question type, relevant words, stop
words. Kinds, weights and agreement are those of the authors' released program. That program
cuts words up with a tokenizer in Java; ours keeps what it does to plain English questions.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import regex

from ragkit.errors import ConfigError
from ragkit.evaluate.metrics.each import each
from ragkit.protocols import Example, Prediction

_ASKING = "what which why who whom whose where when how"
# English function words, as the authors' program counts them.
_FUNCTION = """
    a about above after again against all am an and any are as at be because been before being
    below between both but by can did do does doing don down during each few for from further
    had has have having he her here hers herself him himself his i if in into is it its itself
    just me more most my myself no nor not now of off on once only or other our ours ourselves
    out over own s same she should so some such t than that the their theirs them themselves
    then there these they this those through to too under until up very was we were while will
    with you your yours yourself yourselves
"""
QUESTION_WORDS = frozenset(_ASKING.split())
STOP_WORDS = frozenset(_FUNCTION.split())
WEIGHTS = {"relevant": 0.1, "entities": 0.6, "type": 0.2, "stop": 0.1}
# "don't" is do and n't, "it's" is it and 's; inner marks stay ("U.S", "1,000", "well-known").
_TOKEN = regex.compile(
    r"\p{L}+(?=n't\b)|n't\b|'(?:s|re|ve|ll|d|m)\b|[\p{L}\p{N}\p{M}]+(?:[-.,&/][\p{L}\p{N}\p{M}]+)*"
    r"|[$%#&@+=]"
)


class QBleu1:
    """Q-BLEU-1 against a gold question; the best over the golds. 0 to 1.

    Args:
        delta: The weight of answerability; the rest is BLEU-1's.
        penalty: Whether agreement in a kind of words is the harmonic mean of two BLEU-1 with
            their brevity penalties, as in the authors' program; if not, it is the F1 of the
            words.
    """

    label = "Q-BLEU-1"

    def __init__(self, delta: float = 0.7, penalty: bool = True) -> None:
        if not 0.0 <= delta <= 1.0:
            raise ConfigError(f"metric q-bleu-1: delta is {delta}; type a number from 0 to 1")
        self.delta = delta
        self.penalty = penalty

    def __call__(
        self, predictions: Sequence[Prediction], examples: Sequence[Example]
    ) -> list[float]:
        return each(self._one, predictions, examples)

    def _one(self, prediction: Prediction, example: Example) -> float:
        if not example.answers:
            return math.nan
        return max(self._against(prediction.text, gold) for gold in example.answers)

    def _against(self, said: str, gold: str) -> float:
        fluency = _bleu_1(tokens(said), tokens(gold), penalty=True)
        return self.delta * self._answerability(said, gold) + (1.0 - self.delta) * fluency

    def _answerability(self, said: str, gold: str) -> float:
        ours, theirs = kinds(said), kinds(gold)
        return sum(
            weight * self._agreement(ours[kind], theirs[kind]) for kind, weight in WEIGHTS.items()
        )

    def _agreement(self, ours: list[str], theirs: list[str]) -> float:
        precision = _bleu_1(ours, theirs, self.penalty)
        recall = _bleu_1(theirs, ours, self.penalty)
        both = precision + recall
        return 2.0 * precision * recall / both if both else 0.0


def kinds(question: str) -> dict[str, list[str]]:
    """The tokens of each kind of words; a kind may have none, and a word several kinds.

    The question type is a question word, with the word after it where it is "what" or
    "which" ("what country"). A capitalised word is taken for a named entity, but for a
    question word at the very beginning.
    """
    words = question.split()
    asking = _type(words)
    rest = [word for word in words if word not in asking]
    named = words[1:] if words and words[0].lower() in QUESTION_WORDS else words
    found = {
        "relevant": [word for word in rest if not _capital(word) and word not in STOP_WORDS],
        "entities": [word for word in named if _capital(word)],
        "type": asking,
        "stop": [word for word in words if word.lower() in STOP_WORDS],
    }
    return {kind: tokens(" ".join(group)) for kind, group in found.items()}


def tokens(text: str) -> list[str]:
    """Words in lower case, clitics by themselves; punctuation falls away."""
    return _TOKEN.findall(text.lower().replace("’", "'"))


def _type(words: Sequence[str]) -> list[str]:
    found = []
    for at, word in enumerate(words):
        if word in QUESTION_WORDS or (word.istitle() and word.lower() in QUESTION_WORDS):
            found.append(word)
            if word.lower() in ("what", "which"):
                found += words[at + 1 : at + 2]
    return found


def _capital(word: str) -> bool:
    return word[0].isupper()


def _bleu_1(said: Sequence[str], gold: Sequence[str], penalty: bool) -> float:
    """The share of the words said that the gold has as often, times the brevity penalty."""
    shared = (Counter(said) & Counter(gold)).total()
    if not shared:
        return 0.0
    short = penalty and len(said) < len(gold)
    return shared / len(said) * (math.exp(1.0 - len(gold) / len(said)) if short else 1.0)
