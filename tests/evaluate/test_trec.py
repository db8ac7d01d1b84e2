"""TREC's files against pytrec_eval and ir_measures: they find the numbers that we find."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import ir_measures
import numpy as np
import pytest
import pytrec_eval
from hypothesis import given, settings
from hypothesis import strategies as st
from ir_measures import RR, R, Rprec, nDCG

import ragkit.evaluate
from ragkit.errors import DataError
from ragkit.evaluate import golds, replay
from ragkit.evaluate.metrics import NDCG
from ragkit.evaluate.trec import (
    falling,
    read_qrels,
    read_run,
    write_qrels,
    write_run,
)
from ragkit.protocols import Example, Passage, Prediction

IDS = [f"p{i}" for i in range(9)]
MEASURES = {"nDCG@3": nDCG @ 3, "gold R@3": R @ 3, "RR@3": RR @ 3, "Rprec": Rprec}
METRICS = ["nDCG@3", "R@3", "RR@3", "Rprec"]

GRADES = st.dictionaries(st.sampled_from(IDS), st.integers(0, 3), max_size=5)
PRIORS = st.sampled_from([0.0, 1e-300, 0.1, 0.1000000001, 0.1, 0.5])
"""Among them equal ones, some that are equal as 32-bit floats only, and some next to nothing."""


def prediction(id: str, order: list[str], priors: list[float] = ()) -> Prediction:  # type: ignore[assignment]
    passages = tuple(Passage(one, "t", "x") for one in order)
    return Prediction(id, f"question {id}?", "", -1.0, passages, tuple(priors))


def example(id: str, grades: dict[str, int]) -> Example:
    right = tuple(one for one, grade in grades.items() if grade > 0)
    return Example(id, f"question {id}?", (), right, extra={"relevance": grades})


class Said:
    """A model that gives predictions that are there."""

    def __init__(self, predictions: list[Prediction]) -> None:
        self.by_question = {one.question: one for one in predictions}

    def answer(self, questions: list[str], k: int) -> list[Any]:
        class Ready:
            def __init__(self, one: Prediction) -> None:
                self.prediction = lambda _: one

        return [Ready(self.by_question[one]) for one in questions]


class Asked:
    metrics = METRICS

    def __init__(self, examples: list[Example]) -> None:
        self.held = examples

    def examples(self, split: str) -> list[Example]:
        return self.held


@st.composite
def rankings(draw: st.DrawFn) -> tuple[list[Prediction], list[Example]]:
    predictions, examples = [], []
    for i in range(draw(st.integers(1, 4))):
        order = draw(st.permutations(IDS))[: draw(st.integers(1, 9))]
        priors = sorted(draw(st.lists(PRIORS, min_size=len(order), max_size=len(order))))[::-1]
        predictions.append(prediction(f"q{i}", order, priors))
        examples.append(example(f"q{i}", draw(GRADES)))
    examples[0] = example("q0", {"p3": 2, "p5": 1})
    return predictions, examples


@settings(max_examples=60, deadline=None)
@given(held=rankings())
def test_other_tools_find_our_numbers(
    held: tuple[list[Prediction], list[Example]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Of every question, whatever priors are equal; and so do we, from the files."""
    folder = tmp_path_factory.mktemp("trec")
    predictions, examples = held
    ours = ragkit.evaluate(Said(predictions), Asked(examples), k=9, metrics=METRICS, resamples=2)
    run, qrels = folder / "run.trec", folder / "qrels.trec"
    assert write_run(run, predictions, tag="mine") == sum(len(p.passages) for p in predictions)
    write_qrels(qrels, examples)
    read = (list(ir_measures.read_trec_qrels(str(qrels))), ir_measures.read_trec_run(str(run)))
    theirs = {
        (str(one.measure), one.query_id): one.value
        for one in ir_measures.iter_calc(list(MEASURES.values()), read[0], list(read[1]))
    }
    again = replay(run, qrels, metrics=METRICS, k=9, resamples=2)
    judged = [one.id for one in examples if one.passage_ids]
    assert [one.id for one in again.predictions] == judged
    for label, measure in MEASURES.items():
        for i, one in enumerate(examples):
            if one.passage_ids:
                expected = theirs[str(measure), one.id]
                # pytrec_eval holds numbers as its C code prints them
                assert ours.values[label][i] == pytest.approx(expected, abs=1e-4), (label, one)
        kept = ours.values[label][~np.isnan(ours.values[label])]
        assert again.values[label].tolist() == kept.tolist()
    with qrels.open() as file:
        truth = pytrec_eval.parse_qrel(file)
    with run.open() as file:
        found = pytrec_eval.RelevanceEvaluator(truth, {"ndcg_cut.3"}).evaluate(
            pytrec_eval.parse_run(file)
        )
    mean = np.mean([one["ndcg_cut_3"] for one in found.values()])
    assert ours["nDCG@3"].mean == pytest.approx(mean, abs=1e-6)


SCORES = st.floats(-5, 5, width=32) | st.sampled_from([0.0, 1.0, 1 + 1e-9, 1.0 - 1e-9])


@settings(max_examples=60, deadline=None)
@given(
    scores=st.lists(SCORES, min_size=1, max_size=9),
    grades=GRADES.filter(lambda grades: any(grades.values())),
    lines=st.permutations(range(9)),
)
def test_a_run_of_somebody_else_is_read_as_trec_eval_reads_it(
    scores: list[float],
    grades: dict[str, int],
    lines: list[int],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Ranks may lie, lines may stand in any order, scores may be equal."""
    folder = tmp_path_factory.mktemp("trec")
    rows = [f"q Q0 {IDS[i]} 1 {score!r} them" for i, score in enumerate(scores)]
    run, qrels = folder / "run", folder / "qrels"
    run.write_text("\n".join(rows[i] for i in lines if i < len(rows)) + "\n")
    qrels.write_text("".join(f"q\t0\t{id}\t{grade}\n" for id, grade in grades.items()))
    evaluator = pytrec_eval.RelevanceEvaluator({"q": grades}, {"ndcg_cut.3", "recip_rank"})
    found = evaluator.evaluate({"q": dict(zip(IDS, scores, strict=False))})["q"]
    ours = replay(run, qrels, metrics=["nDCG@3", "RR"], resamples=2)
    assert ours["nDCG@3"].mean == pytest.approx(found["ndcg_cut_3"], abs=1e-6)
    assert ours["RR@1000"].mean == pytest.approx(found["recip_rank"], abs=1e-6)


@settings(deadline=None)
@given(st.lists(st.floats(-1e30, 1e30) | st.just(-np.inf) | PRIORS, max_size=30))
def test_falling_scores_keep_the_order_and_move_as_little_as_can_be(scores: list[float]) -> None:
    scores = sorted(scores, reverse=True)
    found = np.asarray(falling(scores), dtype=np.float32)
    assert (np.diff(found) < 0).all()
    assert np.isfinite(found).all()
    tiny = np.finfo(np.float32).tiny
    assert all(one == 0 or abs(one) >= tiny for one in found)  # subnormal ones may be flushed
    plain = [float(np.float32(one)) if abs(one) >= 2 * tiny else 0.0 for one in scores]
    if len(set(plain)) == len(plain) and -np.inf not in scores:
        assert found.tolist() == pytest.approx(plain, rel=1e-6, abs=4 * float(tiny))


def test_what_is_written_is_read(tmp_path: Path) -> None:
    asked = [example("1", {"a": 2, "b": 0}), Example("2", "?", ("x",), ("c",)), Example("3", "?")]
    said = [prediction("1", ["b", "a", "b"], [0.5, 0.3, 0.2]), prediction("2", ["c", "a"])]
    for ending in ("", ".gz"):
        assert write_run(tmp_path / f"run{ending}", said) == 4  # b once
        assert write_qrels(tmp_path / f"qrels{ending}", asked) == 3
    plain = (tmp_path / "run").read_text()
    assert gzip.decompress((tmp_path / "run.gz").read_bytes()).decode() == plain
    assert plain.splitlines()[2:] == ["2 Q0 c 1 -1.0 ragkit", "2 Q0 a 2 -2.0 ragkit"]
    assert sorted(one.name for one in tmp_path.iterdir()) == ["qrels", "qrels.gz", "run", "run.gz"]
    ranking = read_run(tmp_path / "run.gz")
    assert {query: [one.id for one in best] for query, best in ranking.items()} == {
        "1": ["b", "a"],
        "2": ["c", "a"],
    }
    assert ranking["1"][0].score == pytest.approx(np.log(0.5))
    judged = read_qrels(tmp_path / "qrels.gz")
    assert [(one.id, one.passage_ids, one.extra["relevance"]) for one in judged] == [
        ("1", ("a",), {"a": 2, "b": 0}),
        ("2", ("c",), {"c": 1}),
    ]


def test_a_run_keeps_grades(tmp_path: Path) -> None:
    """So that judgements can be written from its folder, and other grades are other golds."""
    one, other = example("q0", {"p1": 3, "p2": 1, "p3": 0}), example("q0", {"p1": 1, "p2": 1})
    golds.save(tmp_path, [one])
    (kept,) = golds.load(tmp_path) or ()
    assert (kept.passage_ids, kept.extra) == (one.passage_ids, one.extra)
    said = [prediction("q0", ["p2", "p1"])]
    assert NDCG()(said, [kept]) == NDCG()(said, [one]) != NDCG()(said, [other])
    assert golds.digest([kept]) == golds.digest([one]) != golds.digest([other])


def test_a_run_of_others_becomes_a_folder_to_compare(tmp_path: Path) -> None:
    from ragkit.evaluate.comparison import compare

    examples = [example(f"q{i}", {"p0": 1}) for i in range(6)]
    ours = [prediction(f"q{i}", ["p0", "p1"]) for i in range(6)]
    ragkit.evaluate(Said(ours), Asked(examples), k=2, metrics=["rr"], directory=tmp_path / "ours")
    theirs = [prediction(f"q{i}", ["p1", "p0"], [0.75, 0.25]) for i in range(5)]
    write_run(tmp_path / "theirs.run", theirs)
    found = replay(
        tmp_path / "theirs.run", Asked(examples), k=2, metrics=["rr"], directory=tmp_path / "theirs"
    )
    assert found.values["RR@2"].tolist() == [0.5] * 5 + [0]  # the run lacks the last
    assert found.predictions[0].prior == pytest.approx((0.75, 0.25))
    assert found.predictions[0].question == "question q0?"
    (contrast,) = compare([tmp_path / "ours", tmp_path / "theirs"], baseline="ours").contrasts
    assert contrast.difference.mean == pytest.approx(-3.5 / 6)
    write_run(tmp_path / "theirs.run", ours)
    with pytest.raises(DataError, match=r"model\.retriever\.digest is"):
        replay(tmp_path / "theirs.run", Asked(examples), k=3, directory=tmp_path / "theirs")


GOOD = "q Q0 p1 1 2.5 x\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "has no line"),
        (GOOD + "q Q0 p2 2 x\n", "line 2: 5 columns, and there should be 6: query, Q0"),
        (GOOD + "\nq Q0 p1 2 1.5 x\n", "line 3: query 'q' has passage 'p1' twice"),
        (GOOD + "q Q0 p2 2 high x\n", "line 2: score is 'high'; write a number"),
        (GOOD + "q Q0 p2 2 nan x\n", "line 2: score is 'nan'"),
        ("<!DOCTYPE html>", "is a web page, not data"),
    ],
)
def test_what_is_no_run(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "run").write_text(content)
    with pytest.raises(DataError, match=message):
        read_run(tmp_path / "run")


def test_what_cannot_be_written(tmp_path: Path) -> None:
    spaced = [prediction("1", ["my notes.md"])]
    with pytest.raises(DataError, match=r"passage 'my notes.md' cannot stand in a TREC file"):
        write_run(tmp_path / "run", spaced)
    with pytest.raises(DataError, match="question '' cannot stand"):
        write_run(tmp_path / "run", [prediction("", ["a"])])
    with pytest.raises(DataError, match="tag 'my run' cannot stand"):
        write_run(tmp_path / "run", [], tag="my run")
    half = Example("1", "?", (), ("a",), extra={"relevance": {"a": 0.5}})
    with pytest.raises(DataError, match=r"has the grade 0.5; TREC's judgements are whole"):
        write_qrels(tmp_path / "qrels", [half])
    assert not list(tmp_path.iterdir())  # no half a file


def test_files_that_do_not_belong_together(tmp_path: Path) -> None:
    (tmp_path / "run").write_text(GOOD)
    (tmp_path / "qrels").write_text("other 0 p1 1\n")
    with pytest.raises(DataError, match="no query in common: there it is 'q', here 'other'"):
        replay(tmp_path / "run", tmp_path / "qrels")
