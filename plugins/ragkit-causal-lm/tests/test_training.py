"""End to end: question encoder and language model learn together, answers show passages."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import causal_models as tiny
import pytest
import torch
from ragkit_causal_lm.generator import CausalLMGenerator
from torch import Tensor
from transformers import BertConfig, BertModel

from ragkit import RAG, KnowledgeBase, Passage, Trainer, TrainingArguments
from ragkit.retrieve.dense import DenseRetriever
from ragkit.retrieve.dpr import DPREncoder

NAMES, LETTERS = ("ant", "bee", "cat", "dog"), "uvwx"
LORA = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear"}


def model(directory: Path, marginalizer: str = "rag-sequence", **options: Any) -> Any:
    """Four passages of a letter each, and a question for each."""
    towers: list[Any] = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        config = BertConfig(
            vocab_size=263,
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
    generator = CausalLMGenerator(
        tiny.llama(), tiny.tokenizer(), form="{title} {text}\n{question}", **options
    )
    passages = [Passage(n, n, c) for n, c in zip(NAMES, LETTERS, strict=True)]
    base = KnowledgeBase.build(passages, encoder, "exact", directory, generator=generator)
    return RAG(DenseRetriever(encoder, base), generator, marginalizer)


EXAMPLES = [{"question": f"{n}?", "answers": [c]} for n, c in zip(NAMES, LETTERS, strict=True)]
QUESTIONS, ANSWERS = [f"{n}?" for n in NAMES], list(LETTERS)


@pytest.mark.parametrize("marginalizer", ["rag-sequence", "rag-token"])
def test_the_loss_is_the_plain_marginal_with_the_plain_gradient(
    tmp_path: Path, marginalizer: Any
) -> None:
    rag = model(tmp_path / "kb", marginalizer)
    loss = rag.loss(QUESTIONS, ANSWERS, k=3)
    rag.zero_grad()
    loss.backward()
    mine = {n: p.grad.clone() for n, p in rag.named_parameters() if p.grad is not None}
    # The same from scores and the plain model alone.
    found = rag.retriever.retrieve(QUESTIONS, 3)
    prior = found.scores.log_softmax(-1)
    prompts = rag.generator.prompts.of_pairs(QUESTIONS, found)
    total = torch.zeros(())
    for b in range(4):
        gold = rag.generator.targets(ANSWERS[b : b + 1]).tokens[0].tolist()
        lines = torch.stack(
            [
                tiny.plain(rag.generator.model, tiny.unpadded(prompts, int(pair)), gold)
                for pair in prompts.rows[b]
            ]
        )  # (K,T)
        if marginalizer == "rag-sequence":
            total = total - (prior[b] + lines.sum(-1)).logsumexp(0)
        else:
            total = total - (prior[b][:, None] + lines).logsumexp(0).sum()
    torch.testing.assert_close(loss, total / 4, atol=1e-4, rtol=1e-4)
    rag.zero_grad()
    (total / 4).backward()
    assert any(name.startswith("retriever.") for name in mine)
    for name, grad in mine.items():
        other = rag.get_parameter(name).grad
        scale = other.abs().max().clamp(min=1)
        torch.testing.assert_close(grad / scale, other / scale, atol=1e-4, rtol=1e-3, msg=name)


@pytest.mark.parametrize("lora", [None, LORA], ids=["whole", "lora"])
def test_the_trainer_teaches_it_and_it_is_saved_and_read_back(
    tmp_path: Path, lora: dict[str, Any] | None
) -> None:
    rag = model(tmp_path / "kb", "rag-token", lora=lora)
    before = {n: p.detach().clone() for n, p in rag.generator.named_parameters()}
    args = TrainingArguments(
        str(tmp_path / "run"),
        max_steps=60,
        k=4,
        per_device_train_batch_size=4,
        learning_rate=1e-2,
        lr_scheduler_type="constant",
        logging_strategy="no",
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        activation_checkpointing=lora is not None,
    )
    first = float(rag.loss(QUESTIONS, ANSWERS, k=4).detach())
    Trainer(rag, args, train_dataset=EXAMPLES).train()
    last = float(rag.loss(QUESTIONS, ANSWERS, k=4).detach())
    assert last < 0.2 * first
    changed = {n for n, p in rag.generator.named_parameters() if not torch.equal(p, before[n])}
    assert changed
    assert lora is None or all("lora_" in name for name in changed)
    answers = rag.answer(QUESTIONS, k=4, num_beams=3, max_new_tokens=4)
    assert sum(a.text == want for a, want in zip(answers, ANSWERS, strict=True)) >= 3
    for answer in answers:
        assert sorted(p.id for p in answer.passages) == sorted(NAMES)
        assert sum(p.posterior for p in answer.passages) == pytest.approx(1, abs=1e-4)
        assert answer.token_posterior is not None
        assert len(answer.token_posterior) == len(answer.tokens)
    rag.save_pretrained(tmp_path / "saved")
    again = RAG.from_pretrained(tmp_path / "saved")
    for one, other in zip(again.answer(QUESTIONS, k=4, num_beams=3), answers, strict=True):
        assert one.text == other.text
        assert one.log_likelihood == pytest.approx(other.log_likelihood, abs=1e-4)


def test_a_run_with_adapters_that_is_resumed_is_the_run_that_was_not(tmp_path: Path) -> None:
    def trained(folder: str, resume: str | None) -> dict[str, Tensor]:
        rag = model(tmp_path / folder / "kb", "rag-token", lora={**LORA, "lora_dropout": 0.1})
        args = TrainingArguments(
            str(tmp_path / folder / "run"),
            max_steps=4,
            save_steps=2,
            k=2,
            per_device_train_batch_size=2,
            logging_strategy="no",
            report_to=[],
            disable_tqdm=True,
        )
        Trainer(rag, args, train_dataset=EXAMPLES).train(resume_from_checkpoint=resume)
        state: dict[str, Tensor] = rag.state_dict()
        return state

    whole = trained("whole", None)
    half = tmp_path / "half" / "run" / "checkpoint-2"
    shutil.copytree(tmp_path / "whole" / "run" / "checkpoint-2", half)
    resumed = trained("half", str(half))
    for name, value in whole.items():
        assert torch.equal(value, resumed[name]), name
