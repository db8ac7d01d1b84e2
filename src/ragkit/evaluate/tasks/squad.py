"""SQuAD, open: its questions without their paragraph, from SQuAD's JSON or DPR's table.

Open-domain papers call SQuAD's dev the test. Questions of v2.0 that have no answer are left
out, since nothing is known to be right about them. `paragraphs` are the passages of a file,
a knowledge base to try things on; examples name them as gold. Knows nothing of models.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ragkit.errors import DataError
from ragkit.evaluate.tasks import fields
from ragkit.evaluate.tasks.about import QA, About, Layout, described
from ragkit.evaluate.tasks.files import FileTask, Incomplete
from ragkit.evaluate.tasks.json_items import items
from ragkit.evaluate.tasks.nq import DPR_SOURCE
from ragkit.evaluate.tasks.qa import first_character, questions
from ragkit.protocols import Example, Passage

_SOURCE = "https://rajpurkar.github.io/SQuAD-explorer"
_LIKE = '{"title": "…", "paragraphs": [{"context": "…", "qas": […]}]}'

ABOUT = About(
    name="squad",
    title="SQuAD, open domain",
    layouts=(
        Layout(
            "v1.1",
            files={"train": ("train-v1.1.json",), "test": ("dev-v1.1.json",)},
            sizes={"train": (87_599,), "test": (10_570,)},
            source=_SOURCE,
        ),
        Layout(
            "DPR",
            files={
                "train": ("squad1-train.qa.csv|squad1-train.csv",),
                "dev": ("squad1-dev.qa.csv|squad1-dev.csv",),
                "test": ("squad1-test.qa.csv|squad1-test.csv|topics.dpr.squad.test.txt",),
            },
            sizes={"train": (78_713,), "dev": (8_886,), "test": (10_570,)},
            source=DPR_SOURCE,
        ),
        Layout(
            "v2.0, those with an answer",
            files={"v2-train": ("train-v2.0.json",), "v2-dev": ("dev-v2.0.json",)},
            sizes={"v2-train": (86_821,), "v2-dev": (5_928,)},
            source=_SOURCE,
        ),
    ),
    asked="the question, without its paragraph",
    target="the first answer",
    golds="the answers of all annotators",
    metrics=("em", "f1", "answer-recall"),
    decoding=QA,
    notes=(
        "dev-v1.1.json is the split test, as in all open-domain papers",
        "a knowledge base of the paragraphs: KnowledgeBase.build(paragraphs(file), …)",
    ),
)


@described(ABOUT)
def squad(
    path: str,
    splits: Mapping[str, str] | None = None,
    prompt: str = "{question}",
    metrics: Sequence[str] | None = None,
    incomplete: Incomplete = "warn",
) -> FileTask:
    """SQuAD without its paragraphs, from its own JSON or DPR's table.

    Args:
        path: a file, or the folder where they lie.
        splits: the file of each split, where they are not called as they were handed out.
        prompt: what the model is asked, with ``{question}`` once.
        metrics: by default those of open-domain question answering.
        incomplete: what to do where a file has not as many questions as it should.
    """
    return FileTask(
        ABOUT,
        asked,
        path,
        splits=splits,
        prompt=prompt,
        metrics=metrics,
        incomplete=incomplete,
    )


def asked(path: Path) -> Iterator[Example]:
    """The questions of a file, either form; raises `DataError` with file and line."""
    if first_character(path) != "{":
        yield from questions(path)
        return
    for passage, entries, where in _paragraphs(path):
        for entry in entries:
            record = fields.mapping(entry, where, '{"question": "…", "answers": […]}')
            if not record.get("is_impossible", False):
                yield _of_record(record, passage, where)


def paragraphs(path: str | Path) -> Iterator[Passage]:
    """The paragraphs of SQuAD's JSON as passages, ``Title-0``, ``Title-1`` …."""
    for passage, _, _ in _paragraphs(Path(path)):
        yield passage


def _paragraphs(path: Path) -> Iterator[tuple[Passage, list[Any], str]]:
    for line, item in items(path, "data"):
        where = f"{path}, line {line}"
        article = fields.mapping(item, where, _LIKE)
        title = fields.text(article, "title", where)
        for number, one in enumerate(_list(article, "paragraphs", where)):
            place = f"{where}, paragraph {number} of {title}"
            paragraph = fields.mapping(one, place, '{"context": "…", "qas": […]}')
            text = fields.text(paragraph, "context", place)
            passage = Passage(f"{title}-{number}", title.replace("_", " "), text)
            yield passage, _list(paragraph, "qas", place), place


def _of_record(record: Mapping[str, Any], passage: Passage, where: str) -> Example:
    found = [
        fields.text(fields.mapping(one, where, '{"text": "…"}'), "text", where)
        for one in _list(record, "answers", where)
    ]
    if not found:
        raise DataError(
            f"{where}: question {record.get('id')!r} has no answer; write one, or "
            f'"is_impossible": true'
        )
    return Example(
        id=fields.identifier(fields.required(record, "id", where), f"{where}: id"),
        question=fields.text(record, "question", where),
        answers=tuple(dict.fromkeys(found)),
        passage_ids=(passage.id,),
    )


def _list(record: Mapping[str, Any], name: str, where: str) -> list[Any]:
    value = fields.required(record, name, where, "[…]")
    if not isinstance(value, list):
        raise DataError(f'{where}: {name} is {value!r:.60}; write a list, "{name}": […]')
    return value
