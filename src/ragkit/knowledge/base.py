"""`KnowledgeBase`: build, open, search and read one.

The index proposes, the stored vectors decide the score; text lies beside, found by id or
row. Knows nothing of questions as text: queries are vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ragkit import config
from ragkit.errors import ConfigError, CorruptError, DataError, EncoderMismatch, KnowledgeBaseError
from ragkit.index.mapping import mapped
from ragkit.knowledge import builder, columns, generations, scan, updates
from ragkit.knowledge.builder import Build
from ragkit.knowledge.manifest import Manifest
from ragkit.knowledge.readers import read
from ragkit.protocols import (
    Encoder,
    Hits,
    Index,
    Passage,
    PassageTokens,
    SupportsAllowed,
    SupportsPassageTokens,
)

OVERSAMPLE = 4
"""How many times k candidates the index is asked for before exact scores decide."""
SCAN = 1 << 14
"""Allowed sets of up to so many passages are scanned exactly."""


class KnowledgeBase:
    """One generation of a knowledge base, mapped. Made by `build` or `open`.

    Examples:
        >>> from ragkit import KnowledgeBase
        >>> from ragkit.retrieve.dpr import DPREncoder
        >>> from ragkit.testing import tiny  # random weights
        >>> encoder = DPREncoder(tiny.bert(), tokenizer=tiny.tokenizer())
        >>> ferry = {"id": "7", "title": "Ferry", "text": "It leaves at nine."}
        >>> base = KnowledgeBase.build([ferry], encoder, "exact", "kb")
        >>> len(base), base.passage("7").text
        (1, 'It leaves at nine.')
        >>> base.search(encoder.questions(["When?"]).detach().numpy(), k=1).ids.tolist()
        [[0]]
    """

    def __init__(self, directory: Path, number: int | None = None) -> None:
        # While it is held, gc leaves this generation alone.
        self.generation, self._hold = generations.hold(directory, number)
        folder = generations.path(directory, self.generation)
        self.directory = directory
        self.manifest = manifest = Manifest.read(folder)
        manifest.check_sizes(folder)
        self._folder = folder
        self._passages = columns.PassageColumn(*(folder / name for name in manifest.passages))
        self._ids = columns.IdColumn(folder / columns.IDS, self._passages)
        self._vectors = mapped(
            folder / columns.VECTORS, np.dtype(manifest.dtype), (manifest.count, manifest.dimension)
        )
        self.tokens: PassageTokens | None = None
        if manifest.tokenization:
            self.tokens = columns.StoredTokens(folder, manifest.tokenization, manifest.count)
        self._removed = updates.removed_rows(folder, manifest)  # ascending
        self.index: Index = builder.load_index(folder, manifest)

    # ------------------------------------------------------------------ making

    @classmethod
    def build(
        cls,
        passages: Any,
        encoder: Encoder,
        index: str | Mapping[str, Any] | Index = "exact",
        directory: str | Path | None = None,
        *,
        generator: Any = None,
        dtype: str = "float16",
        batch_size: int = 64,
        shard_size: int = 4096,
        recall_sample: int = 256,
        progress: bool | None = None,
        resume: bool = True,
    ) -> Self:
        """Encode passages and write them as a new generation, then open it.

        A build that was interrupted goes on where it was when it is called again with the
        same passages and options; until it ends, the previous generation stays.

        Args:
            passages: whatever `ragkit.knowledge.read` reads; streamed.
            encoder: makes the vectors; its fingerprint is kept.
            index: a component's name, its table, or an index.
            directory: where the knowledge base lies; made if need be.
            generator: one whose passage tokens are made ready, so that questions need not.
            dtype: of the stored vectors, ``float16`` or ``float32``.
            batch_size: passages encoded together. shard_size: passages a shard.
            recall_sample: queries by which the index's recall is measured; 0 for none.
            progress: show a bar on stderr; by default only on a terminal.
            resume: go on with an interrupted build; False throws it away.

        Raises:
            DataError: a bad record, twice the same id, no passages, vectors that cannot be
                stored. LockedError: another writer. KnowledgeBaseError: an interrupted build
                with other options or passages lies there.
        """
        if dtype not in ("float16", "float32"):
            raise ConfigError(f"dtype is {dtype!r}; choose 'float16' or 'float32'")
        _at_least(1, batch_size=batch_size, shard_size=shard_size)
        _at_least(0, recall_sample=recall_sample)
        if directory is None:
            raise ConfigError("where shall the knowledge base lie? Give directory=…")
        directory = Path(directory)
        if directory.exists() and not directory.is_dir():
            raise KnowledgeBaseError(f"{str(directory)!r} is a file; give a directory")
        _check_generator(generator)
        made, table = _index(index)
        number = Build(
            directory=directory,
            encoder=encoder,
            generator=generator,
            index=made,
            index_table=table,
            dtype=dtype,
            batch_size=batch_size,
            shard_size=shard_size,
            recall_sample=recall_sample,
            show=progress,
        ).run(passages, resume)
        return cls(directory, number)

    @classmethod
    def open(cls, directory: str | Path, *, generation: int | None = None) -> Self:
        """Map a knowledge base; nothing is read or copied until it is asked for.

        Args:
            directory: the knowledge base.
            generation: the number of one that is not the current.

        Raises:
            KnowledgeBaseError: there is none, or its format is newer than this ragkit.
            CorruptError: a file is missing or cut short.
        """
        return cls(Path(directory), generation)

    def copy(self, directory: str | Path) -> None:
        """Put this generation, alone, into a new knowledge base elsewhere.

        Raises `KnowledgeBaseError` where something is there already.
        """
        target = Path(directory)
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise KnowledgeBaseError(f"{str(target)!r} is not empty; give a new directory")
        generations.copy(self._folder, target)

    # ------------------------------------------------------------------ changing

    def add(
        self,
        passages: Any,
        encoder: Encoder,
        *,
        generator: Any = None,
        batch_size: int = 64,
        shard_size: int = 4096,
        progress: bool | None = None,
    ) -> KnowledgeBase:
        """A new generation with more passages, opened; this one stays as it is.

        Only the new passages are encoded; the index is built anew over all.

        Args:
            passages: as for `build`, with ids that are not in use.
            encoder: the one that the knowledge base was built with.
            generator: the one whose tokens it holds, where it holds any.

        Raises:
            EncoderMismatch, DataError, LockedError, KnowledgeBaseError: as `build`, and
                where this generation is no longer the current one.
        """
        self.check_encoder(encoder)
        _check_generator(generator)
        _at_least(1, batch_size=batch_size, shard_size=shard_size)
        made = generator.tokenization if generator is not None else ""
        if made != self.manifest.tokenization:
            what = "another tokenizer or form" if made else "no generator"
            has = "holds generator tokens" if self.manifest.tokenization else "holds no tokens"
            raise KnowledgeBaseError(
                f"{str(self.directory)!r} {has}, and generator= has {what}; give the generator "
                "that it was built with, or none where it was built without"
            )
        stream = read(passages)

        def make(old: Path, work: Path, new: Path) -> None:
            options = (encoder, generator, batch_size, shard_size, progress)
            updates.add(old, work, new, self.manifest, stream, *options)

        return self._change(make)

    def remove(self, ids: Collection[str]) -> KnowledgeBase:
        """A new generation without these passages, opened; this one stays as it is.

        Their rows stay until `compact`, and searches look at as many more candidates.
        Raises `DataError` for an id that is not there, or where none would be left.
        """
        rows = self.rows(list(ids))
        return self._change(lambda old, _, new: updates.remove(old, new, self.manifest, rows))

    def compact(self) -> KnowledgeBase:
        """A new generation with the rows of removed passages gone, opened.

        Rows are numbered anew and the index is built anew; nothing is encoded.
        """
        return self._change(lambda old, _, new: updates.compact(old, new, self.manifest))

    def _change(self, make: Callable[[Path, Path, Path], None]) -> KnowledgeBase:
        return type(self)(self.directory, updates.change(self.directory, self.generation, make))

    # ------------------------------------------------------------------ reading

    def __len__(self) -> int:
        return self.manifest.count - self.manifest.removed

    def __iter__(self) -> Iterator[Passage]:
        gone = set(self._removed.tolist())
        return (one for row, one in enumerate(self._passages) if row not in gone)

    def __deepcopy__(self, _: object) -> Self:
        return self  # nothing in it changes; a copied model reads the same files

    def __reduce__(self) -> tuple[type[Self], tuple[Path, int]]:
        return type(self), (self.directory, self.generation)  # another process maps anew

    def __repr__(self) -> str:
        return (
            f"<KnowledgeBase {str(self.directory)!r}: {len(self):,} passages, "
            f"{self.dimension} dimensions, index {self.manifest.index['name']!r}>"
        )

    @property
    def dimension(self) -> int:
        return self.manifest.dimension

    @property
    def fingerprint(self) -> str:
        """The passage encoder's."""
        return self.manifest.encoder["fingerprint"]

    @property
    def recall(self) -> dict[str, float]:
        """The index's recall against exact search, measured when it was built."""
        return dict(self.manifest.recall)

    def passage(self, passage_id: str) -> Passage:
        """The passage with an id. Raises `DataError` where there is none."""
        return self._passages[self.row(passage_id)]

    def row(self, passage_id: str) -> int:
        """The row number of an id. Raises `DataError` where there is none."""
        row = self._ids.find(passage_id)
        if row is None:
            raise DataError(
                f"no passage of {str(self.directory)!r} has the id {passage_id!r}; ids look like "
                f"{self._passages.id(0)!r}"
            )
        return row

    def rows(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """Row numbers of ids. Raises `DataError` at the first that is not there."""
        return np.array([self.row(one) for one in ids], dtype=np.int64)

    def passages(self, rows: Sequence[int] | NDArray[np.int64]) -> list[Passage]:
        """Passages by row number."""
        return [self._passages[self._checked(int(row))] for row in rows]

    def vectors(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Stored vectors (n,D) of rows (n,), in the stored precision; a copy."""
        rows = np.asarray(rows, dtype=np.int64)
        if len(rows):
            self._checked(int(rows.min()))
            self._checked(int(rows.max()))
        return np.asarray(self._vectors[rows])

    def _checked(self, row: int) -> int:
        if not 0 <= row < self.manifest.count:
            raise DataError(f"there is no row {row}; rows go from 0 to {self.manifest.count - 1}")
        return row

    # ------------------------------------------------------------------ searching

    def propose(
        self,
        queries: NDArray[np.float32],
        k: int,
        allowed_rows: NDArray[np.int64] | None = None,
    ) -> Hits:
        """What the index alone finds for queries (B,D), within allowed rows if given.

        Few allowed rows are scanned exactly: the graphs and cells of an index lose
        neighbours there. Raises `DataError` for queries or k that cannot be.
        """
        queries = self._queries(queries, k)
        if allowed_rows is None:
            return self._living(queries, k)
        rows = np.unique(np.asarray(allowed_rows, dtype=np.int64))
        if not len(rows):
            raise DataError("no passage is allowed; name at least one")
        self._checked(int(rows[0]))
        self._checked(int(rows[-1]))
        rows = np.setdiff1d(rows, self._removed, assume_unique=True)
        if len(rows) > SCAN and isinstance(self.index, SupportsAllowed):
            return self.index.search_allowed(queries, k, rows)
        return scan.among(queries, rows, self._vectors, k)

    def search(
        self,
        queries: NDArray[np.float32],
        k: int,
        allowed: Collection[str] | None = None,
    ) -> Hits:
        """The k best of what the index proposes for queries (B,D), by exact scores.

        ``allowed``: passage ids to keep to. Raises `DataError` for queries, k or ids that
        cannot be.
        """
        queries = self._queries(queries, k)
        rows = None if allowed is None else self.rows(list(allowed))
        exist = len(self) if rows is None else max(1, len(rows))
        found = self.propose(queries, min(k * OVERSAMPLE, exist), rows)
        return scan.rescore(queries, found.ids, self._vectors, k)

    def _living(self, queries: NDArray[np.float32], k: int) -> Hits:
        """What the index finds beside the rows of removed passages."""
        if not len(self._removed):
            return self.index.search(queries, k)
        found = self.index.search(queries, min(k + len(self._removed), self.manifest.count))
        gone = np.isin(found.ids, self._removed)
        ids = np.where(gone, -1, found.ids)
        return scan.best(ids, np.where(gone, np.float32(-np.inf), found.scores), k)

    def _queries(self, queries: NDArray[np.float32], k: int) -> NDArray[np.float32]:
        if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < 1:
            raise DataError(f"k is {k!r}; it must be a whole number of at least 1")
        found = np.ascontiguousarray(queries, dtype=np.float32)
        if found.ndim != 2 or found.shape[1] != self.dimension:
            raise DataError(
                f"queries have shape {found.shape}; this knowledge base takes (B, {self.dimension})"
            )
        if not np.isfinite(found).all():
            raise DataError("a query has NaN or infinity; look at the question encoder")
        return found

    # ------------------------------------------------------------------ checking

    def check_encoder(self, encoder: Encoder) -> None:
        """Raises `EncoderMismatch` unless the vectors here are this encoder's."""
        if encoder.dimension != self.dimension:
            raise EncoderMismatch(
                f"{str(self.directory)!r} has vectors of {self.dimension} dimensions and "
                f"{type(encoder).__name__} makes {encoder.dimension}; build it again with this "
                "encoder"
            )
        if encoder.fingerprint != self.fingerprint:
            raise EncoderMismatch(
                f"{str(self.directory)!r} was built by another encoder "
                f"({self.manifest.encoder['name']} {self.fingerprint[:12]}, and this is "
                f"{type(encoder).__name__} {encoder.fingerprint[:12]}); load that encoder, or "
                "build the knowledge base again with this one"
            )

    def verify(self) -> None:
        """Read everything and compare it with its checksums and counts.

        Raises `CorruptError` naming the first file that is not what was written.
        """
        manifest = self.manifest
        manifest.check_sums(self._folder)
        counts = {
            "passages": (len(self._passages), manifest.count),
            "indexed vectors": (len(self.index), manifest.count),
            "removed rows": (len(self._removed), manifest.removed),
            "index dimensions": (self.index.dimension, manifest.dimension),
        }
        for what, (found, listed) in counts.items():
            if found != listed:
                raise CorruptError(
                    f"generation {self.generation} holds {found} {what}, and its manifest says "
                    f"{listed}; build it again"
                )
        self._ids.check(manifest.removed)
        if isinstance(self.tokens, columns.StoredTokens):
            self.tokens.check()
        for start in range(0, manifest.count, SCAN):
            if not np.isfinite(self._vectors[start : start + SCAN]).all():
                raise CorruptError(
                    f"{columns.VECTORS} has NaN or infinity after row {start}; build it again"
                )

    def gc(self) -> list[int]:
        """Delete generations that are neither current nor being read; their numbers.

        Raises `LockedError` while somebody builds.
        """
        return generations.collect(self.directory)


def _index(index: str | Mapping[str, Any] | Index) -> tuple[Index, dict[str, Any]]:
    """An index, and its filled-in table for the manifest."""
    if isinstance(index, (str, Mapping)):
        return config.build("index", index), config.resolve("index", index)
    from ragkit import registry, signature

    target = f"{type(index).__module__}:{type(index).__qualname__}"
    for listing in registry.components():
        if listing.role == "index" and listing.component.target == target:
            options = {
                option.name: getattr(index, option.name)
                for option in signature.options(type(index))
                if isinstance(getattr(index, option.name, None), (str, int, float, dict, list))
            }
            return index, {"name": listing.component.name, **options}
    raise ConfigError(
        f"the index {target} could not be found again when the knowledge base is opened; "
        "register it with the hook ragkit_indexes, or give the name of a registered one"
    )


def _check_generator(generator: Any) -> None:
    if generator is not None and not isinstance(generator, SupportsPassageTokens):
        raise ConfigError(
            f"{type(generator).__name__} cannot make passage tokens "
            "(ragkit.protocols.SupportsPassageTokens); leave out generator="
        )


def _at_least(least: int, **numbers: int) -> None:
    for name, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ConfigError(f"{name} is {value!r}; it must be a number of at least {least}")
