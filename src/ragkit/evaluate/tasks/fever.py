"""FEVER: claims that a passage supports, refutes, or says nothing about.

Reads KILT's form, FEVER's own and FEVER-symmetric. The label is a text: any generator can learn
to write it (``labels`` puts other words in its place, such as ones of a single token), and
`ragkit.generate.classifier` reads it as a class from the final state (appendix E). The
evidence is not used for training. Knows nothing of models.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from ragkit.errors import ConfigError, DataError, nearest
from ragkit.evaluate.records import records
from ragkit.evaluate.tasks import fields
from ragkit.evaluate.tasks.about import About, Decoding, Layout, described
from ragkit.evaluate.tasks.files import FileTask, Incomplete
from ragkit.evaluate.tasks.kilt import provenance
from ragkit.protocols import Example, Passage

LABELS = ("SUPPORTS", "REFUTES", "NOT ENOUGH INFO")
_LIKE = '{"id": 1, "claim": "…", "label": "SUPPORTS"}'
_FEVER = "https://fever.ai/dataset/fever.html"

ABOUT = About(
    name="fever",
    title="FEVER, three classes or two (table 2)",
    layouts=(
        Layout(
            "KILT",  # two classes
            files={
                "train": ("fever-train-kilt.jsonl",),
                "dev": ("fever-dev-kilt.jsonl",),
                "kilt-test": ("fever-test_without_answers-kilt.jsonl",),
            },
            sizes={"train": (104_966,), "dev": (10_444,), "kilt-test": (10_100,)},
            source="https://github.com/facebookresearch/KILT",
        ),
        Layout(
            "FEVER",
            files={
                "train": ("train.jsonl",),
                "dev": ("paper_dev.jsonl",),
                "test": ("paper_test.jsonl",),
                "shared-dev": ("shared_task_dev.jsonl",),
                "shared-test": ("shared_task_test.jsonl",),
            },
            sizes={
                "train": (145_449,),
                "dev": (9_999,),
                "test": (9_999,),
                "shared-dev": (19_998,),
                "shared-test": (19_998,),
            },
            source=_FEVER,
        ),
        Layout(
            "symmetric",
            files={
                "dev": ("fever_symmetric_dev.jsonl",),
                "test": ("fever_symmetric_test.jsonl",),
                "symmetric-generated": ("fever_symmetric_generated.jsonl",),
                "symmetric-full": ("fever_symmetric_full.jsonl",),
            },
            sizes={
                "dev": (708,),
                "test": (712,),
                "symmetric-generated": (717,),
                "symmetric-full": (956,),
            },
            source="https://github.com/TalSchuster/FeverSymmetric",
        ),
    ),
    asked="the claim",
    target="the label",
    golds="the label",
    metrics=("label-accuracy",),
    decoding={
        # The paper does not say k for FEVER: it was chosen on dev, and 5 or 10 in training.
        "rag-token": Decoding(k=10),
        "rag-sequence": Decoding(k=10, search="thorough"),
    },
    notes=(
        "as classes, marginalised over passages: generator seq2seq-classifier (appendix E)",
        "ways=2 leaves out the claims without enough information; KILT's files have none",
        "the paper counts 145,450 / 10,000 / 10,000 in three classes: one too many each",
    ),
)
TWO = replace(
    ABOUT,
    layouts=(
        ABOUT.layouts[0],
        # 80,035 + 29,775 claims of train, and a third less of dev and test, have evidence.
        replace(
            ABOUT.layouts[1],
            sizes={
                "train": (109_810,),
                "dev": (6_666,),
                "test": (6_666,),
                "shared-dev": (13_332,),
            },
        ),
        ABOUT.layouts[2],
    ),
)


@described(ABOUT)
def fever(
    path: str,
    ways: Literal[2, 3] = 3,
    labels: Mapping[str, str] | None = None,
    splits: Mapping[str, str] | None = None,
    prompt: str = "{question}",
    metrics: Sequence[str] | None = None,
    incomplete: Incomplete = "warn",
) -> FileTask:
    """FEVER, from KILT's files, FEVER's own, or FEVER-symmetric.

    Args:
        path: a file, or the folder where they lie.
        ways: 3 classes, or 2 without NOT ENOUGH INFO.
        labels: other words for the labels, as in ``{SUPPORTS: "true", REFUTES: "false"}``.
        splits: the file of each split, where they are not called as they were handed out.
        prompt: what the model is asked, with ``{question}`` (the claim) once.
        metrics: by default those of the paper.
        incomplete: what to do where a file has not as many claims as it should.
    """
    words = {label: label for label in LABELS} | dict(labels or {})
    for label in words:
        if label not in LABELS:
            raise ConfigError(
                f"task fever: there is no label {label!r}{nearest(label, LABELS)}; "
                f"there are: {', '.join(LABELS)}"
            )
    if len(set(words.values())) < len(words):
        raise ConfigError(f"task fever: two labels have one word in {words}; give each its own")
    return FileTask(
        ABOUT if ways == 3 else TWO,
        partial(claims, words=words, ways=ways),
        path,
        splits=splits,
        prompt=prompt,
        metrics=metrics,
        incomplete=incomplete,
        options={"ways": ways} | ({"labels": dict(labels)} if labels else {}),
    )


def claims(path: Path, words: Mapping[str, str] | None = None, ways: int = 3) -> Iterator[Example]:
    """The claims of a file, any form; raises `DataError` with file and line."""
    for line, record in records(path, _LIKE):
        where = f"{path}, line {line}"
        example = _kilt(record, where) if "input" in record else _own(record, where)
        if ways == 2 and LABELS[2] in example.answers:
            continue
        answers = tuple((words or {}).get(one, one) for one in example.answers)
        yield replace(example, answers=answers, target=answers[0] if answers else None)


def evidence(path: str | Path) -> Iterator[Passage]:
    """The evidence of every claim of a FEVER-symmetric file: passages by the claims' ids."""
    path = Path(path)
    for line, record in records(path, _LIKE):
        where = f"{path}, line {line}"
        name = fields.identifier(fields.required(record, "id", where), f"{where}: id")
        field = "evidence_sentence" if "evidence_sentence" in record else "evidence"
        yield Passage(id=name, title="", text=fields.text(record, field, where))


def _kilt(record: Mapping[str, Any], where: str) -> Example:
    pages, answers = provenance(record, where)
    return Example(
        id=fields.identifier(fields.required(record, "id", where), f"{where}: id"),
        question=fields.text(record, "input", where),
        answers=tuple(_label(answer, where) for answer in answers),
        passage_ids=tuple(dict.fromkeys(page for one in pages for page in one)),
        extra={"passage_sets": pages},
    )


def _own(record: Mapping[str, Any], where: str) -> Example:
    name = fields.identifier(fields.required(record, "id", where), f"{where}: id")
    # The blind test has neither label nor evidence.
    labels = (_label(record["label"], where),) if "label" in record else ()
    extra: dict[str, Any] = {}
    ids: tuple[str, ...] = ()
    found = record.get("evidence_sentence", record.get("evidence"))
    if isinstance(found, str):  # symmetric: the sentence itself, see `evidence`
        extra, ids = {"evidence": found}, (name,)
    elif found is not None:
        extra = {"titles": _titles(found, where)}
    return Example(
        id=name,
        question=fields.text(record, "claim", where),
        answers=labels,
        passage_ids=ids,
        extra=extra,
    )


def _label(value: Any, where: str) -> str:
    if value not in LABELS:
        near = nearest(str(value).upper(), LABELS)
        raise DataError(
            f"{where}: the label is {value!r:.60}{near}; it must be one of {', '.join(LABELS)}"
        )
    return str(value)


def _titles(found: Any, where: str) -> tuple[tuple[str, ...], ...]:
    """The pages of each set of evidence: [[annotation, evidence, title, sentence], …]."""
    try:
        sets = [[piece[2] for piece in one if piece[2] is not None] for one in found]
    except (TypeError, IndexError, KeyError):
        raise DataError(
            f"{where}: evidence is {found!r:.60}; it must be lists of "
            f"[annotation id, evidence id, page, sentence]"
        ) from None
    return tuple(tuple(map(str, dict.fromkeys(one))) for one in sets if one)
