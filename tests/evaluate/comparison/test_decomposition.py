"""Whose the errors are, on questions where each case was made on purpose."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import scipy.stats

import runs
from ragkit.errors import ConfigError, DataError, UnknownName
from ragkit.evaluate.comparison import compare, decompose, open_run
from ragkit.evaluate.comparison.decomposition import KINDS, Fault
from ragkit.evaluate.metrics import ExactMatch
from ragkit.protocols import Example, Passage

GOLD = "Ada Holm"
WITH, WITHOUT = "The keeper is Ada Holm.", "The keeper is unknown."
CASES = [
    # id, said, text that was read, known passage read, expected kind and rule
    ("right", "Ada Holm.", WITH, False, None),
    ("lucky", "ada holm", WITHOUT, False, None),
    ("known", "the Ada Holm", WITHOUT, True, None),
    ("near", "Captain Ada Holm", WITHOUT, False, ("metric", "part")),
    ("near too", "Ada Hollm", WITH, False, ("metric", "spelling")),
    ("missed", "Bo Berg", WITHOUT, False, ("retrieval", "")),
    ("misread", "Bo Berg", WITH, False, ("reader", "")),
    ("misread too", "", WITHOUT, True, ("reader", "")),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    asked = [Example(case[0], f"Who? {case[0]}", (GOLD, "A. Holm"), ("known",)) for case in CASES]
    asked.append(Example("unjudged", "Who else?", (), ()))

    def passages(i: int, one: Example) -> list[Passage]:
        if i == len(CASES):
            return []
        return [
            Passage("a", "", "Nothing here."),
            Passage("known" if CASES[i][3] else "b", "", CASES[i][2]),
        ]

    said = [*(case[1] for case in CASES), "x"]
    return runs.write(tmp_path / "run", asked, lambda i, _: said[i], passages=passages)


def test_every_error_has_one_door(folder: Path) -> None:
    found = decompose(open_run(folder))
    assert [(f.id, (f.kind, f.rule)) for f in found.faults] == [
        (case[0], case[4]) for case in CASES if case[4]
    ]
    assert (found.questions, found.right) == (8, 3)
    assert {kind: share.cases for kind, share in found.errors.items()} == {
        "retrieval": 1,
        "reader": 2,
        "metric": 2,
    }
    assert sum(share.share for share in found.errors.values()) == pytest.approx(1)
    assert found.unsupported[:2] == (1, 3)
    assert found.rules == {"part": 1, "spelling": 1}
    assert found.of("retrieval") == [
        Fault("retrieval", "", "missed", "Who? missed", "Bo Berg", (GOLD, "A. Holm"))
    ]
    expected = scipy.stats.binomtest(2, 5).proportion_ci(0.95, method="exact")
    assert found.errors["reader"][2:] == pytest.approx((expected.low, expected.high))


@pytest.mark.parametrize(
    ("support", "unsupported", "retrieval"),
    # The known passage is read where "known" and "misread too" say so.
    [("any", 1, 1), ("answer", 2, 2), ("passage", 2, 2)],
)
def test_what_supports(folder: Path, support: str, unsupported: int, retrieval: int) -> None:
    found = decompose(open_run(folder), support=support)  # type: ignore[arg-type]
    assert found.unsupported.cases == unsupported
    assert found.errors["retrieval"].cases == retrieval


def test_titles_are_read_too(tmp_path: Path) -> None:
    asked = runs.examples(2)
    folder = runs.write(
        tmp_path / "run",
        asked,
        lambda i, one: "?",
        passages=lambda i, one: [Passage("z", "Answer 0", "and its story")],
    )
    found = decompose(open_run(folder))
    assert [one.kind for one in found.faults] == ["reader", "retrieval"]


def test_patterns(tmp_path: Path) -> None:
    asked = [Example(str(i), f"When {i}?", (r"19\d9",)) for i in range(3)]
    said = ["1969", "in 1979", "never"]
    folder = runs.write(
        tmp_path / "run",
        asked,
        lambda i, _: said[i],
        passages=lambda i, _: [Passage("p", "", "It was 1989.")],
        metrics={"EM": ExactMatch(regex=True)},
    )
    path = folder / "result.json"
    result = json.loads(path.read_text())
    result["metrics"]["EM"]["table"] = {"name": "em", "regex": True}
    path.write_text(json.dumps(result))
    found = decompose(open_run(folder))
    assert found == decompose(open_run(folder), regex=True)
    assert [(one.kind, one.rule) for one in found.faults] == [("metric", "part"), ("reader", "")]
    assert found.unsupported.cases == 0


def test_no_errors_and_no_passages(tmp_path: Path) -> None:
    asked = runs.examples(3)
    right = decompose(open_run(runs.write(tmp_path / "a", asked, lambda i, one: one.answers[0])))
    assert all(math.isnan(right.errors[kind].share) for kind in KINDS)
    assert right.unsupported.share == 1.0  # closed book
    assert right.as_dict()["errors"]["reader"] == {
        "count": 0,
        "of": 0,
        "share": None,
        "low": None,
        "high": None,
    }
    wrong = decompose(open_run(runs.write(tmp_path / "b", asked, lambda i, one: "?")))
    assert wrong.errors["retrieval"].share == 1.0
    assert wrong.as_dict(examples=2)["examples"][1]["id"] == "q1"
    assert len(wrong.as_dict(examples=2)["examples"]) == 2


def test_labels_go_by_known_passages(tmp_path: Path) -> None:
    asked = [Example(f"c{i}", f"Claim {i}.", ("SUPPORTS",), ("p1",)) for i in range(4)]
    folders = [
        runs.write(
            tmp_path / name,
            asked,
            lambda i, _: "REFUTES",
            passages=lambda i, _: [Passage(f"p{i}", "", "What SUPPORTS the roof?")],
            values={"accuracy": [0.0, 0.0, 0.0, 1.0]},
        )
        for name in "ab"
    ]
    for found in compare(folders).errors:
        assert found.metric == "accuracy"
        assert [one.kind for one in found.faults] == ["retrieval", "reader", "retrieval"]
        assert found.unsupported[:2] == (1, 1)
    unknown = [Example(one.id, one.question, one.answers) for one in asked]
    folders = [
        runs.write(tmp_path / n, unknown, lambda i, _: "x", values={"accuracy": [0.0] * 4})
        for n in "cd"
    ]
    assert compare(folders).errors == []


def test_refusals(folder: Path, tmp_path: Path) -> None:
    run = open_run(folder)
    with pytest.raises(UnknownName, match=r"no metric 'EN'; did you mean 'EM'\? Metrics: EM, F1"):
        decompose(run, metric="EN")
    with pytest.raises(ConfigError, match="support is 'all'; type one of any, answer, passage"):
        decompose(run, support="all")  # type: ignore[arg-type]
    asked = [Example("1", "Who?", ("x",))]
    bare = runs.write(tmp_path / "bare", asked, lambda i, _: "y", keep_golds=False)
    with pytest.raises(DataError, match=r"has no golds\.jsonl.*answers nothing twice"):
        decompose(open_run(bare))
    unknown = runs.write(tmp_path / "unknown", asked, lambda i, _: "y")
    with pytest.raises(DataError, match="has a known passage; type support='any'"):
        decompose(open_run(unknown), support="passage")
