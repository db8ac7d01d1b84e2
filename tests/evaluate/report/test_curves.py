"""Points of curves, against definitions and other implementations; their SVG, as XML."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from scipy.stats import beta

import runs
from ragkit.evaluate.comparison import open_run
from ragkit.evaluate.metrics import CalibrationError
from ragkit.evaluate.report import curves, drawing, gather
from ragkit.evaluate.report.curves import Curve, Point
from ragkit.protocols import Passage, Prediction


def test_intervals_of_recall_are_exact() -> None:
    ranks = np.array([1.0, 3.0, math.inf, math.nan, 2.0])
    one, two, three = curves.recall(ranks, 3)
    assert (one.y, two.y, three.y, two.n) == (0.25, 0.5, 0.75, 4)
    # Clopper and Pearson, by quantiles of the beta distribution.
    assert two.low == pytest.approx(beta.ppf(0.025, 2, 3))
    assert two.high == pytest.approx(beta.ppf(0.975, 3, 2))
    assert curves.recall(np.array([math.nan]), 3) == []


def test_reliability_has_the_calibration_error_in_it(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    p = rng.uniform(0.001, 1, 80)

    def change(i: int, one: Prediction) -> Prediction:
        return replace(one, log_likelihood=float(np.log(p[i])))

    asked = runs.examples(80)
    folder = runs.write(
        tmp_path / "run",
        asked,
        lambda i, one: one.answers[0] if p[i] > 0.6 else "no",
        change=change,
    )
    run = open_run(folder)
    points = curves.reliability(gather(run, "EM"))
    assert sum(point.n for point in points) == 80
    metric = CalibrationError(bins=10)
    rows = metric.statistics(list(run.predictions()), asked)
    error = metric.pooled(rows.sum(axis=0)[None])[0]
    assert sum(one.n * abs(one.x - one.y) for one in points) / 80 == pytest.approx(error)
    assert all(one.low <= one.y <= one.high for one in points)


def test_figures_against_k_join_runs_that_differ_in_k_alone(tmp_path: Path) -> None:
    asked = runs.examples(10)
    folders = []
    for name, k, model in (("a5", 5, "A"), ("a2", 2, "A"), ("b2", 2, "B"), ("a9", 9, "A")):
        right = {"a2": 3, "a5": 6, "a9": 5, "b2": 1}[name]
        folders.append(
            runs.write(
                tmp_path / name,
                asked,
                lambda i, one, right=right: one.answers[0] if i < right else "no",  # type: ignore[misc]
                k=k,
                model=model,
            )
        )
    gathered = [gather(open_run(folder), "EM") for folder in folders]
    (curve,) = curves.against_k(gathered, "EM")
    assert [(point.x, point.y) for point in curve.points] == [(2, 0.3), (5, 0.6), (9, 0.5)]
    assert all(point.low <= point.y <= point.high for point in curve.points)
    assert curves.against_k(gathered[:1], "EM") == []
    assert curves.against_k(gathered, "BLEU") == []


def test_recall_has_a_curve_for_what_is_known(tmp_path: Path) -> None:
    asked = [replace(one, passage_ids=()) for one in runs.examples(3)]
    read = [Passage("1", "", "answer 0"), Passage("2", "", "answer 1")]
    folder = runs.write(tmp_path / "r", asked, lambda i, one: "no", passages=lambda i, one: read)
    (curve,) = curves.recalls([gather(open_run(folder), "EM")])
    assert curve.name == "an answer"
    assert [point.y for point in curve.points] == [1 / 3, 2 / 3]


# ------------------------------------------------------------------------- drawn

MARKUP = '<b onclick="x">&amp;'


def drawn(text: str) -> ElementTree.Element:
    return ElementTree.fromstring(text)


def test_points_stand_where_their_values_are() -> None:
    points = [Point(1, 0.0, 0.0, 0.1, 9), Point(2, 0.5, 0.4, 0.6, 9), Point(5, 1.0, 0.9, 1.0, 9)]
    svg = drawn(drawing.curves([Curve("a", points)], said="recall", across="k"))
    discs = [(float(c.get("cx", "")), float(c.get("cy", ""))) for c in svg.iter("circle")]
    assert discs[0] == (drawing.LEFT, drawing.HEIGHT - drawing.BOTTOM)
    assert discs[2] == (drawing.WIDTH - drawing.RIGHT, drawing.TOP)
    across = drawing.WIDTH - drawing.RIGHT - drawing.LEFT
    assert discs[1] == pytest.approx(
        (drawing.LEFT + across / 4, (drawing.TOP + drawing.HEIGHT - drawing.BOTTOM) / 2), abs=0.06
    )
    ticks = [one.text for one in svg.iter("text")]
    assert {"0", "25", "50", "75", "100", "1", "2", "5", "k"} <= set(ticks)
    title = next(svg.iter("circle")).find("title")
    assert title is not None
    assert title.text == "a, 1: 0.0 (0.0 to 10.0), 9 questions"


@pytest.mark.parametrize("most", [1, 2, 3, 7, 10, 50, 100, 12345])
def test_ticks_are_whole_few_and_within(most: int) -> None:
    points = [Point(k, 0.5, 0.4, 0.6, 9) for k in {1, most}]
    svg = drawn(drawing.curves([Curve("a", points)], said="", across="k"))
    texts = [one.text or "" for one in svg.iter("text") if one.get("text-anchor") == "middle"]
    numbers = [int(text.replace(",", "")) for text in texts if text != "k"]
    assert numbers == sorted(set(numbers))
    assert 1 <= len(numbers) <= 8
    assert all(1 <= number <= most for number in numbers)


def test_names_are_text_and_every_chart_is_xml() -> None:
    points = [Point(0.2, 0.3, 0.1, 0.5, 4), Point(0.8, 0.7, 0.5, 0.9, 2)]
    found = [Curve(MARKUP, points), Curve("b", points, 7, True)]
    for svg in (
        drawing.curves(found, said=MARKUP, across=MARKUP, unit="nats", whole=False),
        drawing.reliability(found, said=MARKUP),
        drawing.learning([(1, 3.0), (2, 2.0), (3, 1.0)], said=MARKUP),
        drawing.legend(found),
    ):
        assert not list(drawn(svg).iter("b"))
        assert "<b" not in svg
    assert set(re.findall(r"tone-\d+", drawing.legend(found))) == {"tone-0", "tone-1"}


def test_ticks_of_small_numbers_fit_beside_the_axis() -> None:
    svg = drawn(drawing.learning([(1, 0.0), (2, 8.06e-5), (3, 2.0e-5)], said="rate"))
    texts = [one.text for one in svg.iter("text") if one.get("text-anchor") == "end"]
    assert (texts[0], texts[2], texts[-1]) == ("0", "4.0e-5", "8.1e-5")
    assert all(len(text or "") <= 6 for text in texts)


def test_nothing_to_draw_draws_nothing() -> None:
    assert drawing.curves([], said="", across="k") == ""
    assert drawing.reliability([Curve("a", [])], said="") == ""
    assert drawing.learning([], said="") == ""


def test_a_single_value_and_a_flat_curve_are_drawn() -> None:
    flat = [Point(3, 0.0, 0.0, 0.0, 1)]
    drawn(drawing.curves([Curve("a", flat)], said="", across="k", unit="nats"))
    svg = drawn(drawing.learning([(0, 2.0), (0, 2.0)], said="loss"))
    assert svg.get("aria-label") == "loss: from 2 to 2"
