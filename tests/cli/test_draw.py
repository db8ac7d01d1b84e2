"""How answers look: measured in cells on a recorded console, at several widths."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from ragkit.answer import Answer, ReadPassage
from ragkit.cli import draw
from ragkit.protocols import Passage

PASSAGES = [
    Passage("1", "Chad", "The president of Chad is Idriss Déby."),
    Passage("2", "国家", "中国是一个国家。" * 5),
    Passage("3", "", "text with a \x1b[31mred\x1b[0m past, [bold]markup[/bold] and\nlines " * 9),
]


def answer(
    text: str = "Idriss Déby",
    prior: tuple[float, ...] = (0.5, 0.3, 0.2),
    posterior: tuple[float, ...] = (0.9, 0.1, 0.0),
    tokens: tuple[str, ...] | None = None,
    by_token: tuple[tuple[float, ...], ...] | None = None,
    logp: float = -0.1,
) -> Answer:
    read = tuple(map(ReadPassage, PASSAGES, prior, posterior))
    return Answer("Who?", text, logp, read, (), tokens or (text,), by_token)


def printed(what: Any, width: int = 80, colours: bool = False) -> str:
    console = Console(
        width=width,
        force_terminal=colours,
        color_system="standard" if colours else None,
        no_color=not colours,
        legacy_windows=False,
    )
    with console.capture() as capture:
        console.print(what)
    return capture.get()


@given(st.floats(-0.5, 1.5), st.integers(0, 40))
def test_a_bar_is_as_long_as_its_share(share: float, cells: int) -> None:
    drawn = draw.bar(share, cells)
    assert cell_len(drawn) == len(drawn) == cells
    filled = sum({" ": 0, "█": 8}.get(c, 8 - (ord(c) - ord("█"))) for c in drawn)
    assert filled / 8 == pytest.approx(min(max(share, 0), 1) * cells, abs=1 / 16 + 1e-9)
    assert drawn.rstrip(" ").startswith("█" * int(filled // 8))


@pytest.mark.parametrize("width", [34, 44, 80, 120, 300])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    lines = printed(draw.answer_view(answer(), asked=True), width).splitlines()
    assert max(map(cell_len, lines)) <= width
    assert len(lines) == 2 + 1 + 1 + 1 + 3  # question, answer, heading and a line each


def test_bars_grow_with_the_terminal_and_give_way_in_a_narrow_one() -> None:
    def bars(width: int) -> int:
        return printed(draw.passage_table(answer(prior=(1, 0, 0))), width).count("█")

    assert 0 == bars(40) < bars(80) < bars(120)
    assert "90.0%" in printed(draw.passage_table(answer()), 40)


def test_a_sequence_belongs_to_its_most_probable_passage() -> None:
    text = draw.answer_text(answer(posterior=(0.1, 0.8, 0.1)))
    assert text.plain == "Idriss Déby²"
    assert {span.style for span in text.spans} == {draw.colour(1)}


def test_tokens_belong_to_passages_one_by_one() -> None:
    said = answer(
        "Idriss Déby of Chad",
        tokens=("Id", "riss", " Déby", " of", " Chad"),
        by_token=((0.8, 0.1, 0.1), (0.6, 0.2, 0.2), (0.5, 0.4, 0.1), (0.1, 0.2, 0.7), (0, 1, 0)),
    )
    text = draw.answer_text(said)
    assert text.plain == "Idriss Déby¹ of³ Chad²"
    styled = {text.plain[span.start : span.end].strip(): span.style for span in text.spans}
    assert styled["Idriss Déby"] == draw.colour(0)
    assert styled["of"] == draw.colour(2)
    assert styled["Chad"] == draw.colour(1)


def test_colours_repeat_but_numbers_do_not() -> None:
    assert draw.colour(0) == draw.colour(len(draw.COLOURS))
    assert draw.superscript(10) == "¹⁰"


def test_what_a_passage_holds_cannot_steer_the_terminal() -> None:
    out = printed(draw.passage_table(answer()), 120)
    assert "\x1b" not in out
    assert "[bold]markup[/bold]" in out
    assert out.count("\n") == 4


@given(st.text(max_size=30))
def test_cleaned_text_prints_on_one_line(text: str) -> None:
    cleaned = draw.clean(text)
    assert cleaned == draw.clean(cleaned)
    assert cleaned.replace("\u200c", "").replace("\u200d", "").isprintable()
    assert len(cleaned.splitlines()) <= 1


def test_cleaning_keeps_what_shapes_a_word() -> None:
    assert draw.clean("\u0915\u094d\u200d\u0937 co\u00adoperate \u202eabc") == (
        "\u0915\u094d\u200d\u0937 cooperate abc"
    )


def test_an_excerpt_begins_near_the_answer_and_underlines_it() -> None:
    early = draw.excerpt("Paris is the capital.", "paris")
    assert early.plain == "Paris is the capital."
    late = draw.excerpt("word " * 40 + "the city of Paris, of course", "Paris")
    assert late.plain.startswith("…")
    assert late.plain.index("Paris") < 30
    (span,) = late.spans
    assert late.plain[span.start : span.end] == "Paris"
    assert draw.excerpt("No mention.", "Paris").spans == []
    assert draw.excerpt("No answer.", "").spans == []
    assert draw.excerpt("Straße Paris", "Paris").plain == "Straße Paris"


@given(st.text(max_size=60), st.text(max_size=5))
def test_an_excerpt_is_the_end_of_the_text(text: str, wanted: str) -> None:
    found = draw.excerpt(text, wanted)
    assert isinstance(found, Text)
    assert draw.clean(text).endswith(found.plain.removeprefix("…"))


@pytest.mark.parametrize(
    ("logp", "expected"),
    [(0.0, "1.000"), (math.log(0.25), "0.250"), (math.log(3e-7), "3e-07"), (-math.inf, "0.000")],
)
def test_probability(logp: float, expected: str) -> None:
    assert draw.probability(answer(logp=logp)) == expected


def test_nothing_found() -> None:
    nothing = Answer("Who?", "", -math.inf, (), (), ())
    assert "(no answer)" in printed(draw.answer_view(nothing))


def test_more_passages_than_shown() -> None:
    out = printed(draw.answer_view(answer(), shown=1))
    assert "and 2 more" in out
    assert "国家" not in out


def test_passages_have_the_colour_of_their_words() -> None:
    out = printed(draw.answer_view(answer()), colours=True)
    assert "\x1b[1;36mIdriss Déby" in out  # bold cyan, the first colour
    assert "\x1b[36m  1" in out
