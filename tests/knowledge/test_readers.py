"""Passages from every kind of source, and the words for each fault in one."""

from __future__ import annotations

import csv
import gzip
import json

import datasets
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragkit.errors import DataError
from ragkit.knowledge import read
from ragkit.protocols import Passage

TWO = [Passage("a", "Title", "some text"), Passage("b", "", "more “text”\nin two lines")]
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


def dicts(passages=TWO) -> list[dict[str, str]]:
    return [one._asdict() for one in passages]


def write(path, content: str | bytes):
    raw = content.encode() if isinstance(content, str) else content
    with gzip.open(path, "wb") if path.suffix == ".gz" else path.open("wb") as file:
        file.write(raw)
    return path


def test_iterables_of_dicts_and_passages():
    assert list(read(TWO)) == TWO
    assert list(read(dicts())) == TWO
    assert list(read(one for one in dicts())) == TWO
    assert list(read([{"id": 7, "text": "x"}])) == [Passage("7", "", "x")]
    assert list(read([{"id": "7", "title": None, "text": "x", "more": 1}])) == [
        Passage("7", "", "x")
    ]


def test_a_dataset():
    assert list(read(datasets.Dataset.from_list(dicts()))) == TWO


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_jsonl(tmp_path, ending):
    lines = [json.dumps(one) for one in dicts()]
    path = write(tmp_path / f"c.jsonl{ending}", f"{lines[0]}\n\n{lines[1]}\n")
    assert list(read(path)) == list(read(str(path))) == TWO


def test_a_beir_corpus(tmp_path):
    rows = [{"_id": one.id, "title": one.title, "text": one.text, "metadata": {}} for one in TWO]
    path = write(tmp_path / "corpus.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    assert list(read(path)) == TWO


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_dpr_passages(tmp_path, ending):
    content = (
        "id\ttext\ttitle\n"
        '1\t"Aaron Aaron ( or ; ""Ahärôn"") is a prophet"\tAaron\n'
        "2\tplain text, 'single' quotes\tA. B.\n"
    )
    path = write(tmp_path / f"psgs_w100.tsv{ending}", content)
    assert list(read(path)) == [
        Passage("1", "Aaron", 'Aaron Aaron ( or ; "Ahärôn") is a prophet'),
        Passage("2", "A. B.", "plain text, 'single' quotes"),
    ]


@settings(max_examples=50, deadline=None)
@given(rows=st.lists(st.tuples(text.filter(bool), text, text), min_size=1, max_size=4))
def test_what_a_tsv_writer_wrote_is_read(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("tsv") / "x.tsv"
    rows = [[value.replace("\r", "").replace("\0", "") or "-" for value in row] for row in rows]
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter="\t").writerows([["id", "text", "title"], *rows])
    assert list(read(path)) == [Passage(name, title, body) for name, body, title in rows]


def test_a_folder_of_texts(tmp_path):
    write(tmp_path / "old_town.txt", "  The old town.\n")
    (tmp_path / "deep").mkdir()
    write(tmp_path / "deep/notes.md", "# On notes\n\nFirst note.\n")
    write(tmp_path / "deep/bare.md", "No heading here.")
    write(tmp_path / "picture.png", b"\x89PNG")
    assert list(read(tmp_path)) == [
        Passage("deep/bare.md", "bare", "No heading here."),
        Passage("deep/notes.md", "On notes", "First note."),
        Passage("old_town.txt", "old town", "The old town."),
    ]


def test_reading_streams(tmp_path):
    good = json.dumps(dicts()[0])
    path = write(tmp_path / "c.jsonl", f"{good}\n" * 3 + "{bad\n")
    stream = read(path)
    assert [next(stream).id for _ in range(3)] == ["a"] * 3
    with pytest.raises(DataError, match=r"c.jsonl, line 4: no JSON"):
        next(stream)


FILES = {
    "a line that is no JSON": ("c.jsonl", '{"id": "a", "text": "x"}\n{no\n', "line 2: no JSON"),
    "a line that is a list": ("c.jsonl", "[1]\n", "line 1: is list"),
    "a record without id": ("c.jsonl", '{"text": "x"}\n', "line 1: has id None"),
    "a record without text": ("c.jsonl", '{"id": "a", "txt": "x"}\n', r"text None.*'id', 'txt'"),
    "a text that is a number": ("c.jsonl", '{"id": "a", "text": 5}\n', "text 5"),
    "an empty id": ("c.jsonl", '{"id": "", "text": "x"}\n', "line 1: has an empty id"),
    "text that is no UTF-8": ("c.jsonl", b'{"id": "a", "text": "\xff"}\n', "no UTF-8"),
    "no columns": ("c.tsv", "a\tb\n", r"line 1: the columns are \['a', 'b'\]"),
    "too few columns": ("c.tsv", "id\ttext\ttitle\n1\tx\n", "line 2: 2 columns"),
    "a cut .gz": ("c.jsonl.gz", gzip.compress(b'{"id": "a", "text": "x"}\n' * 99)[:-9], "complete"),
    "a .gz that is none": ("c.tsv.gz", b"id\ttext\ttitle\n", "complete"),
    "an unknown ending": ("c.csv", "a", r"\.jsonl, \.tsv"),
    "a text file that is no UTF-8": ("c.txt", b"\xff\xfe", "no UTF-8"),
}


@pytest.mark.parametrize("case", FILES)
def test_faults_in_files(tmp_path, case):
    name, content, message = FILES[case]
    raw = content.encode() if isinstance(content, str) else content
    (tmp_path / name).write_bytes(raw)
    with pytest.raises(DataError, match=message) as caught:
        list(read(tmp_path / name))
    assert name.removesuffix(".gz").split(".")[0] in str(caught.value)


SOURCES = {
    "no such path": ("missing.jsonl", "there is no file or folder"),
    "a number": (5, "int"),
    "one dict": ({"id": "a", "text": "x"}, "dict"),
    "nothing": (None, "NoneType"),
    "strings": (["some text"], "passage 0 is str"),
    "a tuple": ([("a", "t", "x")], "passage 0 is tuple"),
    "a passage with a number in it": ([TWO[0], Passage(3, "t", "x")], "passage 1 has id 3"),
    "a list as title": ([{"id": "a", "title": [], "text": "x"}], "has title"),
    "a truth value as id": ([{"id": True, "text": "x"}], "has id True"),
}


@pytest.mark.parametrize("case", SOURCES)
def test_faults_in_sources(case):
    source, message = SOURCES[case]
    with pytest.raises(DataError, match=message):
        list(read(source))


def test_a_folder_without_texts(tmp_path):
    with pytest.raises(DataError, match=r"no \.txt or \.md"):
        list(read(tmp_path))
