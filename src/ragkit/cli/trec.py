"""``ragkit trec``: runs and judgements in TREC's forms, out and in.

A thin dress over `ragkit.evaluate.trec` and `ragkit.evaluate.replaying`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ragkit.cli import terminal


def register(app: typer.Typer) -> None:
    trec = typer.Typer(help="Runs and judgements of TREC: write, measure.")
    trec.command("write")(write)
    trec.command("measure")(measure)
    app.add_typer(trec, name="trec", no_args_is_help=True)


def write(
    run: Annotated[Path, typer.Argument(help="Folder of a run, as ragkit evaluate --out has it.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Where the files go; by default there.")
    ] = None,
    tag: Annotated[str | None, typer.Option(help="Last column; by default the run's name.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Write the passages of a run as run.trec, and what is right as qrels.trec."""
    from ragkit.errors import DataError
    from ragkit.evaluate.comparison import open_run
    from ragkit.evaluate.trec import write_qrels, write_run

    found = open_run(run)
    if found.golds is None:
        raise DataError(
            f"{run} kept no golds; type the same ragkit evaluate again, which answers nothing twice"
        )
    folder = run if out is None else out
    name = "".join(found.name.split()) if tag is None else tag
    lines = {
        "run.trec": write_run(folder / "run.trec", found.predictions(), name),
        "qrels.trec": write_qrels(folder / "qrels.trec", found.golds),
    }
    if json:
        terminal.json_object({"folder": str(folder), "questions": len(found), "lines": lines})
        return
    for file, count in lines.items():
        terminal.show(f"{folder / file}: {count:,} lines")


def measure(
    run: Annotated[Path, typer.Argument(help="The run, plain or .gz.")],
    golds: Annotated[str, typer.Argument(help="Judgements, or with --as the files of a task.")],
    kind: Annotated[
        str | None, typer.Option("--as", help="Task to read: beir, nq … (ragkit tasks).")
    ] = None,
    split: Annotated[str, typer.Option(help="Split, where the task is a folder.")] = "dev",
    k: Annotated[int, typer.Option("-k", "--k", help="Passages of a query that count.")] = 1000,
    metric: Annotated[
        list[str] | None, typer.Option(help="nDCG@10, R@100, RR@10 …; repeatable.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for it as a run of ragkit's.")
    ] = None,
    confidence: Annotated[float, typer.Option(help="Of the intervals, 0 to 1.")] = 0.95,
    seed: Annotated[int, typer.Option(help="Of the bootstrap.")] = 0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Throw away another run in that folder.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure a run of anybody's; into a folder that ragkit compare reads, where one is named."""
    from ragkit.cli.evaluate import show_result, task_of
    from ragkit.evaluate import replay

    task: Any = golds if kind is None else task_of(kind, golds)
    result = replay(
        run,
        task,
        split=split,
        k=k,
        metrics=metric or None,
        directory=out,
        confidence=confidence,
        seed=seed,
        overwrite=overwrite,
    )
    show_result(result, json)
