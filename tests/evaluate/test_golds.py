"""Golds kept in a run's folder: what metrics compared with, and nothing of other questions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ragkit
import runs
from ragkit.errors import CorruptError
from ragkit.evaluate import golds
from ragkit.protocols import Example

TEXTS = st.lists(st.text(st.characters(exclude_categories=("Cs",))), max_size=3).map(tuple)


class Parrot:
    def answer(self, questions: list[str], k: int, **options: object) -> list[ragkit.Answer]:
        return [ragkit.Answer(one, "x", -1.0, (), (), ()) for one in questions]


class Task:
    metrics = ("em",)

    def __init__(self, asked: list[Example]) -> None:
        self.asked = asked

    def examples(self, split: str) -> list[Example]:
        return self.asked


def test_an_evaluation_keeps_its_golds_and_tables(tmp_path: Path) -> None:
    asked = runs.examples(4)
    ragkit.evaluate(Parrot(), Task(asked), k=3, directory=tmp_path, metrics=["em", "rr"])
    assert [(one.id, one.answers, one.passage_ids) for one in golds.load(tmp_path) or ()] == [
        (one.id, one.answers, one.passage_ids) for one in asked
    ]
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["golds"] == golds.digest(asked)
    tables = {label: one["table"] for label, one in result["metrics"].items()}
    assert tables == {"EM": {"name": "em"}, "RR@3": {"name": "rr", "k": 3}}
    ragkit.evaluate(Parrot(), Task(asked), k=3, directory=tmp_path, metrics=["em"], limit=2)
    assert len(golds.load(tmp_path) or ()) == 2
    more = runs.examples(2, "riddle")
    ragkit.evaluate(Parrot(), Task(more), k=2, directory=tmp_path, overwrite=True)
    assert [one.id for one in golds.load(tmp_path) or ()] == ["q0", "q1"]


@settings(deadline=None)
@given(answers=TEXTS, passages=TEXTS)
def test_what_is_written_is_read(
    answers: tuple[str, ...], passages: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("golds")
    asked = [Example("1", "", answers, passages), Example("2", "")]
    golds.save(folder, asked)
    assert golds.load(folder) == asked
    assert golds.digest(golds.load(folder) or ()) == golds.digest(asked)


def test_a_run_without_and_a_file_that_is_none(tmp_path: Path) -> None:
    assert golds.load(tmp_path) is None
    (tmp_path / "golds.jsonl").write_text('{"id": "1", "answers": [1], "passage_ids": []}\n')
    with pytest.raises(CorruptError, match=r"golds\.jsonl, line 1: not the golds of a question"):
        golds.load(tmp_path)
