"""Runs against a baseline: figures, laws, order, and what may not be compared."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

import runs
from ragkit.errors import ConfigError, CorruptError, DataError, RagkitError, UnknownName
from ragkit.evaluate.comparison import Comparison, compare, open_runs, sheets, written
from ragkit.evaluate.comparison.statistics import Counts
from ragkit.protocols import Example

ASKED = runs.examples(24)


def right_where(keep: Callable[[int], bool]) -> Callable[[int, Example], str]:
    return lambda i, one: one.answers[0] if keep(i) else "something else"


@pytest.fixture
def three(tmp_path: Path) -> list[Path]:
    """Right on 8, 16 and 9 of 24 questions."""
    return [
        runs.write(tmp_path / "third", ASKED, right_where(lambda i: i % 3 == 0)),
        runs.write(tmp_path / "two", ASKED, right_where(lambda i: i % 3 != 0)),
        runs.write(tmp_path / "more", ASKED, right_where(lambda i: i % 3 == 0 or i == 1)),
    ]


def test_figures_by_hand(three: list[Path]) -> None:
    found = compare(three, metrics=["EM"])
    assert (found.baseline, found.runs, found.questions) == ("third", ["third", "two", "more"], 24)
    two, more = found.contrasts
    assert two.counts == Counts(16, 0, 8)
    assert (two.mean, two.baseline_mean) == pytest.approx((16 / 24, 8 / 24))
    assert two.p == pytest.approx(scipy.stats.binomtest(8, 24).pvalue)
    assert more.counts == Counts(1, 23, 0)
    assert (more.p, more.corrected, two.corrected) == pytest.approx((1.0, 1.0, 2 * two.p))
    assert two.exact
    d = np.array([1 if i % 3 else -1 for i in range(24)])
    assert two.effect == pytest.approx(d.mean() / d.std(ddof=1))
    assert found.scores["two"]["EM"].mean == pytest.approx(16 / 24)


def test_the_interval_is_that_of_scipy(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    a, b = rng.normal(0.5, 1, 200), rng.normal(0.3, 1, 200)
    asked = runs.examples(200)
    folders = [
        runs.write(tmp_path / name, asked, lambda i, one: "x", values={"score": values})
        for name, values in (("b", b), ("a", a))
    ]
    (found,) = compare(folders, resamples=20_000).contrasts
    expected = scipy.stats.bootstrap(
        (a - b,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    assert found.difference.mean == pytest.approx((a - b).mean())
    spread = (a - b).std() / math.sqrt(200)
    assert found.difference[1:3] == pytest.approx((expected.low, expected.high), abs=spread / 10)
    near = scipy.stats.ttest_rel(a, b).pvalue
    assert not found.exact
    assert found.p == pytest.approx(near, abs=0.03)


VALUES = st.lists(st.tuples(*[st.sampled_from([0.0, 0.25, 0.5, 1.0])] * 2), min_size=1, max_size=8)


@settings(deadline=None, max_examples=25)
@given(pairs=VALUES)
def test_swapped_sides_swap_signs(
    pairs: list[tuple[float, float]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("swap")
    asked = runs.examples(len(pairs))
    first, second = (
        runs.write(folder / name, asked, lambda i, _: "x", values={"m": [p[at] for p in pairs]})
        for at, name in enumerate("ab")
    )
    (one,) = compare([first, second], resamples=200).contrasts
    (other,) = compare([first, second], baseline="b", resamples=200).contrasts
    assert (one.run, other.run) == ("b", "a")
    assert one.p == pytest.approx(other.p)
    assert one.difference.mean == pytest.approx(-other.difference.mean)
    assert one.difference.low == pytest.approx(-other.difference.high)
    assert one.counts == Counts(*reversed(other.counts))
    assert one.effect == pytest.approx(-other.effect, nan_ok=True)
    assert [e["id"] for e in one.won] == [e["id"] for e in other.lost]


def test_equal_runs_differ_in_nothing(tmp_path: Path) -> None:
    say = right_where(lambda i: i % 2 == 0)
    folders = [runs.write(tmp_path / name, ASKED, say) for name in "ab"]
    for one in compare(folders).contrasts:
        assert (one.p, one.corrected, one.effect) == (1.0, 1.0, 0.0)
        assert one.difference == (0.0, 0.0, 0.0, 24)
        assert one.counts == Counts(0, 24, 0)
        assert list(one.won) == list(one.lost) == []


def test_unknown_values_are_left_out(tmp_path: Path) -> None:
    asked = runs.examples(4)
    folders = [
        runs.write(
            tmp_path / name, asked, lambda i, _: "x", values={"m": values, "none": [math.nan] * 4}
        )
        for name, values in (("a", [0, 1, math.nan, 1]), ("b", [1, math.nan, 1, 1]))
    ]
    one, none = compare(folders).contrasts
    assert (one.difference.n, one.counts) == (2, Counts(1, 1, 0))
    assert (one.baseline_mean, one.mean) == (0.5, 1.0)
    assert math.isnan(none.p) and math.isnan(none.corrected)  # noqa: PT018
    assert one.corrected == one.p  # what could not be compared is not corrected for
    assert none.as_dict()["p"] is None
    assert "only the questions where both have a value" in written.markdown(compare(folders))


def test_examples_are_the_largest_differences_in_order(tmp_path: Path) -> None:
    asked = runs.examples(5)
    a = runs.write(tmp_path / "a", asked, lambda i, _: f"a{i}", values={"m": [0, 0.5, 1, 0.2, 0]})
    b = runs.write(tmp_path / "b", asked, lambda i, _: f"b{i}", values={"m": [1, 0, 0, 0.9, 1]})
    (one,) = compare([a, b], examples=2).contrasts
    assert [e["id"] for e in one.won] == ["q0", "q4"]
    assert [e["id"] for e in one.lost] == ["q2", "q1"]
    assert one.won[0] == {
        "id": "q0",
        "question": "question 0?",
        "answers": ["answer 0"],
        "baseline": "a0",
        "run": "b0",
        "baseline_value": 0.0,
        "value": 1.0,
    }
    assert list(compare([a, b], examples=0).contrasts[0].won) == []


def test_a_figure_that_cannot_be_made_again_is_said_so(tmp_path: Path) -> None:
    folders = [
        runs.write(tmp_path / name, ASKED, lambda i, _: "x", values={"BLEU": [0.1] * 24})
        for name in "ab"
    ]
    path = folders[1] / "result.json"
    result = json.loads(path.read_text())
    result["metrics"]["BLEU"] |= {"mean": 0.3, "unit": "points"}
    path.write_text(json.dumps(result))
    found = compare(folders)
    (one,) = found.contrasts
    assert (one.of, one.unit, one.mean) == ("single", "points", pytest.approx(0.1))
    assert found.scores["b"]["BLEU"].mean == pytest.approx(0.1)
    assert "BLEU: the mean over single questions" in written.latex(found)
    assert "0.10" in written.markdown(found)


# --------------------------------------------------------------- baseline and metrics


def test_the_baseline_is_a_name_or_a_folder(three: list[Path], tmp_path: Path) -> None:
    for given_as in ("two", tmp_path / "two", f"{tmp_path}/third/../two"):
        found = compare(three, baseline=given_as)
        assert found.baseline == "two"
        assert [one.run for one in found.contrasts[:2]] == ["third", "more"]
    with pytest.raises(UnknownName, match=r"'tow'; did you mean 'two'\? Runs: third, two, more"):
        compare(three, baseline="tow")


def test_names_are_as_long_as_they_must_be(tmp_path: Path) -> None:
    folders = [tmp_path / "nq" / "a", tmp_path / "wq" / "a", tmp_path / "wq" / "b"]
    for folder in folders:
        runs.write(folder, ASKED, right_where(lambda i: True))
    assert [run.name for run in open_runs(folders)] == ["nq/a", "wq/a", "wq/b"]
    assert [run.name for run in open_runs(folders[:1])] == ["a"]


def test_metrics_that_one_run_lacks(three: list[Path], tmp_path: Path) -> None:
    values = {"EM": [0.0] * 24, "RR@5": [0.5] * 24}
    extra = runs.write(tmp_path / "extra", ASKED, lambda i, _: "x", values=values)
    found = compare([three[0], extra])
    assert (found.metrics, found.left_out) == (["EM"], ["F1", "RR@5"])
    assert "Not measured in every run: F1, RR@5" in written.markdown(found)
    with pytest.raises(DataError, match=r"RR@5 was not measured in third; measure it there"):
        compare([three[0], extra], metrics=["RR@5"])
    with pytest.raises(UnknownName, match=r"'EN'; did you mean 'EM'\? Metrics: EM"):
        compare([three[0], extra], metrics=["EN"])
    other = runs.write(tmp_path / "other", ASKED, lambda i, _: "x", values={"RR@5": [0.5] * 24})
    with pytest.raises(
        DataError, match=r"no metric was measured in all of the runs .third: EM, F1; other: RR@5"
    ):
        compare([three[0], other])


# ------------------------------------------------------------------- what is refused


def spoil(name: str, text: str | None) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        if text is None:
            (folder / name).unlink()
        else:
            (folder / name).write_text(text)

    return change


def other_questions(folder: Path) -> None:
    runs.write(folder.with_name("new"), runs.examples(24, "riddle"), lambda i, _: "x")
    _replace(folder)


def fewer_questions(folder: Path) -> None:
    runs.write(folder.with_name("new"), runs.examples(20), lambda i, _: "x")
    _replace(folder)


def other_golds(folder: Path) -> None:
    asked = [Example(one.id, one.question, ("another",), one.passage_ids) for one in ASKED]
    runs.write(folder.with_name("new"), asked, lambda i, _: "x")
    _replace(folder)


def _replace(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink()
    for file in folder.with_name("new").iterdir():
        file.rename(folder / file.name)


def drop_a_line(folder: Path) -> None:
    path = folder / "predictions.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[1:]))


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        (
            other_questions,
            DataError,
            r"number 1 is 'q0' \('question 0\?'\) in third, and 'q0' \('r",
        ),
        (fewer_questions, DataError, r"24 in third, and 20 in two.*--limit 20"),
        (other_golds, DataError, r"third and two were judged by other golds.*answered twice"),
        (spoil("run.json", None), DataError, r"holds no run \(there is no run\.json\)"),
        (
            spoil("run.json", '{"format": 7}'),
            DataError,
            r"format 7, this version of ragkit reads 1",
        ),
        (spoil("run.json", "[]"), CorruptError, r"run\.json does not hold what a run writes"),
        (spoil("result.json", None), DataError, r"not finished; type the same ragkit evaluate"),
        (spoil("result.json", '{"metrics": {}}'), CorruptError, r"result\.json has no metrics"),
        (spoil("scores.jsonl", None), CorruptError, r"scores\.jsonl is missing; evaluate"),
        (spoil("scores.jsonl", "{}\nx\n"), CorruptError, r"scores\.jsonl, line 2: not the scores"),
        (spoil("scores.jsonl", '{"id": "q9"}\n'), CorruptError, r"not of the questions of pred"),
        (spoil("predictions.jsonl", "{}\n"), CorruptError, r"predictions\.jsonl, line 1: not a p"),
        (drop_a_line, CorruptError, r"scores\.jsonl is not of the questions of predictions"),
        (spoil("golds.jsonl", "{}\n"), CorruptError, r"golds\.jsonl, line 1: not the golds"),
        (
            spoil("golds.jsonl", '{"id": "z", "answers": [], "passage_ids": []}\n'),
            CorruptError,
            r"golds\.jsonl is not of the questions",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused(
    three: list[Path], change: Callable[[Path], None], kind: type[RagkitError], message: str
) -> None:
    change(three[1])
    with pytest.raises(kind, match=message):
        compare(three[:2])


def test_a_number_that_is_none(three: list[Path]) -> None:
    path = three[1] / "scores.jsonl"
    path.write_text(path.read_text().replace('"EM": 1.0', '"EM": "one"'))
    with pytest.raises(CorruptError, match=r"scores\.jsonl: EM is not a number everywhere"):
        compare(three[:2])


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"confidence": 1.0}, DataError, "confidence is 1.0"),
        ({"resamples": 0}, DataError, "resamples is 0"),
        ({"draws": 0}, DataError, "draws is 0"),
        ({"examples": -1}, ConfigError, "examples is -1; type 0 or more"),
    ],
)
def test_numbers_without_sense(
    three: list[Path], arguments: dict[str, Any], kind: type[RagkitError], message: str
) -> None:
    with pytest.raises(kind, match=message):
        compare(three, **arguments)


def test_one_run_or_the_same_twice(three: list[Path], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="one run cannot be compared; type the folders of two"):
        compare(three[:1])
    with pytest.raises(DataError, match="is given twice; name each run once"):
        compare([three[0], three[1], tmp_path / "." / "third"])
    with pytest.raises(DataError, match="is no folder; type the folder of a run"):
        compare([three[0], tmp_path / "absent"])


# ------------------------------------------------------------------------ as written


def test_json_holds_all_of_it(three: list[Path]) -> None:
    record = json.loads(json.dumps(compare(three, baseline="two").as_dict(), allow_nan=False))
    assert record["baseline"] == "two"
    first = record["comparisons"][0]
    assert (first["run"], first["metric"], first["wins"], first["losses"]) == ("third", "EM", 8, 16)
    assert first["p_is_exact"] is True
    assert len(first["won"]) == 3
    assert [one["run"] for one in record["errors"]] == ["third", "two", "more"]
    assert record["scores"]["more"]["EM"]["n"] == 24


def rows(table: str, mark: str) -> list[list[str]]:
    return [
        [cell.strip() for cell in line.strip("| \\").split(mark)]
        for line in table.splitlines()
        if line.count(mark) > 3 and "--" not in line
    ]


def test_markdown_and_latex_say_the_same(three: list[Path]) -> None:
    found: Comparison = compare(three, metrics=["EM"])
    page = rows(written.markdown(found), "|")
    paper = rows(written.latex(found).replace("$", "").replace(r"\%", "%"), "&")
    assert [[c for c in row if c] for row in page] == [[c for c in row if c] for row in paper]
    assert page[2][:3] == ["two", "66.7", "+33.3"]
    assert page[2][-3:] == ["16", "0", "8"]


def test_signs_of_markup_are_escaped(tmp_path: Path) -> None:
    folders = [tmp_path / "a_b|c", tmp_path / "50%&$x"]
    for folder in folders:
        runs.write(folder, ASKED, right_where(lambda i: True))
    found = compare(folders)
    assert r"a\_b\|c" in written.markdown(found)
    assert r"50\%\&\$x" in written.latex(found)
    assert r"a\_b|c" in written.latex(found)


def test_small_p_are_readable() -> None:
    said = [sheets.probability(p) for p in (1.0, 0.0312, 0.00056, 1e-9, math.nan)]
    assert said == ["1.000", "0.031", "0.0006", "<0.0001", "–"]
