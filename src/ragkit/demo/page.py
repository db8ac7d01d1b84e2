"""The demo's page: one self-contained HTML file, no network, light and dark.

Shows figures, history and answers that it is handed; computes none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from typing import Any

from ragkit.answer import Answer
from ragkit.demo.charts import line
from ragkit.demo.measure import MARGINALIZERS, RECALL_AT
from ragkit.demo.world import EDITIONS

NAMES = {"rag-sequence": "RAG-Sequence", "rag-token": "RAG-Token"}


def render(
    figures: Mapping[str, Any],
    history: Sequence[Mapping[str, float]],
    answers: Sequence[Mapping[str, Any]],
) -> str:
    """The whole page."""
    template = (files("ragkit.demo") / "page.html").read_text(encoding="utf-8")
    settings = figures["settings"]
    parts = {
        "lead": _lead(figures),
        "swap": "".join(_swap(name, figures) for name in MARGINALIZERS),
        "recall": _recall(figures),
        "curves": _curves(history),
        "answers": "".join(_answer(entry) for entry in answers),
        "facts": (
            f"{figures['questions']} questions about countries never trained on; intervals are "
            f"95% bootstrap, exact binomial where every outcome is the same. {settings['steps']} "
            f"steps of {settings['batch']} questions over {settings['k']} passages, "
            f"seed {settings['seed']}; "
            f"{figures['seconds']:.0f} seconds and {figures['peak_mebibytes']} MiB in all, "
            f"ragkit {escape(figures['ragkit'])}. Facts: CIA World Factbook, editions of "
            "November 2016 and November 2020 (public domain)."
        ),
    }
    for name, value in parts.items():
        template = template.replace(f"<!-- {name} -->", value)
    return template


def _lead(figures: Mapping[str, Any]) -> str:
    table = figures["em"]["rag-token"]
    matched = [table[f"facts {e}, answers {e}"]["mean"] for e in EDITIONS]
    crossed = [
        table[f"facts {a}, answers {b}"]["mean"] for a in EDITIONS for b in EDITIONS if a != b
    ]
    tiles = (
        (f"{min(matched):.0f}%", "right with the knowledge base of the year asked about"),
        (f"{max(crossed):.0f}%", "right with the other year's: it reads, it does not recall"),
        (f"{max(e['mean'] for e in figures['closed book'].values()):.0f}%", "right without one"),
    )
    return "".join(
        f'<div class="tile"><b>{value}</b><span>{text}</span></div>' for value, text in tiles
    )


def _cell(entry: Mapping[str, float], kind: str) -> str:
    return (
        f'<td class="{kind}"><b>{entry["mean"]:.1f}</b>'
        f"<small>{entry['low']:.1f} – {entry['high']:.1f}</small></td>"
    )


def _swap(name: str, figures: Mapping[str, Any]) -> str:
    rows = "".join(
        f'<tr><th scope="row">facts of {base}</th>'
        + "".join(
            _cell(
                figures["em"][name][f"facts {base}, answers {gold}"],
                "good" if base == gold else "low",
            )
            for gold in EDITIONS
        )
        + "</tr>"
        for base in EDITIONS
    )
    book = "".join(_cell(figures["closed book"][gold], "low") for gold in EDITIONS)
    heads = "".join(f'<th scope="col">answers of {gold}</th>' for gold in EDITIONS)
    return (
        f"<table><caption>{NAMES[name]}, exact match in percent</caption>"
        f"<thead><tr><td></td>{heads}</tr></thead><tbody>{rows}"
        f'<tr><th scope="row">no book</th>{book}</tr></tbody></table>'
    )


def _recall(figures: Mapping[str, Any]) -> str:
    heads = "".join(f'<th scope="col">recall@{k}</th>' for k in RECALL_AT)
    rows = "".join(
        f'<tr><th scope="row">{edition}, {when}</th>'
        + "".join(
            _cell(
                figures[f"recall {when}"][edition][f"recall@{k}"],
                "good" if when == "after" else "low",
            )
            for k in RECALL_AT
        )
        + "</tr>"
        for edition in EDITIONS
        for when in ("before", "after")
    )
    return (
        "<table><caption>The question's own passage among the first k, in percent, before and "
        f"after joint training</caption><thead><tr><td></td>{heads}</tr></thead>"
        f"<tbody>{rows}</tbody></table>"
    )


def _curves(history: Sequence[Mapping[str, float]]) -> str:
    drawn = ""
    for name, title, kind in (
        ("loss", "−log p(y|x), nats", "loss"),
        ("prior_entropy", "entropy of p(z|x), nats", "entropy"),
    ):
        entries = [entry for entry in history if name in entry]
        chart = line(title, [e["step"] for e in entries], [e[name] for e in entries], kind)
        drawn += f"<figure><figcaption>{escape(title)}</figcaption>{chart}</figure>"
    return drawn


def _answer(entry: Mapping[str, Any]) -> str:
    sides = "".join(_side(edition, entry[edition]) for edition in EDITIONS)
    return (
        f'<article><h3>{escape(entry["question"])}</h3><div class="sides">{sides}</div></article>'
    )


def _side(edition: str, answer: Answer) -> str:
    passages = "".join(
        f'<li><div class="text">{escape(read.title)} · {_marked(read.text, answer.text)}</div>'
        f"{_bar('prior', read.prior)}{_bar('posterior', read.posterior)}</li>"
        for read in answer.passages
    )
    return (
        f'<section><h4>{edition}</h4><p class="said">{escape(answer.text) or "(nothing)"} '
        f"<small>p = {answer.probability:.2f}</small></p><ol>{passages}</ol>"
        f"{_heat(answer)}</section>"
    )


def _marked(text: str, answer: str) -> str:
    """The text with the answer marked where it stands."""
    at = text.casefold().find(answer.casefold()) if answer else -1
    if at < 0 or len(text.casefold()) != len(text):
        return escape(text)
    end = at + len(answer)
    return f"{escape(text[:at])}<mark>{escape(text[at:end])}</mark>{escape(text[end:])}"


def _bar(name: str, share: float) -> str:
    return (
        f'<div class="bar {name}"><span>{name} {100 * share:.0f}%</span>'
        f'<b><i style="width:{100 * share:.1f}%"></i></b></div>'
    )


def _heat(answer: Answer) -> str:
    """Token by passage: p(z|x,y_i,y_<i), figure 2 of the paper."""
    if not answer.token_posterior:
        return ""
    heads = "".join(
        f'<th scope="col">{escape(piece.strip()) or "·"}</th>' for piece in answer.tokens
    )
    rows = ""
    for place in range(len(answer.passages)):
        cells = "".join(
            f'<td style="--p:{row[place]:.3f}" title="{100 * row[place]:.0f}%">'
            f'<span class="seen">{100 * row[place]:.0f}</span></td>'
            for row in answer.token_posterior
        )
        rows += f'<tr><th scope="row">{place + 1}</th>{cells}</tr>'
    return (
        '<p class="note">which passage each token came from, in percent</p>'
        '<div class="scroll" tabindex="0" role="region" aria-label="posterior by token">'
        f'<table class="heat"><thead><tr><td></td>{heads}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )
