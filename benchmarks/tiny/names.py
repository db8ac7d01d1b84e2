"""Invented names, to teach copying and to measure it. Knows nothing of tokens or models."""

from __future__ import annotations

import random

# ruff: noqa: SIM905
ONSETS = "b br ch d dr f fl g gr h j k kl l m n p pr qu r s sh sk st t th tr v w y z".split()
VOWELS = "a ai au e ea ei i ia io o oa oo ou u ue y".split()
CODAS = ("", "", "", "l", "m", "n", "nd", "ng", "r", "rk", "s", "sh", "t", "th", "x", "z")


def word(rng: random.Random) -> str:
    """A word of one to three syllables that means nothing."""
    syllables = rng.choices((1, 2, 3), (1, 5, 3))[0]
    made = "".join(rng.choice(ONSETS) + rng.choice(VOWELS) for _ in range(syllables))
    return (made + rng.choice(CODAS)).capitalize()


def name(rng: random.Random) -> str:
    """A name of one to three such words; one in six is a number or a year instead."""
    if rng.random() < 1 / 6:
        return str(rng.choice((rng.randint(1000, 2100), rng.randint(3, 99_999))))
    return " ".join(word(rng) for _ in range(rng.choices((1, 2, 3), (4, 5, 1))[0]))
