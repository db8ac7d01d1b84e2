"""``ragkit report``: runs as one HTML page, with every question.

A thin dress over `ragkit.evaluate.report`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ragkit.cli import terminal


def register(app: typer.Typer) -> None:
    app.command("report")(report)


def report(
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs, of the same questions.")],
    out: Annotated[Path, typer.Option("--out", help="The HTML file.")],
    baseline: Annotated[
        str | None, typer.Option("--baseline", "-b", help="Folder or name; by default the first.")
    ] = None,
    judge: Annotated[
        str | None,
        typer.Option(help="Metric that says what is right, by being 1; by default EM or accuracy."),
    ] = None,
    log: Annotated[
        list[Path] | None,
        typer.Option(help="Folder or trainer_state.json of a training; repeatable."),
    ] = None,
    title: Annotated[str | None, typer.Option(help="Of the page.")] = None,
    passages: Annotated[int, typer.Option(help="Shown of each question, at most.")] = 10,
    letters: Annotated[int, typer.Option(help="Shown of each passage, at most.")] = 2000,
    confidence: Annotated[float, typer.Option(help="Of the intervals, 0 to 1.")] = 0.95,
    resamples: Annotated[int, typer.Option(help="Of the bootstrap.")] = 2000,
    draws: Annotated[int, typer.Option(help="Of the permutation test, where not exact.")] = 10_000,
    seed: Annotated[int, typer.Option(help="Of both.")] = 0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a file that is there.")
    ] = False,
) -> None:
    """Write runs as one HTML page: figures, curves, and every question with its passages."""
    from ragkit.evaluate.report import write

    written = write(
        runs,
        out,
        baseline=baseline,
        judge=judge,
        logs=log or (),
        title=title,
        passages=passages,
        letters=letters,
        confidence=confidence,
        resamples=resamples,
        draws=draws,
        seed=seed,
        overwrite=overwrite,
    )
    terminal.show(f"{written}: {written.stat().st_size / 1e6:.1f} MB")
