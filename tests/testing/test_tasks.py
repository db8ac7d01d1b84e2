"""Every task that ragkit brings passes the kit, over small files in its original form."""

from __future__ import annotations

import json
from pathlib import Path

import ragkit
from ragkit.protocols import Task
from ragkit.testing import TaskConformance

TWO = ("one", "two")


def over(name: str, folder: Path, files: dict[str, str]) -> Task:
    """The task of that name over a folder with these files."""
    for file, text in files.items():
        (folder / file).parent.mkdir(exist_ok=True)
        (folder / file).write_text(text, encoding="utf-8")
    options = {} if name == "csv" else {"incomplete": "ignore"}
    made: Task = ragkit.make("task", name, path=str(folder), **options)
    return made


def lines(*records: object) -> str:
    return "".join(json.dumps(one) + "\n" for one in records)


class TestCsv(TaskConformance):
    component = "csv"

    def make(self):
        return over("csv", self.folder(), {"dev.csv": "question,answers\none,a\ntwo,b|c\n"})


class TestNaturalQuestions(TaskConformance):
    component = "nq"
    splits = ("dev", "test")

    def make(self):
        files = {
            "nq-dev.qa.csv": "one\t['a']\ntwo\t['b', 'c']\n",
            "NQ-open.dev.jsonl": lines(*({"question": one, "answer": ["a"]} for one in TWO)),
        }
        return over("nq", self.folder(), files)


class TestTriviaQA(TaskConformance):
    component = "triviaqa"
    splits = ("test",)

    def make(self):
        answer = {"Value": "a", "Aliases": ["a", "b"]}
        records = [{"QuestionId": one, "Question": one, "Answer": answer} for one in TWO]
        return over(
            "triviaqa", self.folder(), {"unfiltered-web-dev.json": json.dumps({"Data": records})}
        )


class TestWebQuestions(TaskConformance):
    component = "webquestions"
    splits = ("train", "dev", "test")

    def make(self):
        records = [{"qId": one, "qText": one, "answers": ["a"]} for one in TWO]
        names = ("trainmodel", "val", "devtest", "test")
        files = {f"main/{name}.json": json.dumps(records) for name in names}
        return over("webquestions", self.folder(), files)


class TestCuratedTrec(TaskConformance):
    component = "curated-trec"
    splits = ("test",)

    def make(self):
        text = "1\tfactoid\tone\ta(b|c)\n2\tfactoid\ttwo\t\\d+\n"
        return over("curated-trec", self.folder(), {"large2470-test.tsv": text})


class TestSquad(TaskConformance):
    component = "squad"
    splits = ("test",)

    def make(self):
        entries = [{"id": one, "question": one, "answers": [{"text": "a"}]} for one in TWO]
        article = {"title": "T", "paragraphs": [{"context": "a", "qas": entries}]}
        return over("squad", self.folder(), {"dev-v1.1.json": json.dumps({"data": [article]})})


class TestMsMarco(TaskConformance):
    component = "msmarco-nlg"

    def make(self):
        columns = {
            "query": {"0": "one", "1": "two"},
            "query_id": {"0": 7, "1": 8},
            "wellFormedAnswers": {"0": ["A."], "1": ["B."]},
        }
        return over("msmarco-nlg", self.folder(), {"dev_v2.1.json": json.dumps(columns)})


class TestJeopardy(TaskConformance):
    component = "jeopardy"
    splits = ("train",)

    def make(self):
        return over("jeopardy", self.folder(), {"train.txt": "s ||| c ||| a\ns ||| d ||| b\n"})


class TestFever(TaskConformance):
    component = "fever"

    def make(self):
        records = [{"id": one, "claim": one, "label": "REFUTES"} for one in TWO]
        return over("fever", self.folder(), {"paper_dev.jsonl": lines(*records)})


class TestKilt(TaskConformance):
    component = "kilt"

    def make(self):
        output = [{"answer": "a", "provenance": [{"wikipedia_id": "1"}]}]
        records = [{"id": one, "input": one, "output": output} for one in TWO]
        return over("kilt", self.folder(), {"hotpotqa-dev-kilt.jsonl": lines(*records)})


class TestBeir(TaskConformance):
    component = "beir"
    splits = ("test",)

    def make(self):
        files = {
            "queries.jsonl": lines(*({"_id": one, "text": one} for one in TWO)),
            "qrels/test.tsv": "query-id\tcorpus-id\tscore\none\td1\t1\ntwo\td2\t2\n",
        }
        return over("beir", self.folder(), files)
