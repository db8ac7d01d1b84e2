"""Building: from passages to a new generation, resumable after a kill at any moment.

Everything is made below ``building/`` and moved to its place by one rename; the pointer is
switched by another. ``plan.json`` says what is being made, so that only the same build goes
on with it. Knows nothing of search.
"""

from __future__ import annotations

import contextlib
import errno
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ragkit import registry
from ragkit.errors import DataError, KnowledgeBaseError
from ragkit.index.mapping import mapped
from ragkit.knowledge import columns, disk, embedding, generations, intake, recall
from ragkit.knowledge.manifest import PASSAGES, Manifest, listed
from ragkit.knowledge.readers import read
from ragkit.protocols import Encoder, Index, Passage, SupportsPassageTokens

INDEX = "index"
_PLAN, _MOVED = "plan.json", "moved.json"


@dataclass(frozen=True, slots=True)
class Plan:
    """What decides every byte of vectors and tokens: a build goes on only under its own."""

    encoder: str
    dimension: int
    tokenization: str
    dtype: str
    shard_size: int


@dataclass(frozen=True, slots=True)
class Build:
    """All that a build needs, checked."""

    directory: Path
    encoder: Encoder
    generator: SupportsPassageTokens | None
    index: Index
    index_table: dict[str, Any]
    dtype: str
    batch_size: int
    shard_size: int
    recall_sample: int
    show: bool | None

    @property
    def plan(self) -> Plan:
        return Plan(
            self.encoder.fingerprint,
            self.encoder.dimension,
            self.generator.tokenization if self.generator else "",
            self.dtype,
            self.shard_size,
        )

    @property
    def building(self) -> Path:
        return self.directory / generations.BUILDING

    @property
    def making(self) -> Path:
        return self.building / "generation"

    def run(self, passages: Any, resume: bool) -> int:
        """Build or go on building; the number of the new generation, which is current then.

        Raises as `KnowledgeBase.build` says.
        """
        new = not self.directory.exists()
        stream = read(passages)
        fresh = not resume or not intake.begun(self.building)
        with disk_faults(self.directory), disk.writing(self.directory):
            generations.sweep(self.directory)
            try:
                return self._run(stream, resume)
            except DataError:
                # It would fail again, so nothing stays behind; but vectors that are all there
                # wait for another index, and an older build for its own passages.
                if not fresh or embedding.ended(self.building):
                    raise
                generations.discard(self.building)
                if new:
                    (self.directory / disk.LOCK).unlink()
                    self.directory.rmdir()
                raise

    def _run(self, passages: Iterator[Passage], resume: bool) -> int:
        if not resume:
            generations.discard(self.building)
        self._begin()
        count = intake.take_in(passages, self.building, self.making, self.shard_size, self.show)
        moved = self._moved()
        if moved is None:
            self._fill(count)
            moved = self._move()
        generations.switch(self.directory, moved)
        generations.discard(self.building)
        return moved

    def _begin(self) -> None:
        """Make ``building/``, or keep what an interrupted build of the same plan left."""
        file = self.building / _PLAN
        mine = asdict(self.plan)
        if intake.begun(self.building) and not self._over():
            before = json.loads(file.read_text(encoding="utf-8"))
            other = [name for name in mine if before.get(name) != mine[name]]
            if not other:
                return
            raise KnowledgeBaseError(
                f"{str(self.directory)!r} holds an unfinished build with another "
                f"{' and '.join(other)}; finish it with the same options, or begin afresh with "
                "resume=False"
            )
        generations.discard(self.building)  # nothing in it took long
        self.making.mkdir(parents=True)
        disk.write_atomic(file, json.dumps(mine))

    def _fill(self, count: int) -> None:
        """Vectors, tokens, index and manifest beside the passages."""
        text = columns.PassageColumn(self.making / PASSAGES)
        embedding.embed(
            text,
            self.encoder,
            self.generator,
            self.building,
            self.making,
            dtype=self.dtype,
            batch_size=self.batch_size,
            shard_size=self.shard_size,
            show=self.show,
        )
        finish(
            self.making,
            self.index,
            Manifest(
                count=count,
                dimension=self.encoder.dimension,
                dtype=self.dtype,
                encoder={
                    "name": type(self.encoder).__name__,
                    "fingerprint": self.encoder.fingerprint,
                },
                tokenization=self.plan.tokenization,
                index=self.index_table,
                recall_sample=self.recall_sample,
            ),
        )

    def _move(self) -> int:
        """Give the finished generation its number. Noted before, so that a kill between
        the two steps costs nothing."""
        number = max(generations.numbers(self.directory), default=0) + 1
        disk.write_atomic(self.building / _MOVED, json.dumps(number))
        generations.place(self.making, self.directory, number)
        return number

    def _moved(self) -> int | None:
        file = self.building / _MOVED
        if not file.exists() or self.making.exists():
            return None
        return int(json.loads(file.read_text(encoding="utf-8")))

    def _over(self) -> bool:
        """Whether what ``building/`` was for is current already, or was collected since."""
        moved = self._moved()
        if moved is None:
            return False
        there = generations.path(self.directory, moved).exists()
        return not there or moved == generations.current(self.directory)


def finish(
    making: Path,
    index: Index,
    manifest: Manifest,
    kept: dict[str, dict[str, Any]] | None = None,
) -> Manifest:
    """Index the vectors of a generation, measure the index, and write the manifest.

    ``kept``: files whose checksums are known.
    """
    generations.discard(making / INDEX)
    (making / INDEX).mkdir()
    shape = (manifest.count, manifest.dimension)
    vectors = mapped(making / columns.VECTORS, np.dtype(manifest.dtype), shape)
    index.build(vectors)
    index.save(making / INDEX)
    measured = {}
    if sample := manifest.recall_sample:
        measured = recall.measure(load_index(making, manifest), vectors, sample)
    done = manifest.finished(measured, listed(making, kept))
    done.write(making)
    disk.sync_tree(making)
    return done


def load_index(generation: Path, manifest: Manifest) -> Index:
    """The index of a generation, by its component's name."""
    found: Any = registry.find("index", manifest.index["name"])
    index: Index = found.load(generation / INDEX)
    return index


@contextlib.contextmanager
def disk_faults(directory: Path) -> Iterator[None]:
    """A disk that is full or closed is answered with what to do; what was there stays."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise KnowledgeBaseError(
                f"{str(directory)!r} cannot be written to ({error.strerror}); choose another "
                "directory"
            ) from error
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise KnowledgeBaseError(
            f"the disk of {str(directory)!r} is full; what was there before is unchanged. Make "
            "room and run the same build again: it goes on where it was"
        ) from error
