"""What the page is told of every question: JSON within HTML, in parts that are read when needed.

The index holds what lists and filters need of all N questions, column by column. The passages
stand in parts of `PART` questions each, which the page parses when one of them is opened, and
which are made and written one at a time: a run may be larger than memory. A passage stands
once in a part, however many runs read it.

Within ``<script type="application/json">`` a browser looks for nothing but its end, so "<" is
written as an escape of JSON and no text can end it. Knows nothing of how it is shown.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from ragkit.evaluate.predictions import PredictionFile
from ragkit.evaluate.report.gathered import KINDS, Gathered

PART = 100
# The two line ends are JSON and, before 2019, not JavaScript; a lone surrogate is not UTF-8.
_UNSAFE = re.compile("[<>&\u2028\u2029\ud800-\udfff]")


def script(id: str, content: Any) -> str:
    """A block of data: JSON that holds no "<", whatever its texts are."""
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    safe = _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
    return f'<script type="application/json" id="{id}">{safe}</script>\n'


def index(runs: Sequence[Gathered]) -> dict[str, Any]:
    """Columns over the N questions; a run's ``kinds`` is a text with one digit for each."""
    first = runs[0].run
    return {
        "part": PART,
        "kinds": list(KINDS),
        "ids": list(first.ids),
        "questions": list(first.questions),
        "golds": [list(first.answers(i)) for i in range(len(first))],
        "runs": [
            {
                "name": one.run.name,
                "judged": one.judge is not None,
                "supported": one.errors is not None,
                "metrics": list(one.run.values),
                "units": [one.run.units[label] for label in one.run.values],
                "texts": list(one.run.texts),
                "kinds": "".join(str(KINDS.index(kind)) for kind in one.kinds),
                "p": [_short(p) for p in one.confidence.tolist()],
            }
            for one in runs
        ],
    }


def parts(runs: Sequence[Gathered], passages: int, letters: int) -> Iterator[dict[str, Any]]:
    """Passages of `PART` questions at a time, in order.

    passages: of a question, at most, best retrieved first. letters: of a passage, at most.
    """
    streams = [
        PredictionFile(one.run.directory / "predictions.jsonl", limit=len(one.run)).records()
        for one in runs
    ]
    asked = enumerate(zip(*streams, strict=True))
    while block := list(islice(asked, PART)):
        table = _Table(letters)
        rows = [
            [_said(one, i, record, passages, table) for one, record in zip(runs, said, strict=True)]
            for i, said in block
        ]
        yield {"passages": table.rows, "questions": rows}


class _Table:
    """Passages of a part, each once."""

    def __init__(self, letters: int) -> None:
        self.rows: list[list[str]] = []
        self._letters = letters
        self._at: dict[tuple[str, str, str], int] = {}

    def place(self, passage: Mapping[str, Any]) -> int:
        text = passage.get("text", "")
        cut = text if len(text) <= self._letters else text[: self._letters] + "…"
        key = (str(passage["id"]), passage.get("title", ""), cut)
        if key not in self._at:
            self._at[key] = len(self.rows)
            self.rows.append(list(key))
        return self._at[key]


def _said(
    one: Gathered, at: int, record: Mapping[str, Any], passages: int, table: _Table
) -> dict[str, Any]:
    """A question of one run: z passages, a prior, b posterior, v the metrics' numbers."""
    read = record.get("passages", ())
    found: dict[str, Any] = {
        "z": [table.place(passage) for passage in read[:passages]],
        "a": _shorts(record.get("prior", ())[:passages]),
        "b": _shorts(record.get("posterior", ())[:passages]),
        "v": [_short(float(values[at])) for values in one.run.values.values()],
        "n": len(read),
    }
    known = set(one.run.golds[at].passage_ids) if one.run.golds is not None else set()
    golds = [rank for rank, passage in enumerate(read[:passages]) if passage["id"] in known]
    if golds:
        found["g"] = golds  # ranks, from 0, of passages known to be right
    if math.isfinite(one.answer_rank[at]):
        found["r"] = int(one.answer_rank[at]) - 1  # of the first whose text holds an answer
    tokens, by_token = record.get("tokens"), record.get("token_posterior")
    if tokens and by_token and len(tokens) == len(by_token):
        found["t"] = list(tokens)
        found["h"] = [_shorts(column[:passages], 3) for column in by_token]  # T columns of K
    return found


def _shorts(numbers: Sequence[float | None], digits: int = 4) -> list[float | None]:
    return [_short(number, digits) for number in numbers]


def _short(number: float | None, digits: int = 4) -> float | None:
    """Enough digits to be shown; JSON has neither infinity nor NaN."""
    if number is None or not math.isfinite(number):
        return None
    return float(f"{number:.{digits}g}")
