"""The demo from beginning to end: prepare, train, measure, show, talk.

The order of things, and nothing of how each is done.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import torch

from ragkit import __version__
from ragkit.cli.terminal import status
from ragkit.demo import live, measure, page, report, talk, world
from ragkit.demo.prepare import examples, prepare
from ragkit.demo.settings import Settings
from ragkit.train.diagnostics import CollapseWarning

SHOWN = 6


def run(
    out: Path, settings: Settings, *, from_scratch: bool = False, dialogue: bool = True
) -> dict[str, Any]:
    """Run the demo into a folder; every figure, as plain data.

    ``out`` receives the knowledge bases, the trained model, ``figures.json`` and
    ``demo.html``.
    """
    began = time.perf_counter()
    torch.manual_seed(settings.seed)
    out.mkdir(parents=True, exist_ok=True)
    checkpoint = world.CHECKPOINT
    if from_scratch:
        from ragkit.demo.scratch import pretrain

        checkpoint = pretrain(out / "pretraining")
    report.say("1  Two knowledge bases from the facts of 2016 and of 2020")
    parts = prepare(out, checkpoint)
    asked = {
        edition: examples(edition, "test", changed=True)[: settings.limit]
        for edition in world.EDITIONS
    }
    report.bases(parts.bases, len(asked[live.FIRST]))
    before = measure.recall(parts, asked, settings.seed)
    report.say(f"2  Joint training on {live.FIRST}, without being told which passage is right")
    with warnings.catch_warnings():
        warnings.simplefilter("default", CollapseWarning)
        history = live.train(parts, settings, out)
    after = measure.recall(parts, asked, settings.seed)
    report.say("3  Countries never trained on: matched, mismatched, without a book")
    figures: dict[str, Any] = {
        "ragkit": __version__,
        "settings": vars(settings),
        "questions": len(asked[live.FIRST]),
        "recall before": before,
        "recall after": after,
        "em": measure.swaps(parts, asked, settings.read, settings.seed),
        "closed book": measure.without_book(parts, asked, settings.seed),
    }
    answers = measure.shown_answers(
        parts, asked[live.FIRST][:: max(1, len(asked[live.FIRST]) // SHOWN)][:SHOWN], settings.read
    )
    parts.rag.swap(parts.bases[live.FIRST])
    with status("saving the model"):
        parts.rag.save_pretrained(out / "model")
    figures["seconds"] = round(time.perf_counter() - began, 1)
    figures["peak_mebibytes"] = _peak()
    (out / "figures.json").write_text(json.dumps(figures, indent=2) + "\n")
    (out / "demo.html").write_text(page.render(figures, history, answers), encoding="utf-8")
    report.tables(figures)
    report.say(f"   {figures['seconds']:.0f} s, {figures['peak_mebibytes']} MiB at most")
    report.say(f"   the page: {out / 'demo.html'}    the model: {out / 'model'}")
    if dialogue and sys.stdin.isatty() and sys.stdout.isatty():
        talk.talk(parts, settings.read)
    return figures


def _peak() -> int:
    """Resident memory at most, in MiB."""
    try:
        import resource
    except ImportError:  # pragma: no cover - Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak / (1 << 20) if sys.platform == "darwin" else peak / 1024)
