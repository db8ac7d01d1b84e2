"""The task ``jsonl``: questions of one's own, and the golds that they come with.

`JsonlTask` reads files of ``{question, answers}`` objects. It streams, and names file
and line of the first record that is not what it should be. It knows nothing of models.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from ragkit.errors import ConfigError, DataError, nearest
from ragkit.evaluate.records import records
from ragkit.evaluate.tasks import fields
from ragkit.evaluate.tasks.about import About
from ragkit.protocols import Example

_FIELDS = ("id", "question", "answers", "passage_id", "passage_ids", "target")
_ENDINGS = (".jsonl", ".jsonl.gz", ".questions.jsonl", ".questions.jsonl.gz")


ABOUT = About(
    name="jsonl",
    title="your own questions, an object a line",
    layouts=(),
    asked="question",
    target="target, or else the first of answers",
    golds="answers",
    metrics=("em", "f1", "answer-recall"),
    notes=("gold-recall and rr as well where the first line names a passage",),
)


class JsonlTask:
    """Questions of jsonl or jsonl.gz files, one object a line.

    | field | |
    |---|---|
    | question | text, required |
    | answers | list of one or more golds, required |
    | passage_id or passage_ids | the passages known to hold the answer |
    | id | text, unique in the file; by default the number of the line |
    | target | the text that training maximises; by default the first answer |

    Other fields are kept in `Example.extra`.

    ``path`` is a file, which then serves every split, or a folder, in which the file of
    split ``dev`` is ``dev.jsonl`` or the only ``dev…questions.jsonl`` (each may end in
    ``.gz``). ``splits`` names the file of each split instead, relative to ``path`` where
    that is a folder. ``metrics`` are by default EM, F1 and answer recall, with gold recall
    and reciprocal rank where the first record has a passage.
    """

    about: ClassVar[About] = ABOUT

    def __init__(
        self,
        path: str | None = None,
        splits: Mapping[str, str] | None = None,
        metrics: Sequence[str] | None = None,
    ) -> None:
        if path is None and not splits:
            raise ConfigError("task jsonl needs a file; type path=questions.jsonl")
        self.path = None if path is None else Path(path)
        if self.path is not None and not self.path.exists():
            raise DataError(
                f"{self.path}: there is no such file or folder; "
                f"type the path of a .jsonl file of questions"
            )
        self.splits = {} if splits is None else dict(splits)
        self._metrics = None if metrics is None else tuple(metrics)

    def __repr__(self) -> str:
        return f"JsonlTask(path={str(self.path)!r}, splits={self.splits!r})"

    @property
    def metrics(self) -> Sequence[str]:
        """The metrics by which this task is judged."""
        if self._metrics is not None:
            return self._metrics
        names = ABOUT.metrics
        return (*names, "gold-recall", "rr") if self._has_passages() else names

    def examples(self, split: str) -> Iterator[Example]:
        """Stream the examples of a split.

        Raises `DataError` with file and line at the first record that is not right, and
        before the first example where the split has no file.
        """
        return _examples(self.file(split))

    def file(self, split: str) -> Path:
        """The file of a split; raises `DataError` where there is none, or no one."""
        folder = self.path if self.path is not None and self.path.is_dir() else Path()
        if self.splits:
            if split not in self.splits:
                raise DataError(
                    f"this task has no split {split!r}{nearest(split, self.splits)}; "
                    f"there are: {', '.join(sorted(self.splits))}"
                )
            return folder / self.splits[split]
        assert self.path is not None
        return _in_folder(self.path, split) if self.path.is_dir() else self.path

    def _has_passages(self) -> bool:
        if self.splits:
            path = self.file(next(iter(self.splits)))
        elif self.path is not None and self.path.is_dir():
            path = next(iter(_question_files(self.path)), self.path)
        else:
            path = self.file("dev")
        first = next(iter(_examples(path)), None)
        return first is not None and bool(first.passage_ids)


def _question_files(folder: Path) -> list[Path]:
    named = [path for path in sorted(folder.iterdir()) if path.name.endswith(_ENDINGS)]
    questions = [path for path in named if ".questions." in path.name]
    return questions or [path for path in named if ".passages." not in path.name]


def _in_folder(folder: Path, split: str) -> Path:
    files = _question_files(folder)
    exact = [path for path in files if path.name in {split + ending for ending in _ENDINGS}]
    found = exact or [path for path in files if path.name.startswith((f"{split}-", f"{split}."))]
    if len(found) == 1:
        return found[0]
    there = ", ".join(path.name for path in (found or files)) or "no .jsonl file"
    fault = "more than one file" if found else "no file"
    raise DataError(
        f"{folder} has {fault} of split {split!r}; there is: {there}; "
        f"type the path of one file, or splits={{{split!r}: '<file>'}}"
    )


def _examples(path: Path) -> Iterator[Example]:
    seen: dict[str, int] = {}
    for number, record in records(path):
        example = _example(record, f"{path}, line {number}", str(number))
        if example.id in seen:
            raise DataError(
                f"{path}, line {number}: id {example.id!r} is that of line {seen[example.id]} "
                f"as well; give every question its own, or leave all ids out"
            )
        seen[example.id] = number
        yield example


def _example(record: Mapping[str, Any], where: str, number: str) -> Example:
    target = None if record.get("target") is None else fields.text(record, "target", where)
    return Example(
        id=fields.identifier(record.get("id", number), f"{where}: id"),
        question=fields.text(record, "question", where),
        answers=fields.texts(record, "answers", where),
        passage_ids=fields.identifiers(record, "passage_id", "passage_ids", where),
        target=target,
        extra={name: value for name, value in record.items() if name not in _FIELDS},
    )
