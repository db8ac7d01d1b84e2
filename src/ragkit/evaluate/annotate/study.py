"""A study: the pairs of two runs that people judge, and their judgements, in one folder.

| file | |
|---|---|
| study.json | names of the two runs, seed, how many pairs and why others are left out |
| pairs.jsonl | one line per pair: question, both texts, known answers where they are shown |
| judgements-NAME.jsonl | one line per judgement of an annotator, added at the end |

The folder is all that judging and counting need: the runs may be gone. Questions to which
both models said the same are not shown. A *check* is a pair of the study's own making, a known
answer beside that of another question: who cannot tell these apart has not read them (Appendix
B of the paper has such gold pairs). Knows nothing of pages and of statistics.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ragkit.errors import ConfigError, CorruptError, DataError
from ragkit.evaluate.annotate import blind, judgements
from ragkit.evaluate.annotate.judgements import Judgement
from ragkit.evaluate.comparison.stored import StoredRun, open_runs
from ragkit.evaluate.predictions import to_line
from ragkit.evaluate.run import write_bytes, write_json

FORMAT = 1
ASPECTS = ("factuality", "specificity")
CHECK = "check"
_NAME = re.compile(r"[^\W_][\w-]{0,39}")


@dataclass(frozen=True, slots=True)
class Pair:
    """Two texts to one question. kind: "pair", or "check" where ``first`` is the right one."""

    id: str
    question: str
    first: str
    second: str
    answers: tuple[str, ...] = ()
    kind: str = "pair"


@dataclass(frozen=True, slots=True)
class Study:
    """A study that was begun.

    first, second: names of the runs. pairs: by id. identical: questions left out because
    both said the same.
    """

    directory: Path
    first: str
    second: str
    seed: int
    identical: int
    pairs: Mapping[str, Pair]

    def order(self, annotator: str) -> list[str]:
        """The ids of all pairs in the order of this annotator."""
        return blind.order(self.seed, annotator, list(self.pairs))

    def annotators(self) -> list[str]:
        """Those who judged anything, by name."""
        return judgements.annotators(self.directory)

    def judged(self, annotator: str) -> dict[tuple[str, str], Judgement]:
        """The last judgement of each pair and aspect."""
        return judgements.load(self.directory, check_name(annotator))

    def judge(self, annotator: str, pair: str, aspect: str, choice: str) -> Judgement:
        """Keep a judgement: choice is "left", "right", "both" or "neither", as shown.

        Raises `DataError` for a pair, aspect or choice that there is not.
        """
        name = check_name(annotator)
        if pair not in self.pairs:
            raise DataError(f"this study has no pair {pair!r}")
        if aspect not in ASPECTS:
            raise DataError(f"the aspect is {aspect!r}; it is one of {', '.join(ASPECTS)}")
        left_first = blind.first_is_left(self.seed, name, pair)
        found = judgements.made(pair, aspect, choice, left_first)
        judgements.add(self.directory, name, found)
        return found


def begin(
    directory: str | Path,
    first: str | Path,
    second: str | Path,
    *,
    limit: int | None = None,
    seed: int = 0,
    answers: bool = False,
    checks: int = 0,
) -> Study:
    """The study of two runs in a folder, begun or gone on with.

    limit: so many pairs, drawn by the seed. answers: show what is known to be right. checks: so
    many gold pairs among them. Raises `DataError` where the runs cannot be compared, nothing is
    left to judge, or the folder holds another study.
    """
    for name, value, least in (("limit", limit, 1), ("checks", checks, 0)):
        if value is not None and value < least:
            raise ConfigError(f"{name} is {value}; type {least} or more")
    one, other = open_runs([first, second])
    if (answers or checks) and one.golds is None:
        raise DataError(
            f"{one.directory} kept no golds, which answers and checks are made of; type the "
            f"same ragkit evaluate again, which answers nothing twice"
        )
    different = [i for i in range(len(one)) if _shown(one.texts[i]) != _shown(other.texts[i])]
    chosen = set(blind.order(seed, "sample", [one.ids[i] for i in different])[:limit])
    pairs = [_pair(one, other, i, answers) for i in different if one.ids[i] in chosen]
    if not pairs:
        raise DataError(
            f"{one.name} and {other.name} said the same to all {len(one):,} questions; "
            f"there is nothing to judge"
        )
    pairs += _checks(one, checks, seed, answers)
    study = Study(
        directory=Path(directory),
        first=one.name,
        second=other.name,
        seed=seed,
        identical=len(one) - len(different),
        pairs={pair.id: pair for pair in pairs},
    )
    if (study.directory / "study.json").exists():
        return _same(open_study(directory), study)
    _write(study)
    return study


def open_study(directory: str | Path) -> Study:
    """The study in a folder; raises `DataError` where there is none."""
    folder = Path(directory)
    path = folder / "study.json"
    if not path.exists():
        raise DataError(
            f"{folder} holds no study; type ragkit annotate RUN RUN --out {folder} to begin one"
        )
    try:
        record = json.loads(path.read_bytes())
        if record["format"] != FORMAT:
            raise DataError(
                f"{folder} was written in format {record['format']!r}, this version of ragkit "
                f"reads {FORMAT}; update ragkit"
            )
        lines = (folder / "pairs.jsonl").read_bytes().splitlines()
        pairs = [_read(json.loads(line)) for line in lines]
        if len(pairs) != record["pairs"]:
            raise ValueError
        return Study(
            directory=folder,
            first=record["first"],
            second=record["second"],
            seed=record["seed"],
            identical=record["identical"],
            pairs={pair.id: pair for pair in pairs},
        )
    except DataError:
        raise
    except (OSError, ValueError, TypeError, KeyError):
        raise CorruptError(
            f"{folder} does not hold what a study writes; begin another with ragkit annotate "
            f"RUN RUN --out FOLDER"
        ) from None


def check_name(annotator: str) -> str:
    """The name in the form that files have; raises `DataError` where it is none."""
    name = annotator.strip().casefold()
    if not _NAME.fullmatch(name):
        raise DataError(
            f"{annotator!r} is no name; type up to 40 letters, digits or hyphens, such as ada"
        )
    return name


def _pair(one: StoredRun, other: StoredRun, at: int, answers: bool) -> Pair:
    known = one.answers(at) if answers else ()
    return Pair(one.ids[at], one.questions[at], one.texts[at], other.texts[at], known)


def _checks(run: StoredRun, wanted: int, seed: int, answers: bool) -> list[Pair]:
    """Known answers, each beside one of another question that is not right here."""
    if not wanted:
        return []
    place = {id: i for i, id in enumerate(run.ids)}
    drawn = [place[id] for id in blind.order(seed, CHECK, run.ids) if run.answers(place[id])]
    found: list[Pair] = []
    for at, i in enumerate(drawn):
        right = run.answers(i)
        here = {_shown(answer).casefold() for answer in right}
        for j in drawn[at + 1 :] + drawn[:at]:
            wrong = run.answers(j)[0]
            if _shown(wrong).casefold() not in here:
                known = right if answers else ()
                id = f"{CHECK}:{run.ids[i]}"
                found.append(Pair(id, run.questions[i], right[0], wrong, known, CHECK))
                break
        if len(found) == wanted:
            return found
    raise DataError(f"checks is {wanted}, but the answers known make {len(found)}; type fewer")


def _shown(text: str) -> str:
    return " ".join(text.split())


def _write(study: Study) -> None:
    study.directory.mkdir(parents=True, exist_ok=True)
    lines = b"".join(to_line(_record(pair)) for pair in study.pairs.values())
    write_bytes(study.directory / "pairs.jsonl", lines)
    write_json(study.directory / "study.json", _head(study))


def _head(study: Study) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "first": study.first,
        "second": study.second,
        "seed": study.seed,
        "pairs": len(study.pairs),
        "identical": study.identical,
        "aspects": ASPECTS,
    }


def _same(there: Study, now: Study) -> Study:
    if (_head(there), list(there.pairs.values())) != (_head(now), list(now.pairs.values())):
        raise DataError(
            f"{there.directory} holds another study: {there.first} against {there.second}, "
            f"{len(there.pairs)} pairs, seed {there.seed}; type ragkit annotate {there.directory} "
            f"to go on with it, or another --out"
        )
    return there


def _record(pair: Pair) -> dict[str, Any]:
    return {
        "id": pair.id,
        "question": pair.question,
        "first": pair.first,
        "second": pair.second,
        "answers": pair.answers,
        "kind": pair.kind,
    }


def _read(record: Mapping[str, Any]) -> Pair:
    found = Pair(
        id=record["id"],
        question=record["question"],
        first=record["first"],
        second=record["second"],
        answers=tuple(record["answers"]),
        kind=record["kind"],
    )
    texts = [found.id, found.question, found.first, found.second, found.kind, *found.answers]
    if not all(isinstance(text, str) for text in texts):
        raise ValueError
    return found
