"""An answer as HTML, for notebooks: passages with their bars, the heat map of Figure 2.

One element with its own style: no script, no address, nothing fetched. Colours are laid over
the page's own, so it is right on light and dark ground. Knows an `ragkit.answer.Answer` and
nothing of models; imports the standard library alone.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ragkit.answer import Answer, ReadPassage

# Neither HTML nor the JSON of a notebook can hold them.
_UNWRITABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_WHITE = str.maketrans({" ": "␣", "\n": "↵", "\r": "↵", "\t": "⇥"})

_STYLE = """<style>
.ragkit-answer { --teal: 13, 148, 136; --line: rgba(128, 128, 128, .32); color: inherit;
  font: 14px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; max-width: 60rem; }
.ragkit-answer * { box-sizing: border-box; }
.ragkit-answer p { margin: 0; overflow-wrap: anywhere; }
.ragkit-answer .soft { opacity: .72; font-size: 13px; }
.ragkit-answer .said { font-size: 20px; line-height: 1.35; font-weight: 600;
  white-space: pre-wrap; }
.ragkit-answer h4 { font-size: 13px; font-weight: 600; margin: 1.1rem 0 .3rem; }
.ragkit-answer ol { list-style: none; margin: .8rem 0 0; padding: 0; }
.ragkit-answer li { margin: 0; padding: .55rem 0; border-top: 1px solid var(--line); }
.ragkit-answer .row { display: flex; flex-wrap: wrap; gap: .3rem 1.2rem; align-items: flex-start; }
.ragkit-answer details { flex: 1 1 16rem; min-width: 0; overflow-wrap: anywhere; }
.ragkit-answer summary { cursor: pointer; font-weight: 600; }
.ragkit-answer details p { white-space: pre-wrap; margin-top: .3rem; max-width: 42rem; }
.ragkit-answer mark { background: rgba(var(--teal), .3); color: inherit; border-radius: 2px; }
.ragkit-answer .bars { flex: 0 1 17rem; min-width: 14rem; font-size: 12px;
  font-variant-numeric: tabular-nums; }
.ragkit-answer .bar { display: grid; grid-template-columns: 4.4rem 1fr 3.2rem; gap: .5rem;
  align-items: center; }
.ragkit-answer .track { height: 8px; border-radius: 4px; background: rgba(128, 128, 128, .18); }
.ragkit-answer .fill { display: block; height: 100%; border-radius: 4px;
  background: rgba(128, 128, 128, .75); }
.ragkit-answer .posterior .fill { background: rgb(var(--teal)); }
.ragkit-answer .figure { text-align: right; }
.ragkit-answer .wide { overflow-x: auto; }
.ragkit-answer table { border-collapse: separate; border-spacing: 2px; margin: 0; border: 0;
  font-size: 12px; font-variant-numeric: tabular-nums; }
.ragkit-answer table tr, .ragkit-answer table th, .ragkit-answer table td {
  background-color: transparent; border: 0; color: inherit; }
.ragkit-answer table th { font-weight: 500; padding: 2px 6px; text-align: center; }
.ragkit-answer table thead th { white-space: pre; font-family: ui-monospace, monospace; }
.ragkit-answer table tbody th { text-align: right; max-width: min(11rem, 30vw); overflow: hidden;
  text-overflow: ellipsis; white-space: nowrap; }
.ragkit-answer table td.heat { min-width: 2.6rem; padding: 4px 6px; text-align: center;
  white-space: nowrap; border-radius: 3px;
  background-color: rgba(var(--teal), calc(var(--p) * .62 + .03)); }
</style>"""


def render(answer: Answer) -> str:
    """The answer as one ``<div>``; every text of it is escaped."""
    parts = [_STYLE, _head(answer)]
    if answer.passages:
        items = "".join(_passage(n, read, answer.text) for n, read in enumerate(answer.passages, 1))
        parts.append(f"<ol>{items}</ol>")
    if answer.token_posterior:
        parts.append(_heat(answer, answer.token_posterior))
    if len(answer.n_best) > 1:
        parts.append(_others(answer))
    return f'<div class="ragkit-answer">{"".join(parts)}</div>'


def _head(answer: Answer) -> str:
    said = f'<p class="said" dir="auto">{_text(answer.text)}</p>'
    if not answer.text:
        said = '<p class="said">(no text)</p>'
    return (
        f'<p class="soft" dir="auto">{_text(answer.question)}</p>{said}'
        f'<p class="soft">p(y|x) = {_probability(answer.probability)}'
        f" · log p(y|x) = {answer.log_likelihood:.3f} nats</p>"
    )


def _passage(number: int, read: ReadPassage, said: str) -> str:
    scores = " · ".join(f"{_text(name)} {value:.4g}" for name, value in read.scores.items())
    by = f'<p class="soft">scores: {scores}</p>' if scores else ""
    return (
        f'<li><div class="row"><details><summary>{number} · <bdi>{_name(read)}</bdi></summary>'
        f'<p dir="auto">{_marked(read.text, said)}</p>'
        f'<p class="soft">id <bdi>{_text(read.id)}</bdi></p></details>'
        f'<div class="bars">{_bar("prior", read.prior)}{_bar("posterior", read.posterior)}{by}'
        "</div></div></li>"
    )


def _bar(kind: str, value: float) -> str:
    return (
        f'<div class="bar {kind}"><span>{kind}</span><span class="track">'
        f'<span class="fill" style="width: {_share(value) * 100:.2f}%"></span></span>'
        f'<span class="figure">{_probability(value)}</span></div>'
    )


def _heat(answer: Answer, by_token: Sequence[Sequence[float]]) -> str:
    """Passages by tokens, p(z|x,y_i,y_<i): each column sums to one over the K passages."""
    heads = "".join(
        f'<th scope="col"><bdi>{_text(token.translate(_WHITE))}</bdi></th>'
        for token in answer.tokens
    )
    rows = []
    for k, read in enumerate(answer.passages):
        cells = "".join(
            f'<td class="heat" style="--p: {_share(column[k]):.3f}">{column[k]:.2f}</td>'
            for column in by_token
        )
        head = f'<th scope="row" title="{_name(read)}">{k + 1} · <bdi>{_name(read)}</bdi></th>'
        rows.append(f"<tr>{head}{cells}</tr>")
    return (
        "<h4>Which passage each token came from: p(z|x,y_i,y_&lt;i)</h4>"
        f'<div class="wide"><table><thead><tr><td></td>{heads}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _others(answer: Answer) -> str:
    rows = "".join(
        f'<li><span dir="auto">{_text(one.text)}</span> <span class="soft">p(y|x) = '
        f"{_probability(math.exp(one.log_likelihood))}</span></li>"
        for one in answer.n_best[1:]
    )
    return f"<h4>Next best</h4><ol>{rows}</ol>"


def _marked(text: str, said: str) -> str:
    """The passage with what was said in it marked."""
    if not said.strip():
        return _text(text)
    pieces = re.split(f"({re.escape(said.strip())})", text, flags=re.IGNORECASE)
    # re.split with one group: what was found stands at the odd places.
    return "".join(
        f"<mark>{_text(piece)}</mark>" if place % 2 else _text(piece)
        for place, piece in enumerate(pieces)
    )


def _name(read: ReadPassage) -> str:
    return _text(read.title.strip() or read.id)


def _share(value: float) -> float:
    """Within 0 and 1, 0 for NaN: what a width or a depth of colour can be."""
    return min(value, 1.0) if math.isfinite(value) and value > 0 else 0.0


def _probability(value: float) -> str:
    """Three digits, or an exponent where they would all be zero."""
    return f"{value:.1e}" if 0.0 < value < 0.0005 else f"{value:.3f}"


def _text(text: str) -> str:
    return escape(_UNWRITABLE.sub("�", text))
