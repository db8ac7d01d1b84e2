"""A small training run as one of several processes, for tests.

``python run_distributed.py FOLDER BATCH WHAT…``; for each of what there is to train, the
first process writes ``FOLDER/WHAT/logs.json`` and the model.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import toy_training as toy
from ragkit.train import Trainer, TrainingArguments
from ragkit.train.base import MeanTrainer
from ragkit.train.dpr import ContrastiveTrainer, pairs


def trainer(folder: Path, batch: int, what: str) -> MeanTrainer:
    """Five questions, so that the last batch of an epoch is uneven; two epochs and more."""
    arguments = TrainingArguments(
        output_dir=str(folder / "run"),
        k=3,
        max_steps=5,
        per_device_train_batch_size=batch,
        per_device_eval_batch_size=1,
        learning_rate=1e-3,
        label_smoothing_factor=0.1 if what == "rag-token" else 0.0,
        generator_learning_rate=2e-3,
        save_strategy="steps",
        save_steps=5,
        generation={"max_new_tokens": 2},
        use_cpu=True,
        ddp_backend="gloo" if "RANK" in os.environ else None,
    )
    data = toy.examples()[:5]
    if what == "dpr":  # a question's negatives are its own, whatever the batch
        return ContrastiveTrainer(toy.encoder(), arguments, pairs(data, toy.PASSAGES))
    return Trainer(toy.model(folder, what), arguments, data, toy.examples()[:3])


def run(folder: Path, batch: int, what: str) -> None:
    one = trainer(folder, batch, what)
    one.train()
    found = one.evaluate() if isinstance(one, Trainer) else {}
    if one.is_world_process_zero():
        logs = {"train": one.state.log_history, "eval": found, "order": list(one.order)}
        (folder / "logs.json").write_text(json.dumps(logs))
        one.save_to(folder / "model")


if __name__ == "__main__":
    print("ready", flush=True)
    for one in sys.argv[3:]:
        run(Path(sys.argv[1]) / one, int(sys.argv[2]), one)
