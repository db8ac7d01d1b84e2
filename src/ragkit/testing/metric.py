"""The laws of a metric: one plain number for each prediction, of that prediction alone.

A figure that is no mean is made of sums of rows, one for each prediction. Knows
`ragkit.protocols.Metric`; no model, no file.
"""

from __future__ import annotations

import copy
import math
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from ragkit.evaluate.bootstrap import resampled_sums
from ragkit.protocols import Example, Passage, Prediction, SupportsEnds, SupportsPooling
from ragkit.testing import samples
from ragkit.testing.asserting import attempt, must, same, unchanged
from ragkit.testing.kit import Conformance


class MetricConformance(Conformance):
    """The laws of a `Metric`.

    better: whether a greater number is better (``higher``) or worse (``lower``); None where
        neither is.
    best: the number of a perfect prediction, where there is one.
    """

    role = "metric"
    better: ClassVar[Literal["higher", "lower"] | None] = "higher"
    best: ClassVar[float | None] = None

    # --------------------------------------------------------------------- the number

    def test_numbers(self) -> None:
        """It gives a list of plain floats, one for each prediction; NaN where it has no meaning."""
        predictions, examples = _cases()
        found = self.made()(predictions, examples)
        must(
            isinstance(found, list) and len(found) == len(predictions),
            f"the metric gave {type(found).__name__} of {len(found)} for {len(predictions)} "
            "predictions; give a list with one number for each",
        )
        for number in found:
            must(
                type(number) is float and not math.isinf(number),
                f"the metric gave {number!r} ({type(number).__name__}); give plain floats, finite, "
                "or NaN where the metric has no meaning",
            )

    def test_no_predictions(self) -> None:
        """No predictions give no numbers."""
        with attempt("the metric of no predictions", "give an empty list"):
            found = self.made()([], [])
        must(list(found) == [], f"no predictions gave {found!r}; give an empty list")

    def test_unequal_numbers(self) -> None:
        """Another number of predictions than of examples is refused, never cut."""
        predictions, examples = _cases()
        try:
            found = self.made()(predictions, examples[:-1])
        except Exception:
            return
        raise AssertionError(
            f"{len(predictions)} predictions with {len(examples) - 1} examples gave {len(found)} "
            "numbers; raise, as zip(predictions, examples, strict=True) does"
        )

    def test_right_is_better_than_wrong(self) -> None:
        """The right answer, with its passage first, is better than a wrong one without."""
        if self.better is None:
            self.skip("better is None: no number is better than another")
        right, wrong = self._one(*_right()), self._one(*_wrong())
        must(
            not math.isnan(right) and not math.isnan(wrong),
            "the metric is NaN for an example with answers and passage ids; it must have a meaning",
        )
        must(
            self.best is None or math.isclose(right, self.best),
            f"the right answer with its passage first has {right}, and best = {self.best}; give "
            "that number to a perfect prediction",
        )
        gain = right - wrong if self.better == "higher" else wrong - right
        must(
            gain > 0,
            f"the right answer with its passage first has {right}, and a wrong one without it "
            f"{wrong}; {self.better} must be better (or set better to 'lower' or None)",
        )

    def test_odd_predictions(self) -> None:
        """Empty texts, no passages and examples of which nothing is known are no fault."""
        for prediction, example in _odd():
            with attempt(
                f"the metric of text {prediction.text!r}, {len(prediction.passages)} passages, "
                f"answers {example.answers!r}",
                "give a number, or NaN where the metric has no meaning",
            ):
                self.made()([prediction], [example])

    # -------------------------------------------------------------- what must not matter

    def test_deterministic(self) -> None:
        """The same predictions have the same numbers."""
        metric, (predictions, examples) = self.made(), _cases()
        first = metric(predictions, examples)
        must(
            _equal(metric(predictions, examples), first)
            and _equal(self.made()(predictions, examples), first),
            "the same predictions have other numbers; draw nothing at random, keep nothing of a "
            "call",
        )

    def test_batch_of_one_is_a_row_of_the_batch(self) -> None:
        """A prediction alone, or in another order, has the number that it has among others."""
        metric, (predictions, examples) = self.made(), _cases()
        batch = metric(predictions, examples)
        alone = [metric([p], [e])[0] for p, e in zip(predictions, examples, strict=True)]
        must(
            _equal(alone, batch),
            f"predictions one by one have {alone}, and together {batch}; a number must depend on "
            "its own prediction and example alone (the mean is not the metric's to take)",
        )
        back = metric(predictions[::-1], examples[::-1])
        must(
            _equal(back[::-1], batch),
            f"predictions in another order have {back[::-1]} instead of {batch}; number i must be "
            "that of prediction i",
        )

    def test_inputs_are_not_changed(self) -> None:
        """Predictions and examples are left as they were."""
        predictions, examples = copy.deepcopy(_cases())
        with unchanged("the metric", predictions=predictions, examples=examples):
            self.made()(predictions, examples)

    def test_label(self) -> None:
        """A label, where it has one, is a text for the heading of a table."""
        label = getattr(self.made(), "label", None)
        must(
            label is None or (isinstance(label, str) and label.strip() and "\n" not in label),
            f"label is {label!r}; give a short text, as in 'EM', or leave it out",
        )

    # ----------------------------------------------------------------- pooled figures

    def test_statistics(self) -> None:
        """SupportsPooling: a row for each prediction, all NaN where its number is NaN."""
        metric, (predictions, examples) = self.made(), _cases()
        self.needs(metric, SupportsPooling)
        with self.declared(metric, SupportsPooling):
            rows = metric.statistics(predictions, examples)
            none = metric.statistics([], [])
            back = metric.statistics(predictions[::-1], examples[::-1])
        must(
            isinstance(rows, np.ndarray) and rows.ndim == 2 and len(rows) == len(predictions),
            f"statistics of {len(predictions)} predictions are {type(rows).__name__} of shape "
            f"{np.shape(rows)}; give an array (N,S), a row for each",
        )
        must(
            np.shape(none) == (0, rows.shape[1]),
            f"statistics of no predictions have shape {np.shape(none)}; give (0,{rows.shape[1]})",
        )
        unknown = np.isnan(metric(predictions, examples))
        must(
            bool((np.isnan(rows) == unknown[:, None]).all()),
            f"rows are NaN at {np.isnan(rows).any(axis=1).tolist()}, and numbers at "
            f"{unknown.tolist()}; a row must be all NaN where the number is NaN, and only there",
        )
        same(back[::-1], rows, self.tolerance, "predictions in another order have other statistics")

    def test_pooled(self) -> None:
        """SupportsPooling: the sums of several sets have the figure of each, a finite number."""
        metric = self.made()
        self.needs(metric, SupportsPooling)
        known = self._known(metric)
        sums = np.stack([known.sum(axis=0), known[0], known[-1], 2 * known.sum(axis=0)])  # (R,S)
        with self.declared(metric, SupportsPooling):
            found = metric.pooled(sums)
            alone = [metric.pooled(one[None]) for one in sums]
        must(
            np.shape(found) == (len(sums),) and all(np.shape(one) == (1,) for one in alone),
            f"pooled of sums {sums.shape} has shape {np.shape(found)}; one figure for each, (R,)",
        )
        must(
            bool(np.isfinite(found).all()),
            f"pooled gave {np.asarray(found).tolist()}; a sum of rows that are known must have a "
            "finite figure",
        )
        same(found, np.concatenate(alone), self.tolerance, "sums alone have another figure")

    def test_ends(self) -> None:
        """SupportsEnds: the interval holds the figure, and is wider where less is left out."""
        metric = self.made()
        self.needs(metric, SupportsEnds)
        known = self._known(metric)
        totals, sums = known.sum(axis=0), resampled_sums(known, resamples=200, seed=0)
        with self.declared(metric, SupportsEnds):
            figure = float(metric.pooled(totals[None])[0])
            low, high = metric.ends(totals, sums, 0.25)
            lower, higher = metric.ends(totals, sums, 0.025)
        must(
            lower <= low <= figure <= high <= higher,
            f"the figure is {figure}, its interval {low} to {high} with a quarter left out at "
            f"either end, and {lower} to {higher} with a fortieth; each must hold the one within",
        )

    # ------------------------------------------------------------------------ helpers

    def _known(self, metric: Any) -> NDArray[np.float64]:
        with attempt("statistics", "it must return an array (N,S)"):
            rows: NDArray[np.float64] = metric.statistics(*_cases())
        known = rows[~np.isnan(rows).any(axis=1)]
        return known if len(known) else self.skip("no sample has a meaning under these options")

    def _one(self, prediction: Prediction, example: Example) -> float:
        with attempt("metric(predictions, examples)", "it must return a list of floats"):
            found: Any = self.made()([prediction], [example])
        must(len(found) == 1, f"one prediction gave {len(found)} numbers")
        return float(found[0])


def _example(**changes: Any) -> Example:
    known = {"answers": ("Ada Holm", "Ada"), "passage_ids": ("lighthouse",)}
    return Example("1", samples.QUESTIONS[0], **{**known, **changes})


def _prediction(text: str, passages: tuple[Passage, ...]) -> Prediction:
    count = len(passages)
    shares = tuple(1 / count for _ in passages)
    return Prediction("1", samples.QUESTIONS[0], text, -1.5, passages, shares, shares)


def _right() -> tuple[Prediction, Example]:
    return _prediction("Ada Holm", samples.PASSAGES[:3]), _example()


def _wrong() -> tuple[Prediction, Example]:
    return _prediction("nine o'clock", samples.PASSAGES[3:6]), _example()


def _odd() -> list[tuple[Prediction, Example]]:
    return [
        (_prediction("", ()), _example()),
        (_prediction("", samples.PASSAGES[:1]), _example(answers=())),
        (_prediction("Łódź 北京 🙂 (", samples.PASSAGES), _example(passage_ids=())),
        (_prediction("the", ()), _example(answers=("the", "?!"), passage_ids=("x", "y"))),
        (_prediction("a", samples.PASSAGES), _example(answers=(), passage_ids=())),
    ]


def _cases() -> tuple[list[Prediction], list[Example]]:
    pairs = [_right(), _wrong(), *_odd(), (_prediction("Holm", samples.PASSAGES[:2]), _example())]
    return [p for p, _ in pairs], [e for _, e in pairs]


def _equal(one: list[float], other: list[float]) -> bool:
    return len(one) == len(other) and all(
        a == b or (math.isnan(a) and math.isnan(b)) for a, b in zip(one, other, strict=True)
    )
