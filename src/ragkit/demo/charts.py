"""Line charts as inline SVG, in the colours of the page they stand in.

Knows nothing of what is drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

WIDTH, HEIGHT = 520, 200
LEFT, RIGHT, TOP, BOTTOM = 44, 12, 12, 30


def line(title: str, steps: Sequence[float], values: Sequence[float], kind: str) -> str:
    """A curve over steps: thin as measured, thick as a running mean. ``kind`` is its class."""
    if not steps:
        return ""
    high = max(max(values), 1e-9) * 1.05
    x0, x1 = min(steps), max(max(steps), min(steps) + 1)

    def x(step: float) -> float:
        return LEFT + (step - x0) / (x1 - x0) * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        return TOP + (1 - value / high) * (HEIGHT - TOP - BOTTOM)

    ticks = "".join(
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(t):.1f}" y2="{y(t):.1f}"/>'
        f'<text class="tick" x="{LEFT - 8}" y="{y(t) + 4:.1f}" text-anchor="end">{t:.3g}</text>'
        for t in (0.0, high / 2.1, high / 1.05)
    )
    under = "".join(
        f'<text class="tick" x="{x(s):.1f}" y="{HEIGHT - 8}" text-anchor="{anchor}">{s:.0f}</text>'
        for s, anchor in ((x0, "start"), (x1, "end"))
    )
    mean = running_mean(values, max(1, len(values) // 25))
    ends = f"from {mean[0]:.2f} to {mean[-1]:.2f}"
    return (
        f'<svg class="chart {kind}" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(title)}, {ends}"><title>{escape(title)}, {ends}</title>'
        f"{ticks}{under}"
        f'<polyline class="raw" points="{_points(steps, values, x, y)}"/>'
        f'<polyline class="mean" points="{_points(steps, mean, x, y)}"/></svg>'
    )


def running_mean(values: Sequence[float], window: int) -> list[float]:
    """Mean of each value and those just before it."""
    return [
        sum(values[max(0, i - window + 1) : i + 1]) / min(window, i + 1) for i in range(len(values))
    ]


def _points(steps: Sequence[float], values: Sequence[float], x: object, y: object) -> str:
    assert callable(x)
    assert callable(y)
    return " ".join(f"{x(s):.1f},{y(v):.1f}" for s, v in zip(steps, values, strict=True))
