"""The file that hnswlib writes, read by numpy alone and checked before C++ sees it.

hnswlib's loader believes every number in a file: a wrong dimension is taken silently, a count
above the capacity overflows the heap, and a neighbour that does not exist is followed. So the
sizes, the links and the labels are checked here first. Little-endian machines with 64-bit
sizes, which are all that hnswlib is used on. Knows nothing of searching.

A file is a header, then a record for each element (links of the ground layer, a byte that
marks it as deleted, its vector, its label), then the links of its upper layers.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragkit.errors import CorruptError

_HEADER = struct.Struct("<QQQQQQiIQQQdQ")
_DELETED = 1
_BLOCK = 1 << 14


@dataclass(frozen=True, slots=True)
class Expected:
    """What a file must hold, as it was noted beside it.

    elements: vectors in the file; those whose rows were removed among them.
    rows: labels are below it. removed: (R,) rows that no search may give.
    """

    dimension: int
    elements: int
    rows: int
    M: int
    ef_construction: int
    removed: NDArray[np.int64]


def check(file: Path, expected: Expected) -> None:
    """Raise `CorruptError` unless the file is a whole graph of what is expected."""
    size = file.stat().st_size
    if size < _HEADER.size:
        raise CorruptError(f"{file.name} has {size} bytes, fewer than the header of a graph")
    raw = np.memmap(file, dtype=np.uint8, mode="r")
    maxlevel, entry = _header(file.name, raw[: _HEADER.size].tobytes(), expected)
    record = _record(expected.dimension, expected.M)
    ground = expected.elements * record.itemsize
    if size < _HEADER.size + ground:
        raise CorruptError(f"{file.name} has {size} bytes; its vectors alone need {ground}")
    elements = raw[_HEADER.size : _HEADER.size + ground].view(record)
    _ground(file.name, elements, expected)
    levels = _upper(file.name, raw, _HEADER.size + ground, expected, maxlevel)
    if expected.elements and levels[entry] != maxlevel:
        raise CorruptError(f"{file.name}: its entry point is not in its highest layer")


def _record(dimension: int, M: int) -> np.dtype[Any]:
    """An element of the ground layer, which has 2·M links."""
    return np.dtype(
        [
            ("count", "<u2"),
            ("mark", "u1"),
            ("unused", "u1"),
            ("links", "<u4", (2 * M,)),
            ("vector", "<f4", (dimension,)),
            ("label", "<u8"),
        ]
    )


def _header(name: str, header: bytes, expected: Expected) -> tuple[int, int]:
    """The highest layer and the entry point; every other number must be as expected."""
    found = _HEADER.unpack(header)
    record = _record(expected.dimension, expected.M)
    fields: Any = record.fields
    known = {
        "the offset of the ground layer": (found[0], 0),
        "the number of elements": (found[2], expected.elements),
        "the size of an element": (found[3], record.itemsize),
        "the place of labels": (found[4], fields["label"][1]),
        "the place of vectors": (found[5], fields["vector"][1]),
        "the links of an upper layer": (found[8], expected.M),
        "the links of the ground layer": (found[9], 2 * expected.M),
        "M": (found[10], expected.M),
        "ef_construction": (found[12], max(expected.ef_construction, expected.M)),
    }
    for what, (is_, should) in known.items():
        if is_ != should:
            raise CorruptError(
                f"{name}: {what} is {is_} and should be {should} ({expected.elements} vectors of "
                f"{expected.dimension} dimensions, M={expected.M}); it is not the file that was "
                "written"
            )
    capacity, maxlevel, entry = found[1], found[6], found[7]
    if capacity < expected.elements:
        raise CorruptError(f"{name}: it says that {capacity} elements fit and holds {found[2]}")
    if not (0 <= maxlevel < 64 and entry < expected.elements):
        raise CorruptError(f"{name}: its highest layer {maxlevel} or entry point {entry} cannot be")
    if not math.isclose(found[11], 1 / math.log(expected.M)):  # layers of what is added later
        raise CorruptError(f"{name}: its layer factor is {found[11]}, not 1/log({expected.M})")
    return maxlevel, entry


def _ground(name: str, elements: Any, expected: Expected) -> None:
    """Links, vectors and labels of the ground layer, a block at a time."""
    place = np.arange(2 * expected.M)
    marked = []
    seen = np.zeros(expected.rows, dtype=bool)
    for start in range(0, len(elements), _BLOCK):
        part = elements[start : start + _BLOCK]
        used = place < part["count"][:, None]  # (block,2M)
        if (part["count"] > 2 * expected.M).any() or (
            part["links"][used] >= expected.elements
        ).any():
            raise CorruptError(f"{name}: an element has links to where nothing is")
        labels = part["label"]
        if (labels >= expected.rows).any():
            raise CorruptError(f"{name}: an element's row is beyond the {expected.rows} there are")
        seen[labels.astype(np.int64)] = True
        if not np.isfinite(part["vector"]).all():
            raise CorruptError(f"{name}: a vector has NaN or infinity")
        marked.append(labels[(part["mark"] & _DELETED) != 0].astype(np.int64))
    if int(seen.sum()) != len(elements):
        raise CorruptError(f"{name}: two elements are of the same row")
    # A removed row is marked, or its place was given to another; no other row is either.
    gone = np.setdiff1d(expected.removed, np.flatnonzero(seen))
    if not np.array_equal(np.union1d(np.concatenate(marked), gone), expected.removed) or (
        len(gone) + len(elements) != expected.rows
    ):
        raise CorruptError(f"{name}: the rows marked as removed are not those that were removed")


def _upper(
    name: str, raw: NDArray[np.uint8], start: int, expected: Expected, maxlevel: int
) -> NDArray[np.int64]:
    """The layer (N,) that each element reaches; checks the links of every layer above."""
    width = 1 + expected.M  # words of one layer: a count, then links
    levels = np.zeros(expected.elements, dtype=np.int64)
    above: list[tuple[int, NDArray[np.uint32]]] = []
    at, end = start, len(raw)
    size = struct.Struct("<I")
    view = memoryview(raw)  # type: ignore[arg-type]
    for element in range(expected.elements):
        if at + 4 > end:
            raise CorruptError(f"{name} ends before the links of all elements")
        (length,) = size.unpack_from(view, at)
        at += 4
        if length:
            if length % (4 * width) or length // (4 * width) > maxlevel or at + length > end:
                raise CorruptError(f"{name}: an element has {length} bytes of upper links")
            levels[element] = length // (4 * width)
            above.append((element, raw[at : at + length].view("<u4").reshape(-1, width)))
            at += length
    if at != end:
        raise CorruptError(f"{name} has {end - at} bytes too many")
    for _, layers in above:
        for level, layer in enumerate(layers, start=1):
            count = int(layer[0])
            links = layer[1 : 1 + count].astype(np.int64)
            if count > expected.M or (links >= expected.elements).any():
                raise CorruptError(f"{name}: an upper layer has links to where nothing is")
            if (levels[links] < level).any():
                raise CorruptError(f"{name}: an upper layer has links to elements below it")
    return levels
