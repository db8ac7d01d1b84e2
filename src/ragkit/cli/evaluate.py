"""``ragkit evaluate``: a saved model on a task, with intervals, into a folder.

A thin dress over `ragkit.evaluate`: what may be typed here may be typed there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ragkit.cli import terminal
from ragkit.cli.options import decoding
from ragkit.errors import ConfigError

if TYPE_CHECKING:
    from rich.table import Table

    from ragkit.evaluate.bootstrap import Interval
    from ragkit.evaluate.result import Result


def register(app: typer.Typer) -> None:
    app.command("evaluate")(evaluate)


def evaluate(
    model: Annotated[
        str,
        typer.Argument(
            help="Folder of a saved RAG, or its hub name; with --retrieval also a retriever's YAML."
        ),
    ],
    task: Annotated[str, typer.Argument(help="Questions: a .jsonl(.gz) file, or a folder.")],
    split: Annotated[str, typer.Option(help="Split, where the task is a folder.")] = "dev",
    kind: Annotated[
        str, typer.Option("--as", help="How to read it: jsonl, nq, fever,ways=2 … (ragkit tasks).")
    ] = "jsonl",
    paper: Annotated[
        bool, typer.Option("--paper", help="Decode this task as the paper does: k, beams, search.")
    ] = False,
    kb: Annotated[
        Path | None, typer.Option("--kb", help="Another knowledge base than the model's own.")
    ] = None,
    k: Annotated[
        int | None,
        typer.Option("-k", "--k", help="Passages; 5, with --paper its k, with --retrieval 100."),
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            help="em, answer-recall@20, em,regex=true …; repeatable. By default the task's."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder of the run; continued if it is there.")
    ] = None,
    closed_book: Annotated[
        bool, typer.Option("--closed-book", help="The generator alone, without passages.")
    ] = False,
    gold: Annotated[
        bool, typer.Option("--gold", help="The gold passage in place of retrieval.")
    ] = False,
    retrieval: Annotated[
        bool, typer.Option("--retrieval", help="Retrieve alone: nothing is generated.")
    ] = False,
    batch_size: Annotated[int, typer.Option(help="Questions answered at once.")] = 16,
    limit: Annotated[int | None, typer.Option(help="The first so many questions only.")] = None,
    confidence: Annotated[float, typer.Option(help="Of the intervals, 0 to 1.")] = 0.95,
    seed: Annotated[int, typer.Option(help="Of the bootstrap.")] = 0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Throw away another run in that folder.")
    ] = False,
    option: Annotated[
        list[str] | None,
        typer.Option("--option", "-o", help="Decoding option, such as num_beams=4; repeatable."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure a model on a task."""
    options = decoding(option)
    if closed_book and gold:
        raise ConfigError("--closed-book and --gold exclude each other; type one of them")
    if retrieval:
        _refuse_generating(closed_book, gold, paper, options)
    how: dict[str, Any] = {
        "split": split,
        "metrics": metric or None,
        "directory": out,
        "batch_size": batch_size,
        "limit": limit,
        "overwrite": overwrite,
        "confidence": confidence,
        "seed": seed,
    }
    questions = task_of(kind, task)
    if retrieval:
        from ragkit.evaluate import retrieval as retrieve

        found = retrieve(_retriever(model, kb), questions, k=100 if k is None else k, **how)
        return show_result(found, json)
    from ragkit.evaluate.harness import evaluate as run

    answering = _model(model, kb, questions, split, closed_book, gold)
    if paper:
        paper_k, options = _as_paper(questions, answering, options)
        k = paper_k if k is None else k
    show_result(run(answering, questions, k=5 if k is None else k, **how, **options), json)


def show_result(result: Result, json: bool) -> None:
    """The table of a result with a line below, or all of it as JSON."""
    if json:
        terminal.json_object(result.as_dict())
    else:
        terminal.show(score_table(result))
        terminal.show(_footer(result), style="dim")


def task_of(kind: str, path: str) -> Any:
    """A task as it is typed, ``fever,ways=2``, over a file or folder.

    Raises `ConfigError` for what no task takes, `DataError` where the path is not there.
    """
    from ragkit import config

    name, *options = kind.split(",")
    return config.build("task", config.override({"name": name, "path": path}, options))


def _as_paper(task: Any, model: Any, options: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """The paper's k and decoding options for a task; what is typed goes before them.

    A marginalizer that knows two ways of adding up hypotheses is set to the paper's.
    """
    from ragkit import registry
    from ragkit.evaluate.tasks import about_of

    about = about_of(task)
    known = {} if about is None else about.decoding
    kind = type(model.marginalizer)
    how = next((known[one] for one in known if registry.find("marginalizer", one) is kind), None)
    if how is None:
        raise ConfigError(
            f"the paper says nothing of {task!r} with {kind.__name__}; leave --paper out, and "
            f"type -k and -o"
        )
    if how.search is not None:
        model.marginalizer.decoding = how.search
    return how.k, {**how.options, **options}


def score_table(result: Result) -> Table:
    """A row per metric: mean and interval in percent, and the questions it is of.

    What is no share stands in its own unit, which is named at the end of the row.
    """
    from rich.table import Table
    from rich.text import Text

    confidence = f"{100 * result.config['confidence']:g}% interval"
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("metric")
    for name in ("%", confidence, "questions"):
        table.add_column(name, justify="right")
    table.add_column("")
    for label, score in result.scores.items():
        unit = result.units.get(label, "share")
        cells = _cells(score, 100 if unit == "share" else 1)
        gauge = _gauge(score) if unit == "share" else unit
        table.add_row(label, Text(cells[0], style="bold"), *cells[1:], gauge)
    return table


def _model(
    folder: str, kb: Path | None, task: Any, split: str, closed_book: bool, gold: bool
) -> Any:
    from ragkit.evaluate import baselines
    from ragkit.rag import RAG

    with terminal.status("opening the model"):
        rag = RAG.from_pretrained(folder, knowledge_base=kb)
        if closed_book:
            return baselines.closed_book(rag.generator, rag.marginalizer)
        if gold:
            return baselines.gold_passage(rag, task.examples(split))
        return rag


def _retriever(model: str, kb: Path | None) -> Any:
    """The retriever of a saved model, or of a configuration, which then needs no generator."""
    from ragkit import config
    from ragkit.rag import RAG

    with terminal.status("opening the retriever"):
        if not model.endswith((".yaml", ".yml")):
            return RAG.from_pretrained(model, knowledge_base=kb).retriever
        table = config.load(model)
        table = table.get("retriever", table)
        if kb is not None:
            table = config.override({"name": table} if isinstance(table, str) else table, [])
            table["knowledge_base"] = str(kb)
        return config.build("retriever", table)


def _refuse_generating(
    closed_book: bool, gold: bool, paper: bool, options: Mapping[str, Any]
) -> None:
    given = {
        "--closed-book": closed_book,
        "--gold": gold,
        "--paper": paper,
        "-o": bool(options),
    }
    for flag, said in given.items():
        if said:
            raise ConfigError(
                f"{flag} is about answers, and with --retrieval none is generated; leave out "
                f"one of the two"
            )


def _cells(score: Interval, scale: int) -> tuple[str, str, str]:
    if math.isnan(score.mean):
        return "none", "", "0"
    form = ".1f" if scale == 100 else ".2f"
    low, high = f"{scale * score.low:{form}}", f"{scale * score.high:{form}}"
    return f"{scale * score.mean:{form}}", f"{low:>5} to {high:>5}", f"{score.n:,}"


def _gauge(score: Interval, cells: int = 24) -> str:
    """The interval as a stroke on a line from 0 to 100, the mean as a point."""
    if math.isnan(score.mean):
        return ""
    at = [min(cells - 1, int(share * cells)) for share in (score.low, score.mean, score.high)]
    line = ["─" if at[0] <= i <= at[2] else "·" for i in range(cells)]
    line[at[1]] = "●"
    return "".join(line)


def _footer(result: Result) -> str:
    timing = result.timing
    parts = [f"{timing.n:,} questions", f"k = {result.config['k']}"]
    if timing.seconds > 0:
        parts.append(f"{timing.seconds:.1f} s ({timing.per_second:.1f} questions/s)")
    if result.directory is not None:
        parts.append(f"in {result.directory}")
    return " · ".join(parts)
