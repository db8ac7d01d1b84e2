"""WebQuestions: the files of its authors (SEMPRE), a copy with ids, or DPR's.

Knows nothing of models.
"""

from __future__ import annotations

import re
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
from ragkit.protocols import Example

_LIKE = '{"qText": "…", "answers": ["…"]}'
_DESCRIPTION = re.compile(r'\(description (?:"((?:[^"\\]|\\.)*)"|([^\s()"]+))\)')

ABOUT = About(
    name="webquestions",
    title="WebQuestions, open domain (tables 1 and 6)",
    layouts=(
        Layout(
            "DPR",
            files={
                "train": ("webq-train.qa.csv|webq-train.csv",),
                "dev": ("webq-dev.qa.csv|webq-dev.csv",),
                "test": ("webquestions-test.qa.csv|webq-test.csv|topics.dpr.wq.test.txt",),
            },
            sizes={"train": (3_417,), "dev": (361,), "test": (2_032,)},
            source=DPR_SOURCE,
        ),
        Layout(
            "SEMPRE",
            files={
                "train": ("webquestions.examples.train.json",),
                "test": ("webquestions.examples.test.json",),
            },
            sizes={"train": (3_778,), "test": (2_032,)},
            source="https://nlp.stanford.edu/software/sempre",
        ),
        Layout(
            "with ids",
            files={
                "train": ("trainmodel.json", "val.json", "devtest.json"),
                "dev": ("val.json",),
                "test": ("test.json",),
                "trainmodel": ("trainmodel.json",),
                "devtest": ("devtest.json",),
            },
            sizes={
                "train": (3_778,),
                "dev": (755,),
                "test": (2_032,),
                "trainmodel": (2_834,),
                "devtest": (189,),
            },
            source="https://github.com/brmson/dataset-factoid-webquestions, main",
        ),
    ),
    asked="the question",
    target="the first answer; every answer in turn with each_answer=true",
    golds="all answers",
    metrics=("em", "f1", "answer-recall"),
    decoding=QA,
    each_answer=True,
    notes=(
        "the paper begins from the model that was trained on Natural Questions",
        "with ids: train holds dev (val.json); to select on dev, train on the split trainmodel",
    ),
)


@described(ABOUT)
def webquestions(
    path: str,
    splits: Mapping[str, str] | None = None,
    prompt: str = "{question}",
    metrics: Sequence[str] | None = None,
    incomplete: Incomplete = "warn",
) -> FileTask:
    """WebQuestions, from SEMPRE's files, their copy with ids, or DPR's.

    Args:
        path: a file, or the folder where they lie.
        splits: the file of each split, where they are not called as they were handed out.
        prompt: what the model is asked, with ``{question}`` once.
        metrics: by default those of the paper.
        incomplete: what to do where a file has not as many questions as it should.
    """
    return FileTask(
        ABOUT,
        web,
        path,
        splits=splits,
        prompt=prompt,
        metrics=metrics,
        incomplete=incomplete,
    )


def web(path: Path) -> Iterator[Example]:
    """The questions of a file, any form; raises `DataError` with file and line."""
    if first_character(path) != "[":
        yield from questions(path)
        return
    for line, item in items(path):
        where = f"{path}, line {line}"
        record = fields.mapping(item, where, _LIKE)
        if "utterance" in record:
            yield _sempre(record, where)
        elif "question" in record:  # DPR's training JSON
            yield from questions(path)
            return
        else:
            yield Example(
                id=fields.identifier(fields.required(record, "qId", where), f"{where}: qId"),
                question=fields.text(record, "qText", where),
                answers=fields.texts(record, "answers", where),
            )


def _sempre(record: Mapping[str, Any], where: str) -> Example:
    value = fields.text(record, "targetValue", where)
    found = (one[1] or one[2] for one in _DESCRIPTION.finditer(value))
    answers = tuple(re.sub(r"\\(.)", r"\1", one) for one in found if one)
    if not answers:
        raise DataError(
            f"{where}: targetValue is {value!r:.80}, which has no answer; "
            f'write (list (description "…"))'
        )
    return Example(id="", question=fields.text(record, "utterance", where), answers=answers)
