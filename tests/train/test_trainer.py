"""Joint training: it learns retrieval unlabelled, takes means over questions, moves what it may."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import EarlyStoppingCallback, TrainerCallback

import toy_training as toy
from ragkit.errors import ConfigError
from ragkit.generate.seq2seq import Seq2SeqGenerator
from ragkit.protocols import Example
from ragkit.rag import RAG
from ragkit.train import Trainer, TrainingArguments
from ragkit.train.base import MeanTrainer

MARGINALIZERS = ("rag-sequence", "rag-token")


def arguments(directory: Path, **options: object) -> TrainingArguments:
    defaults: dict[str, object] = {
        "k": 3,
        "per_device_train_batch_size": 6,
        "max_steps": 1,
        "learning_rate": 1e-3,
        "save_strategy": "no",
        "lr_scheduler_type": "constant",
        "use_cpu": True,
    }
    return TrainingArguments(output_dir=str(directory / "run"), **{**defaults, **options})


def train(directory: Path, rag: RAG | None = None, data: Any = None, **options: Any) -> Trainer:
    rag = toy.model(directory) if rag is None else rag
    trainer = Trainer(rag, arguments(directory, **options), data or toy.examples())
    trainer.train()
    return trainer


def steps(trainer: Trainer) -> list[dict[str, float]]:
    return [entry for entry in trainer.state.log_history if "loss" in entry]


def weights(rag: RAG) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in rag.state_dict().items()}


class Gradients(TrainerCallback):
    """Keeps the gradient of every step as the optimiser is about to see it."""

    def __init__(self) -> None:
        self.steps: list[dict[str, torch.Tensor]] = []

    def on_pre_optimizer_step(self, args, state, control, model=None, **_):
        self.steps.append(
            {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
        )


# -------------------------------------------------------------------------- it learns


@pytest.mark.parametrize("marginalizer", MARGINALIZERS)
def test_learns_to_retrieve_without_being_told_which_passage(
    tmp_path: Path, marginalizer: str
) -> None:
    rag = toy.model(tmp_path, marginalizer, blind=True)
    assert toy.teach_copying(rag.generator, 150) < 0.1
    assert toy.recall_at_1(rag) < 0.5
    data = [Example(e.id, e.question, e.answers) for e in toy.examples()]  # no passage_ids
    trainer = train(tmp_path, rag, data, k=6, max_steps=200, learning_rate=2e-3)
    assert toy.recall_at_1(rag) == 1.0
    answers = rag.answer([e.question for e in data], k=6, max_new_tokens=3)
    assert [a.text for a in answers] == list(toy.LETTERS)
    assert steps(trainer)[-1]["loss"] < 0.3 < 1.0 < steps(trainer)[0]["loss"]
    assert steps(trainer)[-1]["prior_entropy"] < steps(trainer)[0]["prior_entropy"]


# --------------------------------------------------------------------------- the mean


@pytest.mark.parametrize("marginalizer", MARGINALIZERS)
def test_the_loss_is_that_of_the_model(tmp_path: Path, marginalizer: str) -> None:
    rag = toy.model(tmp_path, marginalizer)
    with torch.no_grad():
        expected = rag.loss([e.question for e in toy.examples()], list(toy.LETTERS), k=3)
    assert steps(train(tmp_path, rag))[0]["loss"] == pytest.approx(float(expected), rel=1e-6)


def test_gradient_is_that_of_the_mean_over_questions_however_they_are_split(
    tmp_path: Path,
) -> None:
    """Also where the last of the accumulated batches is smaller than the others."""
    data = [  # targets of different lengths: a mean over tokens would differ
        Example(str(i), f"{name}?", (letter * (1 + i % 4),))
        for i, (name, letter) in enumerate(zip(toy.NAMES * 2, toy.LETTERS * 2, strict=True))
    ][:8]
    for count in (8, 7):
        found = []
        for size, accumulated in ((8, 1), (2, 4), (4, 2), (3, 3)):
            seen = Gradients()
            folder = tmp_path / f"{count}-{size}"
            options = {
                "per_device_train_batch_size": size,
                "gradient_accumulation_steps": accumulated,
                "max_grad_norm": 0.0,
            }
            trainer = Trainer(
                toy.model(folder), arguments(folder, **options), data[:count], callbacks=[seen]
            )
            trainer.train()
            found.append((seen.steps[0], steps(trainer)[0]["loss"]))
        rag = toy.model(tmp_path / "by hand")
        questions, targets = zip(*((e.question, e.answers[0]) for e in data[:count]), strict=True)
        loss = rag.loss(questions, targets, k=3)
        loss.backward()
        expected = {n: p.grad for n, p in rag.named_parameters() if p.grad is not None}
        for gradients, logged in found:
            assert logged == pytest.approx(loss.item(), rel=1e-5)
            assert {n.removeprefix("rag.") for n in gradients} == set(expected)
            for name, gradient in gradients.items():
                torch.testing.assert_close(
                    gradient, expected[name.removeprefix("rag.")], atol=1e-5, rtol=1e-4
                )


def test_an_uneven_last_batch_counts_by_its_questions(tmp_path: Path) -> None:
    data = toy.examples()[:5]
    trainer = train(
        tmp_path,
        None,
        data,
        per_device_train_batch_size=4,
        num_train_epochs=1,
        max_steps=-1,
        learning_rate=0.0,
    )
    assert trainer.state.global_step == 2
    first, second = (entry["loss"] for entry in steps(trainer))
    order = list(_order(trainer, 0))
    with torch.no_grad():
        for part, logged in ((order[:4], first), (order[4:], second)):
            questions = [data[i].question for i in part]
            targets = [data[i].answers[0] for i in part]
            expected = float(trainer.rag.loss(questions, targets, k=3))
            assert logged == pytest.approx(expected, rel=1e-5)


def _order(trainer: MeanTrainer, epoch: int) -> list[int]:
    order = trainer.order
    assert order is not None
    order.set_epoch(epoch)
    return list(order)


def test_each_epoch_has_an_order_of_its_own_which_the_seed_decides(tmp_path: Path) -> None:
    trainer = train(tmp_path)
    first, second = _order(trainer, 0), _order(trainer, 1)
    assert first != second
    assert sorted(first) == sorted(second) == list(range(6))
    torch.rand(7)  # the global random state has no say
    assert _order(trainer, 0) == first
    other = Trainer(trainer.rag, arguments(tmp_path, data_seed=1, max_steps=1), toy.examples())
    other.train()
    assert _order(other, 0) != first


# ------------------------------------------------------------------------ what moves


@pytest.mark.parametrize("marginalizer", MARGINALIZERS)
def test_question_encoder_and_generator_move_and_nothing_else(
    tmp_path: Path, marginalizer: str
) -> None:
    rag = toy.model(tmp_path, marginalizer, dropout=0.1)
    before, files = weights(rag), _files(tmp_path / "knowledge")
    fingerprint = rag.retriever.encoder.fingerprint
    train(tmp_path, rag, max_steps=3, weight_decay=0.1)
    moved = {name for name, value in weights(rag).items() if not torch.equal(value, before[name])}
    assert not any("passage_encoder" in name for name in moved)
    question = "retriever.encoder.question_encoder"
    assert f"{question}.embeddings.word_embeddings.weight" in moved
    assert f"{question}.encoder.layer.0.attention.self.query.weight" in moved
    assert "generator.model.model.encoder.layers.0.fc1.weight" in moved
    assert "generator.model.model.decoder.layers.1.fc2.weight" in moved
    assert rag.retriever.encoder.fingerprint == fingerprint
    assert not rag.retriever.encoder.passage_encoder.training
    assert _files(tmp_path / "knowledge") == files
    rag.retriever.knowledge_base.verify()


def _files(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "lock" not in path.name
    }


def test_a_learning_rate_for_each_part(tmp_path: Path) -> None:
    """Adam's first step is the learning rate in size wherever the gradient is not tiny."""
    rag = toy.model(tmp_path)
    before = weights(rag)
    train(
        tmp_path,
        rag,
        question_encoder_learning_rate=1e-4,
        generator_learning_rate=3e-3,
        weight_decay=0.0,
        max_grad_norm=0.0,
    )
    largest = {
        part: max(
            float((value - before[name]).abs().max())
            for name, value in weights(rag).items()
            if name.startswith(part)
        )
        for part in ("retriever.", "generator.")
    }
    assert largest == {
        "retriever.": pytest.approx(1e-4, rel=0.01),
        "generator.": pytest.approx(3e-3, rel=0.01),
    }


@pytest.mark.parametrize(
    ("option", "still", "moving"),
    [
        ("question_encoder_learning_rate", "retriever.", "generator."),
        ("generator_learning_rate", "generator.", "retriever."),
    ],
)
def test_a_rate_of_nothing_freezes_a_part(
    tmp_path: Path, option: str, still: str, moving: str
) -> None:
    rag = toy.model(tmp_path)
    before = weights(rag)
    train(tmp_path, rag, max_steps=2, weight_decay=0.1, **{option: 0.0})
    moved = {name for name, value in weights(rag).items() if not torch.equal(value, before[name])}
    assert not any(name.startswith(still) for name in moved)
    assert any(name.startswith(moving) for name in moved)


def test_weights_decay_and_norms_do_not(tmp_path: Path) -> None:
    trainer = Trainer(
        toy.model(tmp_path),
        arguments(tmp_path, weight_decay=0.1, generator_learning_rate=1e-4),
        toy.examples(),
    )
    optimizer = trainer.create_optimizer()
    names = {id(p): n for n, p in trainer.model.named_parameters()}
    found = {
        names[id(p)]: (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for p in group["params"]
    }
    generator = "rag.generator.model.model.decoder.layers.0"
    assert found[f"{generator}.fc1.weight"] == (1e-4, 0.1)
    assert found[f"{generator}.fc1.bias"] == (1e-4, 0.0)
    assert found[f"{generator}.final_layer_norm.weight"] == (1e-4, 0.0)
    question = "rag.retriever.encoder.question_encoder.encoder.layer.0"
    assert found[f"{question}.output.dense.weight"] == (1e-3, 0.1)
    assert found[f"{question}.output.LayerNorm.bias"] == (1e-3, 0.0)
    assert len(found) == sum(len(group["params"]) for group in optimizer.param_groups)


# ------------------------------------------------------------------- label smoothing


@pytest.mark.parametrize("marginalizer", MARGINALIZERS)
def test_label_smoothing_by_hand(tmp_path: Path, marginalizer: str) -> None:
    """(1−ε)·log p(y_i) + ε·mean_v log p(v) takes the place of log p(y_i) in the marginal."""
    rag, epsilon = toy.model(tmp_path, marginalizer), 0.1
    examples = toy.examples()
    expected = _smoothed(rag, [e.question for e in examples], list(toy.LETTERS), 3, epsilon)
    trainer = train(tmp_path, rag, label_smoothing_factor=epsilon)
    assert steps(trainer)[0]["loss"] == pytest.approx(expected, rel=1e-5)
    assert trainer.args.label_smoothing_factor == epsilon


def _smoothed(rag: RAG, questions: list[str], targets: list[str], k: int, epsilon: float) -> float:
    """One pair after another through the plain model, and the marginal from its definition."""
    model, total = rag.generator.model, 0.0
    with torch.no_grad():
        found = rag.retriever.retrieve(questions, k)
        prior = found.scores.double().softmax(-1)  # (B,K)
        for b, target in enumerate(targets):
            gold = rag.generator.targets([target]).tokens  # (1,T)
            start = torch.full((1, 1), rag.generator.generation_config.decoder_start_token_id)
            values = []
            for i in range(k):
                pair = found.passages[b][i]
                one = type(found)(
                    [[pair]],
                    found.ids[b : b + 1, i : i + 1],
                    torch.zeros(1, 1),
                    torch.ones(1, 1, dtype=torch.bool),
                )
                ids = rag.generator.sources.of_pairs([questions[b]], one)
                logits = model(
                    input_ids=ids.tokens,
                    attention_mask=ids.mask.long(),
                    decoder_input_ids=torch.cat([start, gold[:, :-1]], 1),
                ).logits
                logp = logits[0].double().log_softmax(-1)  # (T,V)
                values.append(
                    (1 - epsilon) * logp.gather(-1, gold[0, :, None])[:, 0]
                    + epsilon * logp.mean(-1)
                )
            token = torch.stack(values).exp()  # (K,T)
            if type(rag.marginalizer).__name__ == "RagSequence":
                likelihood = (prior[b] * token.prod(-1)).sum()
            else:
                likelihood = (prior[b][:, None] * token).sum(0).prod()
            total -= float(likelihood.log())
    return total / len(targets)


class PlainReading:
    """A reading that can score and no more."""

    def __init__(self, inner: Any) -> None:
        self.rows, self.score, self.start = inner.rows, inner.score, inner.start


class Unsmoothing(Seq2SeqGenerator):
    def read(self, questions, retrieved):
        return PlainReading(super().read(questions, retrieved))


def test_a_reading_that_cannot_smooth_is_refused(tmp_path: Path) -> None:
    whole = toy.model(tmp_path)
    plain = Unsmoothing(whole.generator.model, whole.generator.tokenizer)
    rag = RAG(whole.retriever, plain, "rag-sequence")
    train(tmp_path, rag)
    with pytest.raises(ConfigError, match=r"PlainReading .* cannot smooth; set label_smoothing"):
        train(tmp_path, rag, label_smoothing_factor=0.1)


# ------------------------------------------------------------------- memory and precision


def test_activation_checkpointing_changes_no_gradient(tmp_path: Path) -> None:
    found = []
    for on in (False, True):
        seen = Gradients()
        folder = tmp_path / str(on)
        options = {"max_steps": 2, "activation_checkpointing": on}
        trainer = Trainer(
            toy.model(folder, dropout=0.1),
            arguments(folder, **options),
            toy.examples(),
            callbacks=[seen],
        )
        trainer.train()
        models = (trainer.rag.generator.model, trainer.rag.retriever.encoder.question_encoder)
        assert [model.is_activation_checkpointing for model in models] == [on, on]
        assert not trainer.rag.retriever.encoder.passage_encoder.is_activation_checkpointing
        found.append(seen.steps)
    for plain, recomputed in zip(*found, strict=True):
        assert set(plain) == set(recomputed)
        for name in plain:
            torch.testing.assert_close(plain[name], recomputed[name], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("marginalizer", MARGINALIZERS)
def test_bfloat16_autocast(tmp_path: Path, marginalizer: str) -> None:
    exact = steps(train(tmp_path, toy.model(tmp_path, marginalizer), max_steps=2))
    rag = toy.model(tmp_path, marginalizer)
    trainer = train(tmp_path, rag, max_steps=2, bf16=True)
    assert all(p.dtype == torch.float32 for p in rag.parameters())
    for entry, true in zip(steps(trainer), exact, strict=True):
        assert entry["loss"] != true["loss"]  # bfloat16 was really used
        assert entry["loss"] == pytest.approx(true["loss"], rel=0.03)


# ------------------------------------------------------------------------ evaluation


def test_evaluation_answers_every_question(tmp_path: Path) -> None:
    rag = toy.model(tmp_path, blind=True)
    toy.teach_copying(rag.generator, 150)
    options = {
        "eval_metrics": ["em", "f1"],
        "per_device_eval_batch_size": 2,
        "eval_k": 4,
        "eval_strategy": "steps",
        "generation": {"max_new_tokens": 3},
    }
    trainer = Trainer(rag, arguments(tmp_path, **options), toy.examples(), toy.examples()[:5])
    found = trainer.evaluate()
    questions, letters = [e.question for e in toy.examples()[:5]], toy.LETTERS[:5]
    answers = trainer.rag.answer(questions, k=4, max_new_tokens=3)
    right = [a.text == letter for a, letter in zip(answers, letters, strict=True)]
    assert 0 < sum(right) < 5
    assert found["eval_em"] == found["eval_f1"] == pytest.approx(sum(right) / 5)
    trainer.rag.eval()
    with torch.no_grad():
        loss = trainer.rag.loss(questions, list(letters), k=4)
    assert found["eval_loss"] == pytest.approx(float(loss), rel=1e-5)
    named = trainer.evaluate({"a": toy.examples()[:2], "b": toy.examples()[2:5]})
    both = (2 * named["eval_a_em"] + 3 * named["eval_b_em"]) / 5
    assert both == pytest.approx(found["eval_em"])


def test_evaluation_does_not_change_the_course(tmp_path: Path) -> None:
    plain = train(tmp_path / "a", toy.model(tmp_path / "a", dropout=0.1), max_steps=4)
    rag = toy.model(tmp_path / "b", dropout=0.1)
    options = {"max_steps": 4, "eval_strategy": "steps", "eval_steps": 1}
    seen = Trainer(rag, arguments(tmp_path / "b", **options), toy.examples(), toy.examples())
    seen.train()
    assert [e["loss"] for e in steps(seen)] == [e["loss"] for e in steps(plain)]
    assert sum("eval_em" in entry for entry in seen.state.log_history) == 4


def test_the_best_model_is_kept_and_training_stops_early(tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "k": 2,
        "max_steps": 600,
        "learning_rate": 5e-3,
        "eval_strategy": "steps",
        "eval_steps": 20,
        "save_strategy": "steps",
        "save_steps": 20,
        "save_total_limit": 2,
        "load_best_model_at_end": True,
        "generation": {"max_new_tokens": 3},
    }
    trainer = Trainer(
        toy.model(tmp_path),
        arguments(tmp_path, **options),
        toy.examples(),
        toy.examples(),
        callbacks=[EarlyStoppingCallback(2)],
    )
    trainer.train()
    scores = [e["eval_em"] for e in trainer.state.log_history if "eval_em" in e]
    best = scores.index(max(scores))
    assert max(scores) > scores[0]
    assert trainer.state.best_metric == max(scores)
    assert len(scores) == best + 3  # a patience of two, and then it stopped
    assert trainer.state.global_step == 20 * len(scores) < 600
    assert trainer.state.best_model_checkpoint.endswith(f"checkpoint-{20 * (best + 1)}")
    kept = RAG.from_pretrained(trainer.state.best_model_checkpoint).state_dict()
    last = RAG.from_pretrained(tmp_path / "run" / f"checkpoint-{20 * len(scores)}").state_dict()
    for name, value in trainer.rag.state_dict().items():
        assert torch.equal(value, kept[name]), name
    assert any(not torch.equal(value, last[name]) for name, value in kept.items())
    assert trainer.evaluate()["eval_em"] == max(scores)
