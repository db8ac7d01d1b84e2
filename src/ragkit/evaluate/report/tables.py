"""A report's tables and bars as HTML; every text in them is escaped.

Metrics of several runs side by side, differences as `ragkit.evaluate.comparison.written` has
them, the shares of errors as one bar a run, and the points below a chart. Knows nothing of
where figures come from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from ragkit.evaluate.comparison.sheets import Sheet, figure
from ragkit.evaluate.report.curves import Curve
from ragkit.evaluate.report.drawing import number
from ragkit.evaluate.report.gathered import Gathered

TITLES = {
    "right": "right",
    "unsupported": "right, unsupported",
    "retrieval": "retrieval missed",
    "reader": "reader missed",
    "metric": "near miss",
    "wrong": "wrong",
    "unjudged": "not judged",
}
"""What the page calls each kind of question."""


def metrics(runs: Sequence[Gathered]) -> str:
    """A row a metric, a column a run: the figure and its interval."""
    labels = list(dict.fromkeys(label for one in runs for label in one.figures))
    heads = "".join(f'<th scope="col">{escape(one.run.name)}</th>' for one in runs)
    rows = []
    for label in labels:
        units = {one.run.units[label] for one in runs if label in one.figures}
        shown = "" if units == {"share"} else f" <small>{escape(', '.join(sorted(units)))}</small>"
        cells = "".join(_figure(one.figures.get(label), len(one.run)) for one in runs)
        rows.append(f'<tr><th scope="row">{escape(label)}{shown}</th>{cells}</tr>')
    return _table(f'<th scope="col">metric</th>{heads}', rows, "figures")


def sheet(found: Sheet) -> str:
    """A sheet of text with its notes; the first cell of a group stands on a line of its own."""
    heads = found.headings[found.names - 1 :] if found.names == 2 else found.headings
    rows = []
    for row in found.rows:
        cells = row
        if found.names == 2:
            if row[0]:
                rows.append(
                    f'<tr class="group"><th scope="colgroup" colspan="{len(row) - 1}">'
                    f"{escape(row[0])}</th></tr>"
                )
            cells = row[1:]
        rest = "".join(f"<td>{escape(cell)}</td>" for cell in cells[1:])
        rows.append(f'<tr><th scope="row">{escape(cells[0])}</th>{rest}</tr>')
    titles = list(heads)
    if found.names == 2:
        titles[0] = f"{found.headings[0]}, {found.headings[1]}".rstrip(", ")
    notes = "".join(f'<p class="note">{escape(note)}</p>' for note in found.notes)
    return _table("".join(f'<th scope="col">{escape(one)}</th>' for one in titles), rows) + notes


def kinds(runs: Sequence[Gathered]) -> str:
    """A bar a run, of what its questions came to; the names below hold the counts."""
    bars = []
    for one in runs:
        n = len(one.kinds)
        counts = [(kind, one.kinds.count(kind)) for kind in TITLES]
        counts = [(kind, count) for kind, count in counts if count]
        parts = "".join(
            f'<i class="kind-{kind}" style="flex-grow: {count}"></i>' for kind, count in counts
        )
        names = "".join(
            f'<li><i class="kind-{kind}"></i>{TITLES[kind]} '
            f"<b>{100 * count / n:.1f} %</b> <small>{count:,}</small></li>"
            for kind, count in counts
        )
        title = f"<figcaption>{escape(one.run.name)}</figcaption>" if len(runs) > 1 else ""
        bars.append(
            f'<figure class="kinds">{title}<div class="whole" aria-hidden="true">{parts}</div>'
            f'<ul class="legend">{names}</ul></figure>'
        )
    return "".join(bars)


def points(found: Sequence[Curve], across: str, unit: str = "share") -> str:
    """The points of curves as a table that opens."""
    places = sorted({point.x for curve in found for point in curve.points})
    if not places:
        return ""
    heads = f'<th scope="col">{escape(across)}</th>'
    heads += "".join(f'<th scope="col">{escape(curve.name)}</th>' for curve in found)
    by_place = [{point.x: point for point in curve.points} for curve in found]
    rows = []
    for place in places:
        cells = ""
        for column in by_place:
            p = column.get(place)
            cells += (
                "<td>–</td>"
                if p is None
                else f"<td>{number(p.y, unit)} "
                f"<small>{number(p.low, unit)} to {number(p.high, unit)}</small></td>"
            )
        rows.append(f'<tr><th scope="row">{place:.4g}</th>{cells}</tr>')
    return f"<details><summary>As a table</summary>{_table(heads, rows)}</details>"


def facts(pairs: Sequence[tuple[str, str]]) -> str:
    """Names and what they are."""
    return "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in pairs)


def _figure(found: Mapping[str, Any] | None, questions: int) -> str:
    if found is None or found.get("mean") is None:
        return "<td>–</td>"
    unit = found.get("unit", "share")
    ends = [found.get("low"), found.get("high")]
    known = [figure(float(end), unit) for end in ends if end is not None]
    interval = f"<small>{' – '.join(known)}</small>" if len(known) == 2 else ""
    n = found.get("n", questions)
    some = f"<small>{n:,} questions</small>" if n != questions else ""
    return f"<td><b>{figure(float(found['mean']), unit)}</b>{interval}{some}</td>"


def _table(heads: str, rows: Sequence[str], kind: str = "") -> str:
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="table">'
        f'<table class="{kind}"><thead><tr>{heads}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )
