"""Runs whose texts are full of markup, and their page, for tests that look at it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import runs
from ragkit.evaluate.report import write
from ragkit.protocols import Example, Passage, Prediction

NASTY = "</script><script>document.title = 'broken'</script><!-- <b>bold</b> &amp;"
KINDS = ("right", "unsupported", "retrieval", "reader")


def passages(i: int, one: Example) -> Sequence[Passage]:
    """Two; in half of all questions one holds the answer."""
    holds = i % 4 in (0, 3)
    return [
        Passage(f"x{i}-0", f"Title {NASTY}", f"nothing {NASTY}"),
        Passage(f"x{i}-1", "Second", f"it says answer {i}, indeed" if holds else "nothing"),
    ]


def change(i: int, one: Prediction) -> Prediction:
    """As RAG-Token says it: a posterior for each token."""
    return replace(
        one,
        log_likelihood=-0.1 * (i % 20),
        prior=(0.75, 0.25),
        posterior=(0.125, 0.875),
        tokens=("an", f" <i>{i}</i>"),
        token_posterior=((0.25, 0.75), (0.0625, 0.9375)),
    )


def examples(n: int) -> list[Example]:
    return [replace(one, passage_ids=()) for one in runs.examples(n, f"Café {NASTY}")]


def say(i: int, one: Example) -> str:
    """Question i is of kind ``KINDS[i % 4]``."""
    return one.answers[0] if i % 4 < 2 else f"said {NASTY}"


def other(i: int, one: Example) -> str:
    """The same, but for every tenth."""
    return "unlike it" if i % 10 == 0 else say(i, one)


def page(folder: Path, n: int, names: Sequence[str] = ("one", "two")) -> Path:
    asked = examples(n)
    made = [
        runs.write(
            folder / name, asked, (say, other)[at], passages=passages, change=change, k=2 + at
        )
        for at, name in enumerate(names)
    ]
    return write(made, folder / "page.html", resamples=100)


class Tree(HTMLParser):
    """Elements with attributes, and the text of each by its id."""

    EMPTY = frozenset({"meta", "link", "input", "br"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: dict[str, str] = {}
        self.unclosed: list[str] = []
        self._ids: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.elements.append((tag, found))
        if tag not in self.EMPTY:
            self.unclosed.append(tag)
            self._ids.append(found.get("id", ""))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.unclosed, f"</{tag}> closes nothing"
        assert self.unclosed.pop() == tag
        self._ids.pop()

    def handle_data(self, data: str) -> None:
        for id in self._ids:
            if id:
                self.texts[id] = self.texts.get(id, "") + data
