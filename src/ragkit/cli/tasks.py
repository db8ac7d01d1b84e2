"""``ragkit tasks``: what questions there are, where their files come from, and if they are whole.

Without a name a list; with one, all that is known of that task; with a path, its files are
read to their end and counted. Knows no task by name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ragkit.cli import terminal
from ragkit.cli.options import decoding
from ragkit.errors import RagkitError

if TYPE_CHECKING:
    from ragkit.evaluate.tasks.about import About, Decoding
    from ragkit.evaluate.tasks.check import Checked


_MANY = 5  # forms of files, beyond which a task is a family of tasks


def register(app: typer.Typer) -> None:
    app.command("tasks")(tasks)


def tasks(
    name: Annotated[str | None, typer.Argument(help="A task: nq, triviaqa, fever …")] = None,
    path: Annotated[
        str | None, typer.Argument(help="Its file or folder: read to the end and counted.")
    ] = None,
    split: Annotated[
        list[str] | None, typer.Option(help="Check this split alone; repeatable.")
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option("--option", "-o", help="Option of the task, such as ways=2; repeatable."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """List tasks, describe one, or check the files of one."""
    if name is None:
        _list(json)
    elif path is None:
        _describe(name, json)
    else:
        _check(name, path, split or [], decoding(option, like="ways=2"), json)


# ---------------------------------------------------------------------------- the list


def _list(json: bool) -> None:
    from ragkit import registry

    found = [one for one in registry.components() if one.role == "task"]
    rows = [(one, _about(one)) for one in found]
    if json:
        terminal.json_object(
            {
                "tasks": [
                    {
                        "name": one.component.name,
                        "from": one.distribution,
                        "summary": one.component.summary,
                        "state": one.state,
                        **({} if about is None else _record(about)),
                    }
                    for one, about in rows
                ]
            }
        )
        return
    table = _table("name", "what it is", "questions", "files")
    for one, about in rows:
        if about is None:
            table.add_row(one.component.name, one.error or one.component.summary, "", "")
            continue
        # Of a family of tasks no one's numbers stand for all.
        many = len(about.layouts) > _MANY
        sizes = about.layouts[0].sizes.values() if about.layouts and not many else ()
        names = [layout.name for layout in about.layouts] or ["your own"]
        files = f"{len(names)} tasks" if many else ", ".join(names)
        shown = " / ".join(_sizes(known) for known in list(sizes)[:3])
        table.add_row(one.component.name, about.title, shown, files)
    terminal.show(table)
    terminal.show("ragkit tasks NAME says more; ragkit tasks NAME PATH checks files", style="dim")


def _about(listing: Any) -> About | None:
    from ragkit import registry
    from ragkit.evaluate.tasks.about import about_of

    try:
        return about_of(registry.find("task", listing.qualified))
    except RagkitError:
        return None


# ----------------------------------------------------------------------------- one task


def _describe(name: str, json: bool) -> None:
    from ragkit import registry
    from ragkit.evaluate.tasks.about import about_of

    target = registry.find("task", name)
    about = about_of(target)
    if json:
        known = {} if about is None else _record(about)
        terminal.json_object({"name": name, **known})
        return
    if about is None:
        terminal.show(f"{name}: {registry.lookup('task', name).component.summary}")
        return
    terminal.show(f"{about.name}: {about.title}", style="bold")
    table = _table("", "")
    for heading, text in (
        ("asked", about.asked),
        ("target", about.target),
        ("golds", about.golds),
        ("metrics", "  ".join(about.metrics)),
        *((which, _spoken(how)) for which, how in about.decoding.items()),
        ("training", "each_answer=true" if about.each_answer else ""),
    ):
        if text:
            table.add_row(heading, text)
    terminal.show(table)
    if about.layouts:
        terminal.show(_layouts(about))
    sources: dict[str, list[str]] = {}
    for layout in about.layouts:
        if layout.source:
            sources.setdefault(layout.source, []).append(layout.name)
    for source, names in sources.items():
        terminal.show(f"· {', '.join(names)}: {source}", style="dim")
    for note in about.notes:
        terminal.show(f"· {note}", style="dim")
    terminal.show(f"ragkit evaluate MODEL PATH --as {about.name} --split test", style="dim")


def _layouts(about: About) -> Any:
    table = _table("files", "split", "questions", "name")
    for layout in about.layouts:
        first = True
        for split, files in layout.files.items():
            names = " + ".join(one.partition("|")[0] for one in files)
            table.add_row(
                layout.name if first else "",
                split,
                _sizes(layout.known(split)),
                names,
            )
            first = False
    return table


def _spoken(how: Decoding) -> str:
    options = [f"{name}={value}" for name, value in how.options.items()]
    return ", ".join([f"k={how.k}", *options, *([how.search] if how.search else [])])


def _record(about: About) -> dict[str, Any]:
    return {
        "title": about.title,
        "asked": about.asked,
        "target": about.target,
        "golds": about.golds,
        "metrics": list(about.metrics),
        "each_answer": about.each_answer,
        "decoding": {
            which: {"k": how.k, "options": dict(how.options), "search": how.search}
            for which, how in about.decoding.items()
        },
        "layouts": [
            {
                "name": layout.name,
                "source": layout.source,
                "files": {
                    split: [one.split("|") for one in files]
                    for split, files in layout.files.items()
                },
                "questions": {split: list(known) for split, known in layout.sizes.items()},
            }
            for layout in about.layouts
        ],
        "notes": list(about.notes),
    }


# ---------------------------------------------------------------------------- the check


def _check(name: str, path: str, splits: list[str], options: dict[str, Any], json: bool) -> None:
    from ragkit import config
    from ragkit.evaluate.tasks.check import check

    task = config.build("task", {"name": name, "path": path, **options})
    found = []
    for one in check(task, splits):
        found.append(one)
        if not json:
            _show(one)
    if json:
        terminal.json_object(
            {"task": name, "path": path, "splits": [one.as_dict() for one in found]}
        )
    if any(one.fault for one in found):
        raise typer.Exit(1)


def _show(one: Checked) -> None:
    known = f" of {_sizes(one.known)}" if one.known and one.questions not in one.known else ""
    parts = [f"{one.split}: {one.questions:,}{known} questions"]
    parts += [f"{one.questions - one.answered:,} without golds"] * (one.answered < one.questions)
    parts += [" + ".join(one.files)] if one.files else []
    terminal.show(" · ".join(parts))
    if one.first is not None:
        said = one.first.target or next(iter(one.first.answers), "")
        terminal.show(f"  {one.first.question[:70]} → {said[:60]}", style="dim")
    if one.fault:
        terminal.show(f"  {one.fault}", style="yellow")


def _sizes(known: tuple[int, ...]) -> str:
    return " or ".join(f"{one:,}" for one in known)


def _table(*headings: str) -> Any:
    from rich.table import Table

    shown = any(headings)
    table = Table(
        box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim", show_header=shown
    )
    for heading in headings:
        table.add_column(
            heading, overflow="fold", no_wrap=heading in ("name", "split", "questions")
        )
    return table
