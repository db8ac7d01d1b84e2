"""Finding the files of a split, counting what is in them, and what a task says of itself."""

from __future__ import annotations

import gzip
import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import ragkit
from ragkit import registry
from ragkit.errors import DataError
from ragkit.evaluate.measures import as_metrics
from ragkit.evaluate.tasks import About, FileTask, IncompleteWarning, Layout, about_of, check
from ragkit.protocols import Example

ABOUT = About(
    name="letters",
    title="letters",
    layouts=(
        Layout(
            "first",
            files={"train": ("a.txt", "b.txt"), "dev": ("b.txt",)},
            sizes={"train": (5,), "dev": (2,)},
            source="somewhere",
        ),
        Layout("second", files={"train": ("old.txt|new.txt",)}, sizes={"train": (3, 4)}),
    ),
    asked="",
    target="",
    golds="",
    metrics=("em",),
)


def read(path: Path) -> Iterator[Example]:
    text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    for letter in text.decode():
        yield Example(letter if letter.isupper() else "", letter, (letter,))


def letters(path: Path, **options: Any) -> FileTask:
    return FileTask(ABOUT, read, path, **options)


def questions(task: FileTask, split: str) -> str:
    return "".join(one.question for one in task.examples(split))


def test_the_first_layout_whose_files_are_all_there(tmp_path: Path) -> None:
    (tmp_path / "new.txt").write_text("xyz")
    assert questions(letters(tmp_path), "train") == "xyz"
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b.txt.gz").write_bytes(gzip.compress(b"de"))
    assert questions(letters(tmp_path), "train") == "xyz"
    (tmp_path / "a.txt").write_text("abc")
    task = letters(tmp_path)
    assert questions(task, "train") == "abcde"
    assert questions(task, "dev") == "de"
    assert set(task.there()) == {"train", "dev"}


def test_part_of_a_split_is_no_split(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("abc")
    with pytest.raises(DataError, match=r"first has more files of it: missing are b.txt"):
        letters(tmp_path).examples("train")


@pytest.mark.parametrize(
    ("name", "split", "text", "wanted"),
    [
        ("b.txt", "dev", "d", "1 questions, and there should be 2: 1 are missing; is the download"),
        ("b.txt", "dev", "def", "3 questions, and there should be 2: who added any"),
        ("old.txt", "train", "xy", "2 questions, and there should be 3 or 4: 1 are missing"),
        ("old.txt", "train", "xyz", ""),
        ("new.txt", "train", "wxyz", ""),
        ("mine.txt", "train", "x", ""),
    ],
)
def test_half_a_download_is_noticed(
    name: str, split: str, text: str, wanted: str, tmp_path: Path
) -> None:
    file = tmp_path / name
    file.write_text(text)
    for path in (file, tmp_path) if name != "mine.txt" else (file,):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            assert questions(letters(path), split) == text
        assert [one.category for one in caught] == [IncompleteWarning] * bool(wanted)
        assert wanted in "".join(str(one.message) for one in caught)
        assert questions(letters(path, incomplete="ignore"), split) == text
        strict = letters(path, incomplete="refuse")
        if wanted:
            with pytest.raises(DataError, match=wanted):
                questions(strict, split)
        else:
            assert questions(strict, split) == text


def test_a_part_that_is_read_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("def")
    stream = letters(tmp_path).examples("dev")
    assert next(stream).question == "d"


def test_ids_are_made_distinct(tmp_path: Path) -> None:
    file = tmp_path / "x.txt"
    file.write_text("AaAA")
    assert [one.id for one in letters(file).examples("dev")] == ["A", "2", "A#2", "A#3"]


def test_prompt_splits_and_metrics(tmp_path: Path) -> None:
    (tmp_path / "own.txt").write_text("{")
    task = letters(
        tmp_path, splits={"dev": "own.txt"}, prompt="Say {question}!", metrics=["em", "f1"]
    )
    assert questions(task, "dev") == "Say {!"
    assert task.metrics == ("em", "f1")
    assert "prompt='Say {question}!'" in repr(task)
    assert repr(letters(tmp_path, options={"ways": 2})).endswith(", ways=2)")
    assert repr(letters(tmp_path)) == f"letters(path={str(tmp_path)!r})"


def test_check(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("d")
    (tmp_path / "new.txt").write_text("xyz")
    train, dev = check.check(letters(tmp_path))
    assert (train.split, train.questions, train.fault) == ("train", 3, "")
    assert (dev.split, dev.questions, dev.known, dev.answered) == ("dev", 1, (2,), 1)
    assert "1 are missing" in dev.fault
    assert json.loads(json.dumps(dev.as_dict()))["first"]["question"] == "d"
    (only,) = check.check(letters(tmp_path), ["dev"])
    assert only == dev
    (file,) = check.check(letters(tmp_path / "b.txt"))
    assert file == dev
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DataError, match="no file of split 'train'"):
        list(check.check(letters(empty)))


# ------------------------------------------------------------------- ragkit's own tasks

OWN = [
    one.component.name
    for one in registry.components()
    if one.role == "task" and one.distribution == "ragkit"
]
QA = ("nq", "triviaqa", "webquestions", "curated-trec")

# Appendix A, and the sizes of the splits that the paper takes from DPR.
PAPER_K = {name: {"rag-token": 15, "rag-sequence": 50} for name in QA}
PAPER_K |= {name: {"rag-token": 10, "rag-sequence": 10} for name in ("msmarco-nlg", "jeopardy")}
PAPER_SIZES = {
    "nq": (79_168, 8_757, 3_610),
    "triviaqa": (78_785, 8_837, 11_313),
    "webquestions": (3_417, 361, 2_032),
    "curated-trec": (1_353, 133, 694),
}


def about(name: str) -> About:
    found = about_of(registry.find("task", name))
    assert found is not None
    return found


@pytest.mark.parametrize("name", OWN)
def test_every_task_says_what_it_is(name: str) -> None:
    found = about(name)
    assert found.name == name
    assert all((found.title, found.asked, found.target, found.golds))
    as_metrics(found.metrics, 1000)
    for layout in found.layouts:
        assert set(layout.sizes) <= set(layout.files), layout.name
        assert layout.source or name == "csv"


@pytest.mark.parametrize("name", PAPER_K)
def test_decoding_is_the_papers(name: str) -> None:
    decoding = about(name).decoding
    beams, search = (1, "thorough") if name in QA else (4, "fast")
    assert {which: how.k for which, how in decoding.items()} == PAPER_K[name]
    assert {how.options["num_beams"] for how in decoding.values()} == {beams}
    assert decoding["rag-sequence"].search == search
    assert decoding["rag-token"].search is None


@pytest.mark.parametrize("name", PAPER_SIZES)
def test_sizes_are_the_papers(name: str) -> None:
    (dpr,) = (one for one in about(name).layouts if one.name == "DPR")
    assert tuple(dpr.sizes[split][0] for split in ("train", "dev", "test")) == PAPER_SIZES[name]


@pytest.mark.parametrize("each", ["nq", "webquestions"])
def test_the_paper_trains_on_each_pair(each: str) -> None:
    assert [name for name in OWN if about(name).each_answer] == ["nq", "webquestions"]
    assert about(each).each_answer


def test_a_task_can_be_built_from_a_configuration(tmp_path: Path) -> None:
    (tmp_path / "NQ-open.dev.jsonl").write_text('{"question": "q", "answer": ["a"]}\n')
    table = {"name": "nq", "path": str(tmp_path), "incomplete": "ignore"}
    (one,) = ragkit.build("task", table).examples("test")
    assert one.answers == ("a",)
