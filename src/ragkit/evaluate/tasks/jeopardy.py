"""Jeopardy question generation: from an answer, an entity, to the clue that asks for it.

Reads SearchQA's text (snippets ||| clue ||| answer a line), its folders of JSON, and lists of
JSON as J! Archive's; the clue is what a model writes, the answer what it is given. Knows
nothing of models.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ragkit.errors import DataError
from ragkit.evaluate.opening import lines
from ragkit.evaluate.records import records
from ragkit.evaluate.tasks import fields
from ragkit.evaluate.tasks.about import GENERATION, About, Layout, described
from ragkit.evaluate.tasks.files import FileTask, Incomplete
from ragkit.evaluate.tasks.json_items import items
from ragkit.evaluate.tasks.qa import first_character
from ragkit.protocols import Example

_LIKE = '{"question": "the clue", "answer": "the entity"}'
_TAG = re.compile(r"<[^<>]*>")
_SOURCE = "https://github.com/nyu-dl/dl4ir-searchQA"

ABOUT = About(
    name="jeopardy",
    title="Jeopardy question generation, SearchQA's splits (tables 2 to 5)",
    layouts=(
        Layout(
            "SearchQA text",
            files={"train": ("train.txt",), "dev": ("val.txt",), "test": ("test.txt",)},
            sizes={"train": (99_820,), "dev": (13_393,), "test": (27_248,)},
            source=_SOURCE,
        ),
        Layout(
            "SearchQA JSON",
            files={"train": ("train/",), "dev": ("val/",), "test": ("test/",)},
            source=_SOURCE,
        ),
        Layout("J! Archive", files={"all": ("JEOPARDY_QUESTIONS1.json",)}, source="J! Archive"),
    ),
    asked="the answer, an entity",
    target="the clue",
    golds="the clue",
    metrics=("bleu-1", "q-bleu-1"),
    decoding=GENERATION,
    notes=(
        "the paper's table 7 has 97,392 / 13,714 / 26,849, which are not SearchQA's "
        "99,820 / 13,393 / 27,248: what was left out is not said",
        "SearchQA's text is in lower case, its JSON is not",
        "J! Archive's list has no splits; give each a file by splits=",
    ),
)


@described(ABOUT)
def jeopardy(
    path: str,
    splits: Mapping[str, str] | None = None,
    prompt: str = "{question}",
    metrics: Sequence[str] | None = None,
    incomplete: Incomplete = "warn",
) -> FileTask:
    """Jeopardy question generation, from SearchQA's text or JSON.

    Args:
        path: a file, or the folder where they lie.
        splits: the file of each split, where they are not called as they were handed out.
        prompt: what the model is given, with ``{question}`` (the entity) once.
        metrics: by default those of the paper.
        incomplete: what to do where a file has not as many clues as it should.
    """
    return FileTask(
        ABOUT,
        clues,
        path,
        splits=splits,
        prompt=prompt,
        metrics=metrics,
        incomplete=incomplete,
    )


def clues(path: Path) -> Iterator[Example]:
    """The clues of a file or folder, any form; raises `DataError` with file and line."""
    if path.is_dir():
        yield from _of_folder(path)
        return
    start = first_character(path)
    if start == "[":
        for line, item in items(path):
            where = f"{path}, line {line}"
            yield _of_record(fields.mapping(item, where, _LIKE), where)
    elif start == "{":
        for line, record in records(path, _LIKE):
            yield _of_record(record, f"{path}, line {line}")
    else:
        yield from _of_text(path)


def _of_text(path: Path) -> Iterator[Example]:
    for line, text in lines(path):
        if not text.strip():
            continue
        parts = text.rsplit("|||", 2)
        if len(parts) != 3:
            raise DataError(
                f"{path}, line {line}: {len(parts)} parts between |||, and there should be 3: "
                f"snippets ||| clue ||| answer"
            )
        yield _example("", parts[1], parts[2], f"{path}, line {line}")


def _of_folder(path: Path) -> Iterator[Example]:
    """A clue from each file of JSON, in the order of the names, which are the ids."""
    for file in sorted(path.glob("*.json")):
        text = "".join(text for _, text in lines(file))
        try:
            record = json.loads(text)
        except (json.JSONDecodeError, RecursionError) as error:
            raise DataError(
                f"{file}: not JSON ({str(error)[:80]}); is the folder complete?"
            ) from None
        example = _of_record(fields.mapping(record, str(file), _LIKE), str(file))
        yield Example(file.stem, example.question, example.answers, target=example.target)


def _of_record(record: Mapping[str, Any], where: str) -> Example:
    name = fields.identifier(record["id"], f"{where}: id") if "id" in record else ""
    clue = fields.text(record, "question", where)
    return _example(name, clue, fields.text(record, "answer", where), where)


def _example(name: str, clue: str, answer: str, where: str) -> Example:
    """J! Archive's clues have links in them, and quotes around."""
    said = _plain(clue)
    if len(said) > 1 and said[0] == said[-1] == "'":
        said = said[1:-1].strip()
    entity = _plain(answer)
    for part, text in (("clue", said), ("answer", entity)):
        if not text:
            raise DataError(f"{where}: the {part} is empty; write one, or take out the record")
    return Example(id=name, question=entity, answers=(said,), target=said)


def _plain(text: str) -> str:
    return html.unescape(_TAG.sub("", text)).strip()
