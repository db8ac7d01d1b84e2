"""Rankings and judgements in TREC's forms: what trec_eval, pytrec_eval and ir_measures read.

| file | a line |
|---|---|
| run | ``query Q0 passage rank score tag`` |
| qrels | ``query 0 passage grade`` |

trec_eval holds scores as 32-bit floats and sorts by them alone, whatever rank and line say;
among equals the greater id comes first. What is written here has no equals, so that every
tool sees the order that was retrieved, and what is read is sorted as trec_eval sorts it.
Knows nothing of models and metrics.
"""

from __future__ import annotations

import gzip
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

import numpy as np

from ragkit.errors import DataError
from ragkit.evaluate.opening import lines
from ragkit.evaluate.tasks.beir import judgements
from ragkit.protocols import Example, Prediction

_COLUMNS = "query, Q0, passage, rank, score, tag"
_TINY = np.finfo(np.float32).tiny


class Ranked(NamedTuple):
    """A passage in a ranking: its id and its score."""

    id: str
    score: float


Ranking = dict[str, list[Ranked]]
"""The passages of every query, best first."""


def write_run(path: str | Path, predictions: Iterable[Prediction], tag: str = "ragkit") -> int:
    """Write the passages of predictions as a run, gzip where it is named so; lines written.

    The score is log p(z|x), which orders as the retriever's own score does; -rank where a
    prediction has no prior. A passage that stands twice is written once.

    Raises `DataError` where an id cannot stand in such a file.
    """
    _check(tag, "tag")
    return _write(Path(path), _run_lines(predictions, tag))


def write_qrels(path: str | Path, examples: Iterable[Example]) -> int:
    """Write what is known to be right as judgements, gzip where named so; lines written.

    The grade of a gold is 1, or what ``extra["relevance"]`` says. Questions without a right
    passage are left out, as they are left out of means here (trec_eval would count 0).

    Raises `DataError` where an id cannot stand in such a file, or a grade is no whole number.
    """
    return _write(Path(path), _qrels_lines(examples))


def read_run(path: str | Path) -> Ranking:
    """The passages of every query of a run, in trec_eval's order.

    Raises `DataError` with file and line where it is no run, or a passage stands twice.
    """
    path = Path(path)
    found: dict[str, dict[str, float]] = {}
    for line, text in lines(path):
        cells = text.split()
        if not cells:
            continue
        where = f"{path}, line {line}"
        if len(cells) != 6:
            raise DataError(f"{where}: {len(cells)} columns, and there should be 6: {_COLUMNS}")
        query, _, passage, _, said, _ = cells
        held = found.setdefault(query, {})
        if passage in held:
            raise DataError(
                f"{where}: query {query!r} has passage {passage!r} twice; keep the line with "
                f"the greater score"
            )
        held[passage] = _score(said, where)
    if not found:
        raise DataError(f"{path} has no line; write {_COLUMNS}, parted by spaces")
    return {query: _sorted(held) for query, held in found.items()}


def read_qrels(path: str | Path) -> list[Example]:
    """An example for every judged query that has a right passage; its question is its id.

    TREC's four columns and BEIR's three are read. Raises `DataError` with file and line.
    """
    return [
        Example(
            id=query,
            question=query,
            passage_ids=tuple(passage for passage, grade in grades.items() if grade > 0),
            extra={"relevance": grades},
        )
        for query, grades in judgements(Path(path)).items()
        if any(grade > 0 for grade in grades.values())
    ]


def falling(scores: Iterable[float]) -> list[float]:
    """The scores of a list, best first, as 32-bit floats of which no two are equal.

    Each is its own score where that is below the one before, else the next smaller float.
    """
    found: list[float] = []
    above = np.float32(np.inf)
    for score in scores:
        one = _normal(np.float32(score))
        if not (np.isfinite(one) and one < above):
            one = _below(above) if found else np.float32(0)
        found.append(float(one))
        above = one
    return found


def _below(one: np.float32) -> np.float32:
    """The next smaller float that is no subnormal: where these are flushed, they are all 0."""
    near = np.nextafter(one, np.float32(-np.inf))
    return near if abs(near) >= _TINY or near == 0 else np.float32(0) if one > 0 else -_TINY


def _normal(one: np.float32) -> np.float32:
    return one if abs(one) >= _TINY else np.float32(0)


def _run_lines(predictions: Iterable[Prediction], tag: str) -> Iterator[str]:
    for prediction in predictions:
        _check(prediction.id, "question")
        priors = prediction.prior
        if len(priors) != len(prediction.passages):
            priors = ()
        held: dict[str, float] = {}
        for rank, passage in enumerate(prediction.passages, start=1):
            _check(passage.id, f"question {prediction.id!r}: passage")
            held.setdefault(passage.id, _log(priors[rank - 1]) if priors else -float(rank))
        pairs = zip(held, falling(held.values()), strict=True)
        for rank, (id, score) in enumerate(pairs, start=1):
            yield f"{prediction.id} Q0 {id} {rank} {score!r} {tag}\n"


def _qrels_lines(examples: Iterable[Example]) -> Iterator[str]:
    for example in examples:
        grades = dict.fromkeys(example.passage_ids, 1) | dict(example.extra.get("relevance") or {})
        if not any(grade > 0 for grade in grades.values()):
            continue
        _check(example.id, "question")
        for id, grade in grades.items():
            _check(id, f"question {example.id!r}: passage")
            if grade != int(grade):
                raise DataError(
                    f"question {example.id!r}: passage {id!r} has the grade {grade!r}; TREC's "
                    f"judgements are whole numbers, so multiply all grades until they are"
                )
            yield f"{example.id} 0 {id} {int(grade)}\n"


def _write(path: Path, text: Iterable[str]) -> int:
    """All lines, or the file that was there before."""
    beside = path.with_name(path.name + ".new")
    path.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    try:
        with beside.open("wb") as raw:
            # No time of day inside, so that the same run is the same file.
            packed = gzip.GzipFile("", "wb", fileobj=raw, mtime=0) if path.suffix == ".gz" else raw
            with cast(BinaryIO, packed) as file:
                for line in text:
                    file.write(line.encode())
                    count += 1
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    return count


def _check(id: str, what: str) -> None:
    if len(id.split()) != 1 or id != id.strip():
        raise DataError(
            f"{what} {id!r} cannot stand in a TREC file, whose columns are parted by spaces; "
            f"give it an id without any"
        )


def _score(said: str, where: str) -> float:
    try:
        score = float(said)
    except ValueError:
        score = math.nan
    if not math.isfinite(score):
        raise DataError(f"{where}: score is {said!r:.40}; write a number, such as 12.5")
    return score


def _sorted(held: dict[str, float]) -> list[Ranked]:
    by_id = sorted(held.items(), reverse=True)
    by_score = sorted(by_id, key=lambda one: -np.float32(one[1]))  # stable: equals by id
    return [Ranked(id, score) for id, score in by_score]


def _log(prior: float) -> float:
    return math.log(prior) if prior > 0 else -math.inf
