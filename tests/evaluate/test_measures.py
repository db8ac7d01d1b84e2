"""From what is typed to figures: names with options, pooled figures, units."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sacrebleu

from judging import gold, said
from ragkit import Answer, evaluate
from ragkit.cli.evaluate import score_table
from ragkit.errors import ConfigError, DataError, UnknownName
from ragkit.evaluate.measures import IR_MEASURES, as_metrics, statistics
from ragkit.evaluate.metrics import Bleu, ExactMatch, Kilt
from ragkit.hookspecs import Component
from ragkit.registry import components
from ragkit.testing import check


def test_options_follow_the_name() -> None:
    wanted = [
        "em,regex=true",
        "answer-recall@3,title=true,regex=true",
        "distinct,n=2",
        "kilt,of=f1",
    ]
    found = as_metrics(wanted, k=5)
    assert list(found) == ["EM", "answer R@3", "distinct-2", "KILT-F1"]
    recall: Any = found["answer R@3"]
    assert (recall.k, recall.title, recall.regex) == (3, True, True)
    em: Any = found["EM"]
    assert isinstance(em, ExactMatch)
    assert em.regex is True
    assert isinstance(found["KILT-F1"], Kilt)


def test_names_of_ir_measures() -> None:
    wanted = ["nDCG@10", "R@5", "Rprec", "RR@10", "answer-recall"]
    assert list(as_metrics(wanted, k=20)) == [
        "nDCG@10",
        "gold R@5",
        "Rprec",
        "RR@10",
        "answer R@20",
    ]
    names = {one.component.name for one in components() if one.role == "metric"}
    assert set(IR_MEASURES.values()) <= names


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("em,regexp=true", "unknown option 'regexp'; did you mean 'regex'"),
        ("em,regex", "override 'regex' must be PATH=VALUE"),
        ("em,regex=3", r"regex: 3 \(int\) must be bool"),
        ("kilt,of=em5", "no metric is named 'em5'; did you mean 'em'"),
        ("nDCG@x", "'x' is no number"),
        ("nDCG@10", r"nDCG@10 counts 10 passages, but the run retrieves 5"),
        ("ndgc", "no metric is named 'ndgc'; did you mean 'ndcg'"),
        ("unsupported,among=none", "'none' .* must be 'absent' or 'right' or 'all'"),
    ],
)
def test_wrong_wishes(wanted: str, message: str) -> None:
    with pytest.raises((ConfigError, UnknownName), match=message):
        as_metrics([wanted], k=5)


def test_statistics_must_be_a_row_for_each() -> None:
    class Short(Bleu):
        def statistics(self, predictions: Any, examples: Any) -> Any:
            return super().statistics(predictions, examples)[:-1]

    with pytest.raises(DataError, match=r"returned statistics \(1, 10\) for 2 predictions"):
        statistics({"BLEU": Short()}, [said("a"), said("b")], [gold("a"), gold("b")])


def test_who_needs_a_package_says_so_beside_the_name() -> None:
    asked: dict[str, Component] = {
        one.component.name: one.component for one in components() if one.role == "metric"
    }
    for name, module in (
        ("bleu", "sacrebleu"),
        ("bleu-1", "sacrebleu"),
        ("rouge-l", "rouge_score"),
    ):
        assert asked[name].needs == (module,)
        assert asked[name].install == 'pip install "ragkit[metrics]"'


@pytest.mark.parametrize("name", ["bleu", "ece", "distinct", "kilt", "q-bleu-1"])
def test_the_kit_by_name(name: str) -> None:
    assert {one.state for one in check("metric", name)} <= {"passed", "skipped"}


# ------------------------------------------------------------------------- a whole run


class Parrot:
    """Says the question, with a likelihood that falls with every word."""

    def answer(self, questions: Sequence[str], k: int, **options: Any) -> list[Answer]:
        return [Answer(one, one, -0.5 * len(one.split()), (), (), ()) for one in questions]


PAIRS = [
    ("who wrote the long book", ["who wrote the very long book"]),
    ("when does the ferry leave at night", ["when does the ferry leave", "at night"]),
    ("where", ["where"]),
    ("what is the name of the ferry", ["what is the name of the old ferry"]),
]


@pytest.fixture
def task(tmp_path: Path) -> Path:
    lines = [json.dumps({"question": q, "answers": golds}) for q, golds in PAIRS]
    path = tmp_path / "dev.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_a_run_with_figures_that_are_no_means(task: Path, tmp_path: Path) -> None:
    names = ["bleu", "distinct", "ece", "em", "prior-entropy"]
    run = evaluate(Parrot(), task, k=1, metrics=names, directory=tmp_path / "run", resamples=200)
    streams = [[golds[0] for _, golds in PAIRS], [golds[-1] for _, golds in PAIRS]]
    theirs = sacrebleu.corpus_bleu([q for q, _ in PAIRS], streams)
    assert run["BLEU"].mean == pytest.approx(theirs.score / 100)
    assert run["BLEU"].mean != pytest.approx(float(run.values["BLEU"].mean()))
    assert run["BLEU"].low < run["BLEU"].mean < run["BLEU"].high
    assert run["distinct-3"].n == 3  # "where" has no trigram
    # Right is "where" alone, with p = e^-0.5; every p has a bin of its own but two.
    p = [math.exp(-0.5 * len(q.split())) for q, _ in PAIRS]
    assert run["ECE"].mean == pytest.approx((p[0] + p[1] + (1 - p[2]) + p[3]) / 4)
    assert run["prior entropy"].n == 0
    assert set(run.statistics) == {"BLEU", "distinct-3", "ECE"}
    written = json.loads((tmp_path / "run" / "result.json").read_text(encoding="utf-8"))
    assert written["metrics"]["BLEU"]["mean"] == pytest.approx(theirs.score / 100)
    assert {label: one["unit"] for label, one in written["metrics"].items()} == {
        "BLEU": "share",
        "distinct-3": "share",
        "ECE": "share",
        "EM": "share",
        "prior entropy": "nats",
    }


def test_what_is_read_from_disk_has_the_same_figures(task: Path, tmp_path: Path) -> None:
    names = ["bleu-1", "distinct", "ece", "rouge-l", "q-bleu-1", "brier"]
    held = evaluate(Parrot(), task, k=1, metrics=names, resamples=50)
    stored = evaluate(
        Parrot(), task, k=1, metrics=names, resamples=50, directory=tmp_path / "run", batch_size=3
    )
    assert stored.scores == held.scores
    for label, rows in held.statistics.items():
        assert np.array_equal(stored.statistics[label], rows, equal_nan=True)


def test_the_table_shows_shares_in_percent_and_others_as_they_are(task: Path) -> None:
    class Nats:
        label = "surprise"
        unit = "nats"

        def __call__(self, predictions: Any, examples: Any) -> list[float]:
            return [2.5 for _ in zip(predictions, examples, strict=True)]

    run = evaluate(Parrot(), task, k=1, metrics=["em", Nats()])
    table = score_table(run)
    columns = [[str(cell) for cell in column.cells] for column in table.columns]
    assert columns[0] == ["EM", "surprise"]
    assert columns[1] == ["25.0", "2.50"]
    assert columns[4][1] == "nats"
