"""The report: one HTML file from the folders of runs, with all that it needs inside.

No address, no font, nothing fetched: the page's own policy forbids it, and lets no script run
but the one that was packaged. Charts and tables are there without JavaScript; the list of
questions needs it. Data is written part by part, so memory stays bounded however many
passages the runs hold. Knows where things stand on the page; figures, charts and data are
made elsewhere.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from ragkit.errors import ConfigError, DataError
from ragkit.evaluate.bootstrap import check
from ragkit.evaluate.comparison import written
from ragkit.evaluate.comparison.stored import open_runs
from ragkit.evaluate.report import curves, drawing, embedding, tables
from ragkit.evaluate.report.curves import Curve
from ragkit.evaluate.report.gathered import Gathered, gather, judge_of
from ragkit.evaluate.report.learning import Log, read_log

if TYPE_CHECKING:
    from ragkit.evaluate.comparison import Comparison

_HERE = "ragkit.evaluate.report"
_CHARTS_OF_A_LOG = 8


def write(
    runs: Sequence[str | Path],
    out: str | Path,
    *,
    baseline: str | Path | None = None,
    judge: str | None = None,
    logs: Sequence[str | Path] = (),
    title: str | None = None,
    passages: int = 10,
    letters: int = 2000,
    confidence: float = 0.95,
    resamples: int = 2000,
    draws: int = 10_000,
    seed: int = 0,
    overwrite: bool = False,
) -> Path:
    """Write the report of one run, or of several of the same questions.

    Parameters
    ----------
    runs: folders that an evaluation wrote.
    out: the HTML file.
    baseline: what the others are compared with, by default the first.
    judge: the label of the metric that says what is right, by being 1; by default EM, or
        accuracy.
    logs: of trainings, for learning curves (`ragkit.evaluate.report.learning.read_log`).
    title: of the page; by default the names of the runs.
    passages, letters: shown of a question, and of a passage, at most. Figures are of all.
    confidence, resamples, draws, seed: of the intervals and tests made for the report.
    overwrite: replace a file that is there.

    Returns the file. Raises `DataError` for runs that are none, are not finished or are not
    of the same questions, for logs that are none, and where ``out`` is there; `UnknownName`
    for a baseline or a metric that is not; `ConfigError` for numbers that make no sense.
    """
    place = Path(out)
    _check(place, passages, letters, overwrite)
    check(confidence, resamples)
    read = [read_log(one) for one in logs]
    opened = open_runs(runs)
    if not opened:
        raise DataError("a report needs a run; type the folder that ragkit evaluate --out wrote")
    by = judge_of(opened, judge)
    compared = None
    if len(opened) > 1:
        from ragkit.evaluate.comparison import compare

        compared = compare(
            runs,
            baseline=baseline,
            confidence=confidence,
            resamples=resamples,
            draws=draws,
            seed=seed,
            examples=0,
        )
    gathered = [gather(run, by, confidence=confidence) for run in opened]
    name = title or " · ".join(run.name for run in opened)
    pieces = _pieces(name, gathered, compared, read, passages, letters, confidence)
    _save(place, pieces)
    return place


def _check(place: Path, passages: int, letters: int, overwrite: bool) -> None:
    faults = [
        f"{name} is {value!r}; type a whole number of 1 or more"
        for name, value in (("passages", passages), ("letters", letters))
        if type(value) is not int or value < 1
    ]
    if faults:
        raise ConfigError(faults)
    if place.is_dir():
        raise DataError(f"{place} is a folder; type the name of a file, such as report.html")
    if place.exists() and not overwrite:
        raise DataError(f"{place} is there already; type another name, or --overwrite")


def _save(place: Path, pieces: Iterator[str]) -> None:
    """Piece by piece into a file beside, which then takes the name: all of it or nothing."""
    place.parent.mkdir(parents=True, exist_ok=True)
    beside = place.with_name(f"{place.name}.{os.getpid()}.new")
    try:
        with beside.open("w", encoding="utf-8", errors="replace", newline="\n") as file:
            for piece in pieces:
                file.write(piece)
        beside.replace(place)
    finally:
        beside.unlink(missing_ok=True)


def _pieces(
    name: str,
    runs: Sequence[Gathered],
    compared: Comparison | None,
    logs: Sequence[Log],
    passages: int,
    letters: int,
    confidence: float,
) -> Iterator[str]:
    html, css, js = (_packaged(f"page.{kind}") for kind in ("html", "css", "js"))
    filled = {
        "title": escape(name),
        "policy": _policy(js),
        "style": css,
        "lede": _lede(runs),
        "figures": _figures(runs, compared, confidence),
        "charts": _charts(runs, logs, confidence),
        "facts": _facts(runs, passages),
        "script": js,
    }
    # Cut at the marks before anything is filled in, so that no text of a run is taken for one.
    for number, piece in enumerate(re.split(r"<!-- (\w+) -->", html)):
        if number % 2 == 0:
            yield piece
        elif piece == "data":
            yield embedding.script("index", embedding.index(runs))
            for at, part in enumerate(embedding.parts(runs, passages, letters)):
                yield embedding.script(f"part-{at}", part)
        else:
            yield filled[piece]


def _packaged(name: str) -> str:
    return (files(_HERE) / name).read_text(encoding="utf-8")


def _policy(script: str) -> str:
    """Nothing from anywhere, and no script but this one."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def _lede(runs: Sequence[Gathered]) -> str:
    n = len(runs[0].run)
    said = f"{n:,} questions"
    if len(runs) == 1:
        read = int(runs[0].read.max(initial=0))
        said += f", up to {read} passages read for each" if read else ", no passages read"
    else:
        said += f", answered by {len(runs)} runs"
    return f"{said}."


def _figures(runs: Sequence[Gathered], compared: Comparison | None, confidence: float) -> str:
    parts = [tables.metrics(runs), f'<p class="note">{_of_intervals(runs)}</p>']
    if compared is not None:
        parts.append("<h2>Differences</h2>")
        parts.append(tables.sheet(written.contrasts_sheet(compared)))
    if runs[0].judge is not None:
        parts.append("<h2>Right and wrong</h2>")
        parts.append(f'<p class="note">{_of_kinds(runs)}</p>{tables.kinds(runs)}')
    errors = [one.errors for one in runs if one.errors is not None]
    if errors:
        shown = tables.sheet(written.errors_sheet(errors, confidence))
        parts.append(f"<details><summary>Shares of the errors, with intervals</summary>{shown}")
        parts.append("</details>")
    return "".join(parts)


def _of_intervals(runs: Sequence[Gathered]) -> str:
    units = {unit for one in runs for unit in one.run.units.values()}
    shares = "Shares in percent. " if "share" in units else ""
    return (
        f"{shares}Below each figure its interval as the run has it: a bootstrap over questions, "
        "which says how far the figure would move with other questions of the same kind, and "
        "nothing of other training seeds."
    )


def _of_kinds(runs: Sequence[Gathered]) -> str:
    said = f"Right is where {escape(runs[0].judge or '')} is 1."
    if any(one.errors is not None for one in runs):
        said += (
            " Every other question is laid at one door: a near miss of a known answer (the "
            "metric's), no passage read that supports an answer (retrieval's), or such a passage "
            "read and another answer given (the reader's)."
        )
    return said


def _charts(runs: Sequence[Gathered], logs: Sequence[Log], confidence: float) -> str:
    found = curves.recalls(runs, confidence)
    charts = []
    if any(len(curve.points) > 1 for curve in found):
        charts.append(
            _chart(
                "Recall at k",
                "Share of questions with an answer in the text of one of the first k passages "
                "that were read; dashed, with a passage that is known to be right. "
                "Exact binomial intervals.",
                found,
                "k",
            )
        )
    charts += _against_k(runs)
    if runs[0].judge is not None:
        named = [
            Curve(one.run.name, curves.reliability(one, confidence), tone)
            for tone, one in enumerate(runs)
        ]
        named = [curve for curve in named if curve.points]
        if named:
            said = "Share of right answers against p(y|x)"
            charts.append(
                _figure(
                    "Reliability",
                    "Share of right answers against p(y|x), in ten bins; discs grow with the "
                    "questions in a bin. On the diagonal p(y|x) says how often it is right.",
                    drawing.reliability(named, said=said),
                    named,
                    tables.points(named, "p(y|x)"),
                )
            )
    body = f"<h2>Curves</h2><div class='charts'>{''.join(charts)}</div>" if charts else ""
    return body + "".join(map(_learning, logs))


def _against_k(runs: Sequence[Gathered]) -> Iterator[str]:
    labels = dict.fromkeys(label for one in runs for label in one.figures)
    for label in labels:
        found = curves.against_k(runs, label)
        if found:
            unit = next(one.run.units[label] for one in runs if label in one.figures)
            yield _chart(
                f"{label} against k",
                "Runs that differ in nothing but k, the number of passages read.",
                found,
                "k",
                unit,
            )


def _chart(title: str, note: str, found: Sequence[Curve], across: str, unit: str = "share") -> str:
    drawn = drawing.curves(found, said=title, across=across, unit=unit)
    return _figure(title, note, drawn, found, tables.points(found, across, unit))


def _figure(title: str, note: str, drawn: str, found: Sequence[Curve], table: str) -> str:
    names = drawing.legend(found) if len(found) > 1 else ""
    return (
        f"<figure><figcaption><b>{escape(title)}</b> {escape(note)}</figcaption>"
        f"{names}{drawn}{table}</figure>"
    )


def _learning(log: Log) -> str:
    charts = "".join(
        f"<figure><figcaption><b>{escape(name)}</b></figcaption>"
        f"{drawing.learning(points, said=name, tone=tone)}</figure>"
        for tone, (name, points) in enumerate(list(log.curves.items())[:_CHARTS_OF_A_LOG])
    )
    return f"<h2>Learning: {escape(log.name)}</h2><div class='charts'>{charts}</div>"


def _facts(runs: Sequence[Gathered], passages: int) -> str:
    first = runs[0].run
    pairs = [("task", str(first.config.get("task"))), ("split", str(first.config.get("split")))]
    for one in runs:
        model = one.run.config.get("model", {})
        said = [f"k = {one.run.config.get('k')}", f"model {model.get('class', '?')}"]
        for part in ("retriever", "generator", "marginalizer"):
            if isinstance(model.get(part), dict) and "class" in model[part]:
                said.append(str(model[part]["class"]))
        options = one.run.config.get("options") or {}
        said += [f"{name} = {value}" for name, value in options.items()]
        said.append(f"begun {one.run.config.get('started', '?')}")
        pairs.append((one.run.name, ", ".join(said)))
    versions = first.config.get("versions", {})
    pairs.append(("versions", ", ".join(f"{name} {value}" for name, value in versions.items())))
    deepest = max(int(one.read.max(initial=0)) for one in runs)
    if deepest > passages:
        pairs.append(("passages", f"the first {passages} of each question are in this file"))
    return f"<dl>{tables.facts(pairs)}</dl>"
