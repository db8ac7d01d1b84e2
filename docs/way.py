"""Draws the way of the data as SVG: python docs/way.py > docs/way.svg"""

from __future__ import annotations

BOXES = {
    "x": (10, 130, 92, 44, "question x", "text", "data"),
    "encoder": (142, 130, 118, 44, "question encoder", "q (B,D)", "learns"),
    "index": (300, 40, 118, 44, "index", "more than k rows", "frozen"),
    "vectors": (300, 130, 118, 44, "stored vectors", "s = q·d (B,K)", "frozen"),
    "tokens": (300, 220, 118, 44, "passages, tokens", "B × K", "frozen"),
    "prior": (468, 130, 118, 44, "prior p(z|x)", "(B,K)", "data"),
    "generator": (468, 220, 118, 44, "generator", "p(y|x,z) (B,K,T)", "learns"),
    "marginalizer": (636, 175, 118, 44, "marginalizer", "p(y|x) (B,)", "data"),
    "y": (790, 110, 120, 44, "answer y", "p(z|x,y)", "data"),
    "loss": (790, 240, 120, 44, "loss", "−mean log p(y|x)", "data"),
}
ARROWS = [
    ("x", "encoder"),
    ("encoder", "vectors"),
    ("vectors", "prior"),
    ("tokens", "generator"),
]
PATHS = [  # what is not a straight line from side to side
    ("M 201 130 L 201 62 L 298 62", "arrow dashed"),
    ("M 359 84 L 359 128", "arrow"),
    ("M 359 174 L 359 218", "arrow"),
    ("M 56 174 L 56 292 L 527 292 L 527 266", "arrow"),
    ("M 586 152 L 610 152 L 610 190 L 634 190", "arrow"),
    ("M 586 242 L 610 242 L 610 205 L 634 205", "arrow"),
    ("M 754 188 L 772 188 L 772 132 L 788 132", "arrow"),
    ("M 754 206 L 772 206 L 772 262 L 788 262", "arrow"),
    ("M 850 284 L 850 330 L 540 330 L 540 266", "arrow gradient"),
    ("M 540 330 L 230 330 L 230 176", "arrow gradient"),
]
NOTES = [
    (250, 56, "q detached"),
    (695, 322, "gradient"),
    (330, 322, "prior − posterior"),
    (359, 24, "knowledge base"),
]
STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #14312f; text-anchor: middle }
  text.small { font-size: 11px; fill: #3d5c59 }
  rect { stroke: #3d5c59; rx: 6 }
  .data { fill: #f4f7f6 } .learns { fill: #ffe2b8 } .frozen { fill: #cfe3f5 }
  .arrow { fill: none; stroke: #3d5c59; stroke-width: 1.5; marker-end: url(#head) }
  .dashed { stroke-dasharray: 5 4 }
  .gradient { stroke: #c4571a; stroke-dasharray: 5 4 }
"""


def draw() -> str:
    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 920 350" role="img">',
        "<title>The way of the data</title>",
        f"<style>{STYLE}</style>",
        '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto"><path d="M 0 0 L 8 4 L 0 8 z" fill="#3d5c59"/>'
        "</marker></defs>",
        '<rect x="0" y="0" width="920" height="350" fill="#ffffff" style="stroke: none"/>',
        '<rect x="286" y="8" width="146" height="268" fill="none" stroke-dasharray="3 4"/>',
    ]
    for x, y, width, height, name, below, kind in BOXES.values():
        middle = x + width / 2
        parts += [
            f'<rect class="{kind}" x="{x}" y="{y}" width="{width}" height="{height}"/>',
            f'<text x="{middle:g}" y="{y + 19}">{name}</text>',
            f'<text class="small" x="{middle:g}" y="{y + 35}">{below}</text>',
        ]
    for start, end in ARROWS:
        left, right = BOXES[start], BOXES[end]
        y = left[1] + left[3] / 2
        parts.append(
            f'<path class="arrow" d="M {left[0] + left[2]} {y:g} L {right[0] - 2} {y:g}"/>'
        )
    parts += [f'<path class="{kind}" d="{path}"/>' for path, kind in PATHS]
    parts += [f'<text class="small" x="{x}" y="{y}">{note}</text>' for x, y, note in NOTES]
    return "\n".join([*parts, "</svg>"])


if __name__ == "__main__":
    print(draw())
