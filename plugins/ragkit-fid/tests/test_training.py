"""End to end: the reader learns from answers, the retriever from where the reader looks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fid_models as tiny
import pytest
import torch
from ragkit_fid.generator import FiDGenerator
from ragkit_fid.marginalizer import NoMixture
from ragkit_fid.objective import Distillation
from transformers import BertConfig, BertModel

from ragkit import RAG, KnowledgeBase, Passage, Trainer, TrainingArguments
from ragkit.errors import ConfigError
from ragkit.protocols import Evidence
from ragkit.retrieve.dense import DenseRetriever
from ragkit.retrieve.dpr import DPREncoder

NAMES, LETTERS = ("ant", "bee", "cat", "dog"), "uvwx"
EXAMPLES = [{"question": f"{n}?", "answers": [c]} for n, c in zip(NAMES, LETTERS, strict=True)]
QUESTIONS, ANSWERS = [f"{n}?" for n in NAMES], list(LETTERS)


def model(directory: Path, family: str = "bart") -> Any:
    """Four passages of a letter each, and a question for each."""
    towers: list[Any] = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        config = BertConfig(
            vocab_size=261,
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=64,
            initializer_range=0.3,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            pad_token_id=1,
        )
        towers.append(BertModel(config).eval())
    encoder = DPREncoder(towers[0], towers[1], tiny.tokenizer(), pooling="mean")
    generator = tiny.make(family)
    passages = [Passage(n, n, c) for n, c in zip(NAMES, LETTERS, strict=True)]
    base = KnowledgeBase.build(passages, encoder, "exact", directory, generator=generator)
    return RAG(DenseRetriever(encoder, base), generator, "none")


def arguments(directory: Path, **options: Any) -> TrainingArguments:
    return TrainingArguments(
        str(directory),
        k=4,
        per_device_train_batch_size=4,
        learning_rate=1e-2,
        lr_scheduler_type="constant",
        logging_strategy="no",
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        **options,
    )


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_the_loss_is_that_of_the_plain_model(tmp_path: Path, family: str) -> None:
    rag = model(tmp_path / "kb", family)
    plain = tiny.eager(rag.generator.reader.model)
    loss = rag.loss(QUESTIONS, ANSWERS, k=3)
    found = rag.retriever.retrieve(QUESTIONS, 3)
    start = rag.generator.generation_config.decoder_start_token_id
    total = 0.0
    for b in range(4):
        gold = rag.generator.targets(ANSWERS[b : b + 1]).tokens[0].tolist()
        with torch.no_grad():
            states, _ = tiny.fused_by_hand(plain, rag.generator, QUESTIONS, found, b)
            logits = tiny.plain_logits(plain, states, [start, *gold[:-1]]).logits[0]
        total -= float(logits.log_softmax(-1)[range(len(gold)), gold].sum())
    assert float(loss.detach()) == pytest.approx(total / 4, rel=1e-4)
    loss.backward()
    assert all(p.grad is None for p in rag.retriever.parameters())
    assert any(p.grad is not None and p.grad.any() for p in rag.generator.parameters())


def test_the_trainer_teaches_the_reader_and_leaves_the_retriever_as_it_was(tmp_path: Path) -> None:
    rag = model(tmp_path / "kb")
    before = [p.detach().clone() for p in rag.retriever.parameters()]
    first = float(rag.loss(QUESTIONS, ANSWERS, k=4).detach())
    args = arguments(
        tmp_path / "run", max_steps=60, weight_decay=0.1, activation_checkpointing=True
    )
    Trainer(rag, args, train_dataset=EXAMPLES).train()
    assert float(rag.loss(QUESTIONS, ANSWERS, k=4).detach()) < 0.2 * first
    for one, other in zip(before, rag.retriever.parameters(), strict=True):
        assert torch.equal(one, other)
    answers = rag.answer(QUESTIONS, k=4, num_beams=3, max_new_tokens=4)
    assert sum(a.text == want for a, want in zip(answers, ANSWERS, strict=True)) >= 3
    for answer in answers:
        assert sorted(p.id for p in answer.passages) == sorted(NAMES)
        assert all(p.posterior == pytest.approx(p.prior) for p in answer.passages)
        assert sum(p.prior for p in answer.passages) == pytest.approx(1, abs=1e-4)
        assert answer.token_posterior is None
    rag.save_pretrained(tmp_path / "saved")
    again = RAG.from_pretrained(tmp_path / "saved")
    assert isinstance(again.marginalizer, NoMixture)
    assert isinstance(again.generator, FiDGenerator)
    for one, other in zip(again.answer(QUESTIONS, k=4, num_beams=3), answers, strict=True):
        assert one.text == other.text
        assert one.log_likelihood == pytest.approx(other.log_likelihood, abs=1e-4)
    once_more = again.generator.read(QUESTIONS, again.retriever.retrieve(QUESTIONS, 4))
    assert once_more.passage_scores().isfinite().all()  # its attention is ours after loading


def test_distillation_is_the_divergence_from_the_readers_attention(tmp_path: Path) -> None:
    rag = model(tmp_path / "kb")
    evidence, found = rag(QUESTIONS, ANSWERS, 3)
    terms = Distillation(weight=0.5)(evidence)
    looked = rag.generator.read(QUESTIONS, found).passage_scores()
    prior = found.scores.log_softmax(-1)
    want = torch.nn.functional.kl_div(
        prior, looked.log_softmax(-1), log_target=True, reduction="none"
    ).sum(-1)
    torch.testing.assert_close(terms["distillation"], want)
    torch.testing.assert_close(terms["loss"], terms["nll"] + 0.5 * want)
    # Its gradient by the scores is weight·(prior − attention).
    (gradient,) = torch.autograd.grad(terms["loss"].sum(), evidence.scores)
    torch.testing.assert_close(
        gradient, 0.5 * (prior.exp() - looked.softmax(-1)), atol=1e-5, rtol=1e-4
    )


def test_distillation_ignores_absent_passages() -> None:
    generator = tiny.make("bart")
    found, targets = tiny.retrieved(2, 3, absent=1), generator.targets(["ab", "c"])
    reading = generator.read(tiny.QUESTIONS[:2], found)
    scores = found.scores.clone().requires_grad_()
    logp = reading.score(targets, reading.rows)
    evidence = Evidence(scores, found.mask, logp, targets.mask, NoMixture(), reading)
    terms = Distillation()(evidence)
    looked = reading.passage_scores()[1, :2].log_softmax(0)
    prior = scores[1, :2].log_softmax(0)
    want = (looked.exp() * (looked - prior)).sum()
    torch.testing.assert_close(terms["distillation"][1], want)
    terms["loss"].sum().backward()
    assert scores.grad is not None
    assert scores.grad.isfinite().all()
    assert scores.grad[1, 2] == 0


def test_the_trainer_draws_the_prior_to_where_the_reader_looks(tmp_path: Path) -> None:
    """Of a reader that is held still, so that the target is too."""
    rag = model(tmp_path / "kb")
    rag.generator.requires_grad_(False)

    def divergence() -> float:
        with torch.no_grad():
            evidence, _ = rag(QUESTIONS, ANSWERS, 4)
            return float(Distillation()(evidence)["distillation"].mean())

    first = divergence()
    args = arguments(tmp_path / "run", max_steps=60)
    Trainer(rag, args, train_dataset=EXAMPLES, objective="fid-distillation").train()
    assert divergence() < 0.2 * first


def test_distillation_without_passage_scores_says_what_to_type() -> None:
    evidence = Evidence(
        torch.zeros(1, 2),
        torch.ones(1, 2, dtype=torch.bool),
        torch.zeros(1, 1, 1),
        torch.ones(1, 1, dtype=torch.bool),
        NoMixture(),
    )
    with pytest.raises(ConfigError, match="generator='fid'"):
        Distillation()(evidence)
    with pytest.raises(ConfigError, match="0 or more"):
        Distillation(weight=-1)
