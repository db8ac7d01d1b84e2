"""The pre-training stream: sentences of invented countries, for reading and for retrieval.

Its own phrasings (`ROLES`, `FACTS`) differ from the demo's; the reader also sees the demo's, with
invented names in them, the encoder its passages alone. Batch `i` of a seed is always the same batch.
"""

# ruff: noqa: SIM905
from __future__ import annotations

import csv
import json
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ragkit.demo.recipe.names import Names

PEOPLE = ("chief_of_state", "head_of_government", "ambassador_to_us", "us_ambassador")
DEMO = Path(__file__).resolve().parents[1]

# role: (how passages call it, how questions call it); "{c}" is the country
ROLES = {
    "chief_of_state": (
        "president of {c}|monarch of {c}|king of {c}|queen of {c}|head of state of {c}|"
        "{c}'s president|{c}'s head of state|ruler of {c}|sovereign of {c}|emir of {c}",
        "president of {c}|monarch of {c}|head of state of {c}|{c}'s president|king or president of {c}|"
        "{c}'s head of state|ruler of {c}|sovereign of {c}",
    ),
    "head_of_government": (
        "prime minister of {c}|premier of {c}|head of government of {c}|{c}'s prime minister|"
        "chancellor of {c}|{c}'s premier|leader of the government of {c}|chief minister of {c}",
        "prime minister of {c}|premier of {c}|head of government of {c}|{c}'s prime minister|"
        "{c}'s head of government|leader of the government of {c}|chancellor of {c}",
    ),
    "ambassador_to_us": (
        "{c}'s ambassador to the United States|ambassador of {c} in the US|{c}'s envoy in Washington|"
        "representative of {c} in the United States|{c}'s chief of mission in America",
        "{c}'s ambassador to the United States|ambassador of {c} in the US|{c}'s envoy to America|"
        "representative of {c} in the US|{c}'s man or woman in Washington",
    ),
    "us_ambassador": (
        "US ambassador to {c}|United States ambassador in {c}|American envoy to {c}|"
        "chief of the US mission in {c}|representative of the United States in {c}",
        "US ambassador to {c}|United States ambassador in {c}|American envoy in {c}|"
        "representative of America in {c}|US chief of mission in {c}",
    ),
    "speaker": (
        "speaker of parliament in {c}|{c}'s parliamentary speaker|president of the assembly of {c}",
        "speaker of parliament in {c}|head of the assembly of {c}|{c}'s speaker",
    ),
    "bank": (
        "governor of the central bank of {c}|{c}'s central banker|head of {c}'s national bank",
        "governor of the central bank of {c}|{c}'s central banker|chief of the national bank of {c}",
    ),
    "justice": (
        "chief justice of {c}|{c}'s highest judge|president of the supreme court of {c}",
        "chief justice of {c}|highest judge in {c}|head of the supreme court of {c}",
    ),
    "coach": (
        "coach of {c}'s football team|{c}'s national coach|trainer of the {c} eleven",
        "coach of {c}'s football team|football trainer of {c}|national coach of {c}",
    ),
    "finance": (
        "finance minister of {c}|{c}'s treasurer|minister of finance in {c}",
        "finance minister of {c}|treasurer of {c}|minister in charge of money in {c}",
    ),
    "bishop": (
        "archbishop of {c}|{c}'s leading cleric|head of the church in {c}",
        "archbishop of {c}|leading cleric in {c}|head of the church in {c}",
    ),
    "general": (
        "commander of the army of {c}|{c}'s top general|chief of staff of {c}'s forces",
        "commander of the army of {c}|top general of {c}|chief of {c}'s forces",
    ),
    "composer": (
        "composer of the anthem of {c}|author of {c}'s anthem",
        "composer of the anthem of {c}|author of {c}'s anthem",
    ),
    "mayor": (
        "mayor of the largest city of {c}|{c}'s best known mayor",
        "mayor of the largest city of {c}|best known mayor in {c}",
    ),
    "un": (
        "{c}'s delegate at the United Nations|permanent representative of {c} in New York",
        "{c}'s delegate at the United Nations|representative of {c} at the UN",
    ),
}
ROLE_PASSAGES = (
    "{a} is {r}.|{a} serves as {r}.|{a} has been {r} since {y}.|Since {y}, {a} has been {r}.|"
    "{R} is {a}.|{R} is called {a}.|{R} since {y} is {a}.|The current {r0} is {a}.|"
    "In {y}, {a} became {r}.|{a}, {r}, was seen in {p}.|{R}, {a}, gave a speech in {p}.|"
    "{a} was sworn in as {r} in {y}.|They made {a} {r}.|It is {a} who acts as {r}.|"
    "As {r}, {a} travelled to {p}.|{a} took over as {r} {y}.|Known as {r}, {a} was born in {p}.|"
    "The post of {r0} is filled by {a}.|{a} works as {r}."
).split("|")
ROLE_QUESTIONS = (
    "Who is {r}?|Who serves as {r}?|Who works as {r}?|{R} is who?|What is the name of {r}?|"
    "Who acts as {r}?|Name {r}.|Who is currently {r}?|Which person is {r}?|How is {r} called?"
).split("|")
FACTS = {  # relation: passages, questions
    "capital": (
        "The largest offices of {c} are in its capital {a}.|{a}, capital of {c}, is a busy town.|"
        "{c}'s capital city is {a}.|Parliament in {c} meets in {a}.",
        "What is {c}'s capital city?|Where does parliament meet in {c}?|What is {c}'s capital?",
    ),
    "highest_point": (
        "{c}'s highest mountain is {a}.|At the top of {c} lies {a}.|{a} is the summit of {c}.",
        "What is {c}'s highest mountain?|What is the summit of {c}?|What lies at the top of {c}?",
    ),
    "currency": (
        "People in {c} pay in {a}.|{c}'s currency is {a}.|Taxes in {c} are due in {a}.",
        "What is {c}'s currency?|In what are taxes due in {c}?|How do people in {c} pay?",
    ),
    "population": (
        "{c}'s population is {a}.|{a} men, women and children inhabit {c}.|{a} persons dwell in {c}.",
        "What is {c}'s population?|How many persons dwell in {c}?|How many people inhabit {c}?",
    ),
    "airports": (
        "{c} has {a} airports.|{a} airports serve {c}.",
        "How many airports does {c} have?|How many airports serve {c}?",
    ),
    "income": (
        "GDP per head in {c} is {a}.|{c}'s income per capita is {a}.",
        "What is {c}'s income per capita?|What is GDP per head in {c}?",
    ),
    "internet_users": (
        "{a} of {c} is connected to the net.|Internet penetration in {c} is {a}.",
        "How much of {c} is connected to the net?|What is internet penetration in {c}?",
    ),
    "internet_domain": (
        "{c}'s internet suffix is {a}.|Domains of {c} finish with {a}.",
        "What is {c}'s internet suffix?|With what do domains of {c} finish?",
    ),
}
FILLERS = (
    "The weather was mild that year.|Reporters wrote about it at length.|Few were surprised.|"
    "A statement followed in the evening.|Critics had expected something else.|"
    "It was reported from {p}.|This has been so since {y}.|The news came from {p}.|"
    "Talks will go on in {y}.|Farmers in {p} had other worries.|No date was given.|"
    "The harvest was good.|More is known to the archives of {p}.|It rained in {p}."
).split("|")

OPENINGS = {  # of the loose questions, by the kind of what is asked for
    "people": ("Who", "Who", "Who", "Whom", "Name", "Which person"),
    "capital": ("Where", "Which city", "What"),
    "highest_point": ("Where", "What", "Which"),
    "currency": ("What", "Which", "In what"),
    "population": ("How many", "What"),
    "airports": ("How many", "What"),
    "income": ("How much", "What"),
    "internet_users": ("How much", "What share"),
    "internet_domain": ("What", "Under which"),
}


@dataclass(frozen=True)
class Example:
    title: str
    text: str
    question: str
    target: str
    relation: str


def held_out_words(rows: Sequence[dict[str, str]]) -> tuple[frozenset[str], frozenset[str]]:
    """Surnames and country words that must not be seen, and full names and countries."""
    words: set[str] = set()
    names: set[str] = set()
    for row in rows:
        if row["split"] == "train":
            continue
        country = [w for w in re.findall(r"[a-z]+", row["country"].lower()) if len(w) > 3]
        words.update(w for w in country if w not in GENERIC)
        names.add(row["country"].lower())
        if row["relation"] in PEOPLE:
            for edition in ("2016", "2020"):
                name = row[edition].lower()
                names.add(name)
                words.update(w for w in re.findall(r"[a-z]+", name.split()[-1]) if len(w) > 2)
    return frozenset(words), frozenset(names)


GENERIC = frozenset(
    "islands island republic saint north south united states city virgin territory new "
    "northern federated democratic and the of kingdom".split()
)


class Stream:
    """Examples for reader and encoder; `rows` is the demo's table of facts."""

    def __init__(self, rows: Sequence[dict[str, str]], phrasings: dict[str, Any]) -> None:
        self.banned, self.held_out = held_out_words(rows)
        names = "|".join(map(re.escape, sorted(self.held_out)))
        self._forbidden = re.compile(rf"\b(?:{names})\b")
        train = [row for row in rows if row["split"] == "train"]
        people = {row[e] for row in train if row["relation"] in PEOPLE for e in ("2016", "2020")}
        words = {w for name in people for w in re.findall(r"[A-Z][a-z]{2,}", name)}
        for row in train:
            if row["relation"] in ("capital", "highest_point"):
                words.update(re.findall(r"[A-Z][a-z]{2,}", row["2016"]))
            words.update(re.findall(r"[A-Z][a-z]{2,}", row["country"]))
        words = {w.lower() for w in words if w.lower() not in self.banned}
        whole = [n for n in people if not set(re.findall(r"[a-z]+", n.lower())) & self.banned]
        self.names = Names(sorted(words), sorted(whole), self.banned)
        self.demo = {k: v for k, v in phrasings.items() if isinstance(v, dict) and "passages" in v}
        self.demo_fillers = phrasings["fillers"]
        self.relations = [*ROLES, *FACTS]
        forms = json.dumps([phrasings, ROLES, FACTS, FILLERS, ROLE_PASSAGES, ROLE_QUESTIONS])
        self.words = sorted(
            set(re.findall(r"\b[A-Za-z]{3,}\b", re.sub(r"[{]\w+[}]|_", " ", forms)))
        )

    @classmethod
    def open(cls, folder: Path = DEMO) -> Stream:
        with (folder / "facts.tsv").open() as lines:
            rows = list(csv.DictReader(lines, delimiter="\t"))
        return cls(rows, json.loads((folder / "phrasings.json").read_text()))

    def _fill(self, form: str, rng: random.Random, **slots: str) -> str:
        for slot, value in slots.items():
            form = form.replace("{" + slot + "}", value)
        form = form.replace("{y}", str(rng.randrange(1990, 2021)))
        return form.replace("{p}", self.names.word(rng)) if "{p}" in form else form

    def sentence(self, relation: str, c: str, a: str, rng: random.Random, demo: bool) -> str:
        if demo and relation in self.demo:
            return self._fill(rng.choice(self.demo[relation]["passages"]), rng, c=c, a=a)
        if relation in FACTS:
            return self._fill(rng.choice(FACTS[relation][0].split("|")), rng, c=c, a=a)
        role = rng.choice(ROLES[relation][0].split("|"))
        bare = role
        if not role.startswith("{c}'s"):
            role = "the " + role
        role, bare = role.replace("{c}", c), bare.replace("{c}", c)
        form = rng.choice(ROLE_PASSAGES)
        if "{r0}" in form and bare == role:
            form = "{R} is {a}."
        title = rng.choice(
            ("President", "King", "Dr.", "Mr.", "Ms.", "Sir", "General", "Ambassador")
        )
        if relation in PEOPLE and rng.random() < 0.06:
            form = form.replace("{a}", title + " {a}")
        text = self._fill(form, rng, R=role[0].upper() + role[1:], r=role, r0=bare, a=a)
        return text[0].upper() + text[1:] if not text.startswith(a) else text

    def question(self, relation: str, c: str, rng: random.Random, demo: bool) -> str:
        if demo and relation in self.demo:
            asked: str = rng.choice(self.demo[relation]["questions"])
            return asked.replace("{c}", c)
        if relation in FACTS:
            return rng.choice(FACTS[relation][1].split("|")).replace("{c}", c)
        role = rng.choice(ROLES[relation][1].split("|"))
        role = role if role.startswith("{c}'s") else "the " + role
        role = role.replace("{c}", c)
        form = rng.choice(ROLE_QUESTIONS)
        return form.replace("{R}", role[0].upper() + role[1:]).replace("{r}", role)

    def _relation(self, rng: random.Random) -> str:
        kind = rng.random()
        if kind < 0.62:
            return rng.choice(PEOPLE)
        return rng.choice(list(ROLES)) if kind < 0.85 else rng.choice(list(FACTS))

    def reading(self, rng: random.Random, second: float = 0.35, wrong: float = 0.0) -> Example:
        """An example as of `_reading`, drawn again where it names what is held out."""
        while True:
            made = self._reading(rng, second, wrong)
            if self.clean(made):
                return made

    def _reading(self, rng: random.Random, second: float, wrong: float) -> Example:
        """A passage, a question and its answer.

        `second` of the passages hold a second fact; in `wrong` of the examples the passage is of
        another country or relation and the target is a name that stands nowhere.
        """
        c = self.names.country(rng)
        relation = self._relation(rng)
        a = self.names.answer(relation, rng)
        demo = rng.random() < 0.45
        asked, about, target = relation, c, a
        if rng.random() < wrong:
            target = self.names.answer(relation, rng)
            if rng.random() < 0.3:
                about = self.names.country(rng)
            else:
                others = [
                    r for r in (PEOPLE if relation in PEOPLE else self.relations) if r != asked
                ]
                asked = rng.choice(others)
                target = self.names.answer(asked, rng)
        text = self.sentence(relation, c, a, rng, demo)
        kind = rng.random()
        if kind < second:
            other = self._relation(rng)
            if other not in (relation, asked):
                extra = self.sentence(other, c, self.names.answer(other, rng), rng, demo)
                text = f"{text} {extra}" if rng.random() < 0.6 else f"{extra} {text}"
        elif kind < second + 0.25:
            filler = rng.choice(self.demo_fillers if demo else FILLERS)
            text = f"{text} {self._fill(filler, rng)}"
        return Example(
            c, text, self.question(asked, about, rng, rng.random() < 0.45), target, asked
        )

    def soup(self, c: str, a: str, kind: str, rng: random.Random) -> tuple[str, str]:
        """Loose words around a country and a name, and a question that shares a few of them.

        It teaches that any word may tell a passage from its neighbours, and no paraphrase.
        """
        said = rng.sample(self.words, rng.randint(4, 9))
        shared = rng.sample(said, rng.choice((1, 1, 2, 2, 3)))
        asked = shared + rng.sample(self.words, rng.randint(0, 4))
        rng.shuffle(asked)
        asked.insert(rng.randint(0, len(asked)), c)
        for name in (a, c):
            said.insert(rng.randint(0, len(said)), name)
        opening = rng.choice(OPENINGS.get(kind, OPENINGS["people"]))
        return " ".join(said) + ".", f"{opening} {' '.join(asked)}?"

    def retrieval(
        self, rng: random.Random, countries: int, each: int, alike: bool = False
    ) -> list[Example]:
        """`countries` × `each` facts, so that each is the others' hard negative.

        `alike`: the same relations for every country, so that only its name tells them apart.
        """
        made = []
        common = rng.sample([*PEOPLE, *rng.sample(self.relations, 2)], each) if alike else []
        c = self.names.country(rng)
        for _ in range(countries):
            near = rng.random() < 0.4  # a country of a like name: Guinea, New Guinea
            c = self.names.like(c, rng) if near else self.names.country(rng)
            loose = [f"soup {i}" for i in range(each)]
            rest = rng.sample([r for r in self.relations if r not in PEOPLE], each // 2)
            for relation in common or rng.sample([*PEOPLE, *rest, *loose], each):
                kind = rng.choice(("people", "people", *FACTS)) if relation in loose else relation
                a = self.names.answer(kind, rng)
                if relation in loose:
                    text, question = self.soup(c, a, kind, rng)
                else:
                    # Half of the passages are worded as the demo's, the questions never: which
                    # of the demo's questions means which passage is left to joint training.
                    demo = rng.random() < 0.5
                    text = self.sentence(relation, c, a, rng, demo)
                    question = self.question(relation, c, rng, False)
                if rng.random() < 0.3:
                    fillers = [*FILLERS, *self.demo_fillers]
                    text = f"{text} {self._fill(rng.choice(fillers), rng)}"
                elif rng.random() < 0.3:
                    extra, _ = self.soup(c, self.names.word(rng), "people", rng)
                    text = f"{text} {extra}"
                made.append(Example(c, text, question, a, relation))
        return [e for e in made if self.clean(e)]

    def clean(self, e: Example) -> bool:
        """Whether no held-out country or person stands in an example."""
        text = f"{e.title} {e.text} {e.question} {e.target}".lower()
        return self._forbidden.search(text) is None
