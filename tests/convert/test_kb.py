"""Passages with ready vectors to knowledge bases: what is stored is what was there."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from transformers import DPRContextEncoder, DPRQuestionEncoder

import theirs
import tiny
from ragkit import KnowledgeBase
from ragkit.convert import faiss_file, kb, sources, to_knowledge_base
from ragkit.errors import EncoderMismatch
from ragkit.generate.seq2seq import Seq2SeqGenerator
from ragkit.retrieve.dpr import DPREncoder

TOWER = theirs.dpr(DPRContextEncoder, 2)
FOUND = theirs.vectors(TOWER)
D = FOUND.shape[1]


def encoder() -> DPREncoder:
    return DPREncoder(theirs.dpr(DPRQuestionEncoder, 1), TOWER, tiny.tokenizer())


def tsv(folder: Path) -> Path:
    lines = ["id\ttext\ttitle"]
    for one in theirs.PASSAGES:
        title = one.title.replace('"', '""')
        lines.append(f'{one.id}\t"{one.text}"\t"{title}"')
    (folder / "psgs_w100.tsv").write_text("\n".join(lines) + "\n")
    return folder / "psgs_w100.tsv"


def saved(folder: Path) -> dict[str, Any]:
    return {"source": theirs.dataset(folder / "set", FOUND)}


def splits(folder: Path) -> dict[str, Any]:
    one = datasets.load_from_disk(str(theirs.dataset(folder / "one", FOUND)))
    datasets.DatasetDict({"train": one, "other": one.select([0])}).save_to_disk(str(folder / "set"))
    return {"source": folder / "set", "split": "train"}


def several_files(folder: Path) -> dict[str, Any]:
    one = datasets.load_from_disk(str(theirs.dataset(folder / "one", FOUND)))
    one.save_to_disk(str(folder / "set"), num_shards=3)
    return {"source": folder / "set"}


def chosen(folder: Path) -> dict[str, Any]:
    """Rows chosen and turned around after they were written."""
    turned = [one for one in reversed(range(len(FOUND)))]
    path = theirs.dataset(folder / "one", FOUND[::-1].copy())
    one = datasets.load_from_disk(str(path))
    for name in ("id", "title", "text"):
        column = [getattr(theirs.PASSAGES[row], name) for row in turned]
        one = one.remove_columns(name).add_column(name, column)
    one.select(turned).save_to_disk(str(folder / "set"))
    return {"source": folder / "set"}


def parquet(folder: Path) -> dict[str, Any]:
    """As the hub has wiki_dpr: parquet files, here with small groups of rows."""
    one = datasets.load_from_disk(str(theirs.dataset(folder / "one", FOUND)))
    (folder / "parquet").mkdir()
    table = one.with_format("arrow")[:]
    for number, rows in enumerate((table.slice(0, 4), table.slice(4))):
        file = folder / "parquet" / f"train-0000{number}-of-00002.parquet"
        pq.write_table(rows, file, row_group_size=3)
    return {"source": folder / "parquet"}


def one_parquet(folder: Path) -> dict[str, Any]:
    rows = {name: [getattr(p, name) for p in theirs.PASSAGES] for name in ("id", "title", "text")}
    fixed = pa.FixedSizeListArray.from_arrays(pa.array(FOUND.ravel(), pa.float32()), D)
    pq.write_table(pa.table({**rows, "vector": fixed}), folder / "p.parquet")
    return {"source": folder / "p.parquet", "column": "vector"}


def without_vectors(folder: Path) -> dict[str, Any]:
    """A dataset without the column, and an HNSW of transformers' kind."""
    path = theirs.dataset(folder / "all", FOUND)
    bare = datasets.load_from_disk(str(path)).remove_columns("embeddings")
    bare.save_to_disk(str(folder / "set"))
    made = faiss.IndexHNSWFlat(D, 8, faiss.METRIC_INNER_PRODUCT)
    return {"source": folder / "set", "faiss": theirs.index(folder / "i.faiss", FOUND, made)}


def dpr_hnsw(folder: Path) -> dict[str, Any]:
    """DPR's: passages in a tsv, vectors in an HNSW of D + 1 dimensions by L2."""
    made = faiss.IndexHNSWFlat(D + 1, 8)
    index = theirs.index(folder / "index.dpr", theirs.extended(FOUND), made)
    return {"source": tsv(folder), "faiss": index}


def dpr_flat(folder: Path) -> dict[str, Any]:
    index = theirs.index(folder / "index.dpr", FOUND, faiss.IndexFlatIP(D))
    return {"source": tsv(folder), "faiss": index}


def both(folder: Path) -> dict[str, Any]:
    """Vectors in the dataset, and an index by L2 beside it, which datasets makes by default."""
    index = theirs.index(folder / "i.faiss", FOUND, faiss.IndexFlatL2(D))
    return {**saved(folder), "faiss": index}


SOURCES: list[Callable[[Path], dict[str, Any]]] = [
    saved, splits, several_files, chosen, parquet, one_parquet, without_vectors, dpr_hnsw,
    dpr_flat, both,
]  # fmt: skip
SAID = {
    "dpr_hnsw": ("IndexHNSWFlat, L2 over 16 + 1 dimensions (DPR's form", "added dimension"),
    "dpr_flat": ("IndexFlatIP, inner product over 16", "agree with the stored"),
    "both": ("IndexFlatL2, L2 over 16 dimensions", "ranked by L2 distance"),
    "without_vectors": ("IndexHNSWFlat, inner product over 16", "agree with the stored"),
}


@pytest.mark.parametrize("form", SOURCES, ids=lambda form: form.__name__)
def test_what_is_stored_is_what_was_there(tmp_path: Path, form: Any) -> None:
    options = form(tmp_path)
    made = encoder()
    source = options.pop("source")
    report = to_knowledge_base(source, tmp_path / "kb", made, **options)
    base = KnowledgeBase.open(tmp_path / "kb")
    base.check_encoder(made)
    base.verify()
    assert [one.text for one in base] == [one.text for one in theirs.PASSAGES]
    assert [one.title for one in base] == [one.title for one in theirs.PASSAGES]
    assert [one.id for one in base] == [one.id for one in theirs.PASSAGES]
    stored = base.vectors(np.arange(len(base)))
    # sqrt(φ − ‖d‖²) beside it leaves the others as they are.
    np.testing.assert_array_equal(stored, FOUND)
    said = " ".join([*report.notes, *report.dropped])
    for words in SAID.get(form.__name__, ("agree with the stored",)):
        assert words in said


def test_without_ids_rows_are_the_ids(tmp_path: Path) -> None:
    source = theirs.dataset(tmp_path / "set", FOUND, ids=False, url=["x"] * len(FOUND))
    report = to_knowledge_base(source, tmp_path / "kb", encoder(), dtype="float16")
    base = KnowledgeBase.open(tmp_path / "kb")
    assert [one.id for one in base] == [str(row) for row in range(len(FOUND))]
    assert (base.vectors(np.arange(6)) == FOUND.astype(np.float16)).all()
    assert any("numbers from 0" in line for line in report.notes)
    assert any("url" in line for line in report.notes)


def test_tokens_and_index_are_made_as_in_any_build(tmp_path: Path) -> None:
    generator = Seq2SeqGenerator(tiny.bart(), tiny.tokenizer())
    index = {"name": "faiss", "factory": "HNSW8"}
    to_knowledge_base(
        saved(tmp_path)["source"], tmp_path / "kb", encoder(), index=index, generator=generator
    )
    base = KnowledgeBase.open(tmp_path / "kb")
    assert base.tokens is not None
    wanted = generator.passage_tokens(theirs.PASSAGES)
    assert [one.tolist() for one in base.tokens.take(np.arange(6))] == wanted
    assert base.manifest.index["factory"] == "HNSW8"
    added = base.add([{"id": "new", "text": "made later"}], encoder(), generator=generator)
    assert len(added) == 7


@pytest.mark.parametrize("shard", [1, 2, 4])
def test_vectors_are_found_in_any_order_and_from_any_place(tmp_path: Path, shard: int) -> None:
    """As a builder asks: shard by shard, each in some order, from the middle after a kill."""
    found = sources.of(saved(tmp_path)["source"], None, "embeddings", None)
    for first in range(0, 6, shard):
        stored = kb.StoredVectors(found, encoder(), shard)
        for start in [*range(first, 6, shard), 0]:
            rows = list(range(start, min(start + shard, 6)))[::-1]
            asked = [theirs.PASSAGES[row] for row in rows]
            for one in range(len(asked)):
                assert (stored.passages(asked[one:]).numpy() == FOUND[rows[one:]]).all()


def test_a_killed_conversion_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed while vectors are written; the same call ends what was begun."""
    source = saved(tmp_path)["source"]
    monkeypatch.setattr(kb, "SHARD", 2)
    made = encoder()
    fork = os.fork()
    if not fork:  # pragma: no cover - another process
        asked = []

        def dying(self: Any, start: int, end: int) -> Any:
            asked.append(start)
            if start == 4:
                os.kill(os.getpid(), signal.SIGKILL)
            return FOUND[start:end]

        sources.TableSource.vectors = dying  # type: ignore[method-assign]
        to_knowledge_base(source, tmp_path / "kb", made, sample=0)
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(fork, 0)[1]) == signal.SIGKILL
    assert (tmp_path / "kb" / "building").is_dir()
    read = []
    vectors = sources.TableSource.vectors

    def counted(self: Any, start: int, end: int) -> Any:
        read.append(start)
        return vectors(self, start, end)

    monkeypatch.setattr(sources.TableSource, "vectors", counted)
    to_knowledge_base(source, tmp_path / "kb", made, sample=0)
    base = KnowledgeBase.open(tmp_path / "kb")
    assert (base.vectors(np.arange(6)) == FOUND).all()
    assert 2 not in read  # what was written before is not read again
    assert 4 in read


def test_vectors_of_another_encoder_are_noticed(tmp_path: Path) -> None:
    other = DPREncoder(theirs.dpr(DPRQuestionEncoder, 1), tokenizer=tiny.tokenizer())
    source = saved(tmp_path)["source"]
    with pytest.raises(EncoderMismatch, match="cosines of"):
        to_knowledge_base(source, tmp_path / "kb", other)
    assert not (tmp_path / "kb").exists()
    report = to_knowledge_base(source, tmp_path / "kb", other, sample=0)
    assert any("was not looked at" in line for line in report.notes)


def test_dprs_form_is_told_from_any_other(tmp_path: Path) -> None:
    """By what the added dimension must be, also where nobody says D."""
    right = theirs.index(tmp_path / "a", theirs.extended(FOUND), faiss.IndexFlatL2(D + 1))
    wrong = theirs.index(
        tmp_path / "b", np.hstack([FOUND, FOUND[:, :1]]).copy(), faiss.IndexFlatL2(D + 1)
    )
    inner = theirs.index(tmp_path / "c", theirs.extended(FOUND), faiss.IndexFlatIP(D + 1))
    assert faiss_file.read(right).extended
    assert faiss_file.read(right).dimension == D
    assert not faiss_file.read(wrong).extended
    assert not faiss_file.read(inner).extended
    # It ranks as inner products do, which is what it was made for.
    questions = np.random.default_rng(0).normal(size=(20, D)).astype(np.float32)
    index = faiss.read_index(str(right))
    _, ranked = index.search(np.hstack([questions, np.zeros((20, 1), np.float32)]), 6)
    assert (ranked == np.argsort(-questions @ FOUND.T, axis=1)).all()
