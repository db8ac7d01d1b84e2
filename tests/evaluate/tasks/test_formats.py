"""Every task reads its files as they are handed out: small ones in each original form."""

from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path
from typing import Any

import pytest

import ragkit
from ragkit.evaluate.tasks import FileTask, evidence, paragraphs
from ragkit.protocols import Example


def made(name: str, path: Path, **options: Any) -> FileTask:
    task = ragkit.make("task", name, path=str(path), incomplete="ignore", **options)
    assert isinstance(task, FileTask)
    return task


def examples(name: str, path: Path, split: str = "test", **options: Any) -> list[Example]:
    return list(made(name, path, **options).examples(split))


def jsonl(path: Path, *records: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(one) + "\n" for one in records), encoding="utf-8")
    return path


def dpr_table(path: Path, *rows: tuple[str, list[str]]) -> Path:
    """As DPR writes them: Python's csv with tabs, lists as Python shows them."""
    text = io.StringIO()
    csv.writer(text, delimiter="\t").writerows([question, repr(list_)] for question, list_ in rows)
    path.write_text(text.getvalue(), encoding="utf-8")
    return path


# ------------------------------------------------------------------- questions, answers

QUESTIONS = (
    ("who's there", ["it's me", 'the "Duke"']),
    ('a "quoted" question', ["Æther", "back\\slash"]),
)
"""Quotes of both kinds, and a backslash: what the writers of these files escape."""


@pytest.mark.parametrize("name", ["nq", "triviaqa", "webquestions", "squad"])
def test_dpr_tables(name: str, tmp_path: Path) -> None:
    file = dpr_table(tmp_path / "questions.csv", *QUESTIONS)
    found = examples(name, file)
    assert [(one.question, list(one.answers)) for one in found] == list(QUESTIONS)
    assert [one.id for one in found] == ["1", "2"]
    packed = tmp_path / "questions.csv.gz"
    packed.write_bytes(gzip.compress(file.read_bytes()))
    assert examples(name, packed) == found


def test_nq_open(tmp_path: Path) -> None:
    file = jsonl(
        tmp_path / "NQ-open.efficientqa.test.1.1.jsonl",
        {"question": "who", "answer": ["a", "b"], "def_correct_predictions": ["c"]},
    )
    (one,) = examples("nq", file)
    assert one == Example("1", "who", ("a", "b"), extra={"def_correct_predictions": ["c"]})


@pytest.mark.parametrize("indent", [None, 4])
def test_dpr_training_and_fid_json(indent: int | None, tmp_path: Path) -> None:
    records = [
        {
            "dataset": "nq_train_psgs_w100",
            "question": "who",
            "answers": ["a"],
            "positive_ctxs": [
                {"title": "T", "text": "a", "score": 1000, "passage_id": "17"},
                {"title": "U", "text": "a", "score": 1, "passage_id": "4"},
                {"title": "T", "text": "a", "score": 1, "passage_id": "17"},
            ],
            "negative_ctxs": [],
            "hard_negative_ctxs": [{"title": "V", "text": "b", "passage_id": "5"}],
        },
        {"question": "when", "answers": ["b"], "positive_ctxs": [{"psg_id": 8}]},
        {"id": "f", "question": "where", "target": "d", "answers": ["c", "d"], "ctxs": [{"id": 1}]},
    ]
    file = tmp_path / "biencoder-nq-train.json"
    file.write_text(json.dumps(records, indent=indent))
    first, second, third = examples("nq", file)
    assert first.passage_ids == ("17", "4")
    assert second.passage_ids == ("8",)
    assert third == Example("f", "where", ("c", "d"), target="d")


def test_triviaqa(tmp_path: Path) -> None:
    answer = {
        "Aliases": ["Sunset Bld", "Sunset Blvd", "Sunset Boulevard", ""],
        "MatchedWikiEntityName": "Sunset Boulevard",
        "NormalizedAliases": ["sunset bld"],
        "NormalizedValue": "sunset boulevard",
        "Type": "WikipediaEntity",
        "Value": "Sunset Boulevard",
    }
    known = {
        "Answer": answer,
        "EntityPages": [{"Title": "Andrew Lloyd Webber"}],
        "Question": "Which musical premiered on 10th December 1993?",
        "QuestionId": "tc_33",
        "QuestionSource": "http://www.triviacountry.com/",
        "SearchResults": [],
    }
    blind = {name: value for name, value in known.items() if name != "Answer"}
    for name, record in (
        ("unfiltered-web-dev.json", known),
        ("wikipedia-test-without-answers.json", blind),
    ):
        whole = {"Data": [record], "Domain": "Web", "VerifiedEval": False, "Version": 1.0}
        (tmp_path / name).write_text(json.dumps(whole, indent=4))
    (one,) = examples("triviaqa", tmp_path)
    assert one.answers == ("Sunset Boulevard", "Sunset Bld", "Sunset Blvd")
    assert (one.id, one.target) == ("tc_33", "Sunset Boulevard")
    (other,) = examples("triviaqa", tmp_path, "wikipedia-test")
    assert (other.id, other.answers, other.target) == ("tc_33", (), None)


def test_webquestions(tmp_path: Path) -> None:
    sempre = [
        {
            "url": "http://www.freebase.com/view/en/justin_bieber",
            "targetValue": '(list (description "Jazmyn Bieber") (description Jaxon) '
            '(description "J \\"the\\" B"))',
            "utterance": "what is the name of justin bieber brother?",
        }
    ]
    (tmp_path / "webquestions.examples.test.json").write_text(json.dumps(sempre))
    (one,) = examples("webquestions", tmp_path)
    assert one.answers == ("Jazmyn Bieber", "Jaxon", 'J "the" B')
    assert one.question == "what is the name of justin bieber brother?"
    parts = ("trainmodel", "val", "devtest")
    (tmp_path / "main").mkdir()
    for number, part in enumerate(parts):
        record = [{"qId": f"wqr{number}", "answers": [part], "qText": f"{part}?"}]
        (tmp_path / "main" / f"{part}.json").write_text(json.dumps(record))
    train = examples("webquestions", tmp_path, "trainmodel")
    assert [(one.id, one.answers) for one in train] == [("wqr0", ("trainmodel",))]
    (tmp_path / "webquestions.examples.test.json").unlink()
    train = examples("webquestions", tmp_path, "train")
    assert [one.answers for one in train] == [(part,) for part in parts]
    biencoder = tmp_path / "biencoder-webquestions-train.json"
    biencoder.write_text(json.dumps([{"question": "q", "answers": ["a"], "positive_ctxs": []}]))
    assert examples("webquestions", biencoder) == [Example("1", "q", ("a",))]


def test_curated_trec(tmp_path: Path) -> None:
    file = tmp_path / "large2470-test.tsv"
    pattern = r"20\s?,?\s?320 f(ee|oo)t|the \"Top\""
    file.write_text(
        f'1669\tfactoid\tHow tall is "it"?\t{pattern}\n\n1\tfactoid\tWho?\tEd(ward)?.*White\n'
    )
    first, second = examples("curated-trec", tmp_path)
    assert (first.id, first.question, first.answers) == ("1669", 'How tall is "it"?', (pattern,))
    assert first.target == "20 320 feet"
    assert second.target == "Edward White"
    table = dpr_table(tmp_path / "curatedtrec-test.qa.csv", ("How?", [pattern]))
    assert examples("curated-trec", table)[0].answers == (pattern,)
    lines = jsonl(tmp_path / "topics.jsonl", {"question": "How?", "answer": [pattern]})
    assert examples("curated-trec", lines)[0].answers == (pattern,)


def test_squad(tmp_path: Path) -> None:
    article = {
        "title": "Oil_crisis",
        "paragraphs": [
            {
                "context": "It began in October 1973.",
                "qas": [
                    {
                        "id": "5725",
                        "question": "When did it begin?",
                        "answers": [
                            {"text": "October 1973", "answer_start": 12},
                            {"text": "1973", "answer_start": 20},
                            {"text": "October 1973", "answer_start": 12},
                        ],
                    },
                    {"id": "5726", "question": "Why?", "answers": [], "is_impossible": True},
                ],
            },
            {"context": "It ended.", "qas": []},
        ],
    }
    for name in ("dev-v1.1.json", "dev-v2.0.json"):
        (tmp_path / name).write_text(json.dumps({"version": name, "data": [article, article]}))
    for split in ("test", "v2-dev"):
        one, again = examples("squad", tmp_path, split)
        assert one.question == "When did it begin?"
        assert one.answers == ("October 1973", "1973")
        assert one.passage_ids == ("Oil_crisis-0",)
        assert (one.id, again.id) == ("5725", "5725#2")
    passages = list(paragraphs(str(tmp_path / "dev-v1.1.json")))
    assert [one.id for one in passages[:2]] == ["Oil_crisis-0", "Oil_crisis-1"]
    assert passages[1].title == "Oil crisis"
    assert passages[1].text == "It ended."


# ------------------------------------------------------------------------- generation

MARCO = [
    {
        "answers": ["sore throat"],
        "passages": [{"is_selected": 1, "passage_text": "…", "url": "u"}],
        "query": "walgreens store sales average",
        "query_id": 9652,
        "query_type": "NUMERIC",
        "wellFormedAnswers": ["The average is $3.", "It is three dollars."],
    },
    {"answers": ["x"], "query": "left out", "query_id": 2, "wellFormedAnswers": "[]"},
    {"answers": ["y"], "query": "kept", "query_id": 3, "wellFormedAnswers": ["Yes.", ""]},
]


def columns(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    names = dict.fromkeys(name for row in rows for name in row)
    return {
        name: {str(i): row[name] for i, row in enumerate(rows) if name in row} for name in names
    }


def test_ms_marco(tmp_path: Path) -> None:
    expected = [
        Example("9652", MARCO[0]["query"], ("The average is $3.", "It is three dollars.")),
        Example("3", "kept", ("Yes.",)),
    ]
    for indent in (None, 1):
        (tmp_path / "dev_v2.1.json").write_text(json.dumps(columns(MARCO), indent=indent))
        assert examples("msmarco-nlg", tmp_path, "dev") == expected
    assert examples("msmarco-nlg", jsonl(tmp_path / "rows.jsonl", *MARCO)) == expected
    table = tmp_path / "table.tsv"
    lines = ["\t".join([one.id, one.question, *one.answers]) for one in expected]
    table.write_text("\n".join(lines))
    assert examples("msmarco-nlg", table) == expected
    blind = [{"query": row["query"], "query_id": row["query_id"]} for row in MARCO]
    (tmp_path / "eval_v2.1_public.json").write_text(json.dumps(columns(blind)))
    found = examples("msmarco-nlg", tmp_path, "test")
    assert [(one.id, one.answers) for one in found] == [("9652", ()), ("2", ()), ("3", ())]


def test_jeopardy(tmp_path: Path) -> None:
    clue = "for the last 8 years of his life , galileo was under house arrest"
    (tmp_path / "train.txt").write_text(
        f"<s> one ||| snippet </s> <s> two </s> ||| {clue} ||| copernicus\n"
    )
    assert examples("jeopardy", tmp_path, "train") == [
        Example("1", "copernicus", (clue,), target=clue)
    ]
    archive = [
        {
            "category": "HISTORY",
            "air_date": "2004-12-31",
            "question": '\'For the <a href="x.jpg" target="_blank">last</a> 8 years &amp; more\'',
            "value": "$200",
            "answer": "Copernicus",
            "round": "Jeopardy!",
            "show_number": "4680",
        }
    ]
    file = tmp_path / "JEOPARDY_QUESTIONS1.json"
    file.write_text(json.dumps(archive))
    said = "For the last 8 years & more"
    assert examples("jeopardy", file) == [Example("1", "Copernicus", (said,), target=said)]
    (tmp_path / "val").mkdir()
    for name in ("000002", "000001"):
        (tmp_path / "val" / f"{name}.json").write_text(json.dumps(archive[0] | {"answer": name}))
    found = examples("jeopardy", tmp_path, "dev")
    assert [(one.id, one.question) for one in found] == [("000001",) * 2, ("000002",) * 2]


# ------------------------------------------------------------------- claims and evidence


def test_fever_in_its_own_form(tmp_path: Path) -> None:
    jsonl(
        tmp_path / "paper_dev.jsonl",
        {
            "id": 75397,
            "verifiable": "VERIFIABLE",
            "label": "SUPPORTS",
            "claim": "Nikolaj Coster-Waldau worked with Fox.",
            "evidence": [
                [[92206, 104971, "Nikolaj", 7], [92206, 104971, "Fox", 0]],
                [[92207, 104972, "Nikolaj", 8]],
            ],
        },
        {"id": 2, "label": "NOT ENOUGH INFO", "claim": "B.", "evidence": [[[1, None, None, None]]]},
        {"id": 3, "label": "REFUTES", "claim": "C.", "evidence": []},
    )
    three = examples("fever", tmp_path, "dev")
    assert [one.answers for one in three] == [("SUPPORTS",), ("NOT ENOUGH INFO",), ("REFUTES",)]
    assert three[0].extra["titles"] == (("Nikolaj", "Fox"), ("Nikolaj",))
    assert three[1].extra["titles"] == ()
    words = {"SUPPORTS": "true", "REFUTES": "false"}
    two = examples("fever", tmp_path, "dev", ways=2, labels=words)
    assert [(one.id, one.answers, one.target) for one in two] == [
        ("75397", ("true",), "true"),
        ("3", ("false",), "false"),
    ]
    jsonl(tmp_path / "shared_task_test.jsonl", {"id": 4, "claim": "D."})
    (blind,) = examples("fever", tmp_path, "shared-test")
    assert (blind.answers, blind.target) == ((), None)


def kilt_record(answer: str, *pages: str) -> dict[str, Any]:
    return {"answer": answer, "provenance": [{"wikipedia_id": p, "title": "t"} for p in pages]}


def test_kilt(tmp_path: Path) -> None:
    jsonl(
        tmp_path / "nq-dev-kilt.jsonl",
        {
            "id": "-5004457603684974952",
            "input": "who is playing the halftime show",
            "output": [
                kilt_record("Coldplay", "49728", "7", "49728"),
                kilt_record("Beyoncé", "9"),
                {"answer": "Coldplay"},
                {"provenance": [{"wikipedia_id": "8"}]},
            ],
            "meta": {},
        },
    )
    jsonl(tmp_path / "nq-test_without_answers-kilt.jsonl", {"id": 5, "input": "who"})
    task = made("kilt", tmp_path)
    (one,) = task.examples("dev")
    assert one.answers == ("Coldplay", "Beyoncé")
    assert one.passage_ids == ("49728", "7", "9", "8")
    assert one.extra["passage_sets"] == (("49728", "7"), ("9",), ("8",))
    (blind,) = task.examples("test")
    assert (blind.id, blind.answers, blind.passage_ids) == ("5", (), ())
    assert task.metrics[:2] == ("em", "f1")


def test_kilt_knows_the_task_by_its_file(tmp_path: Path) -> None:
    jsonl(
        tmp_path / "fever-dev-kilt.jsonl",
        {"id": 1, "input": "A claim.", "output": [kilt_record("REFUTES", "3")]},
    )
    assert made("kilt", tmp_path).metrics[0] == "label-accuracy"
    eli5 = jsonl(
        tmp_path / "mine.jsonl", {"id": 1, "input": "Why?", "output": [kilt_record("So.")]}
    )
    assert made("kilt", eli5, task="eli5").metrics[0] == "rouge-l"
    (claim,) = examples("fever", tmp_path, "dev")
    assert (claim.question, claim.answers, claim.passage_ids) == ("A claim.", ("REFUTES",), ("3",))


def test_fever_symmetric(tmp_path: Path) -> None:
    file = jsonl(
        tmp_path / "fever_symmetric_generated.jsonl",
        {"id": "1", "label": "REFUTES", "claim": "C.", "evidence_sentence": "E."},
        {"id": "2", "label": "SUPPORTS", "claim": "D.", "evidence": "F.", "evid": [["F.", 1.0]]},
    )
    found = examples("fever", file)
    assert [(one.passage_ids, one.extra["evidence"]) for one in found] == [
        (("1",), "E."),
        (("2",), "F."),
    ]
    assert [(one.id, one.text) for one in evidence(str(file))] == [("1", "E."), ("2", "F.")]


def test_beir(tmp_path: Path) -> None:
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels" / "test.tsv").write_text(
        "query-id\tcorpus-id\tscore\nq2\td1\t1\nq2\td3\t2\nq2\td4\t0\nq1\td9\t1\nq0\td9\t0\n"
    )
    jsonl(
        tmp_path / "queries.jsonl",
        *({"_id": f"q{i}", "text": f"Query {i}", "metadata": {}} for i in range(4)),
    )
    first, second = examples("beir", tmp_path)
    assert (first.id, first.question, first.passage_ids) == ("q1", "Query 1", ("d9",))
    assert second.passage_ids == ("d3", "d1")
    assert second.extra["relevance"] == {"d3": 2, "d1": 1, "d4": 0}
    (tmp_path / "qrels" / "dev.tsv").write_text("q1 0 d5 1\nq1 0 d6 1\n")
    (trec,) = examples("beir", tmp_path, "dev")
    assert trec.passage_ids == ("d5", "d6")


# --------------------------------------------------------------------------- one's own


def test_tables_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "dev.csv").write_text(
        "id,Frage,answers,level,passage_ids\n"
        '7,"Who, where?","Ada Holm|A. Holm",3,p1|p2\n'
        '8,"Two\nlines","[""a|b"", ""c""]",,\n'
        "9,Which?,[sic],,\n",
        encoding="utf-8",
    )
    task = ragkit.make("task", "csv", path=str(tmp_path), question="Frage")
    first, second, third = task.examples("dev")
    assert first == Example(
        "7", "Who, where?", ("Ada Holm", "A. Holm"), ("p1", "p2"), extra={"level": "3"}
    )
    assert (second.question, second.answers) == ("Two\nlines", ("a|b", "c"))
    assert third.answers == ("[sic]",)
    (tmp_path / "own.txt").write_text("question;answers;target\nWho?;a/b;b\n")
    task = ragkit.make("task", "csv", path=str(tmp_path / "own.txt"), delimiter=";", separator="/")
    assert list(task.examples("test")) == [Example("1", "Who?", ("a", "b"), target="b")]
