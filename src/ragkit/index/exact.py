"""The index ``exact``: every vector is looked at, block by block, in torch.

Right for any batch size and on any device, with ties in order of rows. Vectors may be a
memory map in float16: only a block at a time becomes float32. Knows nothing of text.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ragkit.errors import CorruptError, DataError
from ragkit.index import checks
from ragkit.index.mapping import mapped
from ragkit.protocols import Hits

_META = "exact.json"
_VECTORS = "vectors.raw"


class ExactIndex:
    """Exhaustive search by inner product.

    Args:
        device: where blocks are multiplied (``cpu``, ``cuda`` …).
        block: vectors multiplied at once; memory is about block · (D + B) floats.
    """

    def __init__(self, device: str = "cpu", block: int = 1 << 15) -> None:
        if block < 1:
            raise DataError(f"block is {block}; it must be at least 1")
        self.device = device
        self.block = block
        self._vectors: NDArray[Any] | None = None

    @property
    def dimension(self) -> int:
        return 0 if self._vectors is None else int(self._vectors.shape[1])

    def __len__(self) -> int:
        return 0 if self._vectors is None else len(self._vectors)

    def build(self, vectors: NDArray[Any]) -> None:
        """Keep vectors (N,D) as they are; a memory map stays one."""
        checks.vectors(vectors)
        self._vectors = vectors

    def add(self, vectors: NDArray[Any]) -> None:
        """Rows numbered on from len(self)."""
        held = self._ready()
        checks.vectors(vectors, held.shape[1])
        self._vectors = np.concatenate([held, vectors.astype(held.dtype)])

    def search(self, queries: NDArray[np.float32], k: int) -> Hits:
        """The k best rows of each of queries (B,D)."""
        return self._search(queries, k, None)

    def search_allowed(
        self, queries: NDArray[np.float32], k: int, allowed: NDArray[np.int64]
    ) -> Hits:
        """The same among allowed rows (m,) alone."""
        return self._search(queries, k, checks.rows(allowed, len(self._ready())))

    def _search(
        self, queries: NDArray[np.float32], k: int, allowed: NDArray[np.int64] | None
    ) -> Hits:
        held = self._ready()
        q = torch.from_numpy(checks.queries(queries, k, held.shape[1])).to(self.device)  # (B,D)
        count = len(held) if allowed is None else len(allowed)
        best = torch.full((len(q), 0), 0.0, device=q.device)  # (B,≤k) float32
        ids = torch.zeros((len(q), 0), dtype=torch.int64, device=q.device)
        for start in range(0, count, self.block):
            part: Any
            if allowed is None:
                part = held[start : start + self.block]  # a view of the map
                first, names = start, None
            else:
                chosen = allowed[start : start + self.block]
                part, first = held[chosen], 0
                names = torch.from_numpy(chosen).to(q.device)
            scores = self._product(q, part)  # (B,block)
            here, place = _best(scores, k)
            rows = place + first if names is None else names[place]
            # Earlier blocks come first, so a stable sort keeps ties in order of rows.
            best = torch.cat([best, here], 1)
            ids = torch.cat([ids, rows], 1)
            best, order = best.sort(dim=1, descending=True, stable=True)
            best, ids = best[:, :k], ids.gather(1, order)[:, :k]
        return checks.padded(ids.cpu().numpy(), best.cpu().numpy(), k)

    def _product(self, q: Tensor, part: NDArray[Any]) -> Tensor:
        """(B,block) float32 inner products."""
        # torch warns of arrays that it could not write to, so those are copied.
        held = torch.from_numpy(part if part.flags.writeable else np.array(part))
        block = held.to(q.device).float()  # (block,D)
        if len(q) == 1:  # a matrix-vector product reads the block once and needs no packing
            return torch.mv(block, q[0])[None]
        return q @ block.T

    def _ready(self) -> NDArray[Any]:
        if self._vectors is None:
            raise DataError("the index is empty: call build(vectors) or load(directory) first")
        return self._vectors

    def save(self, directory: Path) -> None:
        """The vectors beside their shape; hard-linked where they are a whole file already."""
        held = self._ready()
        shape = {"rows": len(held), "dimension": held.shape[1], "dtype": str(held.dtype)}
        options = {"device": self.device, "block": self.block}
        target = directory / _VECTORS
        if not _linked(held, target):
            with target.open("wb") as file:
                for start in range(0, len(held), self.block):
                    file.write(np.ascontiguousarray(held[start : start + self.block]).data)
        (directory / _META).write_text(json.dumps({**shape, **options}) + "\n")

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Map what `save` wrote. Raises `CorruptError` where it is damaged."""
        try:
            meta = json.loads((directory / _META).read_text())
            index = cls(meta["device"], meta["block"])
            shape, dtype = (meta["rows"], meta["dimension"]), np.dtype(meta["dtype"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CorruptError(
                f"the exact index in {directory.name} cannot be read ({error})"
            ) from error
        file = directory / _VECTORS
        size = shape[0] * shape[1] * dtype.itemsize
        if not file.is_file() or file.stat().st_size != size:
            raise CorruptError(f"{file.name} of the exact index is not {size} bytes long")
        index._vectors = mapped(file, dtype, shape)
        return index


def _best(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k best of each row (B,≤k), best first, ties in order of columns."""
    width = scores.shape[1]
    if k >= width:
        return scores.sort(dim=1, descending=True, stable=True)
    value, place = scores.topk(k, dim=1)
    # topk breaks ties as it likes. Where the k-th score occurs again beyond those taken,
    # the rows are sorted out exactly; elsewhere only the order among the taken matters.
    last = value[:, -1:]
    tied = (scores == last).sum(1) > (value == last).sum(1)  # (B,)
    order = place.argsort(dim=1)
    value, place = value.gather(1, order), place.gather(1, order)
    value, order = value.sort(dim=1, descending=True, stable=True)
    place = place.gather(1, order)
    if tied.any():
        exact, where = scores[tied].sort(dim=1, descending=True, stable=True)
        value[tied], place[tied] = exact[:, :k], where[:, :k]
    return value, place


def _linked(held: NDArray[Any], target: Path) -> bool:
    """Whether the vectors, a memory map of a whole file, could be shared as a hard link."""
    name = getattr(held, "filename", None)
    if not isinstance(held, np.memmap) or name is None or held.offset != 0:
        return False
    if Path(name).stat().st_size != held.nbytes:
        return False
    try:
        os.link(name, target)
    except OSError:
        return False
    return True
