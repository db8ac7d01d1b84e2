"""Changing a knowledge base: each change writes a new generation and switches to it.

What did not change is shared by hard link: texts always, and all but a list of row numbers
when passages are removed. Adding copies vectors and tokens (they are one file each, so that
an index can map them) and encodes only what is new. Knows nothing of search.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragkit.errors import DataError, KnowledgeBaseError
from ragkit.index.mapping import mapped
from ragkit.knowledge import builder, columns, disk, embedding, generations, intake
from ragkit.knowledge.manifest import PASSAGES, Manifest, listed
from ragkit.protocols import Encoder, Passage, SupportsPassageTokens

_WORK = "changing"
_BLOCK = 1 << 14


def change(directory: Path, base: int, make: Callable[[Path, Path, Path], None]) -> int:
    """Run ``make(old, work, new)`` as the only writer and switch to what it made.

    Raises `LockedError`, and `KnowledgeBaseError` where ``base`` is no longer current.
    """
    with builder.disk_faults(directory), disk.writing(directory):
        generations.sweep(directory)
        now = generations.current(directory)
        if now != base:
            raise KnowledgeBaseError(
                f"generation {base} of {str(directory)!r} is no longer current, {now} is; open "
                "the knowledge base again and change that"
            )
        work = directory / _WORK
        generations.discard(work)
        new = work / "generation"
        new.mkdir(parents=True)
        try:
            make(generations.path(directory, base), work, new)
            number = max(generations.numbers(directory)) + 1
            generations.place(new, directory, number)
            generations.switch(directory, number)
        finally:
            generations.discard(work)
        return number


def remove(old: Path, new: Path, manifest: Manifest, rows: NDArray[np.int64]) -> None:
    """The same generation with more rows (n,) marked as removed."""
    gone = np.union1d(removed_rows(old, manifest), rows)  # ascending
    if len(gone) == manifest.count:
        raise DataError("that would remove every passage; a knowledge base needs at least one")
    changed = (columns.IDS, columns.REMOVED)
    kept = {name: entry for name, entry in manifest.files.items() if name not in changed}
    _link(old, new, kept)
    (new / columns.REMOVED).write_bytes(gone.astype(np.int64).tobytes())
    columns.write_ids(new / columns.IDS, _text(old, manifest), gone)
    smaller = replace(manifest, removed=len(gone))
    smaller.finished(manifest.recall, listed(new, kept)).write(new)
    disk.sync_tree(new)


def add(
    old: Path,
    work: Path,
    new: Path,
    manifest: Manifest,
    passages: Iterator[Passage],
    encoder: Encoder,
    generator: SupportsPassageTokens | None,
    batch_size: int,
    shard_size: int,
    show: bool | None,
) -> None:
    """The same generation with more passages behind those that are there."""
    part = work / "part"
    part.mkdir()
    count = intake.take_in(passages, work, part, shard_size, show)
    embedding.embed(
        columns.PassageColumn(part / PASSAGES),
        encoder,
        generator,
        work,
        part,
        dtype=manifest.dtype,
        batch_size=batch_size,
        shard_size=shard_size,
        show=show,
    )
    name = f"passages-{len(manifest.passages)}.arrow"
    os.replace(part / PASSAGES, new / name)
    kept = {one: manifest.files[one] for one in manifest.passages}
    if manifest.removed:
        kept[columns.REMOVED] = manifest.files[columns.REMOVED]
    _link(old, new, kept)
    grown = replace(
        manifest, count=manifest.count + count, passages=[*manifest.passages, name], files={}
    )
    columns.write_ids(new / columns.IDS, _text(new, grown), removed_rows(new, grown))
    _append(new / columns.VECTORS, old / columns.VECTORS, part / columns.VECTORS)
    if manifest.tokenization:
        _append(new / columns.TOKENS, old / columns.TOKENS, part / columns.TOKENS)
        _append_offsets(new / columns.OFFSETS, old / columns.OFFSETS, part / columns.OFFSETS)
    _index_again(old, new, manifest, grown, kept)


def compact(old: Path, new: Path, manifest: Manifest) -> None:
    """Only the passages that are left, renumbered."""
    gone = removed_rows(old, manifest)
    live = np.setdiff1d(np.arange(manifest.count), gone)  # (n,)
    blocks = [live[i : i + _BLOCK] for i in range(0, len(live), _BLOCK)]
    text = _text(old, manifest)
    columns.write_passages(new / PASSAGES, ([text[int(i)] for i in rows] for rows in blocks))
    columns.write_ids(new / columns.IDS, columns.PassageColumn(new / PASSAGES))
    shape = (manifest.count, manifest.dimension)
    vectors = mapped(old / columns.VECTORS, np.dtype(manifest.dtype), shape)
    with (new / columns.VECTORS).open("wb") as out:
        for rows in blocks:
            out.write(np.ascontiguousarray(vectors[rows]).data)
    if manifest.tokenization:
        tokens = columns.StoredTokens(old, manifest.tokenization, manifest.count)
        with contextlib.closing(embedding.TokenWriter(new, len(live))) as writer:
            done = 0
            for rows in blocks:
                writer.write(done, tokens.take(rows))
                done += len(rows)
    small = replace(manifest, count=len(live), removed=0, passages=[PASSAGES], files={})
    _index_again(old, new, manifest, small, {})


def removed_rows(generation: Path, manifest: Manifest) -> NDArray[np.int64]:
    """Rows of removed passages, ascending."""
    if not manifest.removed:
        return np.zeros(0, dtype=np.int64)
    return np.fromfile(generation / columns.REMOVED, dtype=np.int64)


def _index_again(
    old: Path, new: Path, before: Manifest, after: Manifest, kept: dict[str, dict[str, Any]]
) -> None:
    """A loaded index knows its options, so it is what is built anew."""
    index = builder.load_index(old, before)
    builder.finish(new, index, after, kept)


def _text(generation: Path, manifest: Manifest) -> columns.PassageColumn:
    return columns.PassageColumn(*(generation / name for name in manifest.passages))


def _link(old: Path, new: Path, names: dict[str, Any]) -> None:
    for name in names:
        (new / name).parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(old / name, new / name)
        except OSError:  # a file system without hard links
            shutil.copyfile(old / name, new / name)


def _append(target: Path, first: Path, second: Path) -> None:
    with target.open("wb") as out:
        for part in (first, second):
            with part.open("rb") as source:
                shutil.copyfileobj(source, out, 1 << 22)


def _append_offsets(target: Path, first: Path, second: Path) -> None:
    before = np.fromfile(first, dtype=np.int64)
    after = np.fromfile(second, dtype=np.int64)
    np.concatenate([before, before[-1] + after[1:]]).tofile(target)
