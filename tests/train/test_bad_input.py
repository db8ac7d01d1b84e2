"""What training refuses: one error that says what was wrong, what there is, what to type."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import toy_training as toy
from ragkit.errors import ConfigError, DataError, RagkitError, UnknownName
from ragkit.protocols import Example
from ragkit.train import Trainer, TrainingArguments
from ragkit.train.base import TrainingDiverged

GOOD = Example("0", "ant?", ("u",))


def arguments(directory: Path, **options: object) -> TrainingArguments:
    defaults: dict[str, object] = {
        "k": 2,
        "per_device_train_batch_size": 2,
        "max_steps": 3,
        "save_strategy": "no",
        "use_cpu": True,
    }
    return TrainingArguments(output_dir=str(directory / "run"), **{**defaults, **options})


@pytest.fixture(scope="module")
def rag(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return toy.model(tmp_path_factory.mktemp("rag"))


# -------------------------------------------------------------------------------- data


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "the training set is empty; give at least one example"),
        (iter(()), "the training set is empty"),
        ([GOOD, Example("x7", "bee?")], r"example 1 \('x7'\) has neither target nor answers"),
        ([GOOD, {"question": "bee?"}], r"example 1 \('1'\) has neither target nor answers"),
        ([{"question": "bee?", "answers": []}], "has neither target nor answers"),
        ([{"query": "bee?", "answers": ["v"]}], r"example 0 has no question \(keys: query, answ"),
        ([{"question": None, "answers": ["v"]}], "example 0 has no question"),
        ([GOOD, "bee?"], r"example 1 is str; give ragkit\.Example or dicts"),
        (
            [{"question": "bee?", "answers": "u" * 600}],
            "the target .* has 601 tokens .* at most 512",
        ),
        ([{"question": "bee?", "answers": [7]}], r"example 0 has 7 \(int\) in answers; give text"),
        ([{"question": "bee?", "target": 7}], r"example 0 has 7 \(int\) in target"),
    ],
)
def test_data(rag: Any, tmp_path: Path, data: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Trainer(rag, arguments(tmp_path), data)
    assert not (tmp_path / "run").exists()


def test_no_training_set(rag: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nothing to train on; give Trainer\(train_dataset=…\)"):
        Trainer(rag, arguments(tmp_path)).train()


def test_evaluation_sets(rag: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nothing to evaluate on; give Trainer\(eval_dataset=…\)"):
        Trainer(rag, arguments(tmp_path), [GOOD]).evaluate()
    with pytest.raises(DataError, match="the evaluation set is empty"):
        Trainer(rag, arguments(tmp_path), [GOOD], [])
    with pytest.raises(DataError, match="example 0 has no question"):
        Trainer(rag, arguments(tmp_path), [GOOD], [{}])


def test_a_question_that_is_too_long(rag: Any, tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"the question 'zzz.* tokens and the encoder reads at most"
    ):
        Trainer(rag, arguments(tmp_path), [Example("0", "z" * 400, ("u",))]).train()


# ----------------------------------------------------------------------------- options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0}, "k is 0; it must be at least 1"),
        ({"k": -3}, "k is -3"),
        ({"eval_k": 0}, "eval_k is 0"),
        ({"probe_steps": 0}, "probe_steps is 0"),
        ({"collapse_window": 0}, "collapse_window is 0"),
        (
            {"generator_learning_rate": -1.0},
            r"generator_learning_rate is -1\.0; .* not be negative",
        ),
        (
            {"label_smoothing_factor": 1.0},
            r"label_smoothing_factor is 1\.0; it must be in \[0, 1\)",
        ),
        ({"label_smoothing_factor": -0.1}, "label_smoothing_factor is -0.1"),
        ({"eval_strategy": "sometimes"}, "sometimes.* not a valid IntervalStrategy"),
        (
            {"eval_strategy": "steps", "metric_for_best_model": "f1"},
            "metric_for_best_model is 'f1', which is not evaluated; choose one of em, loss",
        ),
    ],
)
def test_options(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        arguments(tmp_path, **options)


def test_all_faults_of_the_options_come_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        arguments(tmp_path, k=0, probe_size=0, label_smoothing_factor=2.0)
    assert len(caught.value.faults) == 3


def test_another_libraries_arguments(rag: Any, tmp_path: Path) -> None:
    import transformers

    plain = transformers.TrainingArguments(output_dir=str(tmp_path), use_cpu=True)
    with pytest.raises(ConfigError, match=r"give ragkit\.TrainingArguments"):
        Trainer(rag, plain, [GOOD])


def test_unknown_names(rag: Any, tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="no objective is named 'marginl'; did you mean 'marg"):
        Trainer(rag, arguments(tmp_path), [GOOD], objective="marginl")
    with pytest.raises(UnknownName, match="no metric is named 'en'; did you mean 'em'"):
        Trainer(rag, arguments(tmp_path, eval_metrics=["en"]), [GOOD], [GOOD])


def test_a_generation_option_that_is_none(rag: Any, tmp_path: Path) -> None:
    options = {"generation": {"num_beam": 2}, "eval_strategy": "steps"}
    with pytest.raises(ConfigError, match="'num_beam'; did you mean 'num_beams'"):
        Trainer(rag, arguments(tmp_path, **options), [GOOD], [GOOD])


def test_no_checkpoint(rag: Any, tmp_path: Path) -> None:
    trainer = Trainer(rag, arguments(tmp_path), [GOOD])
    with pytest.raises(ConfigError, match=r"no checkpoint in .* to resume from; train without"):
        trainer.train(resume_from_checkpoint=True)


# -------------------------------------------------------------------------- divergence


class Poisoned:
    """An objective that breaks at its third call."""

    needs_generator_gradient = True

    def __init__(self, value: float) -> None:
        self.value = value
        self.calls = 0

    def __call__(self, evidence: Any) -> dict[str, torch.Tensor]:
        self.calls += 1
        loss = evidence.scores.sum(-1)
        return {"loss": loss * (self.value if self.calls == 3 else 1.0)}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_stops_the_training(tmp_path: Path, value: float) -> None:
    rag = toy.model(tmp_path)
    trainer = Trainer(
        rag,
        arguments(tmp_path, max_steps=5, save_strategy="steps", save_steps=1),
        toy.examples(),
        objective=Poisoned(value),
    )
    with pytest.raises(
        TrainingDiverged, match=r"the loss is -?(nan|inf) at step 3: .*learning_rate"
    ):
        trainer.train()
    assert issubclass(TrainingDiverged, RagkitError)
    assert all(torch.isfinite(p).all() for p in rag.parameters())  # the step was not taken
    kept = sorted(path.name for path in (tmp_path / "run").glob("checkpoint-*"))
    assert kept == ["checkpoint-1", "checkpoint-2"]


def test_an_encoder_without_a_finite_vector(tmp_path: Path) -> None:
    rag = toy.model(tmp_path)
    with torch.no_grad():
        rag.retriever.encoder.question_encoder.embeddings.word_embeddings.weight.fill_(torch.nan)
    with pytest.raises(DataError, match="vector with NaN or infinity; training may have diverged"):
        Trainer(rag, arguments(tmp_path), toy.examples()).train()
