"""Figures that are no mean: BLEU of runs that the harness wrote, against sacrebleu itself."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ragkit
import runs
from ragkit.evaluate.comparison import compare, statistics
from ragkit.evaluate.comparison.statistics import (
    Counts,
    permutation_test,
    pooled_permutation_test,
)
from ragkit.protocols import Example, Prediction

GOLDS = ["a b c d e", "the red boat", "one two three four", "x y z", "far from here now"]
SAID = {
    "first": ["a b c d f", "a red boat", "one two four", "x y", "far from home now"],
    "second": ["a b c", "the red boat", "one two three four", "q", "near here now then"],
}


@dataclass
class Said:
    question: str
    text: str

    def prediction(self, id: str) -> Prediction:
        return Prediction(id, self.question, self.text, -1.0)


class Model:
    """Answers question i with the i-th text."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts = texts

    def answer(self, questions: Sequence[str], *, k: int, **options: Any) -> list[Said]:
        return [Said(one, self.texts[int(one.split()[1])]) for one in questions]


class Task:
    metrics = ("em",)

    def __repr__(self) -> str:
        return "Task()"

    def examples(self, split: str) -> list[Example]:
        return [Example(f"q{i}", f"question {i} ?", (gold,)) for i, gold in enumerate(GOLDS)]


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    pytest.importorskip("sacrebleu", reason="sacrebleu is not installed")
    for name, texts in SAID.items():
        ragkit.evaluate(
            Model(texts), Task(), k=1, directory=tmp_path / name, metrics=["em", "bleu,order=2"]
        )
    return [tmp_path / name for name in SAID]


def bleu(texts: Sequence[str]) -> float:
    from sacrebleu.metrics import BLEU

    return float(BLEU(max_ngram_order=2).corpus_score(list(texts), [GOLDS]).score) / 100


def test_bleu_is_that_of_the_whole_and_p_of_every_change_of_sides(folders: list[Path]) -> None:
    found = compare(folders, resamples=400)
    em, one = found.contrasts
    assert (em.of, one.of) == ("mean", "pooled")
    first, second = SAID.values()
    assert one.baseline_mean == pytest.approx(bleu(first))
    assert one.mean == pytest.approx(bleu(second))
    assert one.difference.mean == pytest.approx(bleu(second) - bleu(first))
    assert found.scores["first"]["BLEU-2"].mean == pytest.approx(bleu(first))
    differences = []
    for sides in itertools.product((False, True), repeat=len(GOLDS)):
        pairs = [(b, a) if s else (a, b) for a, b, s in zip(first, second, sides, strict=True)]
        ours, theirs = zip(*pairs, strict=True)
        differences.append(abs(bleu(theirs) - bleu(ours)))
    assert one.exact
    expected = np.mean([one >= differences[0] - 1e-9 for one in differences])
    assert one.p == pytest.approx(expected)
    assert math.isnan(one.effect)
    assert one.counts == Counts(2, 0, 3)


def test_swapped_sides(folders: list[Path]) -> None:
    here = compare(folders, metrics=["BLEU-2"], resamples=300).contrasts[0]
    there = compare(folders, metrics=["BLEU-2"], baseline="second", resamples=300).contrasts[0]
    assert here.p == there.p
    assert here.difference.mean == pytest.approx(-there.difference.mean)
    assert here.difference.low == pytest.approx(-there.difference.high)


@pytest.mark.parametrize("spoiled", ["table", "golds", "figure"])
def test_what_cannot_be_made_again_is_compared_by_question(
    folders: list[Path], spoiled: str
) -> None:
    path = folders[1] / "result.json"
    record = json.loads(path.read_text())
    if spoiled == "table":
        record["metrics"]["BLEU-2"]["table"] = {"name": "of a plugin that is gone"}
    elif spoiled == "figure":
        record["metrics"]["BLEU-2"]["mean"] += 0.1
    else:
        (folders[1] / "golds.jsonl").unlink()
    path.write_text(json.dumps(record))
    assert compare(folders, metrics=["BLEU-2"]).contrasts[0].of == "single"


def test_of_a_mean_it_is_the_same_test() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 3, (2, 11)).astype(float)
    rows = [np.stack([values, np.ones(11)], axis=1) for values in (a, b)]

    def mean(sums: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return np.asarray(sums[:, 0] / sums[:, 1])

    exact = permutation_test(a - b)
    assert pooled_permutation_test(*rows, mean) == pytest.approx(exact)
    equal = pooled_permutation_test(rows[0], rows[0], mean)
    assert equal == (1.0, True)
    unknown = [np.concatenate([one, [[math.nan, 1.0]]]) for one in rows]
    assert pooled_permutation_test(*unknown, mean) == pytest.approx(exact)
    assert math.isnan(pooled_permutation_test(unknown[0][-1:], rows[0][:1], mean).p)


def test_drawn_changes_of_sides_are_near_the_exact_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    rows = [np.stack([rng.normal(shift, 1, 11), np.ones(11)], axis=1) for shift in (0.5, 0)]

    def ratio(sums: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return np.asarray(np.exp(sums[:, 0] / sums[:, 1]))

    exact = pooled_permutation_test(*rows, ratio)
    monkeypatch.setattr(statistics, "_ALL_SIDES", 1)
    drawn = pooled_permutation_test(*rows, ratio, draws=20_000)
    assert (exact.exact, drawn.exact) == (True, False)
    assert abs(exact.p - drawn.p) < 5 * math.sqrt(exact.p * (1 - exact.p) / 20_000)


def test_runs_without_tables_are_compared_as_ever(tmp_path: Path) -> None:
    asked = runs.examples(3)
    folders = [runs.write(tmp_path / name, asked, lambda i, _: "x") for name in "ab"]
    assert {one.of for one in compare(folders).contrasts} == {"mean"}
