"""A comparison as rows of text, and from these as Markdown and LaTeX.

Shares are shown in percent, other units as they are. Knows nothing of how the figures came
about, or of terminals.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ragkit.evaluate.comparison.comparing import Comparison, Contrast
from ragkit.evaluate.comparison.decomposition import KINDS, Decomposition, Share


class Sheet(NamedTuple):
    """Headings and rows of equal length, all text: two columns of names, then figures.

    Where a row's first cell is not empty, a group of rows begins. Notes stand below.
    """

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str]


def contrasts_sheet(found: Comparison) -> Sheet:
    """A row for the baseline and each run, metric by metric."""
    headings = (
        "metric",
        "run",
        "mean",
        "change",
        f"{100 * found.confidence:g}% interval",
        "p",
        "p (Holm)",
        "d",
        "won",
        "tied",
        "lost",
    )
    rows: list[Sequence[str]] = []
    for label in found.metrics:
        here = [one for one in found.contrasts if one.metric == label]
        base = found.scores[found.baseline][label]
        unit = here[0].unit
        title = label if unit == "share" else f"{label} ({unit})"
        rows.append((title, found.baseline, figure(base.mean, unit), *[""] * 8))
        rows += [("", one.run, *_cells(one)) for one in here]
    return Sheet(headings, rows, _notes(found))


def errors_sheet(found: Sequence[Decomposition], confidence: float = 0.95) -> Sheet:
    """Rows for each run: whose its errors are, and right answers that nothing supports."""
    headings = ("run", "", "%", f"{100 * confidence:g}% interval", "count")
    rows: list[Sequence[str]] = []
    for one in found:
        parts = [(f"wrong, of {kind}", one.errors[kind]) for kind in KINDS]
        parts.append(("right, unsupported", one.unsupported))
        for number, (title, part) in enumerate(parts):
            rows.append(("" if number else one.run, title, *_share(part)))
    notes = (
        "Whose the wrong answers are. metric: a near miss of a gold; retrieval: no passage read "
        "supports an answer; reader: one does, and another answer was given.",
    )
    return Sheet(headings, rows, notes)


def markdown(found: Comparison) -> str:
    """Tables for a page."""
    sheets = [contrasts_sheet(found)]
    sheets += [errors_sheet(found.errors, found.confidence)] if found.errors else []
    return "\n".join(_markdown(sheet) for sheet in sheets)


def latex(found: Comparison) -> str:
    """Tables for a paper, of the package booktabs."""
    sheets = [contrasts_sheet(found)]
    sheets += [errors_sheet(found.errors, found.confidence)] if found.errors else []
    return "\n".join(_latex(sheet) for sheet in sheets)


def sheet_markdown(sheet: Sheet) -> str:
    """One table for a page."""
    return _markdown(sheet)


def sheet_latex(sheet: Sheet) -> str:
    """One table for a paper."""
    return _latex(sheet)


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


def _share(found: Share) -> tuple[str, str, str]:
    """Percent, its interval, and the count."""
    if not found.n:
        return "–", "–", "0"
    ends = f"{figure(found.low)} to {figure(found.high)}"
    return figure(found.share), ends, f"{found.cases:,} of {found.n:,}"


def _cells(one: Contrast) -> tuple[str, ...]:
    low, high = (figure(end, one.unit, "+") for end in one.difference[1:3])
    return (
        figure(one.mean, one.unit),
        figure(one.difference.mean, one.unit, "+"),
        f"{low} to {high}" if one.difference.n else "–",
        probability(one.p),
        probability(one.corrected),
        "–" if math.isnan(one.effect) else f"{one.effect:+.2f}",
        *(f"{number:,}" for number in one.counts),
    )


def _notes(found: Comparison) -> list[str]:
    drawn = any(not one.exact for one in found.contrasts)
    notes = [
        f"{found.questions:,} questions; differences from {found.baseline}. p: paired permutation "
        + (f"test, {found.draws:,} draws where not exact; " if drawn else "test, exact; ")
        + f"Holm's correction over {len(found.contrasts)} comparisons; d: mean difference in "
        f"standard deviations."
    ]
    pooled = sorted({one.metric for one in found.contrasts if one.pooled})
    if pooled:
        notes.append(f"{', '.join(pooled)}: the mean over single questions, not the pooled figure.")
    uneven = sorted({one.metric for one in found.contrasts if one.difference.n != found.questions})
    if uneven:
        notes.append(f"{', '.join(uneven)}: only the questions where both have a value.")
    if found.left_out:
        notes.append(f"Not measured in every run: {', '.join(found.left_out)}.")
    return notes


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


def _markdown(sheet: Sheet) -> str:
    left = [":--", ":--", *["--:"] * (len(sheet.headings) - 2)]
    lines = [sheet.headings, left, *sheet.rows]
    written = [
        "| "
        + " | ".join(cell if cells is left else cell.translate(_MARKDOWN) for cell in cells)
        + " |"
        for cells in lines
    ]
    notes = [note.translate(_MARKDOWN) + "\n" for note in sheet.notes]
    return "\n".join([*written, "", *notes])


def _latex(sheet: Sheet) -> str:
    columns = "ll" + "r" * (len(sheet.headings) - 2)
    lines = [f"\\begin{{tabular}}{{{columns}}}", "\\toprule", _latex_row(sheet.headings)]
    lines.append("\\midrule")
    for number, row in enumerate(sheet.rows):
        if number and row[0]:
            lines.append("\\addlinespace")
        lines.append(_latex_row(row))
    lines += ["\\bottomrule", "\\end{tabular}"]
    return "\n".join([*lines, *(f"% {note}" for note in sheet.notes), ""])


def _latex_row(cells: Sequence[str]) -> str:
    return " & ".join(map(_latex_cell, cells)) + r" \\"


def _latex_cell(text: str) -> str:
    escaped = "".join(_LATEX.get(c, c) for c in text)
    return _SIGNED.sub(r"$\1$", escaped)  # a minus is longer than a hyphen
