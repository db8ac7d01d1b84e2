"""A study on disk: what is judged, in which order, blindly, and that nothing is lost."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

import runs
from ragkit.errors import ConfigError, CorruptError, DataError, RagkitError
from ragkit.evaluate.annotate import Study, begin, open_study
from ragkit.evaluate.annotate.blind import first_is_left, order
from ragkit.evaluate.annotate.study import check_name

ASKED = runs.examples(40)


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    """Runs that say the same to every fourth question, but for a space."""
    return (
        runs.write(tmp_path / "bart", ASKED, lambda i, one: f"one {i}"),
        runs.write(tmp_path / "rag", ASKED, lambda i, one: f"other {i}" if i % 4 else f"one  {i}"),
    )


@pytest.fixture
def study(two: tuple[Path, Path], tmp_path: Path) -> Study:
    return begin(tmp_path / "study", *two)


def test_what_is_judged(study: Study, two: tuple[Path, Path]) -> None:
    assert (study.first, study.second) == ("bart", "rag")
    assert (len(study.pairs), study.identical) == (30, 10)
    assert set(study.pairs) == {f"q{i}" for i in range(40) if i % 4}
    assert study.pairs["q5"].first == "one 5"
    assert study.pairs["q5"].second == "other 5"
    assert study.pairs["q5"].answers == ()
    for folder in two:  # a study needs its runs no longer
        for file in folder.iterdir():
            file.unlink()
    again = open_study(study.directory)
    assert again == study


def test_a_sample_is_drawn_by_the_seed(two: tuple[Path, Path], tmp_path: Path) -> None:
    samples = [set(begin(tmp_path / f"s{n}", *two, limit=8, seed=n).pairs) for n in range(3)]
    assert all(len(one) == 8 for one in samples)
    assert samples[0] != samples[1] != samples[2]
    assert set(begin(tmp_path / "again", *two, limit=8, seed=1).pairs) == samples[1]


def test_it_is_gone_on_with_and_no_other_takes_its_place(
    study: Study, two: tuple[Path, Path]
) -> None:
    study.judge("ada", "q5", "factuality", "both")
    assert begin(study.directory, *two) == study
    assert begin(study.directory, *two).judged("ada")
    for other in ({"limit": 3}, {"seed": 1}, {"answers": True}, {"checks": 1}):
        with pytest.raises(DataError, match="holds another study: bart against rag, 30 pairs"):
            begin(study.directory, *two, **other)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="holds another study"):
        begin(study.directory, *reversed(two))


# --------------------------------------------------------------------- order and sides


def test_orders_are_random_to_the_eye_and_stay(study: Study) -> None:
    ada, bo = study.order("ada"), study.order("bo")
    assert sorted(ada) == sorted(bo) == sorted(study.pairs)
    assert ada != bo != list(study.pairs)
    assert open_study(study.directory).order("ada") == ada


def test_sides_are_a_fair_coin_for_each_annotator_and_pair() -> None:
    ids = [f"q{i}" for i in range(2000)]
    sides = {name: [first_is_left(0, name, id) for id in ids] for name in ("ada", "bo")}
    for ours in sides.values():
        assert binomtest(sum(ours), 2000).pvalue > 1e-3
    same = sum(a == b for a, b in zip(*sides.values(), strict=True))
    assert binomtest(same, 2000).pvalue > 1e-3  # neither tells the other's
    early = [first_is_left(0, "ada", id) for id in order(0, "ada", ids)[:500]]
    assert binomtest(sum(early), 500).pvalue > 1e-3  # nor does the order


@settings(deadline=None)
@given(st.integers(), st.text(), st.lists(st.text(), unique=True))
def test_an_order_is_an_order_of_any_ids(seed: int, who: str, ids: list[str]) -> None:
    assert sorted(order(seed, who, ids)) == sorted(ids)
    assert order(seed, who, ids[::-1]) == order(seed, who, ids)


# ---------------------------------------------------------------------------- judging


def test_what_is_chosen_by_side_is_kept_by_model(study: Study) -> None:
    for id in study.pairs:
        kept = study.judge("ada", id, "factuality", "left")
        left_first = first_is_left(0, "ada", id)
        assert kept.verdict == ("first" if left_first else "second")
        kept = study.judge("ada", id, "specificity", "right")
        assert kept.verdict == ("second" if left_first else "first")
    assert study.judge("ada", "q5", "factuality", "neither").verdict == "neither"
    judged = open_study(study.directory).judged("Ada ")
    assert len(judged) == 60
    assert judged["q5", "factuality"].choice == "neither"  # the last one stands
    assert study.annotators() == ["ada"]
    assert study.judged("bo") == {}


def test_a_torn_line_is_lost_alone(study: Study) -> None:
    study.judge("ada", "q5", "factuality", "left")
    path = study.directory / "judgements-ada.jsonl"
    with path.open("ab") as file:
        file.write(b'{"pair": "q6", "aspe')
    assert list(study.judged("ada")) == [("q5", "factuality")]
    study.judge("ada", "q7", "factuality", "both")
    assert list(study.judged("ada")) == [("q5", "factuality"), ("q7", "factuality")]
    assert [json.loads(line)["pair"] for line in path.read_text().splitlines()] == ["q5", "q7"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("ada", "q4", "factuality", "left"), "no pair 'q4'"),
        (("ada", "q5", "beauty", "left"), "aspect is 'beauty'; it is one of factuality, spec"),
        (("ada", "q5", "factuality", "first"), "choice is 'first'; it is one of left, right"),
        (("../ada", "q5", "factuality", "left"), "'../ada' is no name; type up to 40 letters"),
        (("", "q5", "factuality", "left"), "'' is no name"),
    ],
)
def test_judgements_that_cannot_be(study: Study, arguments: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        study.judge(*arguments)
    assert study.annotators() == []


@pytest.mark.parametrize(
    ("name", "right"),
    [("Ada", True), ("Zoë-2", True), ("愛", True), ("x" * 40, True), ("x" * 41, False)]
    + [(name, False) for name in ("-a", "_a", "a/b", "a.b", "a b", "a\n", "\x00")],
)
def test_names(name: str, right: bool) -> None:
    if right:
        assert check_name(name) == name.casefold()
    elif name != "a\n":  # spaces around a name are nothing
        with pytest.raises(DataError, match="is no name"):
            check_name(name)


# ----------------------------------------------------------------- answers and checks


def test_answers_are_kept_where_they_are_to_be_shown(
    two: tuple[Path, Path], tmp_path: Path
) -> None:
    found = begin(tmp_path / "study", *two, answers=True)
    assert found.pairs["q5"].answers == ("answer 5",)
    assert open_study(tmp_path / "study") == found


def test_checks_are_right_on_one_side_alone(two: tuple[Path, Path], tmp_path: Path) -> None:
    found = begin(tmp_path / "study", *two, limit=6, checks=5)
    checks = [pair for pair in found.pairs.values() if pair.kind == "check"]
    assert (len(checks), len(found.pairs)) == (5, 11)
    for pair in checks:
        number = pair.id.removeprefix("check:q")
        assert pair.first == f"answer {number}"
        assert pair.question == f"question {number}?"
        assert pair.second != pair.first
        assert pair.second.startswith("answer ")
    with pytest.raises(DataError, match="checks is 41, but the answers known make 40; type fewer"):
        begin(tmp_path / "more", *two, checks=41)


# ------------------------------------------------------------------------- what is refused


def test_what_cannot_begin(two: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="limit is 0; type 1 or more"):
        begin(tmp_path / "s", *two, limit=0)
    with pytest.raises(ConfigError, match="checks is -1; type 0 or more"):
        begin(tmp_path / "s", *two, checks=-1)
    same = runs.write(tmp_path / "same", ASKED, lambda i, one: f"one {i}")
    with pytest.raises(DataError, match="said the same to all 40 questions"):
        begin(tmp_path / "s", two[0], same)
    bare = runs.write(tmp_path / "bare", ASKED, lambda i, one: "x", keep_golds=False)
    with pytest.raises(DataError, match="kept no golds, which answers and checks are made of"):
        begin(tmp_path / "s", bare, two[0], answers=True)
    riddles = runs.write(tmp_path / "riddles", runs.examples(40, "riddle"), lambda i, one: "x")
    with pytest.raises(DataError, match="answered other questions"):
        begin(tmp_path / "s", two[0], riddles)
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        (lambda d: (d / "study.json").unlink(), DataError, "holds no study; type ragkit annotate"),
        (lambda d: (d / "study.json").write_text("{}"), CorruptError, "not hold what a study"),
        (lambda d: (d / "study.json").write_text('{"format": 9}'), DataError, "format 9, this"),
        (lambda d: (d / "pairs.jsonl").unlink(), CorruptError, "not hold what a study writes"),
        (lambda d: (d / "pairs.jsonl").write_text("{}\n"), CorruptError, "not hold what a study"),
    ],
)
def test_folders_that_hold_no_study(
    study: Study, change: Callable[[Path], object], kind: type[RagkitError], message: str
) -> None:
    change(study.directory)
    with pytest.raises(kind, match=message):
        open_study(study.directory)


@pytest.mark.parametrize("line", ["x", "[]", '{"pair": "q5"}', '{"pair": "q5", "odd": 1}'])
def test_a_line_that_is_no_judgement(study: Study, line: str) -> None:
    study.judge("ada", "q5", "factuality", "left")
    with (study.directory / "judgements-ada.jsonl").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(CorruptError, match=r"judgements-ada\.jsonl, line 2: not a judgement"):
        study.judged("ada")
