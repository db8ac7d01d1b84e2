"""Joint training through `ragkit.Trainer`, without passage labels.

The reader that the stages before have made, MiniLM as encoder, all of SQuAD's paragraphs
as knowledge base; −log Σ_z p(z|x) p(y|x,z) is minimised over training questions. First
the two encoders learn as one model, the knowledge base is built again with it, and then
question encoder and generator learn as in the paper. Knows nothing of how the reader
came to be.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import encoders
import numpy as np
import settings
import start
import torch
from sources import Corpus
from torch import Tensor
from towers import BothTowers, TowersTrainer

from ragkit import RAG, KnowledgeBase, Trainer, TrainingArguments
from ragkit.generate.seq2seq import Seq2SeqGenerator
from ragkit.protocols import Evidence, Example
from ragkit.retrieve.dense import DenseRetriever
from ragkit.retrieve.dpr import DPREncoder
from ragkit.train.objectives import Marginal


def generator(model: Any, max_source: int) -> Seq2SeqGenerator:
    """The reader as ragkit's generator, with the decoding that it is shipped with."""
    made = Seq2SeqGenerator(
        model,
        start.tokenizer(),
        form=settings.FORM,
        max_source=max_source,
        max_target=settings.MAX_TARGET,
        spelling="passage",
    )
    for name, value in settings.GENERATION.items():
        setattr(made.model.generation_config, name, value)
        setattr(made.generation_config, name, value)
    made.generation_config.max_length = None
    return made


def knowledge_base(corpora: list[Corpus], made: Any, folder: Path) -> KnowledgeBase:
    """All paragraphs of these; built once, resumed where it was interrupted."""
    if (folder / "current").exists():
        return KnowledgeBase.open(folder)
    passages = [one for corpus in corpora for one in corpus.passages.values()]
    with torch.autocast("cpu", torch.bfloat16):
        return KnowledgeBase.build(passages, made, "exact", folder, progress=False)


def temperature(made: Any, base: KnowledgeBase, examples: list[Example]) -> float:
    """The one that makes the gold paragraph likeliest among the 20 best retrieved.

    The one place where this part of the recipe looks at passage labels: of 600 training
    questions, for one number. The training itself has none.
    """
    chosen = random.Random(settings.SEED).sample(examples, 600)
    with torch.no_grad():
        queries = made.questions([one.question for one in chosen]).float().numpy()
    hits = base.search(queries, 20)
    gold = base.rows([one.passage_ids[0] for one in chosen])
    there = hits.ids == gold[:, None]  # (B,20)
    scores = torch.from_numpy(np.where(hits.ids >= 0, hits.scores, -np.inf))[there.any(1)]
    there_ = torch.from_numpy(there)[torch.from_numpy(there.any(1))]

    def value(t: float) -> float:
        return float((scores / t).log_softmax(-1)[there_].mean())

    return max((0.02, 0.03, 0.04, 0.05, 0.06, 0.07, 0.08, 0.1, 0.13), key=value)


class FrozenGenerator:
    """The marginal likelihood, with the gradient into the retriever alone."""

    needs_generator_gradient = False

    def __call__(self, evidence: Evidence) -> Mapping[str, Tensor]:
        return Marginal()(evidence)


def train(work: Path, model: Any, corpora: list[Corpus], examples: list[Example]) -> RAG:
    """All stages, each from its last checkpoint; the trained RAG."""
    first = encoders.rounded(encoders.minilm().passage_encoder)
    base = knowledge_base(corpora, first, work / "kb-start-all")
    fitted = temperature(first, base, examples)
    both, last = settings.JOINT
    learnt = _towers(work, model, DenseRetriever(first, base, fitted), both, examples)
    base = knowledge_base(corpora, learnt, work / "kb-all")
    rag = RAG(
        DenseRetriever(learnt, base, fitted),
        generator(model, settings.JOINT_SOURCE),
        "rag-sequence",
    )
    _without_dropout(rag)
    tower: Any = learnt.question_encoder
    for part in (tower.embeddings, *tower.encoder.layer[: settings.FROZEN_LAYERS]):
        part.requires_grad_(False)
    if not any(weight.requires_grad for weight in tower.parameters()):
        raise RuntimeError("nothing of the question encoder would learn")
    rag.generator.requires_grad_(True)  # the stage before held it still
    rag.generator.model.get_encoder().get_input_embeddings().requires_grad_(False)
    _run(work, Trainer(rag, _arguments(work, last), _fitting(examples, last)), last)
    return rag


def _towers(
    work: Path,
    model: Any,
    dense: DenseRetriever,
    stage: settings.Joint,
    examples: list[Example],
) -> DPREncoder:
    """Question and passage encoder learn as one model, which is then rounded to int8."""
    folder = work / f"{stage.name}-encoder"
    if not folder.exists():
        dense.encoder = encoders.as_one(_dpr(dense), settings.JOINT_SOURCE)
        rag = RAG(BothTowers(dense), generator(model, settings.JOINT_SOURCE), "rag-sequence")
        _without_dropout(rag)
        trainer = TowersTrainer(
            rag,
            _arguments(work, stage),
            _fitting(examples, stage),
            objective=FrozenGenerator(),
        )
        _run(work, trainer, stage)
        aside = folder.with_suffix(".new")
        _dpr(dense).save(aside)
        aside.replace(folder)
    return encoders.rounded(DPREncoder.load(folder).question_encoder)


def _dpr(dense: DenseRetriever) -> DPREncoder:
    return cast(DPREncoder, dense.encoder)


def _without_dropout(rag: RAG) -> None:
    for module in rag.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0  # drawing the masks costs a CPU more than the products do


def _arguments(work: Path, stage: settings.Joint) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(work / stage.name),
        per_device_train_batch_size=settings.JOINT_BATCH,
        num_train_epochs=1,
        learning_rate=stage.lr_question,
        question_encoder_learning_rate=stage.lr_question,
        generator_learning_rate=stage.lr_generator,
        lr_scheduler_type="linear",
        warmup_steps=30,
        k=stage.k,
        bf16=True,
        use_cpu=True,
        seed=settings.SEED,
        logging_steps=5,
        probe_steps=20,
        probe_size=64,
        save_steps=50,
        save_total_limit=2,
    )


def _run(work: Path, trainer: Trainer, stage: settings.Joint) -> None:
    """From the last checkpoint, if there is one; the log is kept beside."""
    folder = work / stage.name
    before = sorted(folder.glob("checkpoint-*"), key=lambda p: int(p.name[11:]))
    trainer.train(resume_from_checkpoint=str(before[-1]) if before else None)
    (work / f"{stage.name}.json").write_text(json.dumps(trainer.state.log_history))


def _fitting(examples: list[Example], stage: settings.Joint) -> list[Example]:
    """Questions drawn for a stage, without those whose answer is too long to be written."""
    seed = settings.SEED + settings.JOINT.index(stage)
    chosen = random.Random(seed).sample(examples, stage.questions)
    tokens = start.tokenizer()([one.answers[0] for one in chosen], add_special_tokens=False)
    lengths = [len(ids) for ids in tokens["input_ids"]]
    return [one for one, n in zip(chosen, lengths, strict=True) if 0 < n < settings.TARGET_WIDTH]
