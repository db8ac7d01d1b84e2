"""The published files themselves, where they are at hand: every split read and counted."""

from __future__ import annotations

import os
import re
import warnings
from pathlib import Path
from typing import Any

import pytest

import ragkit
from ragkit.evaluate.tasks import evidence, paragraphs
from ragkit.evaluate.tasks.patterns import literal

DATA = Path(os.environ.get("RAGKIT_DATA", Path(__file__).parents[4] / "shared" / "data"))

# Numbers as the publishers state them, or lines counted by other means.
SPLITS = [
    ("nq", "nq-open", "test", 3_610),
    ("nq", "dpr-qa", "dev", 8_757),
    ("webquestions", "webquestions", "train", 3_778),
    ("webquestions", "webquestions", "trainmodel", 2_834),
    ("webquestions", "webquestions", "test", 2_032),
    ("webquestions", "dpr-qa", "test", 2_032),
    ("curated-trec", "curated-trec", "train", 1_704),
    ("curated-trec", "curated-trec", "test", 766),
    ("curated-trec", "dpr-qa", "test", 694),
    ("squad", "squad", "v2-dev", 11_873 - 5_945),
    ("fever", "fever-symmetric", "dev", 708),
    ("fever", "fever-symmetric", "test", 712),
    ("beir", "scifact", "test", 300),
]


def folder(name: str) -> str:
    if not (DATA / name).is_dir():
        pytest.skip(f"needs RAGKIT_DATA/{name}")
    return str(DATA / name)


@pytest.mark.parametrize(("task", "where", "split", "number"), SPLITS)
def test_a_published_split(task: str, where: str, split: str, number: int) -> None:
    made: Any = ragkit.make("task", task, path=folder(where), incomplete="refuse")
    found = list(made.examples(split))
    assert len(found) == number
    assert made.found(split).known == (number,)
    assert len({one.id for one in found}) == number
    assert not any("#" in one.id for one in found), "an id was given twice"
    assert all(one.question.strip() and (one.answers or one.passage_ids) for one in found)
    if task == "curated-trec":
        assert all(one.target for one in found)


def test_two_ways_to_the_same_questions() -> None:
    theirs = ragkit.make("task", "webquestions", path=folder("webquestions"))
    dpr = ragkit.make("task", "webquestions", path=folder("dpr-qa"))
    same = 0
    for one, other in zip(theirs.examples("test"), dpr.examples("test"), strict=True):
        assert one.question == other.question
        # The copy keeps the quotes of SEMPRE's lists in five answers, DPR does not.
        if not any('"' in answer for answer in one.answers):
            assert set(one.answers) == set(other.answers)
            same += 1
    assert same == 2_032 - 5


def test_patterns_are_spelled() -> None:
    task = ragkit.make("task", "curated-trec", path=folder("curated-trec"))
    flags = re.IGNORECASE | re.MULTILINE
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of `re`, about flags and nested sets
        for one in task.examples("train"):
            pattern = one.answers[0]
            text = literal(pattern)
            assert text is not None
            if text.isascii() and pattern.isascii():
                assert re.fullmatch(pattern, text, flags), (pattern, text)


def test_half_of_a_published_file(tmp_path: Path) -> None:
    whole = Path(folder("dpr-qa")) / "topics.dpr.nq.dev.txt.gz"
    half = tmp_path / whole.name
    half.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    task = ragkit.make("task", "nq", path=str(tmp_path))
    with pytest.raises(ragkit.DataError, match=r"cut off or damaged after line \d{4}; fetch"):
        list(task.examples("dev"))


def test_passages_that_come_with_questions() -> None:
    file = Path(folder("squad")) / "dev-v2.0.json.gz"
    passages = {one.id: one.text for one in paragraphs(file)}
    task: Any = ragkit.make("task", "squad", path=str(file))
    for one in task.examples("v2-dev"):
        (gold,) = one.passage_ids
        assert all(answer in passages[gold] for answer in one.answers)
    claims = Path(folder("fever-symmetric")) / "symmetric_v0.2" / "fever_symmetric_dev.jsonl"
    texts = {one.id: one.text for one in evidence(claims)}
    for one in ragkit.make("task", "fever", path=str(claims)).examples("dev"):
        assert texts[one.passage_ids[0]] == one.extra["evidence"]
