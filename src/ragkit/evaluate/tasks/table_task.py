"""The task ``csv``: questions of one's own in a table, comma or tab separated.

The first row names the columns; which ones hold what are options. Knows nothing of models.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ragkit.errors import ConfigError, DataError, nearest
from ragkit.evaluate.opening import plain_name
from ragkit.evaluate.tasks import fields, tables
from ragkit.evaluate.tasks.about import About, Layout, described
from ragkit.evaluate.tasks.files import FileTask
from ragkit.protocols import Example

ABOUT = About(
    name="csv",
    title="your own questions, a row each",
    layouts=(
        Layout(
            "tables",
            files={split: (f"{split}.csv|{split}.tsv",) for split in ("train", "dev", "test")},
        ),
    ),
    asked="the column question",
    target="the column target, or else the first answer",
    golds="the column answers: texts between |, or a list of JSON",
    metrics=("em", "f1", "answer-recall"),
)


@described(ABOUT)
def csv_task(
    path: str,
    question: str = "question",
    answers: str = "answers",
    id: str = "id",
    target: str = "target",
    passage_ids: str = "passage_ids",
    separator: str = "|",
    delimiter: str | None = None,
    splits: Mapping[str, str] | None = None,
    prompt: str = "{question}",
    metrics: Sequence[str] | None = None,
) -> FileTask:
    """Questions of a table whose first row names its columns.

    Args:
        path: a ``.csv`` or ``.tsv`` (each may end in ``.gz``), or a folder with
            ``train.csv``, ``dev.csv`` and ``test.csv``.
        question, answers: the columns that must be there.
        id, target, passage_ids: columns that may be there.
        separator: what stands between several answers, or passage ids, of a cell.
        delimiter: what stands between cells; by default as the name of the file says.
        splits: the file of each split, where they have other names.
        prompt: what the model is asked, with ``{question}`` once.
        metrics: by default EM, F1 and answer recall.
    """
    if not separator or (delimiter is not None and len(delimiter) != 1):
        raise ConfigError(
            "task csv: separator must be a text, and delimiter one sign; type separator='|'"
        )
    names = _Names(question, answers, id, target, passage_ids, separator)
    read = partial(rows, names=names, delimiter=delimiter)
    return FileTask(
        ABOUT,
        read,
        path,
        splits=splits,
        prompt=prompt,
        metrics=metrics,
        options={"columns": names.used, "separator": separator},
    )


class _Names:
    """Which column is what."""

    def __init__(
        self, question: str, answers: str, id: str, target: str, passages: str, separator: str
    ) -> None:
        self.question, self.answers = question, answers
        self.id, self.target, self.passages = id, target, passages
        self.separator = separator

    @property
    def used(self) -> tuple[str, ...]:
        return (self.question, self.answers, self.id, self.target, self.passages)


def rows(path: Path, names: _Names, delimiter: str | None = None) -> Iterator[Example]:
    """The questions of a table; raises `DataError` with file and line."""
    sign = delimiter or _delimiter(path)
    header: list[str] = []
    for line, row in tables.quoted(path, sign):
        if not header:
            header = [name.strip() for name in row]
            _check(path, header, names, sign)
            continue
        cells = tables.counted(path, line, row, ", ".join(header))
        yield _example(dict(zip(header, cells, strict=True)), names, f"{path}, line {line}")


def _delimiter(path: Path) -> str:
    name = plain_name(path)
    if name.endswith((".tsv", ".txt")):
        return "\t"
    if name.endswith(".csv"):
        return ","
    raise ConfigError(f"{path}: a table is called .csv or .tsv; rename it, or type delimiter=';'")


def _check(path: Path, header: list[str], names: _Names, sign: str) -> None:
    for name in (names.question, names.answers):
        if name not in header:
            raise DataError(
                f"{path}, line 1: no column {name!r}{nearest(name, header)}; there are, between "
                f"{sign!r}: {', '.join(header)}. Name yours, as in question='{header[0]}'"
            )
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise DataError(f"{path}, line 1: two columns are called {twice[0]!r}; rename one")


def _example(record: Mapping[str, str], names: _Names, where: str) -> Example:
    answers = _several(record[names.answers], names, f"{where}: {names.answers}")
    if not answers:
        raise DataError(f"{where}: {names.answers} is empty; write an answer, or take out the row")
    passages = record.get(names.passages, "")
    return Example(
        id=record.get(names.id, ""),
        question=fields.text(record, names.question, where),
        answers=answers,
        passage_ids=_several(passages, names, f"{where}: {names.passages}"),
        target=record.get(names.target) or None,
        extra={name: cell for name, cell in record.items() if name not in names.used},
    )


def _several(cell: str, names: _Names, where: str) -> tuple[str, ...]:
    """The texts of a cell: a list of JSON, or texts between separators."""
    if cell.strip().startswith("["):
        found: Any = None
        with contextlib.suppress(json.JSONDecodeError, RecursionError):  # a text may begin so
            found = json.loads(cell)
        if isinstance(found, list):
            return fields.each_text(found, "answers", where)
    return tuple(one.strip() for one in cell.split(names.separator) if one.strip())
