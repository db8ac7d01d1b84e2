"""The second half of a build: passages to vectors and generator tokens, shard by shard.

Every shard is written in its final place and then noted, so that a build which was killed
goes on after the last shard noted. Memory holds one shard. Knows nothing of indexes.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragkit.errors import DataError
from ragkit.knowledge import columns, disk
from ragkit.progress import Progress
from ragkit.protocols import Encoder, Passage, SupportsPassageTokens

_MARK = "encoded.json"
_HALF_MAX = float(np.finfo(np.float16).max)


def ended(building: Path) -> bool:
    """Whether every passage of an unfinished build is encoded."""
    mark = building / _MARK
    if not mark.exists():
        return False
    done = json.loads(mark.read_text(encoding="utf-8"))
    return bool(done["passages"] == done["of"])


def embed(
    passages: columns.PassageColumn,
    encoder: Encoder,
    generator: SupportsPassageTokens | None,
    building: Path,
    generation: Path,
    *,
    dtype: str,
    batch_size: int,
    shard_size: int,
    show: bool | None,
) -> None:
    """Fill vectors.raw (N,D) and, for a generator, tokens.raw and offsets.raw (N+1,).

    Raises `DataError` for vectors that are not (n,D), not finite, or beyond float16.
    """
    count, width = len(passages), encoder.dimension * np.dtype(dtype).itemsize
    mark = building / _MARK
    done = {"passages": 0, "tokens": 0}
    if mark.exists():
        done = json.loads(mark.read_text(encoding="utf-8"))
    vectors = generation / columns.VECTORS
    with contextlib.ExitStack() as stack:
        out = stack.enter_context(_resume(vectors, count * width))
        bar = stack.enter_context(Progress("encoding", count, show))
        writer = None
        if generator is not None:
            opened = TokenWriter(generation, count, done["tokens"])
            writer = stack.enter_context(contextlib.closing(opened))
        for start in range(done["passages"], count, shard_size):
            bar.reach(start)
            shard = passages.between(start, min(start + shard_size, count))
            found = encode(shard, encoder, batch_size, dtype)  # (n,D)
            out.seek(start * width)
            out.write(found.tobytes())
            out.flush()
            os.fsync(out.fileno())
            if writer is not None and generator is not None:
                writer.write(start, generator.passage_tokens(shard))
            done = {
                "passages": start + len(shard),
                "tokens": writer.total if writer else 0,
                "of": count,
            }
            disk.write_atomic(mark, json.dumps(done))
            bar.reach(done["passages"])


def encode(
    passages: Sequence[Passage], encoder: Encoder, batch_size: int, dtype: str
) -> NDArray[Any]:
    """Vectors (n,D) of passages, of like length together, checked."""
    order = sorted(range(len(passages)), key=lambda i: len(passages[i].text))
    out = np.empty((len(passages), encoder.dimension), dtype=dtype)
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        batch = [passages[i] for i in rows]
        found = encoder.passages(batch).detach().float().cpu().numpy()  # (n,D)
        _check(found, batch, encoder.dimension, dtype)
        out[rows] = found
    return out


def _check(
    found: NDArray[np.float32], batch: Sequence[Passage], dimension: int, dtype: str
) -> None:
    if found.shape != (len(batch), dimension):
        raise DataError(
            f"the encoder gave vectors of shape {found.shape} for {len(batch)} passages, and says "
            f"that its dimension is {dimension}; they must be ({len(batch)}, {dimension})"
        )
    finite = np.isfinite(found).all(axis=1)
    if not finite.all():
        bad = batch[int(np.argmin(finite))].id
        raise DataError(
            f"the encoder gave NaN or infinity for the passage {bad!r}; its model file may be "
            "damaged, or its training has diverged"
        )
    if dtype == "float16" and (largest := float(np.abs(found).max())) > _HALF_MAX:
        raise DataError(
            f"the encoder gave a component of {largest:.0f}, beyond {_HALF_MAX:.0f}, the largest "
            'of float16; build with dtype="float32"'
        )


class TokenWriter:
    """Writes flat ids and offsets, going on after ``total`` tokens."""

    def __init__(self, generation: Path, count: int, total: int = 0) -> None:
        self.total = total
        self._flat = _resume(generation / columns.TOKENS, total * 4)
        self._offsets = _resume(generation / columns.OFFSETS, (count + 1) * 8)

    def write(self, start: int, tokens: Iterable[Sequence[int] | NDArray[np.int32]]) -> None:
        """The tokens of the passages from row ``start`` on, on the disk when it returns."""
        found = [np.asarray(one, dtype=np.int32) for one in tokens]
        ends = self.total + np.cumsum([len(one) for one in found], dtype=np.int64)
        self._flat.seek(self.total * 4)
        self._flat.write(np.concatenate(found).tobytes())
        self._offsets.seek((start + 1) * 8)
        self._offsets.write(ends.tobytes())
        self.total = int(ends[-1])
        for file in (self._flat, self._offsets):
            file.flush()
            os.fsync(file.fileno())

    def close(self) -> None:
        self._flat.close()
        self._offsets.close()


def _resume(path: Path, size: int) -> Any:
    """A file of that size, opened for writing in place; what it held stays."""
    file = path.open("r+b" if path.exists() else "w+b")
    file.truncate(size)
    return file
