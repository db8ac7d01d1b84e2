"""KILT: eleven knowledge-intensive tasks in one form of lines, with the pages that prove them.

``passage_ids`` are Wikipedia page ids; ``extra["passage_sets"]`` has the pages of each output
by itself, as R-precision and KILT-scores need them. A test without answers can be asked, and
has no scores. Knows nothing of models.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ragkit.errors import ConfigError, DataError, nearest
from ragkit.evaluate.opening import plain_name
from ragkit.evaluate.records import records
from ragkit.evaluate.tasks import fields
from ragkit.evaluate.tasks.about import GENERATION, QA, About, Decoding, Layout, described
from ragkit.evaluate.tasks.files import FileTask, Incomplete
from ragkit.protocols import Example

_SOURCE = "https://github.com/facebookresearch/KILT"
_LIKE = '{"id": "…", "input": "…", "output": [{"answer": "…", "provenance": []}]}'

# Lines of train, dev and test as KILT states them; where paper and files differ, both.
_Sizes = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]
_SIZES: dict[str, _Sizes] = {
    "fever": ((104_966,), (10_444,), (10_100,)),
    "aidayago2": ((18_395,), (4_784,), (4_463,)),
    "wned": ((), (3_396,), (3_376,)),
    "cweb": ((), (5_599,), (5_543,)),
    "trex": ((2_284_168,), (5_000,), (5_000,)),
    "structured_zeroshot": ((147_909,), (3_724,), (4_966,)),
    "nq": ((87_372,), (2_837,), (1_444,)),
    "hotpotqa": ((88_869,), (5_600,), (5_569,)),
    "triviaqa": ((61_844,), (5_359,), (6_586,)),
    "eli5": ((272_634,), (1_507, 1_947), (600, 1_040)),
    "wow": ((63_734, 107_513), (3_054, 3_420), (2_944, 3_322)),
}
_RETRIEVAL = ("r-precision", "gold-recall@5")
_METRICS = {
    "fever": ("label-accuracy", *_RETRIEVAL, "kilt,of=label-accuracy"),
    **dict.fromkeys(
        ("aidayago2", "wned", "cweb", "trex", "structured_zeroshot"), ("em", *_RETRIEVAL, "kilt")
    ),
    **dict.fromkeys(
        ("nq", "hotpotqa", "triviaqa"), ("em", "f1", *_RETRIEVAL, "kilt", "kilt,of=f1")
    ),
    **dict.fromkeys(("eli5", "wow"), ("rouge-l", "f1", *_RETRIEVAL, "kilt,of=rouge-l")),
}
"""Accuracy is exact match where the answers are names; KILT-scores count where R-precision is 1."""
_LONG = ("eli5", "wow")


def _layout(task: str) -> Layout:
    kind = "_id" if task == "triviaqa" else ""
    # A file without "_id" is what KILT's script makes, with the questions filled in.
    files = {
        "train": (f"{task}-train-kilt.jsonl|{task}-train{kind}-kilt.jsonl",),
        "dev": (f"{task}-dev-kilt.jsonl|{task}-dev{kind}-kilt.jsonl",),
        "test": (
            f"{task}-test_without_answers-kilt.jsonl|{task}-test{kind}_without_answers-kilt.jsonl",
        ),
    }
    sizes = dict(zip(files, _SIZES[task], strict=True))
    known = {split: sizes[split] for split in files if sizes[split]}
    return Layout(task, {split: files[split] for split in known}, known, _SOURCE)


ABOUT = About(
    name="kilt",
    title="KILT's tasks, one form for all",
    layouts=tuple(_layout(task) for task in _SIZES),
    asked="input",
    target="the first answer",
    golds="the answers of all outputs",
    metrics=_METRICS["nq"],
    decoding=QA,
    notes=(
        f"task= one of {', '.join(_SIZES)}; known by the name of a file",
        "tests have no answers: predictions are kept for the leaderboard, scores are none",
        "triviaqa: its questions must be filled in first, by KILT's get_triviaqa_input.py",
        "the knowledge base's passages must be called by Wikipedia page ids to be found",
    ),
)


@described(ABOUT)
def kilt(
    path: str,
    task: str | None = None,
    splits: Mapping[str, str] | None = None,
    prompt: str = "{question}",
    metrics: Sequence[str] | None = None,
    incomplete: Incomplete = "warn",
) -> FileTask:
    """Any task of KILT, from its lines.

    Args:
        path: a file, or the folder where they lie.
        task: which one, where the folder has several: ``nq``, ``hotpotqa``, ``eli5`` ….
        splits: the file of each split, where they are not called as they were handed out.
        prompt: what the model is asked, with ``{question}`` (the input) once.
        metrics: by default those by which KILT judges the task.
        incomplete: what to do where a file has not as many lines as it should.
    """
    if task is not None and task not in _SIZES:
        raise ConfigError(
            f"task kilt: there is no task {task!r}{nearest(task, _SIZES)}; "
            f"there are: {', '.join(_SIZES)}"
        )
    task = task or _known_by_name(Path(path))
    return FileTask(
        _about(task),
        inputs,
        path,
        splits=splits,
        prompt=prompt,
        metrics=metrics,
        incomplete=incomplete,
        options={"task": task} if task else {},
    )


def inputs(path: Path) -> Iterator[Example]:
    """The lines of a file; raises `DataError` with file and line."""
    for line, record in records(path, _LIKE):
        where = f"{path}, line {line}"
        pages, answers = provenance(record, where)
        yield Example(
            id=fields.identifier(fields.required(record, "id", where), f"{where}: id"),
            question=_input(record, where),
            answers=answers,
            passage_ids=tuple(dict.fromkeys(page for one in pages for page in one)),
            extra={"passage_sets": pages},
        )


def provenance(
    record: Mapping[str, Any], where: str
) -> tuple[tuple[tuple[str, ...], ...], tuple[str, ...]]:
    """The pages of each output that has some, and the answers; none of either in a test.

    Raises `DataError` where there are outputs and none has an answer.
    """
    if "output" not in record:
        return (), ()
    outputs = record["output"]
    if not isinstance(outputs, list):
        raise DataError(f'{where}: output is {outputs!r:.60}; write a list, [{{"answer": "…"}}]')
    pages, answers = [], []
    for output in outputs:
        one = fields.mapping(output, f"{where}: output", '{"answer": "…"}')
        if one.get("answer"):
            answers.append(fields.text(one, "answer", where))
        found = one.get("provenance") or []
        if not isinstance(found, list):
            raise DataError(f'{where}: provenance is {found!r:.60}; write [{{"wikipedia_id": …}}]')
        ids = (
            fields.identifier(
                fields.required(
                    fields.mapping(page, f"{where}: provenance", '{"wikipedia_id": "…"}'),
                    "wikipedia_id",
                    where,
                ),
                f"{where}: wikipedia_id",
            )
            for page in found
        )
        pages.append(tuple(dict.fromkeys(ids)))
    if outputs and not answers:
        raise DataError(f"{where}: no output has an answer; write one, or take out the line")
    return tuple(one for one in pages if one), tuple(dict.fromkeys(answers))


def _input(record: Mapping[str, Any], where: str) -> str:
    if not record.get("input") and "_id" in Path(where.rpartition(", line")[0]).name:
        raise DataError(
            f"{where}: no input: this file has only the ids of TriviaQA's questions; "
            f"fill them in with KILT's scripts/get_triviaqa_input.py"
        )
    return fields.text(record, "input", where)


def _about(task: str | None) -> About:
    if task is None:
        return ABOUT
    decoding: Mapping[str, Decoding] = GENERATION if task in _LONG else QA
    return replace(ABOUT, layouts=(_layout(task),), metrics=_METRICS[task], decoding=decoding)


def _known_by_name(path: Path) -> str | None:
    """The task whose file or files these are; raises `ConfigError` where they are of several."""
    files = [path]
    if path.is_dir():
        files = [one for one in path.rglob("*-kilt.jsonl*") if one.is_file()]
    names = {plain_name(one).partition("-")[0] for one in files} & set(_SIZES)
    if len(names) > 1:
        raise ConfigError(
            f"{path} has the files of several tasks of KILT; type task= one of "
            f"{', '.join(sorted(names))}"
        )
    return names.pop() if names else None
