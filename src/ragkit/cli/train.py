"""``ragkit train``: a configuration to a trained model, in a folder that can be resumed.

A configuration names components (``retriever``, ``generator``, ``marginalizer``) or a
saved ``model``, the ``train`` and perhaps ``eval`` questions, an ``objective``, and under
``arguments`` whatever `ragkit.TrainingArguments` takes. Knows nothing of training itself.
"""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Annotated, Any

import typer

from ragkit.cli import terminal
from ragkit.errors import ConfigError, RagkitError, nearest

KEYS = (
    "model",
    "retriever",
    "generator",
    "marginalizer",
    "objective",
    "train",
    "eval",
    "arguments",
)
NEEDED = ("retriever", "generator")


def register(app: typer.Typer) -> None:
    app.command("train")(train)


def train(
    file: Annotated[Path, typer.Argument(help="A YAML configuration.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Dotted overrides, as in arguments.k=10.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last checkpoint of the run.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="The outcome as JSON.")] = False,
) -> None:
    """Train a retrieval-augmented model end to end."""
    from ragkit import config

    table = config.load(file, overrides or ())
    faults = check(table)
    if faults:
        raise ConfigError(faults)
    with terminal.status("opening the model"):
        rag, filled = build(table)
    outcome = _run(rag, table, filled, resume)
    if json:
        terminal.json_object(outcome)
    else:
        terminal.show(f"{outcome['steps']} steps, loss {outcome['train_loss']:.4f}")
        for name, value in outcome["eval"].items():
            terminal.show(f"{name} {value:.4f}")
        terminal.show(f"the model is in {outcome['model']}")


def check(table: dict[str, Any]) -> list[str]:
    """Every fault of a configuration, before anything is opened."""
    from ragkit import config, signature
    from ragkit.train import TrainingArguments

    faults = [
        f"unknown key {key!r}{nearest(key, KEYS) or '.'} Keys: {', '.join(KEYS)}"
        for key in table
        if key not in KEYS
    ]
    if "train" not in table:
        faults.append("train is missing: a .jsonl file of {question, answers}, or a task's table")
    if "model" not in table:
        faults += [
            f"{key} is missing (or give model: FOLDER)" for key in NEEDED if key not in table
        ]
    for role in ("retriever", "generator", "marginalizer", "objective"):
        if role in table:
            faults += config.check(role, table[role])
    for key in ("train", "eval"):
        if isinstance(table.get(key), dict):
            faults += config.check("task", table[key], key)
        elif key in table and not Path(str(table[key])).exists():
            faults.append(f"{key}: there is no file {str(table[key])!r}")
    arguments = table.get("arguments")
    if not isinstance(arguments, dict) or "output_dir" not in arguments:
        faults.append("arguments.output_dir is missing: the folder of the run")
    if isinstance(arguments, dict):
        wrong = signature.faults(TrainingArguments, arguments, "arguments")
        if not wrong:
            try:
                TrainingArguments(**arguments)
            except ConfigError as error:
                wrong = [f"arguments: {fault}" for fault in error.faults]
        faults += wrong
    return faults


def build(table: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The model, and the configuration filled in.

    Components that stand beside a ``model`` take the place of its own.
    """
    from ragkit import RAG, config

    given = {"objective": "marginal", **table}
    if "model" not in table:
        given = {"marginalizer": "rag-sequence", **given}
    filled = dict(given)
    made = {}
    for role in ("retriever", "generator", "marginalizer"):
        if role in given:
            made[role] = config.build(role, given[role])
            filled[role] = config.resolve(role, given[role])
    filled["objective"] = config.resolve("objective", given["objective"])
    if "model" not in table:
        return RAG(**made), filled
    rag = RAG.from_pretrained(table["model"])
    for role, part in made.items():
        setattr(rag, role, part)
    return rag, filled


def _run(rag: Any, table: dict[str, Any], filled: dict[str, Any], resume: bool) -> dict[str, Any]:
    from ragkit import config
    from ragkit.train import Trainer, TrainingArguments

    arguments = TrainingArguments(**table["arguments"])
    directory = Path(arguments.output_dir)
    directory.mkdir(parents=True, exist_ok=True)
    filled["arguments"] = {**table["arguments"]}
    config.save(filled, directory / "config.yaml")
    interrupt = _interrupt()
    trainer = Trainer(
        rag,
        arguments,
        train_dataset=_examples(table["train"], "train"),
        eval_dataset=_examples(table["eval"], "dev") if "eval" in table else None,
        objective=config.build("objective", table.get("objective", "marginal")),
        callbacks=[interrupt],
    )
    before = signal.signal(signal.SIGINT, interrupt.ask)
    try:
        result = trainer.train(resume_from_checkpoint=resume)
    finally:
        signal.signal(signal.SIGINT, before)
    if interrupt.asked:
        terminal.complain(
            RagkitError(
                f"interrupted at step {trainer.state.global_step}, with a checkpoint in "
                f"{str(directory)!r}; go on with: ragkit train … --resume"
            )
        )
        raise typer.Exit(130)
    model = directory / "model"
    rag.save_pretrained(model)
    scores = trainer.evaluate() if "eval" in table else {}
    return {
        "model": str(model),
        "steps": trainer.state.global_step,
        "train_loss": result.training_loss,
        "eval": {name: value for name, value in scores.items() if name != "eval_runtime"},
    }


def _examples(source: Any, split: str) -> list[Any]:
    from ragkit import config
    from ragkit.evaluate import JsonlTask

    task = config.build("task", source) if isinstance(source, dict) else JsonlTask(str(source))
    return list(task.examples(split))


def _interrupt() -> Any:
    """A callback by which Ctrl-C ends the run after the step at hand, with a checkpoint."""
    from transformers import TrainerCallback

    class Interrupt(TrainerCallback):  # type: ignore[misc]
        asked = False

        def ask(self, *_: Any) -> None:
            if self.asked:
                raise KeyboardInterrupt  # a second time means now
            self.asked = True

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if self.asked:
                control.should_save = control.should_training_stop = True

    return Interrupt()
