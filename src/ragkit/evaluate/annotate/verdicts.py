"""What the judgements of a study come to: majorities, agreement, significance (Table 4).

For each aspect, a pair's verdict is the one that more than half of its votes name: the first
model is better, the second, both are good, or neither; otherwise there is no majority. Agreement
is Krippendorff's alpha over all votes. The sign test asks if, among the pairs whose verdict
prefers one model, either is preferred more often than a coin would; p is given after Holm's
correction for the aspects as well. Knows nothing of pages.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ragkit.errors import ConfigError, DataError
from ragkit.evaluate.annotate.agreement import krippendorff_alpha
from ragkit.evaluate.annotate.judgements import VERDICTS, Judgement
from ragkit.evaluate.annotate.study import ASPECTS, CHECK, Study
from ragkit.evaluate.bootstrap import check
from ragkit.evaluate.comparison.sheets import Sheet, probability, share_cells
from ragkit.evaluate.comparison.statistics import Share, holm, share_of, sign_test

NO_MAJORITY = "no majority"


@dataclass(frozen=True, slots=True)
class Annotator:
    """judged: pairs that have at least one judgement. checks: the share of gold pairs whose
    factuality was judged for the known answer. left: how often the left side was chosen where a
    side was. counted: False where the checks were failed."""

    name: str
    judged: int
    checks: Share
    left: Share
    counted: bool


@dataclass(frozen=True, slots=True)
class Aspect:
    """The outcome of one aspect.

    verdicts: "first", "second", "both", "neither" and "no majority" to their share of the
    pairs that were judged. p, corrected: of the sign test, before and after Holm. alpha:
    Krippendorff's; shared: pairs with two votes or more, which it is of.
    """

    name: str
    verdicts: Mapping[str, Share]
    p: float
    corrected: float
    alpha: float
    shared: int

    @property
    def pairs(self) -> int:
        return self.verdicts[NO_MAJORITY].n


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a study so far; pairs: all that are to be judged, checks left out."""

    first: str
    second: str
    pairs: int
    identical: int
    annotators: Sequence[Annotator]
    aspects: Sequence[Aspect]
    confidence: float

    def as_dict(self) -> dict[str, Any]:
        """Plain Python for JSON."""
        return {
            "first": self.first,
            "second": self.second,
            "pairs": self.pairs,
            "identical": self.identical,
            "annotators": [
                {
                    "name": one.name,
                    "judged": one.judged,
                    "checks": one.checks.as_dict(),
                    "left": one.left.as_dict(),
                    "counted": one.counted,
                }
                for one in self.annotators
            ],
            "aspects": {
                one.name: {
                    "pairs": one.pairs,
                    "verdicts": {name: part.as_dict() for name, part in one.verdicts.items()},
                    "p": one.p,
                    "p_holm": one.corrected,
                    "alpha": None if math.isnan(one.alpha) else one.alpha,
                    "shared": one.shared,
                }
                for one in self.aspects
            },
            "confidence": self.confidence,
        }


def outcome(
    study: Study,
    *,
    min_votes: int = 1,
    min_checks: float = 0.0,
    confidence: float = 0.95,
) -> Outcome:
    """Count a study.

    min_votes: pairs with fewer votes on an aspect are not counted. min_checks: annotators who
    were right on a smaller share of the gold pairs that they judged are left out. confidence: of
    the exact intervals. Raises `DataError` where nobody has judged anything.
    """
    check(confidence, 1)
    if min_votes < 1:
        raise ConfigError(f"min_votes is {min_votes}; type 1 or more")
    if not 0 <= min_checks <= 1:
        raise ConfigError(f"min_checks is {min_checks}; type a share from 0 to 1, such as 0.8")
    everyone = {name: study.judged(name) for name in study.annotators()}
    if not any(everyone.values()):
        raise DataError(
            f"nobody has judged anything in {study.directory} yet; "
            f"type ragkit annotate {study.directory} and open the page"
        )
    people = [_annotator(study, *item, min_checks, confidence) for item in everyone.items()]
    votes = [everyone[one.name] for one in people if one.counted]
    ids = [pair.id for pair in study.pairs.values() if pair.kind != CHECK]
    counted = [_aspect(aspect, ids, votes, min_votes, confidence) for aspect in ASPECTS]
    corrected = holm([one["p"] for one in counted])
    return Outcome(
        first=study.first,
        second=study.second,
        pairs=len(ids),
        identical=study.identical,
        annotators=people,
        aspects=[Aspect(**one, corrected=p) for one, p in zip(counted, corrected, strict=True)],
        confidence=confidence,
    )


def verdict_of(votes: Sequence[str]) -> str:
    """What more than half of the votes say, or "no majority".

    >>> verdict_of(["first", "first", "both"]), verdict_of(["first", "both"])
    ('first', 'no majority')
    """
    named, count = Counter(votes).most_common(1)[0]
    return named if 2 * count > len(votes) else NO_MAJORITY


def sheets_of(found: Outcome) -> list[Sheet]:
    """Table 4, what is to be said of it, and who judged."""
    return [_verdicts_sheet(found), _tests_sheet(found), _people_sheet(found)]


_Votes = Mapping[tuple[str, str], Judgement]


def _annotator(
    study: Study, name: str, votes: _Votes, min_checks: float, confidence: float
) -> Annotator:
    mine = [one for one in votes.values() if one.pair in study.pairs]
    gold = [one for one in mine if study.pairs[one.pair].kind == CHECK and one.aspect == ASPECTS[0]]
    sides = [one.choice for one in mine if one.choice in ("left", "right")]
    right = sum(one.verdict == "first" for one in gold)
    checks = share_of(right, len(gold), confidence)
    return Annotator(
        name=name,
        judged=len({one.pair for one in mine}),
        checks=checks,
        left=share_of(sides.count("left"), len(sides), confidence),
        counted=not gold or checks.share >= min_checks,
    )


def _aspect(
    aspect: str,
    ids: Sequence[str],
    people: Sequence[_Votes],
    min_votes: int,
    confidence: float,
) -> dict[str, Any]:
    """All of an `Aspect` but the corrected p."""
    by_pair = [
        [votes[id, aspect].verdict for votes in people if (id, aspect) in votes] for id in ids
    ]
    units = [votes for votes in by_pair if len(votes) >= min_votes]
    named = Counter(map(verdict_of, units))
    return {
        "name": aspect,
        "verdicts": {
            verdict: share_of(named[verdict], len(units), confidence)
            for verdict in (*VERDICTS, NO_MAJORITY)
        },
        "p": sign_test(named["first"], named["second"]),
        "alpha": krippendorff_alpha(units),
        "shared": sum(len(votes) > 1 for votes in units),
    }


def _verdicts_sheet(found: Outcome) -> Sheet:
    titles = {
        "first": f"{found.first} better",
        "second": f"{found.second} better",
        "both": "both good",
        "neither": "neither good",
    }
    rows = [
        ("" if number else one.name, titles.get(verdict, verdict), *share_cells(part))
        for one in found.aspects
        for number, (verdict, part) in enumerate(one.verdicts.items())
    ]
    same = f" To {found.identical:,} more, both said the same." if found.identical else ""
    note = (
        f"Verdicts of more than half of the votes, in percent of the pairs judged; "
        f"{found.pairs:,} pairs in all.{same}"
    )
    headings = ("aspect", "", "%", f"{100 * found.confidence:g}% interval", "count")
    return Sheet(headings, rows, (note,))


def _tests_sheet(found: Outcome) -> Sheet:
    rows = [
        (
            one.name,
            probability(one.p),
            probability(one.corrected),
            "–" if math.isnan(one.alpha) else f"{one.alpha:.2f}",
            f"{one.shared:,}",
        )
        for one in found.aspects
    ]
    note = (
        "p: exact sign test of the pairs where one is better, and after Holm's correction; alpha: "
        "Krippendorff's, nominal, of the pairs with two votes or more."
    )
    return Sheet(("aspect", "p", "p (Holm)", "alpha", "pairs"), rows, (note,), names=1)


def _people_sheet(found: Outcome) -> Sheet:
    checked = any(one.checks.n for one in found.annotators)
    rows = []
    for one in found.annotators:
        left = f"{100 * one.left.share:.0f}" if one.left.n else "–"
        cells = [one.name, f"{one.judged:,}", left]
        if checked:
            cells += [share_cells(one.checks)[2], "yes" if one.counted else "no"]
        rows.append(cells)
    headings = ["annotator", "pairs", "left %"] + (["gold pairs", "counted"] if checked else [])
    note = "left: how often the left one was chosen where one was; it should be near 50."
    return Sheet(headings, rows, (note,), names=1)
