"""Questions with short answers, in every form that open-domain question answering uses.

`questions` looks at the content, not the name: NQ-open's lines, DPR's tables of question and
list, and the JSON lists of DPR (training, retrieval) and FiD. Knows no task by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ragkit.errors import DataError
from ragkit.evaluate.opening import opened
from ragkit.evaluate.records import records
from ragkit.evaluate.tasks import fields, tables
from ragkit.evaluate.tasks.json_items import items
from ragkit.protocols import Example

LIKE = '{"question": "…", "answer": ["…"]}'
Finish = Callable[[Example, str], Example]
"""Takes an example and its place, "file, line n"; gives it back, checked and completed."""

_ANSWERS = ("answer", "answers")
_CONTEXTS = ("positive_ctxs", "negative_ctxs", "hard_negative_ctxs", "ctxs")
_USED = ("id", "question", "target", *_ANSWERS, *_CONTEXTS)


def questions(path: Path, finish: Finish | None = None) -> Iterator[Example]:
    """The questions of a file; raises `DataError` with file and line at what is not right."""
    for line, found in _found(path):
        where = f"{path}, line {line}"
        example = _of_record(found, where) if isinstance(found, Mapping) else found
        yield finish(example, where) if finish else example


def first_character(path: Path) -> str:
    """The first character of a file that is no space; "" where there is none."""
    with opened(path) as file:
        while block := file.read(1 << 16):
            text = block.lstrip(b"\xef\xbb\xbf \t\r\n")
            if text:
                return chr(text[0])
    return ""


def _found(path: Path) -> Iterator[tuple[int, Mapping[str, Any] | Example]]:
    start = first_character(path)
    if start == "[":
        for line, item in items(path):
            yield line, fields.mapping(item, f"{path}, line {line}", LIKE)
    elif start == "{":
        yield from records(path, LIKE)
    else:
        for line, row in tables.quoted(path, "\t"):
            question, answers = tables.counted(path, line, row, "question, list of answers")
            where = f"{path}, line {line}"
            yield line, {"question": question, "answers": tables.listed(answers, where)}


def _of_record(record: Mapping[str, Any], where: str) -> Example:
    target = record.get("target")
    return Example(
        id=fields.identifier(record["id"], f"{where}: id") if "id" in record else "",
        question=fields.text(record, "question", where),
        answers=_answers(record, where),
        passage_ids=_positives(record, where),
        target=None if target is None else fields.text(record, "target", where),
        extra={name: value for name, value in record.items() if name not in _USED},
    )


def _answers(record: Mapping[str, Any], where: str) -> tuple[str, ...]:
    name = next((one for one in _ANSWERS if one in record), "answer")
    value = record.get(name)
    if isinstance(value, str):
        return (fields.text(record, name, where),)
    return fields.texts(record, name, where)


def _positives(record: Mapping[str, Any], where: str) -> tuple[str, ...]:
    """The ids of DPR's positive passages, which are called by two names."""
    found: dict[str, None] = {}
    contexts = record.get("positive_ctxs", [])
    if not isinstance(contexts, list):
        raise DataError(f"{where}: positive_ctxs is no list; give DPR's file as it was handed out")
    for context in contexts:
        one = fields.mapping(context, f"{where}: positive_ctxs", '{"passage_id": "…"}')
        name = next((key for key in ("passage_id", "psg_id") if key in one), None)
        if name is not None:
            found[fields.identifier(one[name], f"{where}: {name}")] = None
    return tuple(found)
