"""The demo's small world: facts of two editions, dressed in sentences.

`facts.tsv` holds the facts (made by `benchmarks/demo/facts.py` from the CC0 World Factbook),
`phrasings.json` the sentences, our own. The same seed always renders the same text. Knows nothing
of models, indexes or training.

>>> len(passages("2016")) > 1_500
True
>>> asked = questions("2020", split="test", changed=True)
>>> sorted(asked[0])
['answers', 'country', 'id', 'other_answers', 'passage_id', 'question', 'relation']
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

EDITIONS = ("2016", "2020")
SPLITS = ("train", "validation", "test")
PEOPLE = ("chief_of_state", "head_of_government", "ambassador_to_us", "us_ambassador")
WITH_ARTICLE = re.compile(
    r"Bahamas|Gambia|Netherlands|Philippines|Maldives|Seychelles|Comoros|Emirates|Kingdom"
    r"|Republic| Islands$|Isle of|Territory"
)
FILLED, SECOND = 0.30, 0.20  # shares of passages with an empty sentence, with a second fact
CHECKPOINT = Path(str(files("ragkit.demo"))) / "checkpoint"


@dataclass(frozen=True)
class Fact:
    """One answer per edition; `split` is that of the country, so a country is in one split only."""

    code: str
    country: str
    split: str
    relation: str
    answers: dict[str, str]
    changed: bool

    @property
    def id(self) -> str:
        return f"{self.code}-{self.relation}"


@cache
def facts() -> tuple[Fact, ...]:
    """Every fact, in the table's order."""
    lines = (files("ragkit.demo") / "facts.tsv").read_text(encoding="utf-8").splitlines()
    rows = (line.split("\t") for line in lines[1:])
    return tuple(
        Fact(code, country, split, relation, {"2016": old, "2020": new}, changed == "1")
        for code, country, split, relation, old, new, changed in rows
    )


@cache
def phrasings() -> dict[str, Any]:
    """Forms of passages and questions by relation, and the sentences that fill passages up."""
    read: dict[str, Any] = json.loads(
        (files("ragkit.demo") / "phrasings.json").read_text(encoding="utf-8")
    )
    return read


@cache
def _by_country() -> dict[str, dict[str, Fact]]:
    table: dict[str, dict[str, Fact]] = {}
    for fact in facts():
        table.setdefault(fact.code, {})[fact.relation] = fact
    return table


def _sentence(form: str, c: str = "", **slots: str) -> str:
    if WITH_ARTICLE.search(c):
        c = ("The " if form.startswith("{c}") else "the ") + c
    for slot, value in (slots | {"c": c}).items():
        form = form.replace("{" + slot + "}", value)
    return form


def passage(fact: Fact, edition: str, seed: int = 0) -> dict[str, str]:
    """The fact as a passage of an edition: one sentence, or two."""
    rng = random.Random(f"passage {seed} {edition} {fact.id}")
    known = phrasings()
    form = rng.choice(known[fact.relation]["passages"])
    text = _sentence(form, c=fact.country, a=fact.answers[edition])
    kind = rng.random()
    if kind < FILLED:
        text = f"{text} {rng.choice(known['fillers'])}"
    elif kind < FILLED + SECOND:
        beside = _by_country()[fact.code]
        others = [r for r in known["second_facts"] if r in beside and r != fact.relation]
        if others:
            other = beside[rng.choice(others)]
            form = rng.choice(known[other.relation]["passages"])
            text = f"{text} {_sentence(form, c=other.country, a=other.answers[edition])}"
    return {"id": fact.id, "title": fact.country, "text": text}


def passages(edition: str, seed: int = 0) -> list[dict[str, str]]:
    """The knowledge base of an edition, all countries: `id`, `title`, `text`."""
    return [passage(fact, edition, seed) for fact in facts()]


def questions(
    edition: str,
    split: str,
    *,
    relations: Iterable[str] = PEOPLE,
    changed: bool | None = None,
    forms: int | None = 1,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Questions on one split's countries, `forms` wordings for each fact (None: every wording).

    `answers` are of the edition, `other_answers` of the other one; `changed` keeps only the facts
    of which that is so. The wording does not depend on the edition.
    """
    wanted = set(relations)
    other = {"2016": "2020", "2020": "2016"}[edition]
    asked = []
    for fact in facts():
        if fact.split != split or fact.relation not in wanted:
            continue
        if changed is not None and fact.changed != changed:
            continue
        rng = random.Random(f"question {seed} {fact.id}")
        wordings = phrasings()[fact.relation]["questions"]
        chosen = rng.sample(wordings, min(len(wordings), forms or len(wordings)))
        for number, form in enumerate(chosen):
            asked.append(
                {
                    "id": f"{fact.id}-{number}",
                    "question": _sentence(form, c=fact.country),
                    "answers": [fact.answers[edition]],
                    "other_answers": [fact.answers[other]],
                    "passage_id": fact.id,
                    "country": fact.country,
                    "relation": fact.relation,
                }
            )
    return asked
