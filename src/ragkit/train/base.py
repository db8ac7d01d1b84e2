"""transformers' `Trainer` with the mean taken over questions and an exact resume.

What transformers leaves open or gets approximately right, in one place: the loss is the
mean over the questions of a step whatever the accumulation, the processes and the last
batch; the order of the data depends on seed and epoch alone; a checkpoint holds
everything that the course of the run depends on, and counts only when it is whole;
models are written by their own ``save``, never pickled. Knows nothing of retrieval.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from pathlib import Path
from typing import Any, cast

import torch
import transformers
from torch import Tensor, nn
from torch.utils.data import Dataset
from transformers import TrainerCallback
from transformers.trainer_callback import PrinterCallback

from ragkit.errors import DataError, RagkitError
from ragkit.train import checkpoints
from ragkit.train.data import EpochOrder

Terms = Mapping[str, Tensor]


_COURSE = (
    "seed",
    "data_seed",
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "label_smoothing_factor",
    "learning_rate",
    "lr_scheduler_type",
    "warmup_steps",
    "weight_decay",
    "max_grad_norm",
    "optim",
    "adam_beta1",
    "adam_beta2",
    "adam_epsilon",
    "bf16",
    "fp16",
)


class TrainingDiverged(RagkitError):
    """The loss is not a number any more."""


class MeanTrainer(transformers.Trainer):  # type: ignore[misc]
    """Trains a module whose forward gives named terms (B,), one of them ``loss``.

    A batch is a dict with ``count``, the number of its leading rows that are real.
    Subclasses give `losses`, `save_to` and `load_from`.
    """

    loss_is_scaled_for_ga = True  # over all questions of a step, in `compute_loss`

    def __init__(
        self,
        model: nn.Module,
        args: transformers.TrainingArguments,
        train_dataset: Dataset[Any] | None,
        collate: Callable[[Any], Any],
        eval_dataset: Any = None,
        callbacks: Sequence[TrainerCallback] | None = None,
        optimizers: tuple[Any, Any] = (None, None),
    ) -> None:
        args = copy.copy(args)
        smoothing, args.label_smoothing_factor = args.label_smoothing_factor, 0.0
        if args.n_gpu > 1:
            args._n_gpu = 1  # DataParallel cannot split texts; use torchrun
        if args.accelerator_config.dispatch_batches is None:
            args.accelerator_config.dispatch_batches = False  # it can only slice tensors
        super().__init__(
            model=model,
            args=args,
            data_collator=collate,
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            callbacks=[_EpochStart(self), *(callbacks or ())],
            optimizers=optimizers,
        )
        self.args.label_smoothing_factor = smoothing  # inside the marginal, not over logits
        self.model_accepts_loss_kwargs = True
        self.remove_callback(PrinterCallback)
        self.order: EpochOrder | None = None
        self._resumed: dict[str, Any] | None = None

    # --------------------------------------------------------- for subclasses to give

    def losses(self, model: nn.Module, batch: dict[str, Any]) -> Terms:
        """Named terms (B,) of a batch."""
        raise NotImplementedError

    def save_to(self, directory: Path) -> None:
        """Write the model."""
        raise NotImplementedError

    def load_from(self, directory: Path) -> None:
        """Read weights that `save_to` wrote into the model."""
        raise NotImplementedError

    def course(self) -> dict[str, Any]:
        """All settings that must be the same for a run to go on as it would have.

        Not how long it is: a run may be made longer.
        """
        values = self.args.to_dict()  # enums as their values
        return {name: values[name] for name in _COURSE} | {"processes": self.args.world_size}

    def memory(self) -> dict[str, Any]:
        """What else the course of the run depends on, as plain values."""
        return {}

    def remember(self, state: Mapping[str, Any]) -> None:
        """Take up what `memory` gave."""

    # ----------------------------------------------------------------------- the mean

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], Tensor | int | None]:
        """The batches of one step, and how many questions they hold over all processes."""
        batches: list[Any] = []
        for _ in range(num_batches):
            batch = next(epoch_iterator, None)
            if batch is None:
                break
            batches.append(self._without_filling(batch))
        count = sum(batch["count"] for batch in batches)
        if self.args.world_size == 1:
            return batches, count
        total = torch.tensor([count], dtype=torch.long, device=device)
        return batches, self.accelerator.gather(total).sum()

    def _without_filling(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Take away what accelerate added to make the last batches even.

        One row stays, not counted, where nothing else would: every process has to take
        part in every step.
        """
        last = self.accelerator.gradient_state.end_of_dataloader
        if self.args.world_size == 1 or not last or self.args.dataloader_drop_last:
            return batch
        size = self._train_batch_size
        # Reckoned here: accelerate's own remainder is unknown where batches were skipped.
        remainder = len(cast(Sized, self.train_dataset)) % (size * self.args.world_size)
        if remainder == 0:
            return batch
        real = min(max(remainder - self.args.process_index * size, 0), batch["count"])
        kept = {
            name: value[: max(real, 1)] if isinstance(value, list) else value
            for name, value in batch.items()
        }
        return {**kept, "count": real}

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Sum over this batch's questions / number of questions in the step."""
        terms = self.losses(model, inputs)
        loss = terms["loss"]  # (B,)
        summed = loss.sum() if inputs["count"] else loss.sum() * 0.0
        count = inputs["count"] if num_items_in_batch is None else num_items_in_batch
        mean = summed * self.args.world_size / count  # the processes' gradients are averaged
        if mean.device.type == "cpu":  # elsewhere looking would make the device wait
            self._check_finite(mean.detach())
        return (mean, terms) if return_outputs else mean

    def over_processes(self, sums: Tensor) -> Tensor:
        """Sums over all processes; each of them has to ask."""
        if self.args.world_size == 1:
            return sums
        return cast(Tensor, self.accelerator.reduce(sums, reduction="sum"))

    def _check_finite(self, loss: Tensor | float) -> None:
        value = float(loss)
        if not math.isfinite(value):
            raise TrainingDiverged(
                f"the loss is {value} at step {self.state.global_step + 1}: training has "
                "diverged. Lower learning_rate, set max_grad_norm (the paper's recipe clips at "
                "0.1), or look at the data of this step; then resume from the last checkpoint in "
                f"{self.args.output_dir}"
            )

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """As transformers logs, but never a loss that is not finite."""
        if "loss" in logs:
            self._check_finite(logs["loss"])
        super().log(logs, start_time)

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        dataset = self.train_dataset if train_dataset is None else train_dataset
        if getattr(self.args, "train_sampling_strategy", "random") != "random":
            return super()._get_train_sampler(dataset)
        seed = self.args.seed if self.args.data_seed is None else self.args.data_seed
        self.order = EpochOrder(len(dataset), seed)
        return self.order

    # ------------------------------------------------------------ saving and resuming

    def train(self, resume_from_checkpoint: str | Path | bool | None = None, **more: Any) -> Any:
        """Train, from a checkpoint if one is named (True: the last whole one).

        A run that was killed at any moment and is resumed ends with the same bits as one
        that was not, on CPU.

        Raises:
            ConfigError: no checkpoint there, or one of a run with other settings.
            CorruptError: a checkpoint whose saving was interrupted.
            DataError: there is no training set.
            TrainingDiverged: the loss is not finite.
        """
        if self.train_dataset is None:
            raise DataError("there is nothing to train on; give Trainer(train_dataset=…)")
        self._resumed = None
        checkpoint: str | None = None
        if resume_from_checkpoint:
            folder = checkpoints.resolve(resume_from_checkpoint, Path(self.args.output_dir))
            self._resumed = checkpoints.read_state(folder)
            checkpoints.check_same_run(folder, self._resumed["course"], self.course())
            checkpoint = str(folder)
        return super().train(resume_from_checkpoint=checkpoint, **more)

    def _begin(self) -> None:
        """Take up the state that a checkpoint of transformers has no place for."""
        if self._resumed is None:
            return
        self.remember(self._resumed["memory"])
        pending = self._resumed["pending_loss"]
        self._tr_loss += pending  # of the steps since the last log before the checkpoint
        self._total_loss_scalar -= pending  # they belong to the run before
        self._globalstep_last_logged = self._resumed["last_logged"]
        self._resumed = None

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        pending = float(self.over_processes(self._tr_loss)) / self.args.world_size
        self._check_finite(pending)
        memory = self.memory()  # by every process, for it may add up theirs
        folder = Path(self._get_output_dir(trial=trial)) / f"checkpoint-{self.state.global_step}"
        if self.args.should_save:
            checkpoints.write_state(
                folder,
                {
                    "course": self.course(),
                    "memory": memory,
                    "pending_loss": pending,
                    "last_logged": self._globalstep_last_logged,
                },
            )
        super()._save_checkpoint(model, trial)

    def _save_rng_state(self, output_dir: str) -> None:
        super()._save_rng_state(output_dir)
        self.accelerator.wait_for_everyone()  # before trainer_state.json says it is whole

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        directory = Path(output_dir if output_dir is not None else self.args.output_dir)
        if self.args.should_save:
            directory.mkdir(parents=True, exist_ok=True)
            self.save_to(directory)
            (directory / "training_args.json").write_text(self.args.to_json_string() + "\n")

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        self.load_from(Path(resume_from_checkpoint))

    def _load_best_model(self) -> None:
        self.load_from(Path(cast(str, self.state.best_model_checkpoint)))


class _EpochStart(TrainerCallback):  # type: ignore[misc]
    """Tells the order its epoch, and brings back what a checkpoint remembered."""

    def __init__(self, trainer: MeanTrainer) -> None:
        self.trainer = trainer

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.trainer._begin()

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.trainer.order is not None:
            self.trainer.order.set_epoch(math.floor((state.epoch or 0.0) + 1e-9))
