"""What others retrieved, as ragkit's lines: DPR's results and training files, and FiD's.

DPR and FiD keep a list of ``{question, answers, ctxs: [{id, title, text, score, has_answer}]}``;
DPR trains on ``{question, answers, positive_ctxs, hard_negative_ctxs}``. The examples become
a file of the task ``jsonl``, the passages one of predictions without text, whose prior is
the softmax of the scores.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ragkit.convert.json_objects import objects
from ragkit.convert.place import check_free, whole
from ragkit.convert.report import Report
from ragkit.errors import DataError
from ragkit.evaluate.predictions import to_line, to_record
from ragkit.protocols import Passage, Prediction

EXAMPLES, PREDICTIONS = "examples.jsonl", "predictions.jsonl"
_KNOWN = {"id", "q_id", "question", "answers", "answer", "target", "ctxs"}
_TRAINED = ("positive_ctxs", "hard_negative_ctxs", "negative_ctxs")
_IDS = ("id", "passage_id", "psg_id")
_USED = {*_IDS, "title", "text", "score"}


def from_retrieval(source: str | Path, out: str | Path, *, k: int | None = None) -> Report:
    """Convert a JSON, or JSON lines, of questions with retrieved passages.

    Args:
        source: the file; ``.gz`` too.
        out: the new folder, of ``examples.jsonl`` and, where passages were retrieved,
            ``predictions.jsonl``.
        k: passages of each question that are kept, the first ones; by default all.

    Raises:
        DataError: with the record that is not what it should be.
    """
    target = check_free(out)
    if k is not None and k < 1:
        raise DataError(f"k is {k}; it is a number of passages, at least 1")
    report, count = Report(str(out)), Counter[str]()
    with whole(target) as making, ExitStack() as stack:
        examples = stack.enter_context((making / EXAMPLES).open("wb"))
        predictions = None
        seen: dict[str, int] = {}
        for number, (where, record) in enumerate(objects(Path(source)), start=1):
            example = _example(record, where, number, count)
            if example["id"] in seen:
                raise DataError(
                    f"{where} has the id {example['id']!r}, as record {seen[example['id']]} has; "
                    "ids must differ"
                )
            seen[example["id"]] = number
            examples.write(_line(example))
            if "ctxs" in record:
                if predictions is None:
                    if number > 1:
                        raise DataError(f"{where} has ctxs, and those before have none")
                    predictions = stack.enter_context((making / PREDICTIONS).open("wb"))
                predictions.write(
                    to_line(to_record(_prediction(example, record, where, k, count), 0.0))
                )
            elif predictions is not None:
                raise DataError(f"{where} has no ctxs, and those before have some")
    report.made.append(f"{len(seen):,} examples, {target / EXAMPLES}: task jsonl")
    if predictions is not None:
        report.made.append(
            f"{count.pop('passages'):,} retrieved passages, {target / PREDICTIONS}: "
            "ragkit.evaluate.PredictionFile"
        )
    _said(count, report)
    return report


def _example(
    record: dict[str, Any], where: str, number: int, count: Counter[str]
) -> dict[str, Any]:
    """One object of the task jsonl."""
    question = record.get("question")
    if not isinstance(question, str) or not question.strip():
        raise DataError(
            f"{where}: question is {question!r:.60}; it must be a text. Fields: "
            f"{', '.join(record) or 'none'}"
        )
    name = record.get("id", record.get("q_id", number))
    answers = _answers(record, where)
    found: dict[str, Any] = {"id": str(name), "question": question, "answers": answers}
    target = record.get("target")
    if isinstance(target, str) and target.strip():
        found["target"] = target
    gold = _contexts(record, "positive_ctxs", where)
    ids = [one for one in (_id(context) for context in gold) if one is not None]
    if ids:
        found["passage_ids"] = list(dict.fromkeys(ids))
    for name in _TRAINED[1:]:
        count[f"passages of {name}"] += len(_contexts(record, name, where))
    count["passages of positive_ctxs without an id"] += len(gold) - len(ids)
    for name in set(record) - _KNOWN - {*_TRAINED}:
        count[f"the field {name!r}"] += 1
    return found


def _answers(record: dict[str, Any], where: str) -> list[str]:
    answers = record.get("answers", record.get("answer"))
    if answers is None and isinstance(record.get("target"), str):
        answers = [record["target"]]
    if isinstance(answers, str):
        answers = [answers]
    if not isinstance(answers, list) or not answers:
        raise DataError(f"{where}: answers is {answers!r:.60}; it must be a list of at least one")
    for answer in answers:
        if not isinstance(answer, str) or not answer.strip():
            raise DataError(f"{where}: {answer!r:.60} among the answers is no text")
    return answers


def _prediction(
    example: dict[str, Any], record: dict[str, Any], where: str, k: int | None, count: Counter[str]
) -> Prediction:
    """The passages and their prior; there is no answer in such a file, and no posterior."""
    contexts = _contexts(record, "ctxs", where)
    if k is not None:
        count["passages beyond the first k"] += max(0, len(contexts) - k)
        contexts = contexts[:k]
    passages = tuple(_passage(one, f"{where}, ctxs[{i}]") for i, one in enumerate(contexts))
    scores = [_score(one, f"{where}, ctxs[{i}]") for i, one in enumerate(contexts)]
    prior: tuple[float, ...] = ()
    if all(score is not None for score in scores):
        prior = _softmax([score for score in scores if score is not None])
    else:
        count["scores of questions with passages that have none"] += 1
    for name in (name for one in contexts for name in one if name not in _USED):
        count[f"the field {name!r} of passages"] += 1
    count["passages"] += len(passages)
    return Prediction(example["id"], example["question"], "", -math.inf, passages, prior)


def _contexts(record: dict[str, Any], name: str, where: str) -> list[dict[str, Any]]:
    found = record.get(name, [])
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise DataError(f"{where}: {name} is {found!r:.60}; it must be a list of passages")
    return found


def _passage(context: dict[str, Any], where: str) -> Passage:
    text, title = context.get("text"), context.get("title") or ""
    if not isinstance(text, str) or not isinstance(title, str):
        raise DataError(
            f"{where}: title {title!r:.40}, text {text!r:.40}; both must be texts. Fields: "
            f"{', '.join(context) or 'none'}"
        )
    return Passage(_id(context) or "", title, text)


def _id(context: dict[str, Any]) -> str | None:
    for name in _IDS:
        value = context.get(name)
        if isinstance(value, (str, int)) and not isinstance(value, bool) and value != "":
            return str(value)
    return None


def _score(context: dict[str, Any], where: str) -> float | None:
    """A number, which DPR writes as text."""
    value = context.get("score")
    if value is None:
        return None
    try:
        found = float(value)
    except (TypeError, ValueError):
        found = math.nan
    if not math.isfinite(found):
        raise DataError(f"{where}: score is {value!r:.40}; it must be a number")
    return found


def _softmax(scores: Iterable[float]) -> tuple[float, ...]:
    found = list(scores)
    if not found:
        return ()
    top = max(found)
    weights = [math.exp(score - top) for score in found]
    total = sum(weights)
    return tuple(weight / total for weight in weights)


def _line(record: dict[str, Any]) -> bytes:
    return json.dumps(record, ensure_ascii=False).encode() + b"\n"


def _said(count: Counter[str], report: Report) -> None:
    for what, times in sorted(count.items()):
        if times:
            report.dropped.append(f"{what}: {times:,}")
