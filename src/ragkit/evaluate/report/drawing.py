"""Charts as inline SVG, in the colours of the page that they stand in.

Curves with intervals, reliability, learning curves: each an ``<svg>`` with a text for who does not
see it. Colours are classes, tone-0 to tone-5, so that the page decides on light and dark.
Knows points, and nothing of what they mean.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from html import escape

from ragkit.evaluate.report.curves import Curve, Point

WIDTH, HEIGHT = 520, 300
LEFT, RIGHT, TOP, BOTTOM = 46, 14, 12, 42
TONES = 6

_Scale = Callable[[float], float]


def curves(
    found: Sequence[Curve],
    *,
    said: str,
    across: str,
    unit: str = "share",
    whole: bool = True,
) -> str:
    """Curves with the bands of their intervals.

    said: what a screen reader says. across: the name of the x axis. unit: shares are drawn
    from 0 to 100 %, other units between their ends. whole: x are whole numbers.
    """
    points = [point for curve in found for point in curve.points]
    if not points:
        return ""
    x0, x1 = _ends([p.x for p in points])
    y0, y1 = _range(points, unit)
    x, y = _scale(x0, x1, LEFT, WIDTH - RIGHT), _scale(y0, y1, HEIGHT - BOTTOM, TOP)
    parts = [_across(across), *_rows(y0, y1, y, unit)]
    parts += _columns(_ticks(x0, x1, whole), x)
    for curve in found:
        parts.append(_band(curve, x, y))
    for curve in found:
        parts.append(_line(curve, x, y, unit))
    return _svg(said, parts)


def reliability(found: Sequence[Curve], *, said: str) -> str:
    """Share right against p(y|x): a disc a bin, as large as it has questions, on the diagonal
    where the model says how often it is right."""
    if not any(curve.points for curve in found):
        return ""
    x, y = _scale(0, 1, LEFT, WIDTH - RIGHT), _scale(0, 1, HEIGHT - BOTTOM, TOP)
    parts = [_across("p(y|x), %"), *_rows(0.0, 1.0, y, "share")]
    parts += _columns([0, 0.25, 0.5, 0.75, 1], x, lambda t: f"{100 * t:g}")
    parts.append(
        f'<line class="diagonal" x1="{x(0):.1f}" y1="{y(0):.1f}" x2="{x(1):.1f}" y2="{y(1):.1f}"/>'
    )
    most = max(point.n for curve in found for point in curve.points)
    for curve in found:
        for p in curve.points:
            radius = 2.5 + 6 * math.sqrt(p.n / most)
            parts.append(
                f'<g class="tone-{curve.tone % TONES}">'
                f'<line class="whisker" x1="{x(p.x):.1f}" x2="{x(p.x):.1f}" '
                f'y1="{y(p.low):.1f}" y2="{y(p.high):.1f}"/>'
                f'<circle cx="{x(p.x):.1f}" cy="{y(p.y):.1f}" r="{radius:.1f}">'
                f"<title>{_title(curve, p, 'share', f'p(y|x) {100 * p.x:.0f} %')}</title>"
                "</circle></g>"
            )
    return _svg(said, parts)


def learning(points: Sequence[tuple[float, float]], *, said: str, tone: int = 0) -> str:
    """Values over steps: thin as logged, thick as a running mean."""
    if not points:
        return ""
    steps, values = [step for step, _ in points], [value for _, value in points]
    x0, x1 = _ends(steps)
    low, high = min(values), max(values)
    y0 = 0.0 if low >= 0 and low < 0.5 * high else low
    y1 = high if high > y0 else y0 + 1.0
    x, y = _scale(x0, x1, LEFT, WIDTH - RIGHT), _scale(y0, y1, HEIGHT - BOTTOM, TOP)
    window = max(1, len(values) // 12)
    mean = [
        math.fsum(values[max(0, i - window + 1) : i + 1]) / min(window, i + 1)
        for i in range(len(values))
    ]
    raw, thick = ([(x(s), y(v)) for s, v in zip(steps, v_, strict=True)] for v_ in (values, mean))
    parts = [_across("step"), *_rows(y0, y1, y, "")]
    parts += _columns(_ticks(x0, x1, True), x)
    parts.append(
        f'<g class="tone-{tone % TONES}"><polyline class="raw" points="{_path(raw)}"/>'
        f'<polyline class="line" points="{_path(thick)}"/></g>'
    )
    return _svg(f"{said}: from {mean[0]:.3g} to {mean[-1]:.3g}", parts)


def legend(found: Sequence[Curve]) -> str:
    """Names of the curves beside their strokes, as HTML; none where one needs none."""
    items = []
    for curve in found:
        dash = ' class="dashed"' if curve.dashed else ""
        items.append(
            f'<li class="tone-{curve.tone % TONES}"><svg viewBox="0 0 26 8" aria-hidden="true">'
            f'<line{dash} x1="1" x2="25" y1="4" y2="4"/></svg>{escape(curve.name)}</li>'
        )
    return f'<ul class="legend">{"".join(items)}</ul>'


def number(value: float, unit: str) -> str:
    """As axes and titles have it: shares in percent."""
    return f"{100 * value:.1f}" if unit == "share" else f"{value:.3g}"


def _svg(said: str, parts: Sequence[str]) -> str:
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(said)}">{"".join(parts)}</svg>'
    )


def _line(curve: Curve, x: _Scale, y: _Scale, unit: str) -> str:
    places = [(x(p.x), y(p.y)) for p in curve.points]
    dashed = " dashed" if curve.dashed else ""
    discs = "".join(
        f'<circle cx="{at:.1f}" cy="{up:.1f}" r="{3.2 if len(places) <= 25 else 1.6}">'
        f"<title>{_title(curve, p, unit, f'{p.x:g}')}</title></circle>"
        for p, (at, up) in zip(curve.points, places, strict=True)
    )
    return (
        f'<g class="tone-{curve.tone % TONES}">'
        f'<polyline class="line{dashed}" points="{_path(places)}"/>{discs}</g>'
    )


def _band(curve: Curve, x: _Scale, y: _Scale) -> str:
    above = [(x(p.x), y(p.high)) for p in curve.points]
    below = [(x(p.x), y(p.low)) for p in reversed(curve.points)]
    return f'<polygon class="band tone-{curve.tone % TONES}" points="{_path([*above, *below])}"/>'


def _title(curve: Curve, p: Point, unit: str, at: str) -> str:
    ends = f"{number(p.low, unit)} to {number(p.high, unit)}"
    return escape(f"{curve.name}, {at}: {number(p.y, unit)} ({ends}), {p.n:,} questions")


def _rows(y0: float, y1: float, y: _Scale, unit: str) -> list[str]:
    return [
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(t):.1f}" y2="{y(t):.1f}"/>'
        f'<text class="tick" x="{LEFT - 7}" y="{y(t) + 4:.1f}" text-anchor="end">'
        f"{_tick(t, unit)}</text>"
        for t in (y0 + (y1 - y0) * i / 4 for i in range(5))
    ]


def _tick(value: float, unit: str) -> str:
    """Short enough for the room that is left of the axis."""
    if unit == "share":
        return f"{100 * value:.0f}"
    text = f"{value:.3g}"
    return re.sub(r"e([+-])0*", r"e\1", f"{value:.1e}") if "e" in text else text


def _columns(
    ticks: Sequence[float], x: _Scale, text: Callable[[float], str] = lambda t: f"{t:,.6g}"
) -> list[str]:
    return [
        f'<text class="tick" x="{x(t):.1f}" y="{HEIGHT - BOTTOM + 17}" '
        f'text-anchor="middle">{text(t)}</text>'
        for t in ticks
    ]


def _across(name: str) -> str:
    middle = (LEFT + WIDTH - RIGHT) / 2
    return (
        f'<text class="tick axis" x="{middle:.0f}" y="{HEIGHT - 5}" '
        f'text-anchor="middle">{escape(name)}</text>'
    )


def _range(points: Sequence[Point], unit: str) -> tuple[float, float]:
    if unit == "share":
        return 0.0, 1.0
    low, high = min(p.low for p in points), max(p.high for p in points)
    low = min(low, 0.0) if low < 0.5 * high else low
    return (low, high) if high > low else (low, low + 1.0)


def _ends(numbers: Sequence[float]) -> tuple[float, float]:
    low, high = min(numbers), max(numbers)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _ticks(x0: float, x1: float, whole: bool) -> list[float]:
    """Round numbers between the ends, about six."""
    rough = (x1 - x0) / 6
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= rough)
    step = max(1.0, step) if whole else step
    first = math.ceil(x0 / step - 1e-9)
    ticks = [i * step for i in range(first, math.floor(x1 / step + 1e-9) + 1)]
    if whole and x0 == int(x0) and x0 not in ticks and (not ticks or ticks[0] - x0 >= 0.4 * step):
        ticks.insert(0, x0)  # k = 1 is asked about more than k = 0
    return ticks


def _scale(a: float, b: float, to_a: float, to_b: float) -> _Scale:
    return lambda value: to_a + (value - a) / (b - a) * (to_b - to_a)


def _path(places: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{at:.1f},{up:.1f}" for at, up in places)
