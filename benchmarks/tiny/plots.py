"""Line plots as SVG files that follow the reader's light or dark. Knows only numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

WIDTH, HEIGHT = 560, 300
LEFT, RIGHT, TOP, BOTTOM = 58, 14, 34, 46
STYLE = """
text{font:12px system-ui,sans-serif;fill:#333}.grid{stroke:#ddd}.axis{stroke:#888}
.s0{stroke:#0b63b0;fill:#0b63b0}.s1{stroke:#c4560a;fill:#c4560a}.s2{stroke:#2b7d3b;fill:#2b7d3b}
.line{fill:none;stroke-width:2}.band{stroke:none;opacity:.15}.even{stroke:#999;stroke-dasharray:4 4}
@media (prefers-color-scheme:dark){text{fill:#ddd}.grid{stroke:#444}.axis{stroke:#999}
.s0{stroke:#6db5ff;fill:#6db5ff}.s1{stroke:#ffa25c;fill:#ffa25c}.s2{stroke:#7fd492;fill:#7fd492}}
"""


@dataclass(frozen=True)
class Series:
    """A named curve; low and high are the ends of its intervals, where there are some."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    dots: bool = True


def lines(
    file: Path,
    title: str,
    x_label: str,
    y_label: str,
    series: Sequence[Series],
    *,
    logarithmic: bool = False,
    top: float | None = None,
    even: bool = False,
) -> None:
    """Write one plot. even: the diagonal, where x should equal y."""
    xs = [x for one in series for x in one.x]
    ys = [y for one in series for y in (*one.y, *one.high)]
    x0, x1 = min(xs), max(xs)
    y1 = top if top is not None else max(ys) * 1.08

    def px(x: float) -> float:
        from math import log

        share = (log(x / x0) / log(x1 / x0)) if logarithmic else (x - x0) / ((x1 - x0) or 1)
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def py(y: float) -> float:
        return TOP + (1 - y / y1) * (HEIGHT - TOP - BOTTOM)

    parts = []
    for i in range(6):
        y = y1 * i / 5
        parts.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" '
            f'y1="{py(y):.1f}" y2="{py(y):.1f}"/>'
            f'<text x="{LEFT - 6}" y="{py(y) + 4:.1f}" text-anchor="end">{_number(y)}</text>'
        )
    marks = sorted(set(xs)) if len(set(xs)) <= 8 else [x0 + (x1 - x0) * i / 5 for i in range(6)]
    for x in marks:
        parts.append(
            f'<text x="{px(x):.1f}" y="{HEIGHT - 26}" text-anchor="middle">{_number(x)}</text>'
        )
    if even:
        low, high = max(x0, 0.0), min(x1, y1)
        parts.append(
            f'<line class="even" x1="{px(low):.1f}" y1="{py(low):.1f}" '
            f'x2="{px(high):.1f}" y2="{py(high):.1f}"/>'
        )
    for i, one in enumerate(series):
        if one.low:
            way = [(px(x), py(y)) for x, y in zip(one.x, one.high, strict=True)]
            way += [(px(x), py(y)) for x, y in zip(one.x, one.low, strict=True)][::-1]
            parts.append(f'<polygon class="band s{i}" points="{_points(way)}"/>')
        way = [(px(x), py(y)) for x, y in zip(one.x, one.y, strict=True)]
        parts.append(f'<polyline class="line s{i}" points="{_points(way)}"/>')
        if one.dots:
            parts += [f'<circle class="s{i}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in way]
        at = LEFT + 8 + i * 170
        parts.append(
            f'<line class="line s{i}" x1="{at}" x2="{at + 18}" y1="{TOP - 12}" y2="{TOP - 12}"/>'
            f'<text x="{at + 24}" y="{TOP - 8}">{escape(one.name)}</text>'
        )
    parts.append(
        f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{py(0):.1f}" y2="{py(0):.1f}"/>'
        f'<text x="{(LEFT + WIDTH) / 2:.0f}" y="{HEIGHT - 6}" text-anchor="middle">'
        f"{escape(x_label)}</text>"
        f'<text transform="translate(14 {HEIGHT / 2:.0f}) rotate(-90)" text-anchor="middle">'
        f"{escape(y_label)}</text>"
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(title)}"><title>{escape(title)}</title>'
        f"<style>{STYLE}</style>{''.join(parts)}</svg>\n"
    )


def _points(way: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in way)


def _number(value: float) -> str:
    if value >= 1000:
        return f"{value / 1000:.0f}k"
    return f"{value:.3g}"
