"""`ragkit.TrainingArguments`: transformers' own, with what retrieval adds.

Names and meanings of transformers are kept; a few defaults differ, each with its reason.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import Any

import transformers

from ragkit.errors import ConfigError


@dataclass
class TrainingArguments(transformers.TrainingArguments):  # type: ignore[misc]
    """Options of `ragkit.Trainer`.

    Besides those of transformers (``learning_rate``, ``label_smoothing_factor``,
    ``gradient_accumulation_steps``, ``activation_checkpointing``, ``bf16``,
    ``report_to`` …):

    Args:
        k: passages retrieved for each question in training (the paper: 5 or 10).
        eval_k: the same in evaluation; ``k`` by default.
        question_encoder_learning_rate: of the retriever's parameters; ``learning_rate``
            by default.
        generator_learning_rate: of the generator's; ``learning_rate`` by default.
        each_answer: train on each (question, answer) pair instead of the first answer.
        eval_metrics: metrics of answers to the evaluation set, by name.
        generation: decoding options for evaluation, as `RAG.answer` takes them.
        probe_size: questions whose passages are compared with those of step 0.
        probe_steps: steps between two such comparisons.
        collapse_window: logged steps over which the signs of collapse are averaged.
        collapse_distinct: warn where the share of distinct passages falls below this
            part of what it was at first while the passages of the probe have changed.
        collapse_entropy: warn where the prior's entropy stays above this share of log K,
            that is, where retrieval hardly chooses; 1 turns it off.

    Examples:
        >>> from ragkit import TrainingArguments
        >>> arguments = TrainingArguments("run", k=10, learning_rate=3e-5, max_steps=100)
        >>> arguments.k, arguments.max_steps
        (10, 100)
    """

    k: int = 5
    eval_k: int | None = None
    question_encoder_learning_rate: float | None = None
    generator_learning_rate: float | None = None
    each_answer: bool = False
    eval_metrics: list[str] = field(default_factory=lambda: ["em"])
    generation: dict[str, Any] = field(default_factory=lambda: {"max_new_tokens": 32})
    probe_size: int = 8
    probe_steps: int = 1
    collapse_window: int = 50
    collapse_distinct: float = 0.5
    collapse_entropy: float = 0.999

    # Defaults of transformers that do not fit here.
    report_to: str | list[str] | None = "none"  # trackers are asked for, never guessed
    logging_steps: float = 1  # the signs of collapse are worth a look at every step
    remove_unused_columns: bool | None = False  # batches are texts, not columns
    dataloader_pin_memory: bool = False  # texts have no pages to pin
    logging_nan_inf_filter: bool = False  # a loss that is not finite stops the training
    metric_for_best_model: str | None = "em"
    restore_callback_states_from_checkpoint: bool = True  # patience is part of the state

    def __post_init__(self) -> None:
        if getattr(self, "disable_tqdm", None) is None:
            self.disable_tqdm = not sys.stderr.isatty()
        try:
            super().__post_init__()
        except ValueError as error:
            raise ConfigError(str(error)) from error
        faults = [
            f"{name} is {getattr(self, name)!r}; it must be at least 1"
            for name in ("k", "eval_k", "probe_size", "probe_steps", "collapse_window")
            if getattr(self, name) is not None and getattr(self, name) < 1
        ]
        faults += [
            f"{name} is {getattr(self, name)!r}; it must not be negative"
            for name in ("question_encoder_learning_rate", "generator_learning_rate")
            if getattr(self, name) is not None and getattr(self, name) < 0
        ]
        if not 0 <= self.label_smoothing_factor < 1:
            faults.append(
                f"label_smoothing_factor is {self.label_smoothing_factor}; it must be in [0, 1)"
            )
        best = (self.metric_for_best_model or "").removeprefix("eval_")
        if self.eval_strategy != "no" and best and best not in (*self.eval_metrics, "loss"):
            faults.append(
                f"metric_for_best_model is {best!r}, which is not evaluated; choose one of "
                f"{', '.join([*self.eval_metrics, 'loss'])}, or add it to eval_metrics"
            )
        if faults:
            raise ConfigError(faults)
