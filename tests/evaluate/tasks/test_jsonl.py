"""The jsonl task: what it reads, and the one error for each thing that is not right."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pytest

from ragkit.errors import ConfigError, DataError
from ragkit.evaluate.tasks import JsonlTask
from ragkit.protocols import Example

GOOD = '{"question": "Who?", "answers": ["x"]}'


def write(path: Path, *lines: str) -> str:
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return str(path)


def test_every_field(tmp_path: Path) -> None:
    path = write(
        tmp_path / "q.jsonl",
        '{"id": "7", "question": "Who?", "answers": ["Å", "b"], "passage_ids": ["p1", 2], '
        '"target": "b", "level": 3}',
        "",
        '{"question": "When?", "answers": ["1912"], "passage_id": "p3", "target": null}',
    )
    assert list(JsonlTask(path).examples("test")) == [
        Example("7", "Who?", ("Å", "b"), ("p1", "2"), "b", {"level": 3}),
        Example("3", "When?", ("1912",), ("p3",), None, {}),
    ]


def test_gzip_and_byte_order_mark(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "q.jsonl.gz", "wb") as file:
        file.write(b"\xef\xbb\xbf" + GOOD.encode() + b"\r\n")
    (example,) = JsonlTask(str(tmp_path / "q.jsonl.gz")).examples("dev")
    assert example.question == "Who?"


def test_it_streams(tmp_path: Path) -> None:
    path = write(tmp_path / "q.jsonl", GOOD, GOOD, "broken")
    stream = iter(JsonlTask(path).examples("dev"))
    assert [next(stream).id, next(stream).id] == ["1", "2"]
    with pytest.raises(DataError, match="line 3"):
        next(stream)


def test_metrics_follow_the_first_record(tmp_path: Path) -> None:
    plain = write(tmp_path / "plain.jsonl", GOOD)
    gold = write(tmp_path / "gold.jsonl", '{"question": "?", "answers": ["x"], "passage_id": "1"}')
    answers = ("em", "f1", "answer-recall")
    assert tuple(JsonlTask(plain).metrics) == answers
    assert tuple(JsonlTask(gold).metrics) == (*answers, "gold-recall", "rr")
    assert tuple(JsonlTask(gold, metrics=["em"]).metrics) == ("em",)


def test_splits_of_a_folder(tmp_path: Path) -> None:
    write(tmp_path / "train-v1.questions.jsonl", GOOD.replace("Who", "Train"))
    write(tmp_path / "train-v1.passages.jsonl", '{"id": "p", "title": "", "text": ""}')
    write(tmp_path / "dev-v1.questions.jsonl", GOOD.replace("Who", "Dev"))
    task = JsonlTask(str(tmp_path))
    questions = [next(iter(task.examples(split))).question for split in ("train", "dev")]
    assert questions == ["Train?", "Dev?"]
    with pytest.raises(DataError, match=r"no file of split 'test'.*dev-v1.*type the path of one"):
        task.examples("test")
    write(tmp_path / "dev-v2.questions.jsonl", GOOD)
    with pytest.raises(DataError, match="more than one file of split 'dev'"):
        task.examples("dev")
    write(tmp_path / "dev.questions.jsonl", GOOD.replace("Who", "Exact"))
    assert next(iter(task.examples("dev"))).question == "Exact?"


def test_splits_by_name(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", GOOD)
    task = JsonlTask(str(tmp_path), splits={"dev": "a.jsonl"})
    assert next(iter(task.examples("dev"))).question == "Who?"
    assert next(iter(task.metrics)) == "em"
    with pytest.raises(DataError, match="no split 'dve'; did you mean 'dev'"):
        task.examples("dve")


def test_squad(tmp_path: Path) -> None:
    data = Path(os.environ.get("RAGKIT_DATA", Path(__file__).parents[4] / "shared" / "data"))
    if not (data / "squad").is_dir():
        pytest.skip("needs RAGKIT_DATA/squad")
    task = JsonlTask(str(data / "squad"))
    examples = list(task.examples("dev"))
    assert len(examples) == 10_570
    assert all(len(one.passage_ids) == 1 for one in examples)
    assert "gold-recall" in task.metrics
    first = next(iter(task.examples("train")))
    assert first.question == "In what year did the earthquake in Sichuan occur?"
    assert first.answers == ("2008",)


BAD_LINES = [
    ("not json", r"line 2: not JSON \(Expecting value at column 1\).*write one object a line"),
    ('["a"]', "line 2: a JSON list, not an object"),
    ('{"answers": ["x"]}', "line 2: no field 'question'; there are: answers"),
    ('{"questoin": "?", "answers": ["x"]}', "did you mean 'questoin'"),
    ('{"question": "", "answers": ["x"]}', "question is ''; write a text"),
    ('{"question": 3, "answers": ["x"]}', "question is 3; write a text"),
    ('{"question": "?"}', "line 2: no field 'answers'; there are: question; write"),
    ('{"question": "?", "answer": ["x"]}', "no field 'answers'; did you mean 'answer'"),
    ('{"question": "?", "answers": []}', "answers is .*; write a list of at least one"),
    ('{"question": "?", "answers": "x"}', "answers is 'x'; write a list"),
    ('{"question": "?", "answers": [" "]}', "' ' among the answers is not a text"),
    ('{"question": "?", "answers": [1]}', "1 among the answers is not a text"),
    ('{"question": "?", "answers": ["x"], "target": ""}', "target is ''"),
    ('{"question": "?", "answers": ["x"], "passage_id": 1.5}', "passage_id is 1.5"),
    ('{"question": "?", "answers": ["x"], "passage_ids": "p"}', "passage_ids is 'p'; write a list"),
    ('{"question": "?", "answers": ["x"], "passage_ids": [null]}', "passage_ids is None"),
    (
        '{"question": "?", "answers": ["x"], "passage_id": "a", "passage_ids": ["b"]}',
        "both passage_id and passage_ids; keep passage_ids",
    ),
    ('{"id": "1", "question": "?", "answers": ["x"]}', "id '1' is that of line 1 as well"),
    ('{"id": "", "question": "?", "answers": ["x"]}', "id is ''; write a text"),
]


@pytest.mark.parametrize(("line", "message"), BAD_LINES)
def test_a_bad_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = write(tmp_path / "q.jsonl", GOOD, line, GOOD)
    with pytest.raises(DataError, match=message) as caught:
        list(JsonlTask(path).examples("dev"))
    assert str(caught.value).startswith(f"{path}, line 2: ")


def test_bad_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere.jsonl: there is no such file or folder; type"):
        JsonlTask(str(tmp_path / "nowhere.jsonl"))
    with pytest.raises(ConfigError, match=r"type path=questions.jsonl"):
        JsonlTask()
    with pytest.raises(DataError, match=r"no .jsonl file; type the path"):
        JsonlTask(str(tmp_path)).examples("dev")
    gone = JsonlTask(str(tmp_path), splits={"dev": "gone.jsonl"})
    with pytest.raises(DataError, match=r"gone.jsonl: there is no such file"):
        list(gone.examples("dev"))
    (tmp_path / "q.jsonl.gz").write_bytes(GOOD.encode())
    with pytest.raises(DataError, match=r"is named .gz but is not gzip; rename"):
        list(JsonlTask(str(tmp_path / "q.jsonl.gz")).examples("dev"))
    lines = "".join(
        json.dumps({"question": f"{i}?", "answers": [str(i)]}) + "\n" for i in range(999)
    )
    whole = gzip.compress(lines.encode())
    (tmp_path / "half.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(
        DataError, match=r"half.jsonl.gz is cut off or damaged after line \d+; fetch"
    ):
        list(JsonlTask(str(tmp_path / "half.jsonl.gz")).examples("dev"))
    (tmp_path / "latin.jsonl").write_bytes(GOOD.encode() + b'\n{"question": "\xe9"}\n')
    with pytest.raises(DataError, match=r"latin.jsonl, line 2: not UTF-8 \(byte 15\); save"):
        list(JsonlTask(str(tmp_path / "latin.jsonl")).examples("dev"))
