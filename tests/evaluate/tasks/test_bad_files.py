"""Bad input, table by table: each fault gets its one error, with the file, and the line if any."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

import ragkit
from ragkit.errors import ConfigError, DataError

GOOD = b'{"question": "q", "answer": ["a"]}\n'
TRIVIA = {"Question": "q", "QuestionId": "1", "Answer": {"Value": "a", "Aliases": ["b"]}}
ARTICLE = {"title": "T", "paragraphs": [{"context": "c", "qas": []}]}
KILT = {"id": 1, "input": "i", "output": [{"answer": "a"}]}


def line(**fields: Any) -> bytes:
    return json.dumps(fields).encode() + b"\n"


def data(**changes: Any) -> bytes:
    return json.dumps({"Data": [TRIVIA, TRIVIA | changes]}, indent=1).encode()


def squad(**changes: Any) -> bytes:
    return json.dumps({"data": [ARTICLE | changes]}).encode()


def answered(**changes: Any) -> bytes:
    entry = {"id": "1", "question": "q", "answers": [{"text": "a"}]} | changes
    return squad(paragraphs=[{"context": "c", "qas": [entry]}])


HALF = gzip.compress(b"".join(b'{"question": "%d", "answer": ["a"]}\n' % i for i in range(5000)))

FILES: list[tuple[str, str, bytes, str]] = [
    # What is no data at all.
    ("nq", "q.jsonl", b"", "q.jsonl has no question; fetch it again"),
    ("nq", "q.jsonl", b"\n\n \n", "has no question"),
    ("nq", "q.jsonl", b"<!DOCTYPE html><html>", "q.jsonl is a web page, not data"),
    ("nq", "q.jsonl", b"version https://git-lfs.github.com/spec/v1", "pointer to data"),
    ("nq", "q.jsonl", GOOD.decode().encode("utf-16"), "is UTF-16; save the file again"),
    ("nq", "q.jsonl", gzip.compress(GOOD), r"is gzip but is not named so; rename it to q.jsonl.gz"),
    ("nq", "q.jsonl.gz", GOOD, "named .gz but is not gzip; rename"),
    ("nq", "q.jsonl.gz", HALF[: len(HALF) // 2], r"cut off or damaged after line \d+; fetch"),
    ("nq", "q.jsonl.gz", HALF[:-4], "cut off or damaged"),
    ("nq", "q.zip", b"PK\x03\x04rest", "is a zip archive; unpack it"),
    # Encodings that are mixed.
    (
        "nq",
        "q.jsonl",
        GOOD + b'{"question": "caf\xe9", "answer": ["a"]}',
        r"line 2: not UTF-8 \(byte",
    ),
    ("nq", "q.csv", b"q\t['a']\ncaf\xe9\t['b']\n", "line 2: not UTF-8"),
    ("nq", "q.json", b'[{"question": "q",\n"answers": ["\xe9"]}]', "line 2: not UTF-8"),
    # Natural Questions, and all that share its forms.
    ("nq", "q.jsonl", GOOD + b"{oops", r"line 2: not JSON .*one object a line"),
    ("nq", "q.jsonl", GOOD + b"[1]", "line 2: a JSON list, not an object"),
    ("nq", "q.jsonl", GOOD + line(question="q"), "line 2: no field 'answer'; there are: question"),
    ("nq", "q.jsonl", line(question="q", answer=[]), "line 1: answer is .*at least one"),
    ("nq", "q.jsonl", line(question="q", answer=[""]), "line 1: '' among the answer is not a text"),
    ("nq", "q.jsonl", line(question="q", answer=3), "line 1: answer is 3; write a list"),
    ("nq", "q.jsonl", line(question=" ", answer=["a"]), "line 1: question is ' '; write a text"),
    (
        "nq",
        "q.jsonl",
        line(qestion="q", answer=["a"]),
        "no field 'question'; did you mean 'qestion'",
    ),
    ("nq", "q.jsonl", line(id=1.5, question="q", answer=["a"]), "line 1: id is 1.5"),
    (
        "nq",
        "q.json",
        b'[{"question": "q", "answers": ["a"]},\n 3]',
        "line 2: a JSON int, not an object",
    ),
    ("nq", "q.json", b'[{"question": "q", "answers": ["a"]}', "file ends here, before"),
    (
        "nq",
        "q.json",
        b'[{"question": "q", "answers": ["a"]},\n{"question": "h',
        "line 2: .*cut off",
    ),
    (
        "nq",
        "q.json",
        line(question="q", answers=["a"], positive_ctxs=3),
        "positive_ctxs is no list",
    ),
    (
        "nq",
        "q.csv",
        b"q\t['a']\nonly one column\n",
        "line 2: 1 columns, and there should be 2: question",
    ),
    ("nq", "q.csv", b"a\tb\tc\n", "line 1: 3 columns"),
    ("nq", "q.csv", b"q\tthe answer\n", "line 1: 'the answer' is no list of answers; write"),
    ("nq", "q.csv", b"q\t__import__('os').listdir()\n", "is no list of answers"),
    ("nq", "q.csv", b"q\t" + b"[" * 9999 + b"\n", "is no list of answers"),
    ("nq", "q.csv", b"q\t[]\n", "line 1: answers is .*at least one"),
    ("nq", "q.csv", b"q\t[1]\n", "line 1: 1 among the answers is not a text"),
    ("nq", "q.csv", b"q\t['a']\nr\t\"['b']\ns\t['c']\n", "line 2: .*close the quote"),
    # TriviaQA.
    ("triviaqa", "q.json", b'{"data": []}', 'no field "Data"; there are: data'),
    ("triviaqa", "q.json", data(Question=""), r"line \d+: Question is ''"),
    ("triviaqa", "q.json", data(QuestionId=None), "QuestionId is None"),
    ("triviaqa", "q.json", data(Answer={"Value": "a"}), "no field 'Aliases'"),
    ("triviaqa", "q.json", data(Answer={"Value": "", "Aliases": []}), "Value is ''"),
    (
        "triviaqa",
        "q.json",
        data(Answer={"Value": "a", "Aliases": "a"}),
        "Aliases is 'a'; write a list",
    ),
    ("triviaqa", "q.json", data(Answer={"Value": "a", "Aliases": [7]}), "7 among the Aliases"),
    ("triviaqa", "q.json", data(Answer=["a"]), "Answer: a JSON list, not an object"),
    ("triviaqa", "q.json", data()[:-30], "cut off|before the document"),
    # WebQuestions.
    ("webquestions", "q.json", b'[{"qId": "1", "answers": ["a"]}]', "no field 'qText'"),
    ("webquestions", "q.json", b'[{"qId": "1", "qText": "q", "answers": []}]', "answers is"),
    ("webquestions", "q.json", b'[{"utterance": "u", "targetValue": "(list)"}]', "has no answer"),
    ("webquestions", "q.json", b'[{"utterance": "u"}]', "no field 'targetValue'"),
    # CuratedTrec.
    (
        "curated-trec",
        "q.tsv",
        b"1\tt\tq\ta(b\n",
        r"line 1: 'a\(b' is no regular expression .*position 3",
    ),
    ("curated-trec", "q.tsv", b"1\tt\tq\ta\n2\tt\tq\t*a\n", "line 2: .*is no regular expression"),
    (
        "curated-trec",
        "q.tsv",
        b"1\tt\tq\tChina|\n",
        "line 1: .*matches the empty text, so every answer",
    ),
    ("curated-trec", "q.tsv", b"1\tt\tq\t.*\n", "matches the empty text"),
    (
        "curated-trec",
        "q.tsv",
        b"1\tt\tq\t" + b"a" * 20_001 + b"\n",
        "of 20,001 characters; 20,000 are",
    ),
    ("curated-trec", "q.tsv", b"1\tt\tq\t\n", "line 1: regex is ''"),
    ("curated-trec", "q.tsv", b"1\tt\tq\n", "line 1: 3 columns, and there should be 4: id, type"),
    ("curated-trec", "q.csv", b"q\t['[a']\n", "line 1: .* is no regular expression"),
    ("curated-trec", "q.jsonl", line(question="q", answer=["(?<a"]), "is no regular expression"),
    # SQuAD.
    ("squad", "q.json", b'{"rows": []}', 'no field "data"; there are: rows'),
    ("squad", "q.json", squad(title=""), "title is ''"),
    ("squad", "q.json", squad(paragraphs=3), "paragraphs is 3; write a list"),
    ("squad", "q.json", squad(paragraphs=[{"qas": []}]), "paragraph 0 of T: no field 'context'"),
    ("squad", "q.json", answered(answers=[]), "question '1' has no answer; write one, or \"is_imp"),
    ("squad", "q.json", answered(answers=[{"text": ""}]), "paragraph 0 of T: text is ''"),
    ("squad", "q.json", answered(answers=["a"]), "a JSON str, not an object"),
    # MS MARCO.
    ("msmarco-nlg", "q.tsv", b"1\tq\n", "line 1: 2 columns, and there should be 3 or more"),
    ("msmarco-nlg", "q.tsv", b"1\tq\t \n", "line 1: no answer; write one"),
    (
        "msmarco-nlg",
        "q.json",
        b'{"query": {"0": "q"}, "wellFormedAnswers": {"0": ["a"]}}',
        "no field 'query_id'",
    ),
    (
        "msmarco-nlg",
        "q.json",
        b'{"query": {"0": "q"}, "wellFormedAnswers": {"0": 3}}',
        "wellFormedAnswers is 3",
    ),
    (
        "msmarco-nlg",
        "q.json",
        b'{"query": {"0": "q"},\n "query_id": {"0"',
        "line 2: the file ends here",
    ),
    (
        "msmarco-nlg",
        "q.jsonl",
        line(query="q", query_id=1, wellFormedAnswers="x"),
        "wellFormedAnswers is 'x'",
    ),
    # Jeopardy.
    ("jeopardy", "q.txt", b"s ||| clue\n", "line 1: 2 parts between |||, and there should be 3"),
    ("jeopardy", "q.txt", b"s ||| c ||| a\ns ||| <i></i> ||| a\n", "line 2: the clue is empty"),
    ("jeopardy", "q.json", b'[{"question": "q"}]', "no field 'answer'"),
    ("jeopardy", "q.json", b'[{"question": "q", "answer": null}]', "answer is None"),
    # FEVER and KILT.
    (
        "fever",
        "q.jsonl",
        line(id=1, claim="c", label="supports"),
        "label is 'supports'; did you mean",
    ),
    ("fever", "q.jsonl", line(id=1, claim="c", label="MAYBE"), "must be one of SUPPORTS, REFUTES"),
    ("fever", "q.jsonl", line(id=1, label="REFUTES"), "no field 'claim'"),
    (
        "fever",
        "q.jsonl",
        line(id=1, claim="c", label="REFUTES", evidence=[[3]]),
        r"evidence is \[\[3\]\]",
    ),
    ("kilt", "nq-dev-kilt.jsonl", line(**KILT | {"input": ""}), "line 1: input is ''"),
    ("kilt", "q.jsonl", line(**KILT | {"output": "a"}), "line 1: output is 'a'; write a list"),
    ("kilt", "q.jsonl", line(**KILT | {"output": [{}]}), "no output has an answer"),
    (
        "kilt",
        "q.jsonl",
        line(**KILT | {"output": [{"answer": "a", "provenance": [{}]}]}),
        "wikipedia_id",
    ),
    (
        "kilt",
        "triviaqa-dev_id-kilt.jsonl",
        line(id=1, output=[{"answer": "a"}]),
        "get_triviaqa_input.py",
    ),
    # Tables of one's own.
    (
        "csv",
        "q.csv",
        b"frage,answers\nq,a\n",
        "line 1: no column 'question'; there are, .*question='frage'",
    ),
    ("csv", "q.csv", b"question;answers\nq;a\n", "no column 'question'.*between ','"),
    ("csv", "q.csv", b"question,answers,x,x\nq,a,1,2\n", "two columns are called 'x'"),
    ("csv", "q.csv", b"question,answers\nq,a\nq\n", "line 3: 1 columns, and there should be 2"),
    ("csv", "q.csv", b"question,answers\nq,\n", "line 2: answers is empty; write an answer"),
    ("csv", "q.csv", b"question,answers\n,a\n", "line 2: question is ''"),
    ("csv", "q.csv", b'question,answers\nq,"a\n', "line 2: .*close the quote"),
    ("csv", "q.tsv", b"question\tanswers\n", "q.tsv has no question"),
]


@pytest.mark.parametrize(
    ("task", "name", "content", "message"),
    FILES,
    ids=[f"{number}-{task}" for number, (task, *_) in enumerate(FILES)],
)
def test_a_bad_file(task: str, name: str, content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    made = ragkit.make("task", task, path=str(tmp_path / name))
    with pytest.raises(DataError, match=message) as caught:
        list(made.examples("test"))
    assert str(tmp_path / name) in str(caught.value)


def test_bad_folders_of_clues(tmp_path: Path) -> None:
    (tmp_path / "test").mkdir()
    task = ragkit.make("task", "jeopardy", path=str(tmp_path))
    with pytest.raises(DataError, match="test has no question"):
        list(task.examples("test"))
    (tmp_path / "test" / "1.json").write_text('{"question": "q", "ans')
    with pytest.raises(DataError, match=r"1\.json: not JSON .*is the folder complete"):
        list(task.examples("test"))


QRELS = "query-id\tcorpus-id\tscore\n"
BEIR = [
    (QRELS, '{"_id": "1", "text": "q"}', "test.tsv has no judgement"),
    (QRELS + "1\td\n", '{"_id": "1", "text": "q"}', "line 2: 2 columns, and there should be 3"),
    (QRELS + "1\td\tyes\n", '{"_id": "1", "text": "q"}', "line 2: score is 'yes'; write a whole"),
    (QRELS + "1\td\t1\n1\td\t0\n", '{"_id": "1", "text": "q"}', "line 3: .*judged twice"),
    (
        QRELS + "1\td\t1\n",
        '{"_id": "2", "text": "q"}',
        "judges 1 queries that are not in .*such as '1'",
    ),
    (QRELS + "1\td\t1\n", '{"id": "1", "text": "q"}', "line 1: no field '_id'; did you mean 'id'"),
    (QRELS + "1\td\t1\n", '{"_id": "1", "text": ""}', "line 1: text is ''"),
    (QRELS + "1\td\t1\n", None, r"there is no queries.jsonl in .*qrels or the folder above"),
]


@pytest.mark.parametrize(("qrels", "queries", "message"), BEIR, ids=range(len(BEIR)))
def test_a_bad_folder_of_beir(
    qrels: str, queries: str | None, message: str, tmp_path: Path
) -> None:
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels" / "test.tsv").write_text(qrels)
    if queries is not None:
        (tmp_path / "queries.jsonl").write_text(queries)
    with pytest.raises(DataError, match=message):
        list(ragkit.make("task", "beir", path=str(tmp_path)).examples("test"))


OPTIONS: list[tuple[str, dict[str, Any], str]] = [
    ("nq", {}, "option 'path' is missing"),
    ("nq", {"prompt": "nq question:"}, r"prompt is 'nq question:'; it must have \{question\} once"),
    ("nq", {"prompt": "{question} {question}"}, "once"),
    (
        "nq",
        {"incomplete": "wran"},
        "nq.incomplete: 'wran' .* must be 'warn' or 'refuse' or 'ignore'",
    ),
    ("fever", {"ways": 4}, "fever.ways: 4 .* must be 2 or 3"),
    ("fever", {"labels": {"SUPORTS": "yes"}}, "no label 'SUPORTS'; did you mean 'SUPPORTS'"),
    ("fever", {"labels": {"SUPPORTS": "x", "REFUTES": "x"}}, "two labels have one word"),
    ("kilt", {"task": "hotpot"}, "there is no task 'hotpot'; did you mean 'hotpotqa'"),
    ("csv", {"separator": ""}, "separator must be a text, and delimiter one sign"),
    ("csv", {"delimiter": "::"}, "delimiter one sign"),
]


@pytest.mark.parametrize(("name", "options", "message"), OPTIONS, ids=range(len(OPTIONS)))
def test_a_bad_option(name: str, options: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = {} if "missing" in message else {"path": str(tmp_path)}
    with pytest.raises(ConfigError, match=message):
        ragkit.make("task", name, **path, **options)


def test_bad_paths(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere: there is no such file or folder; task nq reads"):
        ragkit.make("task", "nq", path=str(tmp_path / "nowhere"))
    task = ragkit.make("task", "nq", path=str(tmp_path))
    (tmp_path / "notes.md").write_text("")
    with pytest.raises(
        DataError,
        match=r"no file of split 'dev' of task nq; it would be nq-dev.qa.csv .*DPR.*or "
        r"biencoder-nq-dev.json .*there is: notes.md. Type the path",
    ):
        task.examples("dev")
    with pytest.raises(
        DataError, match=r"'tset'.*its splits are train, dev, test.*did you mean 'test'"
    ):
        task.examples("tset")
    named = ragkit.make("task", "nq", path=str(tmp_path), splits={"dev": "gone.csv"})
    with pytest.raises(DataError, match=r"gone.csv: there is no such file"):
        list(named.examples("dev"))
    with pytest.raises(DataError, match="no split 'dve'; did you mean 'dev'"):
        named.examples("dve")
    own = tmp_path / "own.xls"
    own.write_text("question,answers\nq,a\n")
    with pytest.raises(ConfigError, match=r"own.xls: a table is called .csv or .tsv"):
        list(ragkit.make("task", "csv", path=str(own)).examples("dev"))
    for name in ("nq-dev-kilt.jsonl", "fever-dev-kilt.jsonl"):
        (tmp_path / name).write_text("")
    with pytest.raises(ConfigError, match="several tasks of KILT; type task= one of fever, nq"):
        ragkit.make("task", "kilt", path=str(tmp_path))
