"""TriviaQA: the files of its authors, with all aliases, or DPR's.

The *standard* test of open-domain papers is the unfiltered dev set, whose answers are known;
the *Wikipedia* test is that of the leaderboard, and its answers are not published: predictions
can be made and kept, and every metric that compares with golds has no meaning there. The golds
are all aliases, training has the one value. Knows nothing of models.
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
from ragkit.protocols import Example

_SOURCE = "https://nlp.cs.washington.edu/triviaqa"
_LIKE = '{"Question": "…", "Answer": {"Value": "…", "Aliases": ["…"]}}'

ABOUT = About(
    name="triviaqa",
    title="TriviaQA, open domain; standard and Wikipedia test (tables 1 and 6)",
    layouts=(
        Layout(
            "DPR",
            files={
                "train": ("trivia-train.qa.csv|trivia-train.csv",),
                "dev": ("trivia-dev.qa.csv|trivia-dev.csv|topics.dpr.trivia.dev.txt",),
                "test": ("trivia-test.qa.csv|trivia-test.csv|topics.dpr.trivia.test.txt",),
            },
            sizes={"train": (78_785,), "dev": (8_837,), "test": (11_313,)},
            source=DPR_SOURCE,
        ),
        Layout(
            "unfiltered",
            files={
                "train": ("unfiltered-web-train.json",),
                "test": ("unfiltered-web-dev.json",),
                "unfiltered-blind": ("unfiltered-web-test-without-answers.json",),
            },
            sizes={"train": (87_622,), "test": (11_313,), "unfiltered-blind": (10_832,)},
            source=_SOURCE,
        ),
        Layout(
            "Wikipedia",
            files={
                "wikipedia-train": ("wikipedia-train.json",),
                "wikipedia-dev": ("wikipedia-dev.json",),
                "wikipedia-test": ("wikipedia-test-without-answers.json",),
            },
            sizes={
                "wikipedia-train": (61_888,),
                "wikipedia-dev": (7_993,),
                "wikipedia-test": (7_701,),
            },
            source=_SOURCE,
        ),
    ),
    asked="the question",
    target="Answer.Value",
    golds="Answer.Aliases, with the value first",
    metrics=("em", "f1", "answer-recall"),
    decoding=QA,
    notes=(
        "the Wikipedia test has no published answers: predictions are kept, scores are none",
        "the paper drops answers that occur in none of the 1,000 best passages: with_targets",
    ),
)


@described(ABOUT)
def triviaqa(
    path: str,
    splits: Mapping[str, str] | None = None,
    prompt: str = "{question}",
    metrics: Sequence[str] | None = None,
    incomplete: Incomplete = "warn",
) -> FileTask:
    """TriviaQA, from its authors' files or DPR's.

    Args:
        path: a file, or the folder where they lie.
        splits: the file of each split, where they are not called as they were handed out.
        prompt: what the model is asked, with ``{question}`` once.
        metrics: by default those of the paper.
        incomplete: what to do where a file has not as many questions as it should.
    """
    return FileTask(
        ABOUT,
        trivia,
        path,
        splits=splits,
        prompt=prompt,
        metrics=metrics,
        incomplete=incomplete,
    )


def trivia(path: Path) -> Iterator[Example]:
    """The questions of a file, either form; raises `DataError` with file and line."""
    if first_character(path) == "{" and not path.name.endswith((".jsonl", ".jsonl.gz")):
        for line, item in items(path, "Data"):
            where = f"{path}, line {line}"
            yield _of_record(fields.mapping(item, where, _LIKE), where)
    else:
        yield from questions(path)


def _of_record(record: Mapping[str, Any], where: str) -> Example:
    answers: tuple[str, ...] = ()
    if "Answer" in record:  # the blind test has no such field at all
        answers = _golds(fields.mapping(record["Answer"], f"{where}: Answer", _LIKE), where)
    return Example(
        id=fields.identifier(fields.required(record, "QuestionId", where), f"{where}: QuestionId"),
        question=fields.text(record, "Question", where),
        answers=answers,
        target=answers[0] if answers else None,
    )


def _golds(answer: Mapping[str, Any], where: str) -> tuple[str, ...]:
    """The value, then the aliases, each once."""
    value = fields.text(answer, "Value", where)
    aliases = fields.required(answer, "Aliases", where, '["…"]')
    if not isinstance(aliases, list):
        raise DataError(f'{where}: Aliases is {aliases!r:.80}; write a list, "Aliases": ["…"]')
    named = [one for one in aliases if one != ""]
    return tuple(dict.fromkeys((value, *fields.each_text(named, "Aliases", where))))
