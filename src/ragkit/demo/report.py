"""What the demo says on the terminal. Everything goes to stderr: stdout is for --json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from ragkit.demo.measure import MARGINALIZERS, RECALL_AT
from ragkit.demo.world import EDITIONS
from ragkit.knowledge import KnowledgeBase


def _console() -> Console:
    return Console(stderr=True, highlight=False, markup=False)


def say(text: str) -> None:
    """A heading where it begins with a number, else a line."""
    console = _console()
    if text[:1].isdigit():
        console.print()
        console.print(text, style="bold")
    else:
        console.print(text, style="dim")


def bases(found: Mapping[str, KnowledgeBase], questions: int) -> None:
    """One line for each knowledge base."""
    for edition, base in found.items():
        say(f"   {edition}: {len(base):,} passages, {base.dimension} dimensions, exact index")
    say(f"   test: {questions} questions about countries that are never trained on")


def tables(figures: Mapping[str, Any]) -> None:
    """The swap table of both marginalizers, closed book, and recall before and after."""
    console = _console()
    for name in MARGINALIZERS:
        table = Table(
            title=f"exact match, {name}",
            title_justify="left",
            title_style="bold",
            box=SIMPLE_HEAD,
            pad_edge=False,
        )
        table.add_column("knowledge base")
        for gold in EDITIONS:
            table.add_column(f"answers of {gold}", justify="right")
        for base in EDITIONS:
            cells = []
            for gold in EDITIONS:
                entry = figures["em"][name][f"facts {base}, answers {gold}"]
                cells.append(f"{'[bold]' if gold == base else '[dim]'}{shown(entry)}")
            table.add_row(f"facts of {base}", *cells)
        book = figures["closed book"]
        table.add_row("no book", *(f"[dim]{shown(book[gold])}" for gold in EDITIONS))
        Console(stderr=True, highlight=False).print(table)
    table = Table(
        title="the right passage retrieved, before and after training",
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD,
        pad_edge=False,
    )
    table.add_column("")
    for k in RECALL_AT:
        table.add_column(f"recall@{k}", justify="right")
    for edition in EDITIONS:
        for when in ("before", "after"):
            found = figures[f"recall {when}"][edition]
            table.add_row(f"{edition} {when}", *(shown(found[f"recall@{k}"]) for k in RECALL_AT))
    console.print(table)


def shown(entry: Mapping[str, float]) -> str:
    """``93.2 (89.5–96.3)``"""
    return f"{entry['mean']:.1f} ({entry['low']:.1f}–{entry['high']:.1f})"
