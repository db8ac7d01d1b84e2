"""A knowledge base as what transformers' `RagRetriever` reads: a `datasets` folder with
embeddings, and a faiss index over them by inner product.

Written in a stream: a block of passages is in memory, and whatever the faiss index keeps
there. Knows nothing of models.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ragkit.errors import ConfigError
from ragkit.index._faiss import faiss
from ragkit.progress import Progress, quiet
from ragkit.protocols import Passage

if TYPE_CHECKING:
    from ragkit.knowledge import KnowledgeBase

DATASET, INDEX = "hf_dataset", "hf_dataset_index.faiss"
"""transformers' own names."""

_BLOCK = 4096
_TRAIN = 200_000
_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("title", pa.string()),
        ("text", pa.string()),
        ("embeddings", pa.list_(pa.float32())),
    ]
)


def write(base: KnowledgeBase, folder: Path, factory: str, progress: bool | None) -> None:
    """Write both below a folder. Raises `ConfigError` for a factory that cannot be."""
    index = _make(factory, base)
    _write_dataset(base, index, folder, progress)
    faiss.write_index(index, str(folder / INDEX))


def _write_dataset(base: KnowledgeBase, index: Any, folder: Path, progress: bool | None) -> None:
    import datasets

    stream = folder / "passages.arrow"
    shown: Any = datasets
    with (
        pa.OSFile(str(stream), "wb") as sink,
        pa.ipc.new_stream(sink, _SCHEMA) as writer,
        Progress("writing passages", len(base), progress) as bar,
    ):
        done = 0
        for passages, vectors in _blocks(base):
            index.add(vectors)
            columns = [pa.array(column, pa.string()) for column in zip(*passages, strict=True)]
            ends = np.arange(len(vectors) + 1, dtype=np.int32) * vectors.shape[1]
            lists = pa.ListArray.from_arrays(ends, pa.array(vectors.ravel()))
            writer.write_batch(pa.record_batch([*columns, lists], schema=_SCHEMA))
            done += len(passages)
            bar.reach(done)
    was = shown.is_progress_bar_enabled()
    shown.disable_progress_bars()
    try:
        with quiet():
            datasets.Dataset.from_file(str(stream)).save_to_disk(str(folder / DATASET))
    finally:
        if was:
            shown.enable_progress_bars()
        stream.unlink()


def _blocks(base: KnowledgeBase) -> Iterator[tuple[list[Passage], NDArray[np.float32]]]:
    """Living passages and their vectors (n,D) float32, a block at a time."""
    coming = iter(base)
    while passages := list(islice(coming, _BLOCK)):
        rows = base.rows([one.id for one in passages])  # (n,)
        yield passages, np.ascontiguousarray(base.vectors(rows), dtype=np.float32)


def _make(factory: str, base: KnowledgeBase) -> Any:
    """An empty index by inner product, trained if it must be."""
    try:
        index = faiss.index_factory(base.dimension, factory, faiss.METRIC_INNER_PRODUCT)
        if not index.is_trained:
            count = min(_TRAIN, len(base))
            step = max(1, len(base) // count)
            sample = [one.id for one in islice(base, 0, None, step)][:count]
            index.train(np.ascontiguousarray(base.vectors(base.rows(sample)), dtype=np.float32))
    except RuntimeError as error:
        reason = " ".join(str(error).split())[-200:]
        raise ConfigError(
            f"faiss cannot make {factory!r} of {len(base):,} vectors of {base.dimension} "
            f"dimensions: {reason}; try factory='Flat' or 'HNSW32' (--factory)"
        ) from error
    return index
