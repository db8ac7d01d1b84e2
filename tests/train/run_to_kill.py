"""A small training run in a process of its own, for tests that kill it.

``python run_to_kill.py FOLDER`` trains once for every line that it is sent (``train`` or
``resume``), each time in a forked child, so that the imports are paid for once. It answers
with the child's number and, sent one more line, with how the child ended. Until then the
number is the child's, also where it has ended.
"""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path

import toy_training as toy
from ragkit.train import Trainer, TrainingArguments

STEPS = 8


def trainer(folder: Path, **options: object) -> Trainer:
    """Dropout, accumulation, an uneven last batch, warm-up, more than one epoch."""
    defaults: dict[str, object] = {
        "k": 3,
        "max_steps": STEPS,
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 2,
        "learning_rate": 3e-3,
        "warmup_steps": 2,
        "label_smoothing_factor": 0.1,
        "question_encoder_learning_rate": 1e-3,
        "save_strategy": "steps",
        "save_steps": 1,
        "logging_steps": 2,
        "eval_strategy": "steps",
        "eval_steps": 4,
        "generation": {"max_new_tokens": 2},
        "use_cpu": True,
    }
    arguments = TrainingArguments(output_dir=str(folder / "run"), **{**defaults, **options})
    rag = toy.model(folder, "rag-token", dropout=0.1)
    return Trainer(rag, arguments, toy.examples()[:5], toy.examples()[:2])


def _train(folder: Path, resume: bool) -> None:
    one = trainer(folder)
    one.train(resume_from_checkpoint=resume)
    one.rag.save_pretrained(folder / "model")


def _serve(folder: Path) -> None:
    while order := sys.stdin.readline():
        child = os.fork()
        if child == 0:
            try:
                _train(folder, order == "resume\n")
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        print(child, flush=True)
        sys.stdin.readline()
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))
