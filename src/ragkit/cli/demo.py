"""``ragkit demo``: the paper's index hot-swap (section 4.5), trained and answered offline."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ragkit.cli import terminal


def register(app: typer.Typer) -> None:
    app.command("demo")(demo)


def demo(
    out: Annotated[
        Path, typer.Option("--out", help="Folder for models, knowledge bases and the page.")
    ] = Path("ragkit-demo"),
    seed: Annotated[int, typer.Option(help="Of training and of the bootstrap.")] = 0,
    steps: Annotated[
        int | None, typer.Option(help="Steps of joint training; by default enough.")
    ] = None,
    k: Annotated[
        int | None, typer.Option("--k", "-k", help="Passages a question in training; 8.")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="A few steps and questions: does it run at all?")
    ] = False,
    from_scratch: Annotated[
        bool, typer.Option("--from-scratch", help="Pre-train the small models too (long).")
    ] = False,
    ask: Annotated[bool, typer.Option(help="Answer typed questions at the end.")] = True,
    json: Annotated[bool, typer.Option("--json", help="Every figure as JSON on stdout.")] = False,
) -> None:
    """Train on 2016's facts, swap in 2020's knowledge base, and watch the answers change."""
    from ragkit.demo.run import run
    from ragkit.demo.settings import Settings

    settings = Settings.of(quick=quick, seed=seed, steps=steps, k=k)
    figures = run(out, settings, from_scratch=from_scratch, dialogue=ask and not json)
    if json:
        terminal.json_object(figures)
