"""What type checkers see: a stranger's plugin of every role, and its use, strictly checked.

The plugin is what ``ragkit plugins new`` gives, with the checkers' settings that come with it.
What is wrong on purpose must be found, or else nothing was seen at all.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from ragkit import scaffold
from ragkit.hookspecs import ROLES

CACHE = Path(__file__).parents[1] / ".mypy_cache" / "stranger"

RIGHT = '''
"""A stranger's use of the plugin: each class is what its protocol asks for."""

from __future__ import annotations

from typing import assert_type

from ragkit import RAG, Answer, Component, KnowledgeBase, Prediction, hookimpl, make
from ragkit.protocols import (
    Encoder,
    Generator,
    Index,
    Marginalizer,
    Metric,
    Objective,
    Retriever,
    SupportsSave,
    Task,
)
from ragkit.testing import IndexConformance, Outcome, check

from acme_parts.encoder import AcmePartsEncoder
from acme_parts.generator import AcmePartsGenerator
from acme_parts.index import AcmePartsIndex
from acme_parts.marginalizer import AcmePartsMarginalizer
from acme_parts.metric import AcmePartsMetric
from acme_parts.objective import AcmePartsObjective
from acme_parts.retriever import AcmePartsRetriever
from acme_parts.task import AcmePartsTask

encoder: Encoder = AcmePartsEncoder()
index: Index = AcmePartsIndex()
retriever: Retriever = AcmePartsRetriever("kb/")
generator: Generator = AcmePartsGenerator()
marginalizer: Marginalizer = AcmePartsMarginalizer()
objective: Objective = AcmePartsObjective()
task: Task = AcmePartsTask()
metric: Metric = AcmePartsMetric()
saved: list[SupportsSave] = [AcmePartsEncoder(), AcmePartsIndex(), AcmePartsGenerator()]


@hookimpl
def ragkit_metrics() -> list[Component]:
    return [Component("mine", "acme_parts.metric:AcmePartsMetric", protocol=1)]


class TestMine(IndexConformance):
    def make(self) -> Index:
        return AcmePartsIndex()


def use(predictions: list[Prediction]) -> None:
    base = KnowledgeBase.open("kb/")
    rag = RAG(retriever, generator, marginalizer)
    answers = rag.answer(["who keeps the lighthouse"], k=2)
    assert_type(answers, list[Answer])
    assert_type(answers[0].text, str)
    assert_type(base.dimension, int)
    assert_type(metric(predictions, list(task.examples("dev"))), list[float])
    assert_type(check("index", "acme-parts"), list[Outcome])
    make("index", "acme-parts")
'''

WRONG = '''
"""Each marked line is wrong in a way that a type checker must see."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ragkit import RAG, Component, Example, Prediction
from ragkit.protocols import Hits, Index, Metric, Retriever, Task

from acme_parts.index import AcmePartsIndex
from acme_parts.metric import AcmePartsMetric
from acme_parts.task import AcmePartsTask


class Other(AcmePartsIndex):
    def find(self, queries: NDArray[np.float32]) -> Hits:
        return self.search(queries)  # wrong: k is missing


class Mean:
    def __call__(self, predictions: Sequence[Prediction], examples: Sequence[Example]) -> float:
        return 0.0


metric: Metric = Mean()  # wrong: a number for each is asked for
index: Index = AcmePartsMetric()  # wrong: another role
retriever: Retriever = AcmePartsTask()  # wrong: another role
task: Task = AcmePartsIndex()  # wrong: another role
record = Component("mine", "a:B", needs="numpy", colour="red")  # wrong: no such field
hits: Hits = AcmePartsIndex().search([[1.0]], 3)  # wrong: a list where an array is asked for
rag = RAG(AcmePartsIndex(), AcmePartsTask(), "rag-token")  # wrong: neither has its role
'''


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stranger") / "acme-parts"
    scaffold.write(scaffold.render("acme-parts", list(ROLES)), folder)
    (folder / "src" / "right.py").write_text(RIGHT)
    (folder / "src" / "wrong.py").write_text(WRONG)
    return folder


def marked() -> set[int]:
    lines = WRONG.split("\n")
    return {number for number, line in enumerate(lines, start=1) if "# wrong" in line}


@pytest.mark.timeout(900)  # torch's types, read for the first time, take a minute or more
def test_mypy(stranger: Path) -> None:
    pytest.importorskip("mypy", reason="mypy is not installed")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "--no-error-summary", "--no-pretty"),
            *("--hide-error-context", "--cache-dir", str(CACHE)),
        ],
        cwd=stranger,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    found = re.findall(r"^(\S+?):(\d+): error: (.*)$", done.stdout, re.MULTILINE)
    assert [one for one in found if not one[0].endswith("wrong.py")] == []
    assert {int(line) for _, line, _ in found} == marked(), done.stdout


@pytest.mark.timeout(900)
def test_pyright(stranger: Path) -> None:
    if find_spec("basedpyright") is None:
        pytest.skip("basedpyright, which is pyright without a download, is not installed")
    settings = {
        "include": ["src"],
        "typeCheckingMode": "strict",
        "pythonVersion": "3.11",
        # Torch's and safetensors' own types are unknown in part; ours are not.
        "reportUnknownMemberType": False,
        "reportUnknownVariableType": False,
    }
    (stranger / "pyrightconfig.json").write_text(json.dumps(settings))
    done = subprocess.run(
        [sys.executable, "-m", "basedpyright", "--outputjson", "--pythonpath", sys.executable],
        cwd=stranger,
        capture_output=True,
        text=True,
        check=False,
    )
    report = json.loads(done.stdout)
    assert report["summary"]["filesAnalyzed"] == 11
    found = [
        (Path(one["file"]).name, one["range"]["start"]["line"] + 1, one["message"])
        for one in report["generalDiagnostics"]
        if one["severity"] == "error"
    ]
    assert [one for one in found if one[0] != "wrong.py"] == []
    assert {line for _, line, _ in found} == marked(), found
