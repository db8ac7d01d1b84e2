"""The first half of a build: all passages are read, checked and written down.

Nothing is encoded before the whole corpus is known to be in order, so a bad record in
the last line or a second use of an id costs minutes, not days; and the number of passages
is known when encoding begins. Memory holds one shard. Knows nothing of vectors.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from ragkit.errors import DataError, KnowledgeBaseError
from ragkit.knowledge import columns, disk
from ragkit.knowledge.manifest import PASSAGES
from ragkit.progress import Progress
from ragkit.protocols import Passage

_MARK = "corpus.json"


def begun(building: Path) -> bool:
    """Whether a whole corpus was taken in there."""
    return (building / _MARK).exists()


class Digest:
    """A sum over all passages in order, by which a resumed build knows its corpus again."""

    def __init__(self) -> None:
        self.count = 0
        self._sum = hashlib.sha256()

    def over(self, passages: Iterable[Passage]) -> Iterator[Passage]:
        for passage in passages:
            for field in passage:
                try:
                    raw = field.encode()
                except UnicodeEncodeError as error:
                    raise DataError(
                        f"passage {self.count} ({passage.id!a}) has half a character "
                        f"({error.object[error.start : error.end]!a}) in its text; repair it"
                    ) from error
                self._sum.update(len(raw).to_bytes(8, "little"))
                self._sum.update(raw)
            self.count += 1
            yield passage

    def mark(self) -> dict[str, int | str]:
        return {"count": self.count, "sha256": self._sum.hexdigest()}


def take_in(
    passages: Iterable[Passage],
    building: Path,
    generation: Path,
    shard_size: int,
    show: bool | None,
) -> int:
    """Write passages and their ids into the generation; the number of passages.

    Where that was done before, only looks whether these are the same passages.

    Raises:
        DataError: none at all, a bad record, an id that two passages share.
        KnowledgeBaseError: other passages than those of the unfinished build.
    """
    digest = Digest()
    mark = building / _MARK
    with Progress("reading passages", None, show) as bar:

        def counted() -> Iterator[Passage]:
            for passage in digest.over(passages):
                if digest.count % shard_size == 0:
                    bar.reach(digest.count)
                yield passage

        if mark.exists():
            _compare(mark, counted(), digest)
            return digest.count
        text = generation / PASSAGES
        columns.write_passages(text, _shards(counted(), shard_size))
    if not digest.count:
        raise DataError("there are no passages; a knowledge base needs at least one")
    columns.write_ids(generation / columns.IDS, columns.PassageColumn(text))
    disk.sync_file(text)
    disk.sync_file(generation / columns.IDS)
    disk.write_atomic(mark, json.dumps(digest.mark()))
    return digest.count


def _compare(mark: Path, passages: Iterator[Passage], digest: Digest) -> None:
    for _ in passages:
        pass
    before = json.loads(mark.read_text(encoding="utf-8"))
    if before != digest.mark():
        raise KnowledgeBaseError(
            f"{str(mark.parent.parent)!r} holds an unfinished build of {before['count']} other "
            f"passages than these {digest.count}; finish it with the same passages, or begin "
            "afresh with resume=False"
        )


def _shards(passages: Iterator[Passage], size: int) -> Iterator[list[Passage]]:
    while shard := list(islice(passages, size)):
        yield shard
