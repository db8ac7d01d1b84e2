"""Makes the demo's table of facts from a folder of the World Factbook (CC0).

    python benchmarks/demo/facts.py FACTBOOK_FOLDER src/ragkit/demo/facts.tsv

Takes facts over (names of people and places, numbers), never a sentence. Knows nothing of the
phrasings that the facts are later dressed in, nor of any model.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import re
import unicodedata
from collections.abc import Iterator
from difflib import SequenceMatcher
from pathlib import Path

EDITIONS = {"2016": "2016-11-21", "2020": "2020-11-27"}
PEOPLE = ("chief_of_state", "head_of_government", "ambassador_to_us", "us_ambassador")

COUNTRIES = {  # the Factbook's names that are no names, by its code
    "bk": "Bosnia and Herzegovina", "cf": "Congo-Brazzaville", "cg": "Congo-Kinshasa",
    "dr": "Dominican Republic", "ga": "Gambia", "bf": "Bahamas", "fk": "Falkland Islands",
    "fm": "Micronesia", "mk": "North Macedonia", "sh": "Saint Helena", "sv": "Svalbard",
    "vq": "United States Virgin Islands", "vt": "Vatican City", "wz": "Eswatini",
}  # fmt: skip
SKIPPED = {"us", "xx", "oo", "xo", "xq", "zh", "zn", "ee", "cc", "sk", "um", "ay", "sx", "fs"}

# The same person spelt otherwise, or an office that the two editions read differently.
SAME = {
    ("bt", "head_of_government"), ("ba", "head_of_government"), ("iv", "us_ambassador"),
    ("cy", "chief_of_state"), ("cy", "head_of_government"), ("sz", "chief_of_state"),
}  # fmt: skip
TITLES = r"""
(?:(?:French|Spanish|Episcopal|Interim|Acting|Executive|Transitional|Charge\ d'Affaires|Designate|
State|Affairs|Commission|Commander|Supreme|Leader|Vice|Deputy|First|Prime|Minister|President|
Premier|Chancellor|King|Queen|Prince|Princess|Grand|Duke|Sultan|Amir|Emir|Emperor|Pope|Cardinal|
Chairman|Chairperson|Chief|Executive|Governor|General|Administrator|Commissioner|Captain|Regent|
Co-?prince|Coprince|Secretary|Ambassador|Envoy|Field|Marshal|Air|Vice-Marshall?|Major|Maj\.?|Gen\.?|
Lt\.?|Col\.?|Brig\.?|Adm\.?|Admiral|Cdr\.?|Dr\.?|Sir|Dame|Rev\.?|Mr\.?|Mrs\.?|Ms\.?|Sheikh|Sayyid|Tan\ Sri|
Dato'?|Datuk|Honou?rable|Hon\.?|The|Taoiseach|Ulu-o-Tokelau|Prof\.?|Engineer|Custodian|Crown|Paramount|
of|the|and|Presidency|Council|Ministers|Government|Islamic|Republic|Afghanistan|Territorial|
Assembly|president|Foreign|Political|Interior|Swiss|Confederation|Czar|prime|minister|Captain-Regent|Co-Prince|or|Equivalent|
Lieutenant|\(ret\.\)|Maj\.Gen\.|\(Prime|Minister\)|Minister-equivalent\)|ad|interim|Ad|for|\(or|Cap|de\ Govern\)|Head|
President/Prime|Chief,|Representative|Dean|High|Principal|Officer|Permanent|appointed|elected)\s+)*
"""
WORD_CASE = {
    "de",
    "da",
    "do",
    "dos",
    "la",
    "le",
    "el",
    "bin",
    "ibn",
    "al",
    "van",
    "von",
    "der",
    "den",
}


def plain(text: str) -> str:
    """ASCII without diacritics."""
    text = text.replace("’", "'").replace("‘", "'").replace("ə", "e").replace("ß", "ss")
    return unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()


def _case(word: str) -> str:
    if (re.fullmatch(r"[IVX]+", word) and word != "XI") or re.fullmatch(r"(?:[A-Z]\.)+-?", word):
        return word
    if word.lower().startswith("al-"):
        return "al-" + _case(word[3:])
    if "-" in word:
        return "-".join(_case(part) for part in word.split("-"))
    match = re.fullmatch(r"(Mc|Mac|D'|O'|L'|N'|M')([A-Za-z].*)", word) or re.fullmatch(
        r"(O'|D'|N'|M'|L')([A-Z].*)", word
    )
    if match and word[len(match[1]) :].isupper():
        return match[1] + match[2].capitalize()
    if word.isupper() and len(word) > 1:
        mac = word.startswith("MC") and len(word) > 4
        return "Mc" + word[2:].capitalize() if mac else word.capitalize()
    return word


def person(text: str) -> str | None:
    """A name in natural case without title, nickname or remark; None where there is no one."""
    text = plain(text)
    text = re.split(r" \(|\[|;|, | - |/|\+\+| elected| represented| of the Netherlands", text)[0]
    text = re.sub(r'"[^"]*"', " ", text)
    text = re.sub("^" + TITLES, "", text + " ", flags=re.VERBOSE).strip(" .,") if text else ""
    text = re.sub(r"\s+", " ", text)
    text = re.sub(r",? Jr\.?$", "", text)
    words = text.split()
    named = sum(word[0].isupper() for word in words)
    if (
        len(words) < 2
        or len(words) > 5
        or named < 2
        or re.search(r"\d|vacant|none|Queen| of ", text)
    ):
        return None
    if not re.search(r"[A-Z]{2}", text) or re.search(r"[^A-Za-z' .\-]", text):
        return None
    return " ".join(_case(word) for word in words)


def folded(name: str) -> str:
    return re.sub(r"[^a-z ]", "", plain(name).lower().replace("-", " "))


def same_person(one: str, other: str) -> bool:
    """Whether two spellings are near enough to be one name."""
    a, b = folded(one), folded(other)
    if a in b or b in a or sorted(a.split()) == sorted(b.split()):
        return True
    if SequenceMatcher(None, a, b).ratio() >= 0.75:
        return True
    shared = sum(
        max(SequenceMatcher(None, x, y).ratio() for y in b.split()) >= 0.75 for x in a.split()
    )
    return shared >= 2


def _first(pattern: str, text: str) -> str | None:
    match = re.search(pattern, text)
    return match[1].strip() if match else None


def million(text: str) -> str | None:
    number = _first(r"^([\d,]{4,})", text)
    if number is None:
        return None
    count = int(number.replace(",", ""))
    return f"{count / 1e6:.1f} million" if count >= 1_000_000 else f"{round(count, -2):,}"


def place(text: str | None) -> str | None:
    if text is None:
        return None
    text = re.split(r"\(|;|,|/| - | or |note", plain(text))[0].strip(" .\"'")
    fits = 3 <= len(text) <= 28 and re.fullmatch(r"[A-Za-z' .\-]+", text)
    return (
        text if fits and not re.search(r"none|unnamed|location|highest|no official", text) else None
    )


FIELDS = {
    "Government - Capital": {"capital": lambda t: place(_first(r"name: (.+?)(?: geographic|$)", t))},
    "Geography - Elevation": {
        "highest_point": lambda t: place(_first(r"highest point: ([^\d+]+?) -?\d", t))
    },
    "Economy - Exchange rates": {
        "currency": lambda t: place(_first(r"^(.+?) \([A-Z]{3}\) per US dollar", t))
    },
    "Communications - Internet country code": {
        "internet_domain": lambda t: _first(r"^(\.[a-z]{2})\b", t)
    },
    "People and Society - Population": {"population": million},
    "Transportation - Airports": {"airports": lambda t: _first(r"^(\d+) ", t)},
    "Economy - GDP - per capita (PPP)": {"income": lambda t: _first(r"^(\$[\d,]+)", t)},
    "Communications - Internet users": {
        "internet_users": lambda t: _first(r"percent of population: ([\d.]+%)", t)
    },
    "Government - Diplomatic representation in the US": {
        "ambassador_to_us": lambda t: person(_first(r"chief of mission: Ambassador (.+?)(?: chancery|$)", t) or "")
    },
    "Government - Diplomatic representation from the US": {
        "us_ambassador": lambda t: person(_first(r"chief of mission: Ambassador (.+?)(?: embassy| telephone|$)", t) or "")
    },
}  # fmt: skip


def split_of(code: str) -> str:
    """Which countries are learnt from; decided by the code alone."""
    number = int(hashlib.sha256(f"ragkit demo {code}".encode()).hexdigest(), 16) % 100
    return "test" if number < 50 else "validation" if number < 56 else "train"


def read(folder: Path) -> tuple[dict[str, str], dict[tuple[str, str], dict[str, str]]]:
    """Names by code, and (code, relation) to the answer in each edition."""
    names: dict[str, str] = {}
    facts: dict[tuple[str, str], dict[str, str]] = {}
    for edition, date in EDITIONS.items():
        with gzip.open(folder / f"factbook-{date}.passages.jsonl.gz", "rt") as lines:
            for row in map(json.loads, lines):
                code = row["id"].split("-")[0]
                name, _, field = row["title"].partition(" - ")
                names.setdefault(code, COUNTRIES.get(code, plain(name)))
                for relation, take in FIELDS.get(field, {}).items():
                    answer = take(row["text"])
                    if answer:
                        facts.setdefault((code, relation), {})[edition] = answer
    for row in map(json.loads, (folder / "leaders-2016-2020.jsonl").open()):
        relation = row["role"].replace(" ", "_")
        for edition, date in EDITIONS.items():
            answer = person(row[date])
            if answer:
                facts.setdefault((row["code"], relation), {})[edition] = answer
    return names, facts


def table(folder: Path) -> Iterator[tuple[str, ...]]:
    names, facts = read(folder)
    states: dict[tuple[str, str], set[str]] = {}  # who is chief of more than one state
    for (code, relation), answers in facts.items():
        for edition, answer in answers.items():
            if relation in PEOPLE:
                states.setdefault((edition, answer), set()).add(code)
    tested = {  # a diplomat may have served in a country of each split
        answer
        for (code, relation), answers in facts.items()
        if relation in PEOPLE and split_of(code) == "test"
        for answer in answers.values()
    }
    for (code, relation), answers in sorted(facts.items()):
        if split_of(code) != "test" and tested & set(answers.values()):
            continue
        if code in SKIPPED or len(answers) < 2:
            continue
        old, new = answers["2016"], answers["2020"]
        if relation in PEOPLE:
            if max(len(states["2016", old]), len(states["2020", new])) > 1:
                continue  # a monarch or president abroad: one name for many countries
            if (code, relation) in SAME or same_person(old, new):
                new = old
        elif relation in ("capital", "highest_point", "currency", "internet_domain"):
            new = old
        changed = old != new
        yield code, names[code], split_of(code), relation, old, new, "1" if changed else "0"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("factbook", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    rows = list(table(arguments.factbook))
    header = ("code", "country", "split", "relation", "2016", "2020", "changed")
    arguments.out.write_text("".join("\t".join(row) + "\n" for row in [header, *rows]))
    for split in ("train", "validation", "test"):
        mine = [row for row in rows if row[2] == split]
        people = [row for row in mine if row[3] in PEOPLE]
        changed = sum(row[6] == "1" for row in people)
        print(f"{split}: {len(mine)} facts, {len(people)} of people, {changed} of them changed")


if __name__ == "__main__":
    main()
