"""Tables as text: headings and rows, written as Markdown or LaTeX.

Shares are shown in percent, other units as they are. Knows nothing of what stands in the
cells, or of terminals.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ragkit.evaluate.comparison.statistics import Share


class Sheet(NamedTuple):
    """Headings and rows of equal length, all text: columns of names, then of figures.

    names: 2, where a row whose first cell is not empty begins a group; or 1. Notes stand below.
    """

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str]
    names: int = 2


def figure(value: float, unit: str = "share", sign: str = "") -> str:
    """A number as tables have it: shares in percent, one decimal; others with two."""
    if math.isnan(value):
        return "–"
    return f"{100 * value:{sign}.1f}" if unit == "share" else f"{value:{sign}.2f}"


def probability(p: float) -> str:
    """p with as many digits as it needs: 0.25, 0.031, <0.0001."""
    if math.isnan(p):
        return "–"
    if p < 0.0001:
        return "<0.0001"
    return f"{p:.4f}" if p < 0.001 else f"{p:.3f}"


def share_cells(found: Share) -> tuple[str, str, str]:
    """Percent, its interval, and the count."""
    if not found.n:
        return "–", "–", "0"
    ends = f"{figure(found.low)} to {figure(found.high)}"
    return figure(found.share), ends, f"{found.cases:,} of {found.n:,}"


_SIGNED = re.compile(r"(?<!\S)([+-]\d[\d.]*)(?!\S)")
_MARKDOWN = str.maketrans({"|": r"\|", "*": r"\*", "_": r"\_", "<": "&lt;", "`": r"\`"})
_LATEX: Mapping[str, str] = {
    "\\": r"\textbackslash{}",
    **{c: f"\\{c}" for c in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": "$<$",
    "–": "--",
}


def markdown(sheet: Sheet) -> str:
    """One table for a page."""
    left = [*[":--"] * sheet.names, *["--:"] * (len(sheet.headings) - sheet.names)]
    lines = [sheet.headings, left, *sheet.rows]
    written = [
        "| "
        + " | ".join(cell if cells is left else cell.translate(_MARKDOWN) for cell in cells)
        + " |"
        for cells in lines
    ]
    notes = [note.translate(_MARKDOWN) + "\n" for note in sheet.notes]
    return "\n".join([*written, "", *notes])


def latex(sheet: Sheet) -> str:
    """One table for a paper, of the package booktabs."""
    columns = "l" * sheet.names + "r" * (len(sheet.headings) - sheet.names)
    lines = [f"\\begin{{tabular}}{{{columns}}}", "\\toprule", _latex_row(sheet.headings)]
    lines.append("\\midrule")
    for number, row in enumerate(sheet.rows):
        if number and row[0] and sheet.names == 2:
            lines.append("\\addlinespace")
        lines.append(_latex_row(row))
    lines += ["\\bottomrule", "\\end{tabular}"]
    return "\n".join([*lines, *(f"% {note}" for note in sheet.notes), ""])


def _latex_row(cells: Sequence[str]) -> str:
    return " & ".join(map(_latex_cell, cells)) + r" \\"


def _latex_cell(text: str) -> str:
    escaped = "".join(_LATEX.get(c, c) for c in text)
    return _SIGNED.sub(r"$\1$", escaped)  # a minus is longer than a hyphen
