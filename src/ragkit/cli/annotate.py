"""``ragkit annotate``: people judge two runs side by side, on a page of this machine.

A thin dress over `ragkit.evaluate.annotate`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ragkit.cli import terminal
from ragkit.errors import ConfigError

if TYPE_CHECKING:
    from ragkit.evaluate.annotate import Outcome, Study


def register(app: typer.Typer) -> None:
    app.command("annotate")(annotate)


def annotate(
    folders: Annotated[
        list[Path], typer.Argument(help="Folders of two runs; or of a study, to go on with it.")
    ],
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder of the study, where runs are given.")
    ] = None,
    limit: Annotated[int | None, typer.Option(help="So many pairs, drawn at random.")] = None,
    seed: Annotated[int, typer.Option(help="Of the pairs that are drawn, and of orders.")] = 0,
    answers: Annotated[
        bool, typer.Option("--answers", help="Show the answers known to be right.")
    ] = False,
    checks: Annotated[int, typer.Option(help="Gold pairs among them, to check who judges.")] = 0,
    port: Annotated[int, typer.Option(help="Of the page; 0 takes any that is free.")] = 8765,
    result: Annotated[
        bool, typer.Option("--result", help="Count what was judged, and serve nothing.")
    ] = False,
    min_votes: Annotated[int, typer.Option(help="Count pairs with so many votes.")] = 1,
    min_checks: Annotated[
        float, typer.Option(help="Leave out who was right on fewer gold pairs, 0 to 1.")
    ] = 0.0,
    confidence: Annotated[float, typer.Option(help="Of the intervals, 0 to 1.")] = 0.95,
    markdown: Annotated[bool, typer.Option("--markdown", help="The result as Markdown.")] = False,
    latex: Annotated[bool, typer.Option("--latex", help="The result as LaTeX.")] = False,
    json: Annotated[bool, typer.Option("--json", help="The result as JSON.")] = False,
) -> None:
    """Judge two runs blindly, pair by pair, or count the judgements."""
    if markdown + latex + json > 1:
        raise ConfigError("--markdown, --latex and --json exclude each other; type one of them")
    study = _study(folders, out, limit, seed, answers, checks)
    if not (result or markdown or latex or json):
        _serve(study, port)
        return
    from ragkit.evaluate.annotate import outcome

    found = outcome(study, min_votes=min_votes, min_checks=min_checks, confidence=confidence)
    if json:
        terminal.json_object(found.as_dict())
    else:
        _show(found, "markdown" if markdown else "latex" if latex else "terminal")


def _study(
    folders: list[Path],
    out: Path | None,
    limit: int | None,
    seed: int,
    answers: bool,
    checks: int,
) -> Study:
    from ragkit.evaluate.annotate import begin, open_study

    if len(folders) == 1:
        if (out, limit, seed, answers, checks) != (None, None, 0, False, 0):
            raise ConfigError(
                "--out, --limit, --seed, --answers and --checks are for beginning a study from "
                "two runs; a study that is there keeps what it was begun with"
            )
        return open_study(folders[0])
    if len(folders) != 2:
        raise ConfigError("people judge two runs; type the folders of two, or that of a study")
    if out is None:
        raise ConfigError("the study needs a folder of its own; type --out FOLDER")
    return begin(out, *folders, limit=limit, seed=seed, answers=answers, checks=checks)


def _serve(study: Study, port: int) -> None:
    from threading import Event

    from ragkit.evaluate.annotate import serving

    with serving(study, port) as address:
        terminal.show(f"{len(study.pairs):,} pairs to judge, kept in {study.directory}")
        terminal.show(f"Open {address} on this machine; end with Ctrl-C, go on at any time.")
        try:
            Event().wait()
        except KeyboardInterrupt:
            terminal.show(f"Count with: ragkit annotate {study.directory} --result")


def _show(found: Outcome, form: str) -> None:
    from ragkit.cli.compare import show_sheet
    from ragkit.evaluate.annotate.verdicts import sheets_of
    from ragkit.evaluate.comparison import sheets

    if form == "terminal":
        for number, sheet in enumerate(sheets_of(found)):
            if number:
                terminal.show("")
            show_sheet(sheet)
        return
    write = sheets.markdown if form == "markdown" else sheets.latex
    print("\n".join(map(write, sheets_of(found))), end="")
