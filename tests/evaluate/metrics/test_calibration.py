"""Calibration error and Brier score by their definitions, and intervals that hold."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from judging import gold, one, said
from ragkit.errors import ConfigError
from ragkit.evaluate.bootstrap import pooled_interval
from ragkit.evaluate.metrics import F1, Brier, CalibrationError
from ragkit.protocols import Example, Prediction

CASES = st.lists(st.tuples(st.floats(0.001, 1), st.booleans()), min_size=1, max_size=30)
Cases = list[tuple[float, bool]]


def judged(cases: Cases) -> tuple[list[Prediction], list[Example]]:
    predictions = [said("yes" if right else "no", logp=math.log(p)) for p, right in cases]
    return predictions, [gold("yes")] * len(cases)


def error(cases: Cases, bins: int) -> float:
    """Bin by bin, as Guo et al. write it."""
    total = 0.0
    for m in range(bins):
        held = [(p, right) for p, right in cases if m / bins < p <= (m + 1) / bins]
        if held:
            gap = np.mean([p for p, _ in held]) - np.mean([right for _, right in held])
            total += len(held) / len(cases) * abs(gap)
    return total


@given(CASES, st.integers(1, 12))
def test_against_the_definition(cases: Cases, bins: int) -> None:
    # A p on the border of two bins may fall into either when it has been a logarithm.
    cases = [(p, r) for p, r in cases if abs(p * bins - round(p * bins)) > 1e-9] or [(0.4999, True)]
    metric = CalibrationError(bins)
    found = pooled_interval(metric.statistics(*judged(cases)), metric.pooled, resamples=2)
    assert found.mean == pytest.approx(error(cases, bins), abs=1e-9)
    brier = np.mean(Brier()(*judged(cases)))
    assert brier == pytest.approx(np.mean([(p - right) ** 2 for p, right in cases]))


def test_by_hand() -> None:
    cases = [(0.9, True), (0.9, True), (0.9, False), (0.2, False)]
    metric = CalibrationError()
    found = metric.pooled(metric.statistics(*judged(cases)).sum(axis=0, keepdims=True))
    assert found == pytest.approx([3 / 4 * abs(0.9 - 2 / 3) + 1 / 4 * 0.2])
    assert np.mean(Brier()(*judged(cases))) == pytest.approx((0.01 + 0.01 + 0.81 + 0.04) / 4)
    assert one(CalibrationError(), said("no", logp=math.log(0.3)), gold("yes")) == pytest.approx(
        0.3
    )


@pytest.mark.parametrize(("logp", "p"), [(-math.inf, 0.0), (0.0, 1.0), (1e-7, 1.0)])
def test_the_ends_of_confidence(logp: float, p: float) -> None:
    prediction, example = said("yes", logp=logp), gold("yes")
    assert one(Brier(), prediction, example) == (p - 1) ** 2
    metric = CalibrationError(4)
    row = metric.statistics([prediction], [example])[0]
    assert row.tolist() == [1, p - 1, 0, 0, 0] if p == 0 else [1, 0, 0, 0, 0]


def test_right_by_another_metric_and_by_none() -> None:
    half = said("Ada", logp=math.log(0.5)), gold("Ada Holm")
    assert one(Brier(F1()), *half) == pytest.approx((0.5 - 2 / 3) ** 2)
    assert one(CalibrationError(of=F1()), *half) == pytest.approx(abs(0.5 - 2 / 3))
    unknown = said("Ada"), gold()
    assert math.isnan(one(Brier(), *unknown))
    assert math.isnan(one(CalibrationError(), *unknown))
    metric = CalibrationError()
    rows = metric.statistics([half[0], unknown[0]], [half[1], unknown[1]])
    assert np.isnan(rows).all(axis=1).tolist() == [False, True]
    assert metric.statistics([], []).shape == (0, 11)
    with pytest.raises(ConfigError, match="bins is 0; type bins=1 or more"):
        CalibrationError(bins=0)


@pytest.mark.parametrize("factor", [1.0, 0.7])
def test_the_interval_covers_the_true_error(factor: float) -> None:
    # p is even on (0, 1) and right has probability factor·p, so the true error is (1-factor)/2.
    rng = np.random.default_rng(8)
    metric, truth = CalibrationError(), (1 - factor) / 2
    covered = above = 0
    for seed in range(60):
        p = rng.random(200)
        right = rng.random(200) < factor * p
        rows = metric.statistics(*judged(list(zip(p, right, strict=True))))
        how = {"resamples": 300, "seed": seed}
        found = pooled_interval(rows, metric.pooled, ends=metric.ends, **how)
        covered += found.low <= truth <= found.high
        above += pooled_interval(rows, metric.pooled, **how).low > truth
        assert 0 <= found.low <= found.mean <= found.high
    assert covered >= 51  # of Binomial(60, 0.95), with probability above 0.9999
    if factor == 1.0:
        assert above == 60  # percentiles call a calibrated model uncalibrated, every time
