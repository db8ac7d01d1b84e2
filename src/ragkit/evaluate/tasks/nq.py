"""Natural Questions for open-domain answering: NQ-open's lines and DPR's files.

The paper trains and selects on DPR's split of NQ-open's train, and tests on NQ-open's dev,
which open-domain papers call test. Knows nothing of models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ragkit.evaluate.tasks.about import QA, About, Layout, described
from ragkit.evaluate.tasks.files import FileTask, Incomplete
from ragkit.evaluate.tasks.qa import questions

DPR_SOURCE = "https://github.com/facebookresearch/DPR, dpr/data/download_data.py"

ABOUT = About(
    name="nq",
    title="Natural Questions, open domain (tables 1 and 6)",
    layouts=(
        Layout(
            "DPR",
            files={
                "train": ("nq-train.qa.csv|nq-train.csv",),
                "dev": ("nq-dev.qa.csv|nq-dev.csv|topics.dpr.nq.dev.txt",),
                "test": ("nq-test.qa.csv|nq-test.csv|topics.dpr.nq.test.txt",),
            },
            sizes={"train": (79_168,), "dev": (8_757,), "test": (3_610,)},
            source=DPR_SOURCE,
        ),
        Layout(
            "NQ-open",
            files={"train": ("NQ-open.train.jsonl",), "test": ("NQ-open.dev.jsonl",)},
            sizes={"train": (87_925,), "test": (3_610,)},
            source="https://github.com/google-research-datasets/natural-questions, nq_open",
        ),
        Layout(
            "EfficientQA",
            files={
                "efficientqa-dev": ("NQ-open.efficientqa.dev.1.1.jsonl",),
                "efficientqa-test": ("NQ-open.efficientqa.test.1.1.jsonl",),
            },
            sizes={"efficientqa-dev": (1_800,), "efficientqa-test": (1_769,)},
            source="https://github.com/google-research-datasets/natural-questions, nq_open",
        ),
        Layout(
            "DPR training JSON",
            files={"train": ("biencoder-nq-train.json",), "dev": ("biencoder-nq-dev.json",)},
            sizes={"train": (58_880,), "dev": (6_515,)},
            source=DPR_SOURCE,
        ),
    ),
    asked="the question",
    target="the first answer; every answer in turn with each_answer=true",
    golds="all answers",
    metrics=("em", "f1", "answer-recall"),
    decoding=QA,
    each_answer=True,
    notes=(
        "NQ-open.dev.jsonl is the split test: all papers before EfficientQA report it",
        "also DPR's retrieval JSON and FiD's JSON, with the passages left out",
    ),
)


@described(ABOUT)
def natural_questions(
    path: str,
    splits: Mapping[str, str] | None = None,
    prompt: str = "{question}",
    metrics: Sequence[str] | None = None,
    incomplete: Incomplete = "warn",
) -> FileTask:
    """Natural Questions, from NQ-open's or DPR's files.

    Args:
        path: a file, or the folder where they lie.
        splits: the file of each split, where they are not called as they were handed out.
        prompt: what the model is asked, with ``{question}`` once.
        metrics: by default those of the paper.
        incomplete: what to do where a file has not as many questions as it should.
    """
    return FileTask(
        ABOUT,
        questions,
        path,
        splits=splits,
        prompt=prompt,
        metrics=metrics,
        incomplete=incomplete,
    )
