"""What a report gathers of a run, held against the metrics and the decomposition of errors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import runs
from ragkit.errors import UnknownName
from ragkit.evaluate.comparison import decompose, open_run
from ragkit.evaluate.metrics import AnswerRecall, ExactMatch, GoldRecall
from ragkit.evaluate.report import curves, gather
from ragkit.evaluate.report.gathered import judge_of
from ragkit.protocols import Example, Passage, Prediction

N = 60


def passages(i: int, one: Example) -> Sequence[Passage]:
    """Four, of which one holds the answer or is known to be right, at a rank that differs."""
    found = [Passage(f"x{i}-{n}", "Other", f"nothing of use {n}") for n in range(4)]
    if i % 3 == 1:
        found[i % 4] = Passage(f"x{i}-a", "Other", f"it says answer {i}, does it not")
    if i % 5 == 0:
        found[(i + 1) % 4] = Passage(f"p{i}", "Known", "without the words")
    if i % 7 == 0:
        found[3] = Passage(f"x{i}-t", f"answer {i}", "in the title alone")
    return found


def say(i: int, one: Example) -> str:
    return (one.answers[0], "something else", f"Answers {i}", one.answers[0])[i % 4]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("gathered") / "run"
    return runs.write(where, runs.examples(N), say, passages=passages)


def test_kinds_are_those_of_the_decomposition(folder: Path) -> None:
    run = open_run(folder)
    found = gather(run, "EM")
    errors = decompose(run)
    by_id = dict(zip(run.ids, found.kinds, strict=True))
    assert {fault.id: fault.kind for fault in errors.faults} == {
        id: kind for id, kind in by_id.items() if kind not in ("right", "unsupported")
    }
    assert found.kinds.count("unsupported") == errors.unsupported.cases > 0
    assert found.kinds.count("right") == errors.right - errors.unsupported.cases > 0
    assert {"retrieval", "reader", "metric"} <= set(found.kinds)
    np.testing.assert_array_equal(found.right, run.values["EM"])


def test_recall_at_every_k_is_that_of_the_metrics(folder: Path) -> None:
    run = open_run(folder)
    said, asked = list(run.predictions()), run.examples()
    found = gather(run, "EM")
    answers = curves.recall(found.answer_rank, 4)
    known = curves.recall(found.gold_rank, 4)
    for k in range(1, 5):
        assert answers[k - 1].y == np.mean(AnswerRecall(k)(said, asked))
        assert known[k - 1].y == np.mean(GoldRecall(k)(said, asked))
    assert [point.x for point in answers] == [1, 2, 3, 4]
    assert {point.n for point in answers} == {N}


def test_a_passage_that_is_read_twice_takes_one_place(tmp_path: Path) -> None:
    asked = runs.examples(1)
    twice = [Passage(id, "", "") for id in ("x", "x", "p0")]
    folder = runs.write(tmp_path / "run", asked, say, passages=lambda i, one: twice)
    assert gather(open_run(folder), "EM").gold_rank.tolist() == [2.0]


def test_golds_that_are_patterns(tmp_path: Path) -> None:
    asked = [Example("a", "When?", (r"19\d\d",)), Example("b", "When?", ("(",))]
    read = [Passage("1", "", "in the year 1968")]
    folder = runs.write(
        tmp_path / "run",
        asked,
        lambda i, one: "1968",
        passages=lambda i, one: read,
        metrics={"EM": ExactMatch(regex=True)},
    )
    run = open_run(folder)
    patterns = replace(run, tables={"EM": {"name": "em", "regex": True}})
    found = gather(patterns, "EM")
    assert found.kinds[0] == "right"
    assert found.answer_rank.tolist() == [1.0, math.inf]
    assert gather(run, "EM").answer_rank.tolist() == [math.inf, math.inf]


def test_labels_are_no_text_that_a_passage_holds(tmp_path: Path) -> None:
    asked = [Example(f"q{i}", f"claim {i}", ("SUPPORTS",), (f"p{i}",)) for i in range(2)]
    folder = runs.write(
        tmp_path / "run",
        asked,
        lambda i, one: "REFUTES",
        passages=lambda i, one: [Passage(f"p{i % 1}", "", "SUPPORTS the roof")],
        values={"accuracy": [0.0, 0.0]},
    )
    run = open_run(folder)
    assert judge_of([run], None) == "accuracy"
    assert gather(run, "accuracy").kinds == ["reader", "retrieval"]


def test_without_golds_right_and_wrong_is_all_there_is(tmp_path: Path) -> None:
    folder = runs.write(tmp_path / "run", runs.examples(4), say, keep_golds=False)
    found = gather(open_run(folder), "EM")
    assert found.errors is None
    assert list(found.kinds) == ["right", "wrong", "wrong", "right"]
    assert np.isnan(found.answer_rank).all()


def test_questions_without_a_number_are_not_judged(tmp_path: Path) -> None:
    asked = runs.examples(3)
    folder = runs.write(tmp_path / "run", asked, say, values={"EM": [1.0, math.nan, 0.0]})
    found = gather(open_run(folder), "EM")
    assert found.kinds[1] == "unjudged"
    assert math.isnan(found.right[1])


def test_no_metric_that_judges(tmp_path: Path) -> None:
    asked = runs.examples(2)
    folder = runs.write(tmp_path / "run", asked, say, values={"F1": [0.5, 1.0]})
    run = open_run(folder)
    assert judge_of([run], None) is None
    assert set(gather(run, None).kinds) == {"unjudged"}
    assert gather(run, "F1").kinds[1] == "unsupported"
    with pytest.raises(UnknownName, match=r"no metric 'Em'.*Metrics: F1"):
        judge_of([run], "Em")


def test_confidence_is_the_probability_of_the_answer(tmp_path: Path) -> None:
    logs = [-0.5, 0.25, -math.inf]

    def change(i: int, one: Prediction) -> Prediction:
        return replace(one, log_likelihood=logs[i])

    folder = runs.write(tmp_path / "run", runs.examples(3), say, change=change)
    found = gather(open_run(folder), "EM").confidence
    assert found.tolist() == [math.exp(-0.5), 1.0, 0.0]
