"""A comparison as sheets of text, and from these as Markdown and LaTeX.

Knows nothing of how the figures came about, or of terminals.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from ragkit.evaluate.comparison import sheets
from ragkit.evaluate.comparison.comparing import Comparison, Contrast
from ragkit.evaluate.comparison.decomposition import KINDS, Decomposition
from ragkit.evaluate.comparison.sheets import Sheet, figure, probability, share_cells


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
            rows.append(("" if number else one.run, title, *share_cells(part)))
    notes = (
        "Whose the wrong answers are. metric: a near miss of a gold; retrieval: no passage read "
        "supports an answer; reader: one does, and another answer was given.",
    )
    return Sheet(headings, rows, notes)


def all_sheets(found: Comparison) -> list[Sheet]:
    """The comparison, and the errors where they are known."""
    errors = [errors_sheet(found.errors, found.confidence)] if found.errors else []
    return [contrasts_sheet(found), *errors]


def markdown(found: Comparison) -> str:
    """Tables for a page."""
    return "\n".join(sheets.markdown(sheet) for sheet in all_sheets(found))


def latex(found: Comparison) -> str:
    """Tables for a paper, of the package booktabs."""
    return "\n".join(sheets.latex(sheet) for sheet in all_sheets(found))


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


_OF = {
    "pooled": "the figure of all questions together; won and lost by single questions",
    "single": "the mean over single questions, for the figure of all cannot be made again",
}


def _notes(found: Comparison) -> list[str]:
    drawn = any(not one.exact for one in found.contrasts)
    notes = [
        f"{found.questions:,} questions; differences from {found.baseline}. p: paired permutation "
        + (f"test, {found.draws:,} draws where not exact; " if drawn else "test, exact; ")
        + f"Holm's correction over {len(found.contrasts)} comparisons; d: mean difference in "
        f"standard deviations."
    ]
    for of, said in _OF.items():
        labels = sorted({one.metric for one in found.contrasts if one.of == of})
        if labels:
            notes.append(f"{', '.join(labels)}: {said}.")
    uneven = sorted({one.metric for one in found.contrasts if one.difference.n != found.questions})
    if uneven:
        notes.append(f"{', '.join(uneven)}: only the questions where both have a value.")
    if found.left_out:
        notes.append(f"Not measured in every run: {', '.join(found.left_out)}.")
    return notes
