"""The view of the demo's training, its settings, and the intervals of its figures."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from ragkit.demo.live import View, smooth, sparkline
from ragkit.demo.measure import figure
from ragkit.demo.settings import Settings
from ragkit.errors import ConfigError
from ragkit.evaluate import interval


def test_a_sparkline_spans_the_range() -> None:
    assert sparkline([0.0, 1.0, 2.0, 3.0]) == "▁▃▆█"
    assert len(sparkline([float(i) for i in range(1000)], width=60)) == 60
    assert sparkline([2.0, 2.0]) == "▁▁"
    assert sparkline([]) == ""


def test_without_a_terminal_ten_plain_lines_say_how_it_goes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    history: list[dict[str, float]] = []
    view = View(50, history)
    view.on_train_begin()
    for step in range(1, 51):
        logs = {"loss": 1 / step, "prior_entropy": 0.5}
        view.on_log(None, SimpleNamespace(global_step=step), None, logs=logs)
    view.on_log(None, SimpleNamespace(global_step=50), None, logs={"train_runtime": 1.0})
    view.on_train_end()
    said = capsys.readouterr()
    assert said.out == ""
    lines = said.err.splitlines()
    assert len(lines) == 10
    assert "50/50" in lines[-1]
    assert "0 s left" in lines[-1]
    assert "\x1b" not in said.err
    assert [entry["step"] for entry in history] == list(range(1, 51))
    assert smooth(history, "loss") == pytest.approx(np.mean([1 / s for s in range(41, 51)]))


def test_outcomes_that_are_all_the_same_still_have_a_width() -> None:
    n = 219
    none = figure(interval(np.zeros(n), seed=0))
    assert (none["mean"], none["low"], none["n"]) == (0.0, 0.0, n)
    # Clopper and Pearson: (1 - p)^n = 0.025 at the upper end where none of n is right
    assert none["high"] == round(100 * (1 - 0.025 ** (1 / n)), 1)
    every = figure(interval(np.ones(n), seed=0))
    assert (every["mean"], every["high"]) == (100.0, 100.0)
    assert every["low"] == round(100 * 0.025 ** (1 / n), 1)


def test_a_bootstrap_interval_is_near_the_normal_one() -> None:
    n, right = 219, 200
    found = figure(interval(np.repeat([1.0, 0.0], [right, n - right]), seed=0))
    p = right / n
    half = 1.96 * np.sqrt(p * (1 - p) / n)
    assert found["mean"] == round(100 * p, 1)
    assert found["low"] == pytest.approx(100 * (p - half), abs=1.0)
    assert found["high"] == pytest.approx(100 * (p + half), abs=1.0)


def test_settings_are_the_demo_s_own_unless_asked_otherwise() -> None:
    assert Settings.of() == Settings()
    quick = Settings.of(quick=True, seed=4, k=2)
    assert quick.steps < 10
    assert quick.limit is not None
    assert (quick.seed, quick.k) == (4, 2)
    assert Settings.of(steps=7).steps == 7


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"k": 0}, {"k": -3}])
def test_settings_that_train_nothing_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        Settings.of(**wrong)
