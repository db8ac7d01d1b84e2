"""Joint training of the demo, and the view of it: a line that is alive on a terminal.

Knows nothing of figures and pages; gives the history of the run.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from ragkit.demo.prepare import Parts, examples
from ragkit.demo.settings import Settings
from ragkit.train import Trainer, TrainingArguments

FIRST = "2016"
"""The edition that is trained on; the other is swapped in, and never trained on."""

History = list[dict[str, float]]


def train(parts: Parts, settings: Settings, folder: Path) -> History:
    """Question encoder and generator learn, jointly and without labels of passages."""
    asked = examples(FIRST, "train", forms=None)
    parts.rag.swap(parts.bases[FIRST])
    history: History = []
    view = View(settings.steps, history)
    arguments = TrainingArguments(
        output_dir=str(folder / "training"),
        max_steps=settings.steps,
        per_device_train_batch_size=settings.batch,
        k=settings.k,
        question_encoder_learning_rate=settings.question_rate,
        generator_learning_rate=settings.generator_rate,
        warmup_steps=min(20, settings.steps // 4),
        lr_scheduler_type="linear",
        weight_decay=0.0,
        save_strategy="no",
        eval_strategy="no",
        disable_tqdm=True,
        probe_steps=10,
        seed=settings.seed,
    )
    Trainer(parts.rag, arguments, train_dataset=asked, callbacks=[view]).train()
    return history


class View(TrainerCallback):  # type: ignore[misc]
    """Shows loss, prior entropy and time left on stderr; keeps every step's log."""

    def __init__(self, steps: int, history: History) -> None:
        self.steps = steps
        self.history = history
        self.began = time.perf_counter()
        self._live: Any = None

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.live import Live

            self._live = Live(console=Console(stderr=True), refresh_per_second=8)
            self._live.start()

    def on_train_end(self, *_: Any, **__: Any) -> None:
        if self._live is not None:
            self._live.stop()

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any
    ) -> None:
        if not logs or "loss" not in logs:
            return
        step = int(state.global_step)
        self.history.append({"step": step, **{k: float(v) for k, v in logs.items()}})
        if self._live is not None:
            self._live.update(self._panel(step))
        elif step % max(1, self.steps // 10) == 0:
            print(self._line(step), file=sys.stderr, flush=True)

    def _line(self, step: int) -> str:
        last = self.history[-1]
        spent = time.perf_counter() - self.began
        left = spent / step * (self.steps - step)
        entropy = last.get("prior_entropy", float("nan"))
        return (
            f"  step {step:4d}/{self.steps}   loss {smooth(self.history, 'loss'):6.3f}   "
            f"entropy of p(z|x) {entropy:5.3f} nats   {left:3.0f} s left"
        )

    def _panel(self, step: int) -> Any:
        from rich.console import Group
        from rich.text import Text

        from ragkit.cli.draw import bar

        return Group(
            Text("  " + bar(step / self.steps, 40), style="cyan"),
            Text(self._line(step)),
            Text("  loss     " + sparkline([h["loss"] for h in self.history]), style="green"),
            Text(
                "  entropy  " + sparkline([h.get("prior_entropy", 0.0) for h in self.history]),
                style="magenta",
            ),
        )


def smooth(history: History, name: str, window: int = 10) -> float:
    """Mean of the last steps."""
    last = [entry[name] for entry in history[-window:] if name in entry]
    return sum(last) / max(1, len(last))


def sparkline(values: list[float], width: int = 60) -> str:
    """Values as a line of blocks, averaged into at most so many cells."""
    if not values:
        return ""
    cells = min(width, len(values))
    means = []
    for i in range(cells):
        part = values[i * len(values) // cells : (i + 1) * len(values) // cells]
        means.append(sum(part) / len(part))
    low, high = min(means), max(means)
    scale = (high - low) or 1.0
    return "".join("▁▂▃▄▅▆▇█"[min(7, int(8 * (one - low) / scale))] for one in means)
