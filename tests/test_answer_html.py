"""An answer in a notebook: its own numbers, nothing of its texts taken for HTML."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

import tiny
from ragkit import RAG, KnowledgeBase
from ragkit.answer import Answer, Candidate, ReadPassage
from ragkit.generate.seq2seq import Seq2SeqGenerator
from ragkit.protocols import Passage
from ragkit.retrieve.dense import DenseRetriever
from ragkit.retrieve.dpr import DPREncoder

VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "wbr"}
HOSTILE = "\"><script>alert(1)</script><img src=x onerror='a()'>&amp;</p></div></style>"


class Page(HTMLParser):
    """Elements as they nest; raises where an end tag is not the open element's."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[tuple[str, ...], str]] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs)
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((tuple(self.open), data))

    def within(self, tag: str) -> str:
        return "".join(text for where, text in self.texts if tag in where)

    def seen(self) -> str:
        return "".join(text for where, text in self.texts if "style" not in where)

    def classed(self, name: str) -> list[dict[str, str | None]]:
        return [a for _, a in self.elements if name in (a.get("class") or "").split()]


def answer(**changes: object) -> Answer:
    made = Answer(
        question="Who keeps the lighthouse?",
        text="Ada Holm",
        log_likelihood=math.log(0.625),
        passages=(
            ReadPassage(
                Passage("p1", "Lighthouse", "ADA HOLM keeps it."), 0.4, 0.91, {"bm25": 12.5}
            ),
            ReadPassage(Passage("p2", "", "The ferry leaves at nine."), 0.6, 0.09),
        ),
        n_best=(
            Candidate("Ada Holm", math.log(0.625), -0.5),
            Candidate("Ada", math.log(0.125), -0.9),
        ),
        tokens=("Ada", " Holm"),
        token_posterior=((0.876, 0.124), (0.944, 0.056)),
    )
    return dataclasses.replace(made, **changes)  # type: ignore[arg-type]


def html(made: Answer) -> str:
    return made._repr_html_()


def test_it_is_one_element_well_nested() -> None:
    page = Page(html(answer()))
    assert page.elements[0] == ("div", {"class": "ragkit-answer"})


def test_the_numbers_are_those_of_the_answer() -> None:
    made = answer()
    page = Page(html(made))
    seen = page.seen()
    assert "p(y|x) = 0.625" in seen
    assert f"{math.log(0.625):.3f} nats" in seen
    widths = [float(re.findall(r"[\d.]+", a["style"] or "")[0]) for a in page.classed("fill")]
    shares = [share for read in made.passages for share in (read.prior, read.posterior)]
    assert widths == pytest.approx([100 * share for share in shares], abs=0.006)
    assert re.findall(r"(?:prior|posterior)([\d.]+)", seen) == [f"{s:.3f}" for s in shares]
    assert "scores: bm25 12.5" in seen
    assert seen.count("scores:") == 1
    assert "Ada p(y|x) = 0.125" in seen


def test_the_heat_map_has_a_row_a_passage_and_a_column_a_token() -> None:
    made = answer()
    page = Page(html(made))
    depths = [float((a["style"] or "").partition("--p: ")[2]) for a in page.classed("heat")]
    by_token = made.token_posterior
    assert by_token is not None
    assert depths == pytest.approx([by_token[t][k] for k in range(2) for t in range(2)], abs=6e-4)
    cells = [text for where, text in page.texts if where[-1] == "td"]
    assert cells == ["0.88", "0.94", "0.12", "0.06"]
    assert "Ada" in page.within("thead")
    assert "␣Holm" in page.within("thead")  # a space is seen
    assert "<table" not in html(answer(token_posterior=None))


def test_the_answer_is_marked_where_a_passage_has_it() -> None:
    page = Page(html(answer()))
    assert page.within("mark") == "ADA HOLM"
    assert "<mark" not in html(answer(text="nine o'clock"))
    assert "<mark" not in html(answer(text=" "))


def test_a_passage_without_a_title_goes_by_its_id() -> None:
    assert "2 · p2" in Page(html(answer())).within("summary")


def test_hostile_texts_stay_texts() -> None:
    passage = Passage(HOSTILE, HOSTILE, f"a {HOSTILE} b")
    made = answer(
        question=HOSTILE,
        text=HOSTILE,
        passages=(ReadPassage(passage, 0.5, 0.5, {HOSTILE: 1.0}),),
        n_best=(Candidate(HOSTILE, -1.0, -1.0), Candidate(HOSTILE, -2.0, -2.0)),
        tokens=(HOSTILE.replace(" ", ""),),
        token_posterior=((1.0,),),
    )
    page = Page(html(made))
    plain = Page(html(answer()))
    tags = {tag for tag, _ in page.elements}
    assert tags <= {tag for tag, _ in plain.elements}
    assert not [a for _, a in page.elements if set(a) - {"class", "style", "dir", "scope", "title"}]
    assert page.seen().count(HOSTILE) == 8  # 7 texts, and the passage's where it is marked
    assert page.within("mark") == HOSTILE


@pytest.mark.parametrize("piece", ["\x00", "\x1b[31m", "\x85", "\ud800", "\uffff"])
def test_what_html_cannot_hold_is_replaced(piece: str) -> None:
    made = html(answer(text=f"a{piece}b", tokens=(piece, piece)))
    assert piece not in made
    assert "a�" in made
    assert json.loads(json.dumps(made).encode("utf-8")) == made  # as a notebook keeps it


def test_nothing_is_fetched_and_nothing_runs() -> None:
    made = html(answer())
    page = Page(made)
    assert not {"script", "link", "img", "iframe", "object"} & {tag for tag, _ in page.elements}
    assert not re.search(r"https?:|url\(|@import|//\w", made)
    assert not [a for _, a in page.elements if {"src", "href"} & set(a)]


@pytest.mark.parametrize("ground", ["color: #", "background: #", "color: black", "white;"])
def test_its_colours_lie_over_those_of_the_page(ground: str) -> None:
    assert ground not in Page(html(answer())).within("style")


def test_styles_touch_nothing_else_on_the_page() -> None:
    style = Page(html(answer())).within("style")
    for selectors in re.findall(r"(?:^|\})([^{}]+)\{", style):
        assert all(one.strip().startswith(".ragkit-answer") for one in selectors.split(","))


def test_an_answer_without_anything_is_shown() -> None:
    page = Page(html(Answer("q", "", -math.inf, (), (), ())))
    assert "(no text)" in page.seen()
    assert "p(y|x) = 0.000" in page.seen()
    assert "-inf" in page.seen()


def test_impossible_and_tiny_shares() -> None:
    reads = tuple(
        ReadPassage(Passage(str(n), "t", "x"), share, 1e-9)
        for n, share in enumerate((math.nan, 1.0000001, -0.0))
    )
    page = Page(html(answer(passages=reads, token_posterior=None)))
    widths = [a["style"] for a in page.classed("fill")]
    assert [w for w in widths[::2]] == ["width: 0.00%", "width: 100.00%", "width: 0.00%"]
    assert "1.0e-09" in page.seen()


def test_an_answer_of_a_model_shows_itself(tmp_path: Path) -> None:
    """More passages asked for than there are, and every token with its posterior."""
    encoder = DPREncoder(tiny.bert(), tokenizer=tiny.tokenizer())
    passages = [{"id": str(n), "title": f"t{n}", "text": f"text {n}"} for n in range(3)]
    base = KnowledgeBase.build(passages, encoder, "exact", tmp_path / "kb")
    generator = Seq2SeqGenerator(tiny.bart(), tokenizer=tiny.tokenizer())
    rag = RAG(DenseRetriever(encoder, base), generator, "rag-token")
    (made,) = rag.answer("a question", k=5, max_new_tokens=6, min_new_tokens=6)
    page = Page(html(made))
    assert len(made.passages) == 3
    assert len(page.classed("fill")) == 2 * 3
    assert made.tokens
    depths = [float((a["style"] or "").partition("--p: ")[2]) for a in page.classed("heat")]
    assert len(depths) == 3 * len(made.tokens)
    columns = [depths[t :: len(made.tokens)] for t in range(len(made.tokens))]
    assert [sum(column) for column in columns] == pytest.approx([1.0] * len(columns), abs=2e-3)
