"""Retrieved passages of DPR and FiD to examples and predictions of ragkit."""

from __future__ import annotations

import gzip
import json
import math
from pathlib import Path
from typing import Any

import pytest

from ragkit.convert import from_retrieval
from ragkit.evaluate import JsonlTask, PredictionFile

SCORES = (81.5, 80.25, 70.0)


def contexts(scores: Any = SCORES, **more: Any) -> list[dict[str, Any]]:
    return [
        {"id": f"wiki:{n}", "title": f"T{n}", "text": f"text {n}", "score": score, **more}
        for n, score in enumerate(scores)
    ]


DPR = [
    {"question": "who?", "answers": ["Ada", "Holm"],
     "ctxs": contexts([str(score) for score in SCORES], has_answer=True)},
    {"question": "wo? — “dort”", "answers": ["hier"], "ctxs": contexts()},
]  # fmt: skip
FID = [
    {"id": "q7", "question": "who?", "target": "Holm", "answers": ["Ada", "Holm"],
     "ctxs": [{"title": "T", "text": "text"}, {"title": "U", "text": "more"}]},
    {"id": 8, "question": "where?", "answers": ["here"], "ctxs": []},
]  # fmt: skip
TRAINED = [
    {"dataset": "nq_dev_psgs_w100", "question": "who?", "answers": ["Ada"],
     "positive_ctxs": [{"passage_id": "12", "title": "T", "text": "t"},
                       {"psg_id": 13, "title": "U", "text": "u"}],
     "negative_ctxs": [], "hard_negative_ctxs": [{"passage_id": "9", "title": "", "text": "n"}]},
]  # fmt: skip


def written(path: Path, records: list[Any], form: str) -> Path:
    if form == "lines":
        text = "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in records)
    else:
        text = json.dumps(records, indent=4 if form == "indented" else None, ensure_ascii=False)
    data = text.encode()
    path = path / ("a.json.gz" if form == "gz" else "a.json")
    path.write_bytes(gzip.compress(data) if form == "gz" else data)
    return path


@pytest.mark.parametrize("form", ["one line", "indented", "lines", "gz"])
def test_results_of_dpr(tmp_path: Path, form: str) -> None:
    report = from_retrieval(written(tmp_path, DPR, form), tmp_path / "out")
    examples = list(JsonlTask(str(tmp_path / "out" / "examples.jsonl")).examples("dev"))
    assert [(one.id, one.question, one.answers) for one in examples] == [
        ("1", "who?", ("Ada", "Holm")),
        ("2", "wo? — “dort”", ("hier",)),
    ]
    found = list(PredictionFile(tmp_path / "out" / "predictions.jsonl"))
    assert [one.id for one in found] == ["1", "2"]
    weights = [math.exp(score - 81.5) for score in SCORES]
    for one in found:
        assert [p.id for p in one.passages] == ["wiki:0", "wiki:1", "wiki:2"]
        assert one.passages[1].text == "text 1"
        assert one.prior == pytest.approx([weight / sum(weights) for weight in weights])
        assert (one.text, one.log_likelihood, one.posterior) == ("", -math.inf, ())
    assert any("'has_answer' of passages" in line for line in report.dropped)
    assert "6 retrieved passages" in report.made[1]


def test_data_of_fid(tmp_path: Path) -> None:
    report = from_retrieval(written(tmp_path, FID, "indented"), tmp_path / "out", k=1)
    first, second = JsonlTask(str(tmp_path / "out" / "examples.jsonl")).examples("train")
    assert (first.id, first.target, first.answers) == ("q7", "Holm", ("Ada", "Holm"))
    assert (second.id, second.target) == ("8", None)
    one, two = PredictionFile(tmp_path / "out" / "predictions.jsonl")
    assert [p.title for p in one.passages] == ["T"]
    assert one.prior == two.prior == two.passages == ()
    said = " ".join(report.dropped)
    assert "passages beyond the first k: 1" in said
    assert "scores" in said


def test_training_files_of_dpr(tmp_path: Path) -> None:
    report = from_retrieval(written(tmp_path, TRAINED, "indented"), tmp_path / "out")
    (example,) = JsonlTask(str(tmp_path / "out" / "examples.jsonl")).examples("train")
    assert example.passage_ids == ("12", "13")
    assert not (tmp_path / "out" / "predictions.jsonl").exists()
    said = " ".join(report.dropped)
    assert "hard_negative_ctxs: 1" in said
    assert "'dataset'" in said
    assert "without an id" not in said


def test_a_long_file_is_read_in_pieces(tmp_path: Path) -> None:
    """Records of more than a block, and many of them."""
    long = {**DPR[0], "ctxs": [{**contexts()[0], "text": "x" * 3_000_000}]}
    records = [long, *({**DPR[1], "id": f"n{n}"} for n in range(5_000))]
    from_retrieval(written(tmp_path, records, "one line"), tmp_path / "out", k=1)
    found = PredictionFile(tmp_path / "out" / "predictions.jsonl")
    assert len(found) == 5_001
    assert len(found[0].passages[0].text) == 3_000_000
    assert found[5_000].id == "n4999"
