"""The harness with models that need no weights: what it asks, keeps, resumes, refuses."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ragkit
from ragkit.errors import ConfigError, CorruptError, DataError, LockedError, RagkitError
from ragkit.evaluate.harness import evaluate
from ragkit.evaluate.metrics import F1, AnswerRecall, ExactMatch, GoldRecall, ReciprocalRank
from ragkit.evaluate.predictions import PredictionFile, appending
from ragkit.protocols import Example, Passage, Prediction

METRICS = (ExactMatch(), F1(), GoldRecall(), ReciprocalRank(), AnswerRecall())


@dataclass
class Said:
    question: str
    k: int

    def prediction(self, id: str) -> Prediction:
        number = int(self.question.rstrip("?").split()[-1])
        passages = tuple(
            Passage(f"p{number + i}", "t", f"text {number + i}") for i in range(self.k)
        )
        text = f"é {number}" if number % 3 else "wrong"
        weights = (1 / self.k,) * self.k
        return Prediction(id, self.question, text, -number / 2, passages, weights, weights)


class Echo:
    """Answers from the number in the question, and remembers what it was asked."""

    def __init__(self, fail_after: int | None = None) -> None:
        self.asked: list[list[str]] = []
        self.options: list[dict[str, Any]] = []
        self.fail_after = fail_after

    def answer(self, questions: Sequence[str], *, k: int, **options: Any) -> list[Said]:
        if self.fail_after is not None and len(self.asked) >= self.fail_after:
            raise RuntimeError("out of power")
        self.asked.append(list(questions))
        self.options.append(options)
        return [Said(question, k) for question in questions]


class Numbers:
    """Questions with golds that `Echo` gets right two times in three."""

    metrics = ("em",)

    def __init__(self, n: int, word: str = "question", ids: str = "q") -> None:
        self.n, self.word, self.ids = n, word, ids

    def __repr__(self) -> str:
        return f"Numbers({self.n})"

    def examples(self, split: str) -> list[Example]:
        return [
            Example(f"{self.ids}{i}", f"{self.word} {i}?", (f"É {i}",), (f"p{i + 1}",))
            for i in range(self.n)
        ]


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def test_what_is_asked_and_averaged() -> None:
    model = Echo()
    found = evaluate(model, Numbers(10), k=3, metrics=METRICS, batch_size=4, num_beams=2)
    assert [len(batch) for batch in model.asked] == [4, 4, 2]
    assert model.options == [{"num_beams": 2}] * 3
    right = [i % 3 != 0 for i in range(10)]
    assert found.values["EM"].tolist() == right
    assert found["EM"].mean == pytest.approx(np.mean(right))
    assert found["EM"].n == 10
    assert found["EM"].low < 0.6 < found["EM"].high
    assert found["gold R"].mean == 1
    assert found["RR"].mean == 0.5
    assert len(found.predictions) == found.timing.n == 10
    assert found.predictions[4].id == "q4"
    assert found.config["options"] == {"num_beams": 2}


def test_a_model_that_batches_by_itself_is_told_the_size() -> None:
    class Batching(Echo):
        def answer(
            self, questions: Sequence[str], *, k: int, batch_size: int = 8, **options: Any
        ) -> list[Said]:
            return super().answer(questions, k=k, batch_size=batch_size, **options)

    model = Batching()
    found = evaluate(model, Numbers(40), k=1, batch_size=32, metrics=[ExactMatch()])
    assert model.options == [{"batch_size": 32}] * 2
    assert found.config["options"] == {}


def test_metrics_without_meaning_are_left_out_of_the_mean() -> None:
    class Half(Numbers):
        def examples(self, split: str) -> list[Example]:
            return [
                one if i % 2 else Example(one.id, one.question, one.answers)
                for i, one in enumerate(super().examples(split))
            ]

    found = evaluate(Echo(), Half(9), k=1, metrics=[GoldRecall(), ExactMatch()])
    assert (found["gold R"].n, found["EM"].n) == (4, 9)
    assert found["gold R"].mean == 0
    assert json.loads(json.dumps(found.as_dict(), allow_nan=False))["questions"] == 9


def test_a_run_on_disk_is_the_run_in_memory(tmp_path: Path) -> None:
    memory = evaluate(Echo(), Numbers(7), k=2, metrics=METRICS)
    disk = evaluate(Echo(), Numbers(7), k=2, metrics=METRICS, directory=tmp_path / "a" / "run")
    assert list(disk.predictions) == list(memory.predictions)
    assert disk.scores == memory.scores
    written = lines(tmp_path / "a" / "run" / "predictions.jsonl")
    assert [one["id"] for one in written] == [f"q{i}" for i in range(7)]
    assert written[3]["passages"][1] == {"id": "p4", "title": "t", "text": "text 4"}
    assert written[3]["posterior"] == [0.5, 0.5]
    assert written[3]["text"] == "wrong"
    assert written[4]["log_likelihood"] == -2
    result = json.loads((tmp_path / "a" / "run" / "result.json").read_text())
    assert result["metrics"]["EM"]["mean"] == pytest.approx(memory["EM"].mean)
    scores = lines(tmp_path / "a" / "run" / "scores.jsonl")
    assert [row["EM"] for row in scores] == memory.values["EM"].tolist()
    config = json.loads((tmp_path / "a" / "run" / "run.json").read_text())
    assert (config["k"], config["split"], config["model"]["class"]) == (2, "dev", "Echo")
    assert config["versions"]["ragkit"] == ragkit.__version__


def test_a_finished_run_asks_nothing_and_takes_more_metrics(tmp_path: Path) -> None:
    evaluate(Echo(), Numbers(5), k=2, metrics=[ExactMatch()], directory=tmp_path)
    before = (tmp_path / "predictions.jsonl").read_bytes()
    model = Echo()
    evaluate(model, Numbers(5), k=2, metrics=[F1(), AnswerRecall()], directory=tmp_path)
    assert model.asked == []
    assert (tmp_path / "predictions.jsonl").read_bytes() == before
    result = json.loads((tmp_path / "result.json").read_text())
    assert list(result["metrics"]) == ["EM", "F1", "answer R"]
    assert set(lines(tmp_path / "scores.jsonl")[2]) == {"id", "EM", "F1", "answer R"}


def test_more_questions_continue_a_run_and_fewer_read_it(tmp_path: Path) -> None:
    evaluate(Echo(), Numbers(9), k=1, limit=4, directory=tmp_path)
    model = Echo()
    found = evaluate(model, Numbers(9), k=1, directory=tmp_path, metrics=["em"])
    assert model.asked == [[f"question {i}?" for i in range(4, 9)]]
    assert found["EM"].n == 9
    fewer = evaluate(Echo(), Numbers(9), k=1, limit=6, directory=tmp_path)
    assert fewer["EM"].n == len(fewer.predictions) == 6
    assert len(lines(tmp_path / "predictions.jsonl")) == 9


def test_an_exception_keeps_what_was_answered(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="out of power"):
        evaluate(Echo(fail_after=2), Numbers(10), k=1, batch_size=3, directory=tmp_path)
    assert len(PredictionFile(tmp_path / "predictions.jsonl")) == 6
    model = Echo()
    resumed = evaluate(model, Numbers(10), k=1, batch_size=3, directory=tmp_path)
    assert [len(batch) for batch in model.asked] == [3, 1]
    assert list(resumed.predictions) == list(evaluate(Echo(), Numbers(10), k=1).predictions)


def test_a_run_cut_at_any_byte_resumes_to_the_same(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    reference = list(evaluate(Echo(), Numbers(5), k=1, directory=whole).predictions)
    content = (whole / "predictions.jsonl").read_bytes()
    cut = tmp_path / "cut"
    for end in range(0, len(content) + 1, 7):
        cut.mkdir(exist_ok=True)
        (cut / "run.json").write_bytes((whole / "run.json").read_bytes())
        (cut / "predictions.jsonl").write_bytes(content[:end])
        model = Echo()
        found = evaluate(model, Numbers(5), k=1, directory=cut)
        assert list(found.predictions) == reference
        assert sum(map(len, model.asked)) == 5 - content[:end].count(b"\n")


SLOW = """
import sys, time
sys.path.insert(0, {tests!r})
from test_harness import Echo, Numbers
from ragkit.evaluate.harness import evaluate

class Slow(Echo):
    def answer(self, questions, *, k, **options):
        time.sleep(0.004)
        return super().answer(questions, k=k, **options)

Slow.__name__ = "Echo"
evaluate(Slow(), Numbers(600), k=2, batch_size=1, directory=sys.argv[1])
"""


def test_a_killed_run_continues_where_it_stopped(tmp_path: Path) -> None:
    script = SLOW.format(tests=str(Path(__file__).parent))
    path = tmp_path / "predictions.jsonl"
    kept = [0]
    for more in (40, 90, 70):
        process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)])
        try:
            while answered(path) < kept[-1] + more:
                assert process.poll() is None
                time.sleep(0.01)
        finally:
            process.kill()
            process.wait()
        kept.append(answered(path))
    stored = len(PredictionFile(path))
    assert stored >= 200
    model = Echo()
    found = evaluate(model, Numbers(600), k=2, batch_size=50, directory=tmp_path)
    assert sum(map(len, model.asked)) == 600 - stored
    assert [one.id for one in found.predictions] == [f"q{i}" for i in range(600)]
    assert list(found.predictions) == list(evaluate(Echo(), Numbers(600), k=2).predictions)


def answered(path: Path) -> int:
    return len(PredictionFile(path))


def test_two_writers_at_once_are_refused(tmp_path: Path) -> None:
    evaluate(Echo(), Numbers(2), k=1, directory=tmp_path)
    with (
        appending(tmp_path / "predictions.jsonl"),
        pytest.raises(LockedError, match=r"another process is adding.*another folder"),
    ):
        evaluate(Echo(), Numbers(3), k=1, directory=tmp_path)


def test_overwrite_begins_anew(tmp_path: Path) -> None:
    evaluate(Echo(), Numbers(5), k=2, metrics=[ExactMatch()], directory=tmp_path)
    found = evaluate(Echo(), Numbers(3), k=1, metrics=[F1()], directory=tmp_path, overwrite=True)
    assert len(found.predictions) == 3
    assert len(lines(tmp_path / "predictions.jsonl")) == 3
    assert list(json.loads((tmp_path / "result.json").read_text())["metrics"]) == ["F1"]


def test_changed_golds_drop_the_old_scores(tmp_path: Path) -> None:
    class Other(Numbers):
        def examples(self, split: str) -> list[Example]:
            return [Example(o.id, o.question, ("x",)) for o in super().examples(split)]

    evaluate(Echo(), Numbers(3), k=1, metrics=[ExactMatch()], directory=tmp_path)
    evaluate(Echo(), Other(3), k=1, metrics=[F1()], directory=tmp_path)
    assert list(json.loads((tmp_path / "result.json").read_text())["metrics"]) == ["F1"]


def test_weights_tell_two_models_apart(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")

    class Weighted(Echo, torch.nn.Module):
        def __init__(self, value: float) -> None:
            torch.nn.Module.__init__(self)
            Echo.__init__(self)
            self.weight = torch.nn.Parameter(torch.tensor([value], dtype=torch.bfloat16))

    evaluate(Weighted(1.0), Numbers(2), k=1, directory=tmp_path)
    evaluate(Weighted(1.0), Numbers(2), k=1, directory=tmp_path)
    with pytest.raises(DataError, match=r"model\.weights is"):
        evaluate(Weighted(2.0), Numbers(2), k=1, directory=tmp_path)


def test_an_infinite_likelihood_survives_json(tmp_path: Path) -> None:
    class Never(Echo):
        def answer(self, questions: Sequence[str], *, k: int, **options: Any) -> list[Any]:
            class Silent(Said):
                def prediction(self, id: str) -> Prediction:
                    return Prediction(id, self.question, "", -math.inf)

            return [Silent(question, k) for question in questions]

    found = evaluate(Never(), Numbers(2), k=1, directory=tmp_path)
    assert found.predictions[1].log_likelihood == -math.inf


def test_progress_ends_at_the_end(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    arguments: dict[str, Any] = {"k": 1, "batch_size": 2, "directory": tmp_path}
    evaluate(Echo(), Numbers(5), progress=lambda *at: seen.append(at), **arguments)
    assert seen == [(0, 5), (2, 5), (4, 5), (5, 5)]
    seen.clear()
    evaluate(Echo(), Numbers(5), progress=lambda *at: seen.append(at), **arguments)
    assert seen == [(5, 5)]


def test_the_package_is_callable() -> None:
    import ragkit.evaluate

    found = ragkit.evaluate(Echo(), Numbers(3), k=1)
    assert isinstance(found, ragkit.evaluate.Result)
    from ragkit.evaluate import evaluate as imported

    assert imported is ragkit.evaluate


def _finished(directory: Path, **changes: Any) -> None:
    arguments: dict[str, Any] = {"task": Numbers(3), "k": 2, "directory": directory} | changes
    evaluate(Echo(), **arguments)


def _spoil(name: str, old: str, new: str) -> Any:
    def spoil(directory: Path) -> None:
        path = directory / name
        path.write_text(path.read_text().replace(old, new, 1))

    return spoil


REFUSED: list[tuple[str, Any, dict[str, Any], type[RagkitError], str]] = [
    ("k", None, {"k": 3}, DataError, "k is 2 there and 3 now; evaluate into another folder"),
    ("split", None, {"split": "test"}, DataError, 'split is "dev" there and "test" now'),
    ("option", None, {"num_beams": 4}, DataError, "options.num_beams is not set there and 4 now"),
    (
        "other questions",
        None,
        {"task": Numbers(3, word="riddle")},
        DataError,
        r"line 1: a prediction for question 'q0' \('question 0\?'\), but the task's is 'q0'",
    ),
    ("other ids", None, {"task": Numbers(3, ids="z")}, DataError, r"--overwrite"),
    (
        "no configuration",
        lambda directory: (directory / "run.json").unlink(),
        {},
        DataError,
        "has predictions but no run.json",
    ),
    ("newer format", _spoil("run.json", '"format": 1', '"format": 9'), {}, DataError, "format 9"),
    ("torn configuration", _spoil("run.json", "{", "<"), {}, CorruptError, "run.json does not"),
    (
        "damaged line",
        _spoil("predictions.jsonl", '{"id"', '{"di"'),
        {},
        CorruptError,
        "predictions.jsonl, line 1: not a prediction; take the line",
    ),
]


@pytest.mark.parametrize(
    ("spoil", "changes", "kind", "message"),
    [case[1:] for case in REFUSED],
    ids=[case[0] for case in REFUSED],
)
def test_what_a_run_refuses(
    tmp_path: Path, spoil: Any, changes: dict[str, Any], kind: type[RagkitError], message: str
) -> None:
    _finished(tmp_path)
    if spoil is not None:
        spoil(tmp_path)
    before = (tmp_path / "predictions.jsonl").read_bytes()
    with pytest.raises(kind, match=message):
        _finished(tmp_path, **changes)
    assert (tmp_path / "predictions.jsonl").read_bytes() == before


class Constant:
    """A metric that returns too few numbers."""

    def __call__(self, predictions: object, examples: object) -> list[float]:
        return [1.0]


class Silent:
    def answer(self, questions: Sequence[str], *, k: int, **options: Any) -> list[Said]:
        return []


BAD_ARGUMENTS: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"k": 0}, ConfigError, "k is 0; type a whole number of 1 or more"),
    ({"k": -1}, ConfigError, "k is -1"),
    ({"k": 2.0}, ConfigError, r"k is 2\.0"),
    ({"batch_size": 0}, ConfigError, "batch_size is 0"),
    ({"limit": 0}, ConfigError, "limit is 0"),
    ({"k": 0, "limit": 0}, ConfigError, "2 errors"),
    ({"metrics": []}, ConfigError, r"no metric is asked for; type metrics=\['em'\]"),
    ({"metrics": ["en"]}, LookupError, "did you mean 'em'"),
    ({"metrics": ["rr@x"]}, ConfigError, "'x' is no number; type answer-recall@5"),
    ({"metrics": ["rr@50"]}, ConfigError, r"RR@50 counts 50 passages.*retrieves 5; type k=50"),
    ({"metrics": ["em", ExactMatch()]}, ConfigError, "EM is asked for twice"),
    ({"metrics": [Constant()]}, DataError, "Constant returned 1 numbers for 3 predictions"),
    ({"model": Silent()}, DataError, "returned 0 answers to 3 questions"),
    ({"task": "nowhere.jsonl"}, DataError, "nowhere.jsonl: there is no such file"),
    ({"task": Numbers(0)}, DataError, r"Numbers\(0\) has no question in split 'dev'"),
    ({"confidence": 95}, DataError, "confidence is 95; type a share between 0 and 1"),
    ({"resamples": 0}, DataError, "resamples is 0"),
    ({"stop": object()}, DataError, "decoding options must be numbers"),
]


@pytest.mark.parametrize(("changes", "kind", "message"), BAD_ARGUMENTS)
def test_bad_arguments(changes: dict[str, Any], kind: type[Exception], message: str) -> None:
    arguments: dict[str, Any] = {"model": Echo(), "task": Numbers(3)} | changes
    with pytest.raises(kind, match=message):
        evaluate(**arguments)


def test_ids_must_differ() -> None:
    class Twice(Numbers):
        def examples(self, split: str) -> list[Example]:
            return super().examples(split) * 2

    with pytest.raises(DataError, match="gives id 'q0' to two questions"):
        evaluate(Echo(), Twice(2))
