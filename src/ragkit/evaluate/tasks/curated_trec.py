"""CuratedTrec: TREC questions whose answers are regular expressions.

From the table of its authors or from DPR's files. Every expression is checked before it is
used, and what is no expression is named with its line. The paper teaches the text that most
often matches in the 1,000 best passages (`ragkit.evaluate.tasks.with_targets`); without
passages it is the text that the expression spells first. Knows nothing of models.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ragkit.evaluate.tasks import fields, tables
from ragkit.evaluate.tasks.about import QA, About, Layout, described
from ragkit.evaluate.tasks.files import FileTask, Incomplete
from ragkit.evaluate.tasks.nq import DPR_SOURCE
from ragkit.evaluate.tasks.patterns import checked, literal
from ragkit.evaluate.tasks.qa import first_character, questions
from ragkit.protocols import Example

ABOUT = About(
    name="curated-trec",
    title="CuratedTrec, answers as regular expressions (tables 1 and 6)",
    layouts=(
        Layout(
            "DPR",
            files={
                "train": ("curatedtrec-train.qa.csv|curatedtrec-train.csv",),
                "dev": ("curatedtrec-dev.qa.csv|curatedtrec-dev.csv",),
                "test": (
                    "curatedtrec-test.qa.csv|curatedtrec-test.csv|topics.dpr.curated.test.txt",
                ),
            },
            sizes={"train": (1_353,), "dev": (133,), "test": (694,)},
            source=DPR_SOURCE,
        ),
        Layout(
            "large2470",
            files={"train": ("large2470-train.tsv",), "test": ("large2470-test.tsv",)},
            sizes={"train": (1_704,), "test": (766,)},
            source="https://github.com/brmson/dataset-factoid-curated, trec",
        ),
    ),
    asked="the question",
    target="a text that the expression matches",
    golds="regular expressions",
    metrics=("em,regex=true", "answer-recall,regex=true"),
    decoding=QA,
    notes=(
        "the paper begins from the model that was trained on Natural Questions",
        "the paper's target is the most frequent match in the 1,000 best passages: with_targets",
        "694 and 766 are two test sets: scores of one do not compare with the other's",
    ),
)


@described(ABOUT)
def curated_trec(
    path: str,
    splits: Mapping[str, str] | None = None,
    prompt: str = "{question}",
    metrics: Sequence[str] | None = None,
    incomplete: Incomplete = "warn",
) -> FileTask:
    """CuratedTrec, from its authors' tables or DPR's files.

    Args:
        path: a file, or the folder where they lie.
        splits: the file of each split, where they are not called as they were handed out.
        prompt: what the model is asked, with ``{question}`` once.
        metrics: by default those of the paper.
        incomplete: what to do where a file has not as many questions as it should.
    """
    return FileTask(
        ABOUT,
        trec,
        path,
        splits=splits,
        prompt=prompt,
        metrics=metrics,
        incomplete=incomplete,
    )


def trec(path: Path) -> Iterator[Example]:
    """The questions of a file, any form; raises `DataError` with file and line."""
    if first_character(path) in "[{" or not _numbered(path):
        yield from questions(path, finish=_finished)
        return
    for line, row in tables.plain(path):
        where = f"{path}, line {line}"
        name, _, question, pattern = tables.counted(path, line, row, "id, type, question, regex")
        record = {"question": question, "regex": pattern}
        example = Example(
            id=fields.identifier(name.strip(), f"{where}: id"),
            question=fields.text(record, "question", where),
            answers=(fields.text(record, "regex", where),),
        )
        yield _finished(example, where)


def _numbered(path: Path) -> bool:
    """Whether the first row is the authors' table's, or DPR's of two columns."""
    first = next(tables.plain(path), None)
    return first is not None and len(first[1]) != 2


def _finished(example: Example, where: str) -> Example:
    """With its expressions checked, and a text to learn."""
    for pattern in example.answers:
        checked(pattern, where)
    if example.target is not None:
        return example
    texts = (literal(pattern) for pattern in example.answers)
    return replace(example, target=next((one for one in texts if one), None))
