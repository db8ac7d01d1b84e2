"""The demo's page: whole by itself, well formed, the same for the same figures."""

from __future__ import annotations

import math
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from ragkit.answer import Answer, Candidate, ReadPassage
from ragkit.demo import page
from ragkit.demo.charts import line, running_mean
from ragkit.demo.measure import MARGINALIZERS, RECALL_AT
from ragkit.demo.world import EDITIONS
from ragkit.protocols import Passage

VOID = {"meta", "line"}


def entry(mean: float) -> dict[str, float]:
    return {"mean": mean, "low": mean - 1.5, "high": mean + 1.25, "n": 219}


def figures() -> dict[str, Any]:
    """Every mean is another number, so that each can be found on the page."""
    em = {
        name: {
            f"facts {base}, answers {gold}": entry(50 + 10 * m + 2 * b + g + 0.7)
            for b, base in enumerate(EDITIONS)
            for g, gold in enumerate(EDITIONS)
        }
        for m, name in enumerate(MARGINALIZERS)
    }
    recall = {
        when: {
            edition: {f"recall@{k}": entry(20 + 10 * w + 5 * e + k / 10) for k in RECALL_AT}
            for e, edition in enumerate(EDITIONS)
        }
        for w, when in enumerate(("before", "after"))
    }
    return {
        "ragkit": "9.9.9<b>",
        "settings": {"steps": 250, "batch": 16, "k": 8, "seed": 3},
        "questions": 219,
        "recall before": recall["before"],
        "recall after": recall["after"],
        "em": em,
        "closed book": {"2016": entry(3.3), "2020": entry(4.4)},
        "seconds": 101.2,
        "peak_mebibytes": 1548,
    }


def history(steps: int = 60) -> list[dict[str, float]]:
    return [
        {"step": s, "loss": 3 * math.exp(-s / 20), "prior_entropy": 1 / s}
        for s in range(1, steps + 1)
    ]


def answer(text: str = "Ada & Co", posterior: bool = True) -> Answer:
    shares = (0.75, 0.25)
    read = tuple(
        ReadPassage(Passage(f"p{i}", f"Land <{i}>", f"The head is {text}."), share, share)
        for i, share in enumerate(shares)
    )
    return Answer(
        question="Who heads <script>alert(1)</script>?",
        text=text,
        log_likelihood=math.log(0.8),
        passages=read,
        n_best=(Candidate(text, math.log(0.8), math.log(0.8)),),
        tokens=("Ada", " &", " Co"),
        token_posterior=((0.9, 0.1), (0.4, 0.6), (0.2, 0.8)) if posterior else None,
    )


def shown() -> list[dict[str, Any]]:
    one = answer()
    return [{"question": one.question, "2016": one, "2020": answer("", posterior=False)}]


@pytest.fixture(scope="module")
def html() -> str:
    return page.render(figures(), history(), shown())


class Reader(HTMLParser):
    """Checks that tags nest, and keeps them with their attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def read(html: str) -> Reader:
    reader = Reader()
    reader.feed(html)
    reader.close()
    return reader


def test_it_is_well_formed_and_every_place_is_filled(html: str) -> None:
    assert read(html).open == []
    assert "<!--" not in html


def test_it_refers_to_nothing_outside_itself(html: str) -> None:
    reader = read(html)
    for tag, attributes in reader.tags:
        assert tag not in {"script", "link", "img", "iframe", "base", "object", "embed", "use"}
        assert not {"src", "href", "srcset", "action", "poster", "data"} & set(attributes)
        assert not any(name.startswith("on") for name in attributes)
    assert not re.search(r"url\(|@import|@font-face|https?:|//[a-z]", html)


def test_what_questions_and_passages_hold_is_text_not_markup(html: str) -> None:
    words = "".join(read(html).words)
    assert "Who heads <script>alert(1)</script>?" in words
    assert "Land <0> · The head is Ada & Co." in words
    assert "ragkit 9.9.9<b>" in words


def test_every_figure_stands_there_with_its_interval(html: str) -> None:
    words = " ".join(read(html).words)
    given = figures()
    entries = [e for name in MARGINALIZERS for e in given["em"][name].values()]
    entries += [e for when in ("before", "after") for x in given[f"recall {when}"].values()
                for e in x.values()]  # fmt: skip
    entries += list(given["closed book"].values())
    for one in entries:
        assert f"{one['mean']:.1f}" in words
        assert f"{one['low']:.1f} – {one['high']:.1f}" in words


def test_the_heat_map_has_a_row_for_each_passage_and_a_cell_for_each_token(html: str) -> None:
    (table,) = re.findall(r'<table class="heat">.*?</table>', html, re.S)
    (body,) = re.findall(r"<tbody>(.*?)</tbody>", table, re.S)
    rows = [re.findall(r"--p:([\d.]+)", row) for row in body.split("</tr>")[:-1]]
    assert rows == [["0.900", "0.400", "0.200"], ["0.100", "0.600", "0.800"]]


def test_wide_parts_are_reached_by_keyboard_and_charts_have_names(html: str) -> None:
    tags = read(html).tags
    scrolled = [a for _, a in tags if a.get("class") == "scroll"]
    assert scrolled
    assert all(a.get("tabindex") == "0" and a.get("aria-label") for a in scrolled)
    charts = [a for tag, a in tags if tag == "svg"]
    assert len(charts) == 2
    assert all(a.get("role") == "img" and a.get("aria-label") for a in charts)


def test_the_same_figures_give_the_same_page(html: str) -> None:
    assert page.render(figures(), history(), shown()) == html


def test_the_answer_is_marked_in_its_passage_whatever_its_case() -> None:
    assert page._marked("The head is ADA & Co.", "ada & co") == (
        "The head is <mark>ADA &amp; Co</mark>."
    )
    assert page._marked("İ is one letter that lowers to two: ada", "ada").count("<mark>") == 0
    assert page._marked("nothing <here>", "ada") == "nothing &lt;here&gt;"


def test_a_chart_has_every_step_and_higher_is_up() -> None:
    drawn = line("title", [1, 2, 3, 4], [4.0, 3.0, 2.0, 0.0], "loss")
    raw, mean = (
        [tuple(map(float, p.split(","))) for p in points.split()]
        for points in re.findall(r'points="([^"]+)"', drawn)
    )
    assert len(raw) == len(mean) == 4
    assert [x for x, _ in raw] == sorted(x for x, _ in raw)
    assert [y for _, y in raw] == sorted(y for _, y in raw)  # falling values, growing y
    assert line("title", [], [], "loss") == ""
    assert "<polyline" in line("title", [1], [0.0], "loss")  # one step, flat


def test_a_running_mean() -> None:
    assert running_mean([1.0, 3.0, 5.0, 9.0], 2) == [1.0, 2.0, 4.0, 7.0]
