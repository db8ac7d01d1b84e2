"""DPR's warm-up: its loss by hand, learning from random weights, resuming."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import toy_training as toy
from ragkit.errors import ConfigError, DataError
from ragkit.knowledge import KnowledgeBase
from ragkit.protocols import Example, Passage
from ragkit.retrieve.dense import DenseRetriever
from ragkit.train import TrainingArguments
from ragkit.train.dpr import ContrastiveTrainer, Pair, as_pair, gather, pairs

A, B, C, D = (Passage(letter, letter, f"text of {letter}") for letter in "abcd")


def arguments(directory: Path, **options: object) -> TrainingArguments:
    defaults: dict[str, object] = {
        "per_device_train_batch_size": 6,
        "max_steps": 2,
        "learning_rate": 3e-3,
        "save_strategy": "no",
        "use_cpu": True,
    }
    return TrainingArguments(output_dir=str(directory / "run"), **{**defaults, **options})


def trainer(
    directory: Path, data: list[Pair], temperature: float = 1.0, n: int = 1, **options: object
) -> ContrastiveTrainer:
    return ContrastiveTrainer(
        toy.encoder(), arguments(directory, **options), data, temperature, hard_negatives=n
    )


def by_hand(encoder, question: str, own: Passage, others: list[Passage], temperature: float):
    """−log exp(q·d⁺/τ) / (exp(q·d⁺/τ) + Σ exp(q·d⁻/τ)), one inner product after another."""
    q = encoder.questions([question])[0].double()
    weight = {
        d: math.exp(float(q @ encoder.passages([d])[0].double()) / temperature)
        for d in (own, *others)
    }
    return -math.log(weight[own] / sum(weight.values()))


# ------------------------------------------------------------------------------ the loss


@pytest.mark.parametrize(
    ("batch", "n", "others"),
    [
        # In-batch negatives: the passages of the other questions.
        ([Pair("p?", (A,)), Pair("q?", (B,)), Pair("r?", (C,))], 1, [[B, C], [A, C], [A, B]]),
        # Hard negatives count against every question of the batch.
        ([Pair("p?", (A,), (C,)), Pair("q?", (B,), (D,))], 1, [[B, C, D], [A, C, D]]),
        # Only the first n of them.
        ([Pair("p?", (A,), (C, D)), Pair("q?", (B,))], 1, [[B, C], [A, C]]),
        ([Pair("p?", (A,), (C, D)), Pair("q?", (B,))], 2, [[B, C, D], [A, C, D]]),
        ([Pair("p?", (A,), (C, D)), Pair("q?", (B,))], 0, [[B], [A]]),
        # Two questions of one passage: it is no negative to either.
        ([Pair("p?", (A,)), Pair("q?", (A,)), Pair("r?", (B,))], 1, [[B], [B], [A]]),
        # The same text under another id is the same passage.
        ([Pair("p?", (A,)), Pair("q?", (A._replace(id="z"),), (B,))], 1, [[B], [B]]),
        # A hard negative that answers another question, and one given twice.
        ([Pair("p?", (A,), (B,)), Pair("q?", (B,), (B, A))], 2, [[B], [A]]),
        # Further positives of a question are never its negatives, but are others'.
        ([Pair("p?", (A, B)), Pair("q?", (B,)), Pair("r?", (C,))], 1, [[C], [A, C], [A, B]]),
    ],
)
@pytest.mark.parametrize("temperature", [1.0, 0.2])
def test_loss_by_hand(
    tmp_path: Path, batch: list[Pair], n: int, others: list[list[Passage]], temperature: float
) -> None:
    one = trainer(tmp_path, batch, temperature, n)
    one.model.eval()
    with torch.no_grad():
        found = one.losses(one.model, {"pairs": batch, "count": len(batch)})["loss"]  # (B,)
        expected = [
            by_hand(one.encoder, pair.question, pair.positives[0], rest, temperature)
            for pair, rest in zip(batch, others, strict=True)
        ]
    torch.testing.assert_close(found, torch.tensor(expected), atol=1e-5, rtol=1e-5)


def test_every_passage_is_encoded_once() -> None:
    batch = [Pair("p?", (A,), (B, C)), Pair("q?", (A,), (B,)), Pair("r?", (B,), (C,))]
    pool, positive, ignored = gather(batch, 2)
    assert pool == [A, B, C]
    assert positive.tolist() == [0, 0, 1]
    assert not ignored.any()


def test_both_towers_get_a_gradient_and_only_while_training(tmp_path: Path) -> None:
    one = trainer(tmp_path, toy_pairs(), max_steps=1)
    before = {name: value.clone() for name, value in one.encoder.state_dict().items()}
    fingerprint = one.encoder.fingerprint
    one.train()
    moved = {n for n, v in one.encoder.state_dict().items() if not torch.equal(v, before[n])}
    for tower in ("question_encoder", "passage_encoder"):
        assert f"{tower}.embeddings.word_embeddings.weight" in moved
        assert f"{tower}.encoder.layer.1.output.dense.weight" in moved
    assert not any(p.requires_grad for p in one.encoder.passage_encoder.parameters())
    assert not one.encoder.train().passage_encoder.training
    assert one.encoder.fingerprint != fingerprint


# ------------------------------------------------------------------------------ learning


def toy_pairs() -> list[Pair]:
    return pairs(toy.examples(), toy.PASSAGES)


def recall(encoder, directory: Path) -> float:
    base = KnowledgeBase.build(toy.PASSAGES, encoder, "exact", directory)
    found = DenseRetriever(encoder, base).retrieve([f"{n}?" for n in toy.NAMES], 1)
    return sum(found.passages[i][0].id == n for i, n in enumerate(toy.NAMES)) / len(toy.NAMES)


@pytest.mark.parametrize("hard", [False, True])
def test_learns_from_nothing(tmp_path: Path, hard: bool) -> None:
    data = toy_pairs()
    if hard:  # a batch of one has no other negatives
        data = [
            replace(p, negatives=tuple(z for z in toy.PASSAGES if z != p.positives[0]))
            for p in data
        ]
    options = {"per_device_train_batch_size": 1, "max_steps": 120} if hard else {"max_steps": 40}
    one = trainer(tmp_path, data, n=5, **options)
    assert recall(one.encoder, tmp_path / "before") < 0.5
    one.train()
    assert recall(one.encoder, tmp_path / "after") == 1.0
    logs = [entry for entry in one.state.log_history if "accuracy" in entry]
    assert [entry["accuracy"] for entry in logs[-6:]] == [1.0] * 6
    assert logs[-1]["loss"] < 0.2


def test_resumes_as_if_it_had_not_stopped(tmp_path: Path) -> None:
    def run(folder: Path, resume: bool = False) -> ContrastiveTrainer:
        one = ContrastiveTrainer(
            toy.encoder(dropout=0.1),
            arguments(
                folder,
                per_device_train_batch_size=2,
                max_steps=6,
                save_strategy="steps",
                save_steps=3,
                logging_steps=2,
            ),
            toy_pairs(),
        )
        one.train(resume_from_checkpoint=resume)
        return one

    whole = run(tmp_path / "a")
    (tmp_path / "a" / "run" / "checkpoint-6").rename(tmp_path / "last")
    again = run(tmp_path / "a", resume=True)
    assert again.state.global_step == 6
    for name, value in whole.encoder.state_dict().items():
        assert torch.equal(value, again.encoder.state_dict()[name]), name
    kept = ("step", "loss", "accuracy", "grad_norm")
    logs = [
        [{k: e[k] for k in kept} for e in one.state.log_history if "accuracy" in e]
        for one in (whole, again)
    ]
    assert len(logs[0]) == 3
    assert logs[0] == logs[1]


def test_a_resume_with_another_temperature_is_refused(tmp_path: Path) -> None:
    options = {"save_strategy": "steps", "save_steps": 1}
    trainer(tmp_path, toy_pairs(), **options).train()
    with pytest.raises(ConfigError, match=r"temperature was 1\.0 in checkpoint-2 and is 0.5 now"):
        trainer(tmp_path, toy_pairs(), 0.5, **options).train(resume_from_checkpoint=True)


def test_activation_checkpointing_changes_nothing(tmp_path: Path) -> None:
    runs = []
    for name, on in (("a", False), ("b", True)):
        one = trainer(tmp_path / name, toy_pairs(), activation_checkpointing=on)
        one.train()
        runs.append(one.encoder.state_dict())
    for name in runs[0]:
        torch.testing.assert_close(runs[0][name], runs[1][name], atol=1e-6, rtol=1e-5)


# ---------------------------------------------------------------------------------- data


def test_records_of_dprs_files() -> None:
    record = {
        "question": "who?",
        "answers": ["she"],
        "positive_ctxs": [{"title": "T", "text": "she", "passage_id": "7", "score": 1000}],
        "negative_ctxs": [],
        "hard_negative_ctxs": [{"title": "U", "text": "he", "passage_id": "8"}],
    }
    assert as_pair(record, 0) == Pair(
        "who?", (Passage("7", "T", "she"),), (Passage("8", "U", "he"),)
    )


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "training set is empty; give at least one pair"),
        ([{"positive_ctxs": []}], r"pair 0 has no question \(keys: positive_ctxs\)"),
        ([{"question": "who?"}], "pair 0 .* has no positive passage"),
        (["who?"], "pair 0 is str; give ragkit.train.dpr.Pair"),
        ([{"question": "a", "positive_ctxs": [{"title": "T"}]}], "positive_ctxs has no text"),
        ([Pair("p?", (A,)), Pair("q?", ())], "pair 1 .* has no positive passage"),
    ],
)
def test_data_that_is_refused(tmp_path: Path, data: list, message: str) -> None:
    with pytest.raises(DataError, match=message):
        trainer(tmp_path, data)


def test_examples_that_name_no_passage() -> None:
    with pytest.raises(DataError, match=r"example 0 \('x'\) names no passage"):
        pairs([Example("x", "q?")], [A])
    with pytest.raises(DataError, match="names the passage 'n', which is not among the 1"):
        pairs([Example("x", "q?", passage_ids=("n",))], [A])


def test_options_that_cannot_be_come_all_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        trainer(tmp_path, toy_pairs(), temperature=0.0, n=-1)
    assert len(caught.value.faults) == 2
    with pytest.raises(ConfigError, match=r"give ragkit\.TrainingArguments"):
        ContrastiveTrainer(toy.encoder(), object(), toy_pairs())
