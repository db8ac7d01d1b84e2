"""BEIR: folders of queries and relevance judgements, to judge retrieval.

``qrels/SPLIT.tsv`` says which passages are right for which query of ``queries.jsonl``. The
passages themselves, ``corpus.jsonl``, are what a knowledge base is built from
(`ragkit kb build` reads the file as it is). Knows nothing of models.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ragkit.errors import DataError
from ragkit.evaluate.records import records
from ragkit.evaluate.tasks import fields, tables
from ragkit.evaluate.tasks.about import About, Decoding, Layout, described
from ragkit.evaluate.tasks.files import FileTask, Incomplete
from ragkit.protocols import Example

_SOURCE = "https://github.com/beir-cellar/beir"
_LIKE = '{"_id": "…", "text": "…"}'
_HEADER = ["query-id", "corpus-id", "score"]
_COLUMNS = "query-id, corpus-id, score"

SIZES = {
    "trec-covid": {"test": (50,)},
    "nfcorpus": {"test": (323,)},
    "nq": {"test": (3_452,)},
    "hotpotqa": {"test": (7_405,)},
    "fiqa": {"test": (648,)},
    "arguana": {"test": (1_406,)},
    "webis-touche2020": {"test": (49,)},
    "quora": {"test": (10_000,)},
    "dbpedia-entity": {"test": (400,)},
    "scidocs": {"test": (1_000,)},
    "fever": {"test": (6_666,)},
    "climate-fever": {"test": (1_535,)},
    "scifact": {"test": (300,)},
    "msmarco": {"dev": (6_980,)},
}
"""Judged queries of BEIR's data sets, by the name of their folder."""

_DECODING = {name: Decoding(k=100) for name in ("rag-token", "rag-sequence")}
ABOUT = About(
    name="beir",
    title="BEIR's folders, for retrieval alone",
    layouts=(
        Layout(
            "BEIR",
            files={
                "train": ("train.tsv",),
                "dev": ("dev.tsv",),
                "test": ("test.tsv",),
            },
            source=_SOURCE,
        ),
    ),
    asked="the query",
    target="none: there are no answers",
    golds="passages, with their grades",
    metrics=("ndcg@10", "gold-recall@100", "rr@10"),
    decoding=_DECODING,
    notes=(
        "judged queries are known for " + ", ".join(SIZES),
        "the knowledge base: ragkit kb build FOLDER/corpus.jsonl",
    ),
)


@described(ABOUT)
def beir(
    path: str,
    splits: Mapping[str, str] | None = None,
    prompt: str = "{question}",
    metrics: Sequence[str] | None = None,
    incomplete: Incomplete = "warn",
) -> FileTask:
    """A folder of BEIR: queries with the passages that are right for them.

    Args:
        path: the folder with ``queries.jsonl`` and ``qrels``.
        splits: the judgements of each split, relative to ``path``, where they lie elsewhere.
        prompt: what the retriever is asked, with ``{question}`` (the query) once.
        metrics: by default BEIR's.
        incomplete: what to do where there are not as many judged queries as there should be.
    """
    sizes = SIZES.get(Path(path).resolve().name, {})
    layout = replace(ABOUT.layouts[0], sizes=sizes)
    return FileTask(
        replace(ABOUT, layouts=(layout,)),
        judged,
        path,
        splits=splits,
        prompt=prompt,
        metrics=metrics,
        incomplete=incomplete,
    )


def judged(path: Path) -> Iterator[Example]:
    """The judged queries of a file of judgements, in the order of ``queries.jsonl``.

    A query without a right passage is left out. Raises `DataError` with file and line, and
    where judgements are of queries that are not there.
    """
    grades = judgements(path)
    queries = _beside(path)
    wanted = {name for name, found in grades.items() if any(g > 0 for g in found.values())}
    for line, record in records(queries, _LIKE):
        where = f"{queries}, line {line}"
        name = fields.identifier(fields.required(record, "_id", where), f"{where}: _id")
        if name not in wanted:
            continue
        wanted.discard(name)
        right = sorted(grades[name].items(), key=lambda one: -one[1])
        yield Example(
            id=name,
            question=fields.text(record, "text", where),
            passage_ids=tuple(passage for passage, grade in right if grade > 0),
            extra={"relevance": dict(right)},
        )
    if wanted:
        raise DataError(
            f"{path} judges {len(wanted)} queries that are not in {queries}, such as "
            f"{min(wanted)!r}; are both files whole, and of one data set?"
        )


def judgements(path: Path) -> dict[str, dict[str, int]]:
    """Grades by query and passage, of BEIR's table or of TREC's of four columns."""
    found: dict[str, dict[str, int]] = {}
    for line, row in tables.plain(path):
        where = f"{path}, line {line}"
        cells = row if len(row) > 1 else row[0].split()
        if not found and cells == _HEADER:
            continue
        if len(cells) == 4:  # TREC: query, iteration, passage, grade
            del cells[1]
        query, passage, grade = tables.counted(path, line, cells, _COLUMNS)
        try:
            number = int(grade)
        except ValueError:
            raise DataError(f"{where}: score is {grade!r:.40}; write a whole number") from None
        judgements = found.setdefault(query.strip(), {})
        if judgements.setdefault(passage.strip(), number) != number:
            raise DataError(
                f"{where}: query {query!r} and passage {passage!r} are judged twice, and not "
                f"alike; keep one line"
            )
    if not found:
        raise DataError(f"{path} has no judgement; fetch it again")
    return found


def _beside(path: Path) -> Path:
    """``queries.jsonl`` in the folder of the judgements or the one above."""
    for folder in (path.parent, path.parent.parent):
        for name in ("queries.jsonl", "queries.jsonl.gz"):
            if (folder / name).is_file():
                return folder / name
    raise DataError(
        f"{path}: there is no queries.jsonl in {path.parent} or the folder above; "
        f"give BEIR's folder as it was handed out"
    )
