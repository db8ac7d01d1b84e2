"""``ragkit compare``: runs against a baseline, question by question, and their errors.

A thin dress over `ragkit.evaluate.comparison`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from ragkit.cli import terminal
from ragkit.errors import ConfigError

if TYPE_CHECKING:
    from rich.table import Table

    from ragkit.evaluate.comparison import Comparison
    from ragkit.evaluate.comparison.sheets import Sheet


def register(app: typer.Typer) -> None:
    app.command("compare")(compare)


def compare(
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs, of the same questions.")],
    baseline: Annotated[
        str | None, typer.Option("--baseline", "-b", help="Folder or name; by default the first.")
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(help="EM, 'answer R@5' …; repeatable. By default all that every run has."),
    ] = None,
    examples: Annotated[int, typer.Option(help="Questions won and lost to show, of each.")] = 0,
    support: Annotated[
        str, typer.Option(help="What a supporting passage is: answer, passage (known), or any.")
    ] = "any",
    confidence: Annotated[float, typer.Option(help="Of the intervals, 0 to 1.")] = 0.95,
    resamples: Annotated[int, typer.Option(help="Of the bootstrap.")] = 2000,
    draws: Annotated[int, typer.Option(help="Of the permutation test, where not exact.")] = 10_000,
    seed: Annotated[int, typer.Option(help="Of both.")] = 0,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown.")] = False,
    latex: Annotated[bool, typer.Option("--latex", help="Print LaTeX (booktabs).")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare runs: differences with intervals and tests, and whose the errors are."""
    if markdown + latex + json > 1:
        raise ConfigError("--markdown, --latex and --json exclude each other; type one of them")
    from ragkit.evaluate.comparison import compare as run
    from ragkit.evaluate.comparison import written

    found = run(
        runs,
        baseline=baseline,
        metrics=metric or None,
        confidence=confidence,
        resamples=resamples,
        draws=draws,
        seed=seed,
        examples=examples,
        support=cast(Any, support),  # the library says what there is
    )
    if json:
        terminal.json_object(found.as_dict())
    elif markdown or latex:
        print(written.markdown(found) if markdown else written.latex(found), end="")
    else:
        _show(found)


def _show(found: Comparison) -> None:
    from ragkit.evaluate.comparison import written

    sheet = written.contrasts_sheet(found)
    sure = {(c.metric, c.run) for c in found.contrasts if c.corrected < 1 - found.confidence}
    show_sheet(sheet, bold=[_is_sure(found, number, sure) for number in range(len(sheet.rows))])
    if found.errors:
        terminal.show("")
        show_sheet(written.errors_sheet(found.errors, found.confidence))
    for one in found.contrasts:
        for kind, changed in (("won", one.won), ("lost", one.lost)):
            for example in changed:
                names = (found.baseline, one.run)
                _show_example(f"{one.metric}, {kind} by {one.run}", names, example)


def _is_sure(found: Comparison, number: int, sure: set[tuple[str, str]]) -> bool:
    """Whether a row's difference stands after the correction."""
    metric, place = divmod(number, len(found.runs))
    others = [run for run in found.runs if run != found.baseline]
    return place > 0 and (found.metrics[metric], others[place - 1]) in sure


def show_sheet(sheet: Sheet, bold: list[bool] | None = None) -> None:
    """A sheet as a table of rich's, its notes dim below."""
    terminal.show(_table(sheet, bold))
    for note in sheet.notes:
        terminal.show(note, style="dim")


def _table(sheet: Sheet, bold: list[bool] | None) -> Table:
    """Groups under their names, which stand on lines of their own: 80 cells are few."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    gap = 2 if Console().width >= 100 else 1
    table = Table(box=None, pad_edge=False, padding=(0, gap, 0, 0), header_style="dim")
    grouped = sheet.names == 2
    table.add_column(sheet.headings[sheet.names - 1], overflow="fold")
    for name in sheet.headings[sheet.names :]:
        table.add_column(name, justify="right", no_wrap=True)
    for number, row in enumerate(sheet.rows):
        if grouped and row[0]:
            table.add_row(Text(row[0], style="bold"))
        style = "bold" if bold and bold[number] else None
        name = f" {row[1]}" if grouped else row[0]
        table.add_row(name, *row[sheet.names :], style=style)
    return table


def _show_example(title: str, names: tuple[str, str], example: dict[str, Any]) -> None:
    from ragkit.cli.draw import clean

    terminal.show("")
    terminal.show(f"{title}: {clean(example['id'])}", style="dim")
    terminal.show(clean(example["question"]), style="bold")
    golds = " | ".join(map(clean, example["answers"])) or "(no golds kept)"
    said = zip(names, (example["baseline"], example["run"]), strict=True)
    for name, text in (("gold", golds), *said):
        terminal.show(f"  {name}: {clean(text) or '(no text)'}")
