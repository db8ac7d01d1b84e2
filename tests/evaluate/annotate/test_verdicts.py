"""What judgements come to: Table 4 made again from votes, and every rule by hand."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from scipy.stats import binomtest

import runs
from ragkit.errors import ConfigError, DataError
from ragkit.evaluate.annotate import Study, begin, krippendorff_alpha, outcome
from ragkit.evaluate.annotate.blind import first_is_left
from ragkit.evaluate.annotate.verdicts import NO_MAJORITY, sheets_of, verdict_of
from ragkit.evaluate.comparison import sheets

TABLE_4 = {"first": 7.1, "second": 42.7, "both": 11.7, "neither": 17.7, NO_MAJORITY: 20.8}
"""Factuality in percent of 452 pairs, the first being BART."""


def study(folder: Path, n: int, **options: int) -> Study:
    asked = runs.examples(n)
    pair = [runs.write(folder / name, asked, lambda i, one, name=name: name) for name in "ab"]  # type: ignore[misc]
    return begin(folder / "study", *pair, **options)  # type: ignore[arg-type]


def vote(found: Study, annotator: str, aspect: str, verdicts: Mapping[str, str]) -> None:
    """Choose the side on which the model stands that is meant."""
    for id, verdict in verdicts.items():
        left = first_is_left(found.seed, annotator, id)
        choice = verdict
        if verdict in ("first", "second"):
            choice = "left" if (verdict == "first") == left else "right"
        assert found.judge(annotator, id, aspect, choice).verdict == verdict


def test_table_4_from_votes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.fsync", lambda number: None)
    counts = {verdict: round(452 * share / 100) for verdict, share in TABLE_4.items()}
    assert sum(counts.values()) == 452
    majorities = list(itertools.chain.from_iterable([v] * n for v, n in counts.items()))
    found = study(tmp_path, 452)
    ballots: dict[str, list[str]] = {}
    for (id, verdict), third in zip(
        zip(found.pairs, majorities, strict=True), itertools.cycle(["both", "first"])
    ):
        none = verdict == NO_MAJORITY
        ballots[id] = ["first", "second", "both"] if none else [verdict, verdict, third]
    for number, name in enumerate(("ada", "bo", "cleo")):
        _write(found, name, {id: votes[number] for id, votes in ballots.items()})
    counted = outcome(found)
    factuality = counted.aspects[0]
    for verdict, share in TABLE_4.items():
        assert 100 * factuality.verdicts[verdict].share == pytest.approx(share, abs=0.05)
    assert factuality.p == pytest.approx(binomtest(32, 32 + 193).pvalue)
    assert factuality.corrected == pytest.approx(2 * factuality.p)  # of two aspects
    assert factuality.alpha == pytest.approx(krippendorff_alpha(list(ballots.values())))
    assert (factuality.pairs, factuality.shared) == (452, 452)
    table = sheets.markdown(sheets_of(counted)[0])
    ends = binomtest(32, 452).proportion_ci(0.95, method="exact")
    interval = f"{100 * ends.low:.1f} to {100 * ends.high:.1f}"
    assert f"| factuality | a better | 7.1 | {interval} | 32 of 452 |" in table


def _write(found: Study, name: str, verdicts: Mapping[str, str]) -> None:
    """As `vote`, in one piece."""
    lines = [
        json.dumps(
            {"pair": id, "aspect": "factuality", "choice": "both", "verdict": v, "at": "then"}
        )
        for id, v in verdicts.items()
    ]
    (found.directory / f"judgements-{name}.jsonl").write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize(
    ("votes", "expected"),
    [
        (["first"], "first"),
        (["first", "second"], NO_MAJORITY),
        (["first", "first", "second"], "first"),
        (["first", "second", "both"], NO_MAJORITY),
        (["both", "both", "first", "second"], NO_MAJORITY),  # half is no majority
        (["neither"] * 3 + ["both"] * 2, "neither"),
    ],
)
def test_a_majority_is_more_than_half(votes: Sequence[str], expected: str) -> None:
    for order in itertools.permutations(votes):
        assert verdict_of(order) == expected


def test_aspects_are_counted_apart_and_pairs_by_their_votes(tmp_path: Path) -> None:
    found = study(tmp_path, 4)
    vote(found, "ada", "factuality", {"q0": "first", "q1": "first", "q2": "both"})
    vote(found, "bo", "factuality", {"q0": "first", "q1": "second"})
    vote(found, "bo", "specificity", {"q0": "second"})
    factuality, specificity = outcome(found).aspects
    assert {v: s.cases for v, s in factuality.verdicts.items()} == {
        "first": 1,
        "second": 0,
        "both": 1,
        "neither": 0,
        NO_MAJORITY: 1,
    }
    assert (factuality.pairs, factuality.shared, factuality.p) == (3, 2, 1.0)
    assert factuality.alpha == pytest.approx(krippendorff_alpha([["a", "a"], ["a", "b"]]))
    assert specificity.verdicts["second"][:2] == (1, 1)
    assert math.isnan(specificity.alpha)
    factuality, specificity = outcome(found, min_votes=2).aspects
    assert (factuality.pairs, specificity.pairs) == (2, 0)
    assert math.isnan(specificity.verdicts["second"].share)
    record = json.loads(json.dumps(outcome(found, min_votes=2).as_dict(), allow_nan=False))
    assert record["aspects"]["specificity"]["alpha"] is None


def test_sides_that_are_swapped_swap_the_table(tmp_path: Path) -> None:
    one = study(tmp_path / "one", 9)
    other = begin(tmp_path / "other", tmp_path / "one" / "b", tmp_path / "one" / "a")
    names = ["first", "second", "both", "neither"] * 2 + ["first"]
    swap = {"first": "second", "second": "first"}
    for name in ("ada", "bo"):
        cast = dict(zip(one.pairs, names, strict=True))
        vote(one, name, "factuality", cast)
        vote(other, name, "factuality", {id: swap.get(v, v) for id, v in cast.items()})
    here, there = outcome(one).aspects[0], outcome(other).aspects[0]
    assert (here.p, here.alpha) == (there.p, there.alpha) == (1.0, 1.0)
    for verdict, share in here.verdicts.items():
        assert there.verdicts[swap.get(verdict, verdict)] == share


def test_who_fails_the_checks_is_left_out(tmp_path: Path) -> None:
    found = study(tmp_path, 6, checks=4)
    checks = [id for id, pair in found.pairs.items() if pair.kind == "check"]
    vote(found, "ada", "factuality", dict.fromkeys(checks, "first") | {"q1": "first"})
    careless = ["first", "second", "both", "neither"]
    vote(found, "bo", "factuality", dict(zip(checks, careless, strict=True)) | {"q1": "second"})
    vote(found, "cleo", "factuality", {"q1": "second"})  # judged no gold pair
    everyone = outcome(found)
    assert everyone.pairs == 6
    assert everyone.aspects[0].pairs == 1  # gold pairs are not counted
    assert everyone.aspects[0].verdicts["second"].cases == 1
    kept = outcome(found, min_checks=0.5)
    assert [(one.name, one.checks[:2], one.counted) for one in kept.annotators] == [
        ("ada", (4, 4), True),
        ("bo", (1, 4), False),
        ("cleo", (0, 0), True),
    ]
    assert kept.aspects[0].verdicts[NO_MAJORITY].cases == 1
    people = sheets.markdown(sheets_of(kept)[2])
    assert "| bo | 5 |" in people
    assert "1 of 4 | no |" in people


def test_a_hand_that_leans_to_one_side_is_seen(tmp_path: Path) -> None:
    found = study(tmp_path, 8)
    for id in found.pairs:
        found.judge("ada", id, "factuality", "left")
    found.judge("ada", "q1", "specificity", "neither")
    (ada,) = outcome(found).annotators
    assert (ada.left[:2], ada.judged) == ((8, 8), 8)


def test_what_is_refused(tmp_path: Path) -> None:
    found = study(tmp_path, 2)
    with pytest.raises(DataError, match=r"nobody has judged anything in .*; type ragkit annotate"):
        outcome(found)
    with pytest.raises(ConfigError, match="min_votes is 0; type 1 or more"):
        outcome(found, min_votes=0)
    with pytest.raises(ConfigError, match="min_checks is 80; type a share from 0 to 1"):
        outcome(found, min_checks=80)
    with pytest.raises(DataError, match="confidence is 95"):
        outcome(found, confidence=95)
