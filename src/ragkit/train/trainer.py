"""`ragkit.Trainer`: question encoder and generator learn, the passages stay (2.4).

transformers' `Trainer` by names and habits. What is particular to retrieval: a learning
rate for each part, answers judged by generating them, and the signs of collapse in the
log of every step. How losses are averaged and runs resumed is `ragkit.train.base`'s.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from transformers import TrainerCallback

from ragkit import registry
from ragkit.errors import ConfigError, DataError
from ragkit.protocols import Example, Metric, Objective, Prediction
from ragkit.rag import RAG
from ragkit.train import diagnostics
from ragkit.train.arguments import TrainingArguments
from ragkit.train.base import MeanTrainer, Terms
from ragkit.train.data import Questions, Source, as_example, collate
from ragkit.train.learner import MEASURED, PASSAGES, Learner

_TARGETS_AT_ONCE = 512


class Trainer(MeanTrainer):
    """Trains a RAG end to end, with no label of which passage to retrieve.

    Args:
        rag: the model; trained in place.
        args: options, by transformers' names.
        train_dataset: examples, or dicts with ``question`` and ``target``, ``answers`` or
            ``answer``: a list, any iterable, or a `datasets.Dataset`.
        eval_dataset: the same; judged by generating answers.
        objective: a name (``marginal``, the paper's) or an object.
        callbacks, optimizers: as in transformers.

    Raises:
        DataError: no examples, one without question or target, a target that is too long
            for the generator.
        ConfigError: options that cannot be.

    Examples:
        >>> from ragkit import RAG, KnowledgeBase, Trainer, TrainingArguments
        >>> from ragkit.generate.seq2seq import Seq2SeqGenerator
        >>> from ragkit.retrieve.dense import DenseRetriever
        >>> from ragkit.retrieve.dpr import DPREncoder
        >>> from ragkit.testing import tiny  # random weights: it says nothing sensible
        >>> encoder = DPREncoder(tiny.bert(), tokenizer=tiny.tokenizer())
        >>> texts = ("The ferry leaves at nine.", "Ada Holm keeps the lighthouse.")
        >>> passages = [{"id": str(n), "text": text} for n, text in enumerate(texts)]
        >>> base = KnowledgeBase.build(passages, encoder, directory="kb")
        >>> generator = Seq2SeqGenerator(tiny.bart(), tokenizer=tiny.tokenizer())
        >>> rag = RAG(DenseRetriever(encoder, base), generator, "rag-token")
        >>> arguments = TrainingArguments("run", max_steps=2, k=2, disable_tqdm=True)
        >>> known = [{"question": "When does the ferry leave?", "answers": ["at nine"]}]
        >>> trainer = Trainer(rag, arguments, train_dataset=known)
        >>> outcome = trainer.train()
        >>> outcome.global_step
        2
    """

    args: TrainingArguments
    optimizer: torch.optim.Optimizer | None
    control: Any

    def __init__(
        self,
        rag: RAG,
        args: TrainingArguments,
        train_dataset: Source | None = None,
        eval_dataset: Source | None = None,
        objective: str | Objective = "marginal",
        callbacks: Sequence[TrainerCallback] | None = None,
        optimizers: tuple[Any, Any] = (None, None),
    ) -> None:
        if not isinstance(args, TrainingArguments):
            raise ConfigError(
                f"args is {type(args).__name__}; give ragkit.TrainingArguments, which has "
                "transformers' names and k"
            )
        if isinstance(objective, str):
            objective = cast(Objective, registry.make("objective", objective))
        questions = None
        if train_dataset is not None:
            questions = Questions(train_dataset, args.each_answer)
            _check_targets(rag, questions)
        judged = None if eval_dataset is None else _judged(eval_dataset)
        self.rag = rag
        self.objective = objective
        self.meter = diagnostics.Meter()
        self.watch = diagnostics.Watch(
            args.collapse_window, args.collapse_distinct, args.collapse_entropy
        )
        metrics = args.eval_metrics if judged is not None else []
        if judged is not None:
            rag.generation_options(args.generation)  # a misspelt option is better known now
        self.metrics = {n: cast(Metric, registry.make("metric", n)) for n in metrics}
        super().__init__(
            Learner(rag, objective, args.label_smoothing_factor),
            args,
            questions,
            collate,
            eval_dataset=judged,
            callbacks=callbacks,
            optimizers=optimizers,
        )

    # ------------------------------------------------------------------------ learning

    def losses(self, model: nn.Module, batch: dict[str, Any]) -> Terms:
        """The objective's terms (B,); their signs of collapse go into the meter."""
        found = dict(model(batch["questions"], batch["targets"], k=self.args.k))
        measured, passages = found.pop(MEASURED), found.pop(PASSAGES)
        if model.training:
            self.meter.add(found, measured, passages, batch["count"])
        return found

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """Parameters grouped by part and by whether their weights decay."""
        rates = {
            "rag.retriever.": self.args.question_encoder_learning_rate,
            "rag.generator.": self.args.generator_learning_rate,
        }
        if self.optimizer is not None or all(rate is None for rate in rates.values()):
            return cast(torch.optim.Optimizer, super().create_optimizer())
        learner = self.model if model is None else model
        decaying = set(self.get_decay_parameter_names(learner))

        def group_of(name: str) -> tuple[float, float]:
            rate = next((r for part, r in rates.items() if name.startswith(part)), None)
            decay = self.args.weight_decay if name in decaying else 0.0
            return (self.args.learning_rate if rate is None else rate, decay)

        named = [(n, p) for n, p in learner.named_parameters() if p.requires_grad]
        named.sort(key=lambda pair: group_of(pair[0]))  # stable: the order is always the same
        groups = [
            {"params": [p for _, p in members], "lr": rate, "weight_decay": decay}
            for (rate, decay), members in groupby(named, key=lambda pair: group_of(pair[0]))
        ]
        cls, options = self.get_optimizer_cls_and_kwargs(self.args, learner)
        made: torch.optim.Optimizer = cls(groups, **options)
        self.optimizer = made
        return made

    # ----------------------------------------------------------------------- diagnosis

    def _begin(self) -> None:
        super()._begin()
        if self.watch.first_ids is None:
            self._probe()

    def _probe(self) -> float:
        """Share of the passages of the first step that the probe still retrieves."""
        questions = cast(Questions, self.train_dataset)
        stride = max(1, len(questions) // self.args.probe_size)
        texts = [questions[i][0] for i in range(0, len(questions), stride)][: self.args.probe_size]
        was_training = self.rag.training
        self.rag.eval()
        with torch.no_grad(), self.accelerator.autocast():
            ids = self.rag.retriever.retrieve(texts, self.args.k).ids  # (P,K)
        self.rag.train(was_training)
        return self.watch.compare(ids)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds the signs of collapse to what a step logs."""
        if "loss" in logs and self.meter.sums is not None:
            logs.update(self.meter.flush(self.over_processes(self.meter.sums)))
            if self.state.global_step % self.args.probe_steps == 0:
                logs["probe_overlap"] = self._probe()
            self.watch.see(logs)
        super().log(logs, start_time)

    # ---------------------------------------------------------------------- evaluation

    def evaluate(
        self,
        eval_dataset: Source | Mapping[str, Source] | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> dict[str, float]:
        """Mean of every metric over generated answers, and of the loss where there are
        targets. Each process answers its share.
        """
        source = self.eval_dataset if eval_dataset is None else eval_dataset
        if source is None:
            raise DataError("there is nothing to evaluate on; give Trainer(eval_dataset=…)")
        if isinstance(source, Mapping):
            found: dict[str, float] = {}
            for name, part in source.items():
                found |= self.evaluate(part, ignore_keys, f"{metric_key_prefix}_{name}")
            return found
        started = time.monotonic()
        examples = source if source is self.eval_dataset else _judged(source)
        mine = examples[self.args.process_index :: self.args.world_size]
        sums = self.over_processes(self._judge(mine))
        *scores, loss, judged, scored = sums.tolist()
        logs = {
            f"{metric_key_prefix}_{name}": score / judged
            for name, score in zip(self.metrics, scores, strict=True)
        }
        if scored:
            logs[f"{metric_key_prefix}_loss"] = loss / scored
        logs[f"{metric_key_prefix}_runtime"] = round(time.monotonic() - started, 3)
        self.log(logs)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, logs)
        return logs

    def _judge(self, examples: Sequence[Example]) -> torch.Tensor:
        """Sums: each metric, the loss; then how many were answered and how many scored."""
        k = self.args.eval_k or self.args.k
        size = self.args.per_device_eval_batch_size
        predictions: list[Prediction] = []
        loss, scored = 0.0, 0
        was_training = self.rag.training
        self.rag.eval()
        with torch.no_grad(), self.accelerator.autocast():
            for start in range(0, len(examples), size):
                part = examples[start : start + size]
                texts = [example.question for example in part]
                answers = self.rag.answer(texts, k=k, batch_size=size, **self.args.generation)
                predictions += [
                    answer.prediction(example.id)
                    for answer, example in zip(answers, part, strict=True)
                ]
                with_target = [e for e in part if e.target is not None or e.answers]
                if with_target:
                    questions, targets = zip(
                        *((e.question, e.target or e.answers[0]) for e in with_target), strict=True
                    )
                    evidence, _ = self.rag(list(questions), list(targets), k)
                    loss += float(self.objective(evidence)["loss"].sum())
                    scored += len(with_target)
        self.rag.train(was_training)
        sums = [sum(metric(predictions, examples)) for metric in self.metrics.values()]
        return torch.tensor(
            [*sums, loss, len(examples), scored], dtype=torch.float32, device=self.args.device
        )

    # ------------------------------------------------------------- saving and resuming

    def save_to(self, directory: Path) -> None:
        """As `RAG.save_pretrained`: the knowledge base by reference."""
        self.rag.save_pretrained(directory)

    def load_from(self, directory: Path) -> None:
        """Weights of a saved RAG into this one; the knowledge base stays."""
        knowledge_base = getattr(self.rag.retriever, "knowledge_base", None)
        saved = RAG.from_pretrained(directory, knowledge_base=knowledge_base)
        self.rag.load_state_dict(saved.state_dict())

    def course(self) -> dict[str, Any]:
        """Adds k, the rates of the parts, objective, marginalizer and the training set."""
        questions = cast(Questions, self.train_dataset)
        return {
            **super().course(),
            "k": self.args.k,
            "question_encoder_learning_rate": self.args.question_encoder_learning_rate,
            "generator_learning_rate": self.args.generator_learning_rate,
            "objective": type(self.objective).__name__,
            "marginalizer": type(self.rag.marginalizer).__name__,
            "training set": questions.fingerprint(),
        }

    def memory(self) -> dict[str, Any]:
        """What the watch over collapse remembers, and what no log has shown yet."""
        sums = self.meter.sums
        return {
            "watch": self.watch.state(),
            "meter": None if sums is None else self.over_processes(sums).tolist(),
            "terms": self.meter.names,
        }

    def remember(self, state: Mapping[str, Any]) -> None:
        """Take it up."""
        self.watch.restore(state["watch"])
        self.meter.names = state["terms"]
        sums = state["meter"]
        if sums is not None:
            kept = torch.tensor(sums, dtype=torch.float64, device=self.args.device)
            self.meter.sums = kept if self.args.process_index == 0 else torch.zeros_like(kept)


def _judged(source: Source) -> list[Example]:
    examples = [as_example(record, place) for place, record in enumerate(source)]
    if not examples:
        raise DataError("the evaluation set is empty; give at least one example or leave it out")
    return examples


def _check_targets(rag: RAG, questions: Questions) -> None:
    """A target that is too long is better known now than after an hour."""
    for start in range(0, len(questions), _TARGETS_AT_ONCE):
        stop = min(start + _TARGETS_AT_ONCE, len(questions))
        rag.generator.targets([questions[i][1] for i in range(start, stop)])
