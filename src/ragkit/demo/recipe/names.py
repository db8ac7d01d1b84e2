"""Invented names of people, places and countries, spliced from the names of training countries.

Knows nothing of sentences or models. Words of `banned` (the surnames and the countries that are
held out) are never produced.
"""

# ruff: noqa: SIM905
from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

ONSETS = (
    "b d f g h j k l m n p r s t v w y z ch sh th kh gh dj ts zh br dr gr kr pr tr bl gl kl pl st "
    "sk nd mb ng ny kw mw gw bw ll rh ph qu sv zd sl sn sp vl hr dz"
).split()
VOWELS = "a e i o u a e i o u aa ei ai ou ia io uu ee oo au ie ue oe y ay ey".split()
CODAS = "n r l s m t k d z sh v ng nd rt st x b g p th ck ss tt nn ll rd".split()
PARTICLES = (
    "de,da,do,dos,de la,del,van,van der,von,bin,ibn,al,Ould,Abd al,Le,La,El,Ben,Ag,Di,Della,St,Mac,Ter"
).split(",")
PLACES = (
    "{} Islands,Saint {},New {},North {},South {},{} Republic,Upper {},{} and {},Isle of {},"
    "Republic of {},{}-{},{} Territory,San {},Port {},Lower {},East {},{} Coast"
).split(",")
SUMMITS = "Mount {},{} Peak,Mont {},Pico {},Cerro {},{} Ridge,{} Hills,Jebel {},Monte {},Gora {}"
COINS = (
    "dollars,francs,pounds,dinars,pesos,rupees,kronor,crowns,shillings,rials,lira,marks,leones,"
    "taka,kwacha,dirhams,escudos,reais,tenge,dram"
)


def _cut(word: str, rng: random.Random) -> tuple[str, str]:
    """A word in two, at a border of vowel and consonant where there is one."""
    cuts = [
        i for i in range(2, len(word) - 1) if (word[i - 1] in "aeiouy") != (word[i] in "aeiouy")
    ]
    at = rng.choice(cuts) if cuts else len(word) // 2
    return word[:at], word[at:]


@dataclass
class Names:
    """Makes names out of `words`; `people` are full names that may also come as they are."""

    words: Sequence[str]
    people: Sequence[str]
    banned: frozenset[str]
    shapes: list[str] = field(default_factory=list)

    def word(self, rng: random.Random) -> str:
        while True:
            kind = rng.random()
            if kind < 0.50:
                made = _cut(rng.choice(self.words), rng)[0] + _cut(rng.choice(self.words), rng)[1]
            elif kind < 0.75:
                made = "".join(
                    rng.choice(ONSETS) + rng.choice(VOWELS) for _ in range(rng.choice((1, 2, 2, 3)))
                )
                made += rng.choice(CODAS) if rng.random() < 0.55 else ""
                made = (rng.choice(VOWELS) if rng.random() < 0.15 else "") + made
            else:
                made = rng.choice(self.words)
            made = re.sub(r"(.)\1\1+", r"\1\1", made.lower())
            if 2 <= len(made) <= 13 and made not in self.banned:
                return made.capitalize()

    def person(self, rng: random.Random) -> str:
        if rng.random() < 0.05 and self.people:
            return rng.choice(self.people)
        count = rng.choices((2, 3, 4, 5), (52, 32, 13, 3))[0]
        words = [self.word(rng) for _ in range(count)]
        if rng.random() < 0.13:
            at = rng.randrange(count)
            words[at] += "-" + (self.word(rng) if rng.random() < 0.75 else self.word(rng).lower())
        if rng.random() < 0.14 and count < 5:
            words.insert(1, rng.choice("ABCDEFGHIJKLMNOPRSTVW") + ".")
        if rng.random() < 0.12:
            particle = rng.choice(PARTICLES)
            particle = particle.title() if rng.random() < 0.3 else particle
            words.insert(rng.randrange(1, len(words)), particle)
        if rng.random() < 0.06:
            at = rng.randrange(len(words))
            words[at] = rng.choice(("al-", "O'", "Mc", "D'", "N'", "Al-", "El-")) + words[at]
        if rng.random() < 0.02:
            words = [words[0], rng.choice("II III IV V VI XVI I".split()), *words[1:2]]
            words = words[: rng.choice((2, 3))]
        if rng.random() < 0.02:
            words[0] = words[0][:-1] + "'" + words[0][-1]
        return " ".join(words[:6])

    def country(self, rng: random.Random) -> str:
        if rng.random() < 0.72:
            return self.word(rng)
        return rng.choice(PLACES).replace("{}", self.word(rng), 1).replace("{}", self.word(rng))

    def like(self, country: str, rng: random.Random) -> str:
        """Another country whose name shares a word with this one."""
        kept = rng.choice(re.findall(r"[A-Z][A-Za-z]+", country) or [country])
        if rng.random() < 0.5 and len(kept) > 3:  # Aruba, Cuba; Niger, Nigeria
            start, end = _cut(kept.lower(), rng)
            new = self.word(rng).lower()
            made = start + _cut(new, rng)[1] if rng.random() < 0.5 else _cut(new, rng)[0] + end
            return self.word(rng) if made in self.banned else made.capitalize()
        form = rng.choice([*PLACES, "{}", "{} {}"])
        return form.replace("{}", kept, 1).replace("{}", self.word(rng))

    def place(self, rng: random.Random) -> str:
        return self.country(rng) if rng.random() < 0.4 else self.word(rng)

    def summit(self, rng: random.Random) -> str:
        return rng.choice(SUMMITS.split(",")).replace("{}", self.place(rng))

    def currency(self, rng: random.Random) -> str:
        coin = rng.choice(COINS.split(",")) if rng.random() < 0.7 else self.word(rng).lower()
        return f"{self.word(rng)} {coin}" if rng.random() < 0.8 else coin

    def answer(self, relation: str, rng: random.Random) -> str:
        """An invented answer of a relation's kind."""
        match relation:
            case "capital":
                return self.place(rng)
            case "highest_point":
                return self.summit(rng)
            case "currency":
                return self.currency(rng)
            case "population":
                if rng.random() < 0.8:
                    return f"{rng.uniform(1, 10) * rng.choice((1, 10)):.1f} million"
                return f"{rng.randrange(2, 999)},{rng.randrange(10)}00"
            case "airports":
                return str(int(10 ** rng.uniform(0, 2.8)))
            case "income":
                return f"${rng.randrange(1, 100)},{rng.randrange(10)}00"
            case "internet_users":
                return f"{rng.uniform(1, 99):.1f}%"
            case "internet_domain":
                return "." + "".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=2))
        return self.person(rng)
