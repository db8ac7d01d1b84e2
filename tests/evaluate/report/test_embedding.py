"""Data in the page: nothing ends its block, all of it comes back, and it is made part by part."""

from __future__ import annotations

import json
import math
import tracemalloc
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import runs
from ragkit.answer import Answer, ReadPassage
from ragkit.evaluate.comparison import open_run
from ragkit.evaluate.predictions import from_record, to_line, to_record
from ragkit.evaluate.report import Gathered, embedding, gather
from ragkit.protocols import Example, Passage, Prediction

NASTY = "</script><script>alert(1)</script><!--<script> \u2028\u2029 \ud800 \0 ]]> &lt; ü"


class Blocks(HTMLParser):
    """What a browser takes for elements, and the content of the scripts."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=False)
        self.tags: list[str] = []
        self.data: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.data.append(data)


def back(text: str) -> Any:
    blocks = Blocks()
    blocks.feed(text)
    blocks.close()
    assert blocks.tags == ["script"]
    return json.loads("".join(blocks.data))


@given(st.text(st.characters()) | st.sampled_from(["</script>", "<!--", "]]>", NASTY]))
def test_any_text_comes_back_and_ends_nothing(text: str) -> None:
    written = embedding.script("a", {"text": [text]})
    body = written.partition(">")[2].rpartition("</script>")[0]
    assert "<" not in body
    assert back(written) == {"text": [text]}
    written.encode()  # a lone surrogate is written as an escape


def test_infinity_is_refused_rather_than_written() -> None:
    with pytest.raises(ValueError, match="JSON"):
        embedding.script("a", math.inf)


def gathered(folder: Path, n: int, **options: Any) -> Gathered:
    asked = runs.examples(n)
    return gather(open_run(runs.write(folder, asked, lambda i, one: "no", **options)), "EM")


def test_index_and_parts_hold_every_question(tmp_path: Path) -> None:
    n = 2 * embedding.PART + 7

    def read(i: int, one: Example) -> Sequence[Passage]:
        return [Passage("shared", "Title", "x" * 30), Passage(f"p{i}", "", f"answer {i}")]

    def change(i: int, one: Prediction) -> Prediction:
        return replace(one, prior=(0.123456, 0.876544), posterior=(1e-9, 1.0))

    runs_ = [gathered(tmp_path / name, n, passages=read, change=change) for name in "ab"]
    index = back(embedding.script("index", embedding.index(runs_)))
    assert index["ids"] == [f"q{i}" for i in range(n)]
    assert index["golds"][n - 1] == [f"answer {n - 1}"]
    assert [len(run["kinds"]) for run in index["runs"]] == [n, n]
    assert {index["kinds"][int(c)] for c in index["runs"][0]["kinds"]} == {"reader"}
    parts = list(embedding.parts(runs_, passages=10, letters=20))
    assert [len(part["questions"]) for part in parts] == [embedding.PART, embedding.PART, 7]
    # Once, however many questions and runs read it; cut where it is longer.
    assert parts[2]["passages"].count(["shared", "Title", "x" * 20 + "…"]) == 1
    assert len(parts[2]["passages"]) == 1 + 7
    ours, theirs = parts[2]["questions"][6]
    assert ours == theirs
    assert [parts[2]["passages"][place][0] for place in ours["z"]] == ["shared", f"p{n - 1}"]
    assert (ours["a"], ours["b"], ours["v"]) == ([0.1235, 0.8765], [1e-9, 1.0], [0.0, 0.0])
    assert (ours["g"], ours["r"], ours["n"]) == ([1], 1, 2)
    assert "h" not in ours


def test_passages_beyond_the_limit_are_counted_alone(tmp_path: Path) -> None:
    def read(i: int, one: Example) -> Sequence[Passage]:
        return [Passage(f"x{n}", "", f"number {n}") for n in range(8)]

    def change(i: int, one: Prediction) -> Prediction:
        shares = tuple(n / 28 for n in range(8))
        return replace(one, prior=shares, tokens=("a", " b"), token_posterior=(shares, shares))

    (part,) = embedding.parts(
        [gathered(tmp_path / "a", 1, passages=read, change=change)], passages=3, letters=9
    )
    ((said,),) = part["questions"]
    assert (len(said["z"]), len(said["a"]), said["n"]) == (3, 3, 8)
    assert said["t"] == ["a", " b"]
    assert said["h"] == [[0.0, 0.0357, 0.0714]] * 2


def test_a_run_keeps_the_posterior_of_tokens_where_there_is_one() -> None:
    reads = (
        ReadPassage(Passage("1", "a", "b"), 0.75, 0.5),
        ReadPassage(Passage("2", "", ""), 0.25, 0.5),
    )
    shares = ((0.1, 0.9), (0.3, 0.7))
    said = Answer("Who?", "Ada Holm", -1.0, reads, (), ("Ada", " Holm"), shares).prediction("q")
    assert (said.tokens, said.token_posterior) == (("Ada", " Holm"), shares)
    assert from_record(json.loads(to_line(to_record(said, 0.5)))) == said
    whole = Answer("Who?", "Ada Holm", -1.0, reads, (), ("Ada", " Holm")).prediction("q")
    record = to_record(whole, 0.5)
    assert "tokens" not in record
    assert from_record(record) == whole


def test_memory_does_not_grow_with_the_run(tmp_path: Path) -> None:
    def read(i: int, one: Example) -> Sequence[Passage]:
        return [Passage(f"x{i}-{n}", "", f"{i} {n} " * 60) for n in range(4)]

    peaks = []
    for n in (300, 1500):
        one = gathered(tmp_path / str(n), n, passages=read)
        tracemalloc.start()
        for part in embedding.parts([one], passages=4, letters=2000):
            embedding.script("part", part)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    written = 1500 * 4 * 300  # letters, at least
    assert peaks[1] < 1.25 * peaks[0] + 200_000 < written
