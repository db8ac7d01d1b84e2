"""MS MARCO NLG: questions of a search engine, answered in whole sentences.

Of the question answering set only those with a well-formed answer. Reads the JSON as it is
handed out (an object of columns, each an object of rows: streamed, the passages passed over,
and the texts of two columns held until their rows are complete), its rows as lines, or a table
of id, question and answers. Knows nothing of models.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ragkit.errors import DataError
from ragkit.evaluate.opening import opened
from ragkit.evaluate.records import records
from ragkit.evaluate.tasks import fields, tables
from ragkit.evaluate.tasks.about import GENERATION, About, Layout, described
from ragkit.evaluate.tasks.files import FileTask, Incomplete
from ragkit.evaluate.tasks.json_items import columns
from ragkit.evaluate.tasks.qa import first_character
from ragkit.protocols import Example

_LIKE = '{"query_id": 1, "query": "…", "wellFormedAnswers": ["…"]}'
_COLUMNS = ("query", "query_id", "wellFormedAnswers")
_OF_COLUMNS = re.compile(rb'\s*\{\s*"(?:[^"\\]|\\.)*"\s*:\s*\{')

ABOUT = About(
    name="msmarco-nlg",
    title="MS MARCO NLG v2.1, answers in sentences (table 2)",
    layouts=(
        Layout(
            "v2.1",
            files={
                "train": ("train_v2.1.json",),
                "dev": ("dev_v2.1.json",),
                "test": ("eval_v2.1_public.json",),
            },
            sizes={"train": (153_725,), "dev": (12_467,), "test": (101_092,)},
            source="https://microsoft.github.io/msmarco",
        ),
    ),
    asked="the query",
    target="the first well-formed answer",
    golds="the well-formed answers",
    metrics=("rouge-l", "bleu-1"),
    decoding=GENERATION,
    notes=(
        "queries without a well-formed answer are left out; the gold passages are not used",
        "the test has no published answers: predictions are kept, scores are none",
        "the JSON lists column after column: the first example comes after the whole file",
    ),
)


@described(ABOUT)
def msmarco(
    path: str,
    splits: Mapping[str, str] | None = None,
    prompt: str = "{question}",
    metrics: Sequence[str] | None = None,
    incomplete: Incomplete = "warn",
) -> FileTask:
    """MS MARCO NLG, from its JSON, lines of its rows, or a table of id, query and answers.

    Args:
        path: a file, or the folder where they lie.
        splits: the file of each split, where they are not called as they were handed out.
        prompt: what the model is asked, with ``{question}`` (the query) once.
        metrics: by default those of the paper.
        incomplete: what to do where a file has not as many questions as it should.
    """
    return FileTask(
        ABOUT,
        queries,
        path,
        splits=splits,
        prompt=prompt,
        metrics=metrics,
        incomplete=incomplete,
    )


def queries(path: Path) -> Iterator[Example]:
    """The queries of a file, any form; raises `DataError` with file and line."""
    if first_character(path) != "{":
        yield from _of_table(path)
    elif _has_columns(path):
        yield from _of_columns(path)
    else:
        for line, record in records(path, _LIKE):
            yield from _of_record(record, f"{path}, line {line}")


def _has_columns(path: Path) -> bool:
    with opened(path) as file:
        return _OF_COLUMNS.match(file.read(1 << 12).removeprefix(b"\xef\xbb\xbf")) is not None


def _of_table(path: Path) -> Iterator[Example]:
    for line, row in tables.plain(path):
        where = f"{path}, line {line}"
        if len(row) < 3:
            raise DataError(
                f"{where}: {len(row)} columns, and there should be 3 or more: id, query, answer"
            )
        answers = [one for one in row[2:] if one.strip()]
        record = {"query_id": row[0], "query": row[1], "wellFormedAnswers": answers}
        if not answers:
            raise DataError(f"{where}: no answer; write one, or take out the line")
        yield from _of_record(record, where)


def _of_columns(path: Path) -> Iterator[Example]:
    found: dict[str, dict[str, Any]] = {name: {} for name in _COLUMNS}
    place: dict[str, int] = {}
    for line, column, row, value in columns(path, _COLUMNS):
        if column != "wellFormedAnswers" or _answers(value, f"{path}, line {line}"):
            found[column][row] = value
        place[row] = line
    blind = not found["wellFormedAnswers"]
    for row in found["query"] if blind else found["wellFormedAnswers"]:
        where = f"{path}, line {place[row]}, row {row}"
        yield from _of_record(
            {name: found[name][row] for name in found if row in found[name]}, where
        )


def _of_record(record: Mapping[str, Any], where: str) -> Iterator[Example]:
    """The example of a row, if it is one."""
    answers: tuple[str, ...] = ()
    if "wellFormedAnswers" in record:  # the blind test has no such field
        answers = _answers(record["wellFormedAnswers"], where)
        if not answers:
            return
    yield Example(
        id=fields.identifier(fields.required(record, "query_id", where), f"{where}: query_id"),
        question=fields.text(record, "query", where),
        answers=answers,
    )


def _answers(value: Any, where: str) -> tuple[str, ...]:
    """The well-formed answers; those without have the text "[]" in place of a list."""
    if value == "[]":
        return ()
    if not isinstance(value, list):
        raise DataError(f'{where}: wellFormedAnswers is {value!r:.60}; write a list, or "[]"')
    return fields.each_text([one for one in value if one != ""], "wellFormedAnswers", where)
