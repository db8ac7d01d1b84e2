"""Passages with ready vectors to a knowledge base: nothing is encoded but a sample, which must
come out as it is stored.

A builder asks an encoder for vectors; here it asks `StoredVectors`, which reads them. So the
build streams, goes on after an interrupt and is checked as any other (`ragkit.knowledge`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ragkit.convert import faiss_file, sources
from ragkit.convert.report import Report
from ragkit.convert.sources import EMBEDDINGS, Source
from ragkit.errors import ConfigError, DataError, EncoderMismatch, KnowledgeBaseError
from ragkit.protocols import Encoder, Passage

if TYPE_CHECKING:
    from ragkit.convert.faiss_file import FaissFile

SHARD = 4096
CLOSE = 0.99
"""Cosine of a vector as it is stored and as it is encoded here, at least, for most of a sample."""


class StoredVectors:
    """An `Encoder` of passages whose vectors are known, in the place of the one that made them.

    Vectors are looked up by passage id, a shard of the source at a time, in the source's order.
    """

    def __init__(self, source: Source, encoder: Encoder, shard: int) -> None:
        self._source, self._shard = source, shard
        self._fingerprint = encoder.fingerprint
        self._rows: dict[str, int] = {}
        self._start = 0
        self._vectors = np.empty((0, source.dimension), dtype=np.float32)
        self._coming: Iterator[Passage] = iter(())

    @property
    def dimension(self) -> int:
        return self._source.dimension

    @property
    def fingerprint(self) -> str:
        """Of the encoder that made the vectors."""
        return self._fingerprint

    def questions(self, texts: Sequence[str]) -> Tensor:
        """Raises `ConfigError`: only passages are known."""
        raise ConfigError(f"these are vectors of passages; {len(texts)} questions need an encoder")

    def passages(self, passages: Sequence[Passage]) -> Tensor:
        """(N,D) float32 of passages of one shard of the source, in any order."""
        if any(one.id not in self._rows for one in passages):
            self._turn_to(passages)
        rows = [self._rows[one.id] for one in passages]
        return torch.from_numpy(self._vectors[rows])  # (N,D)

    def _turn_to(self, passages: Sequence[Passage]) -> None:
        """Go on to the shard with these passages; at first, or from the end, begin anew."""
        for again in (False, True):
            if again or not self._rows:
                self._coming, self._start = self._source.passages(), 0
                self._rows = {}
            while True:
                self._start += len(self._rows)
                shard = [one.id for one in islice(self._coming, self._shard)]
                self._rows = {name: row for row, name in enumerate(shard)}
                if not shard:
                    break
                if all(one.id in self._rows for one in passages):
                    end = self._start + len(shard)
                    self._vectors = self._source.vectors(self._start, end)  # (n,D)
                    return
        raise DataError(f"the source no longer has the passage {passages[0].id!r}")


def to_knowledge_base(
    source: str | Path,
    out: str | Path,
    encoder: Encoder,
    *,
    faiss: str | Path | None = None,
    split: str | None = None,
    column: str = EMBEDDINGS,
    index: str | Mapping[str, Any] | Any = "exact",
    generator: Any = None,
    dtype: str = "float32",
    sample: int = 16,
    progress: bool | None = None,
    resume: bool = True,
) -> Report:
    """Make a knowledge base of passages whose vectors are there already.

    Args:
        source: a folder of `datasets.save_to_disk` (as transformers' RAG has it:
            title, text, embeddings, perhaps id), parquet files (as the hub has ``wiki_dpr``),
            or a file of passages, such as ``psgs_w100.tsv``, with ``faiss``.
        out: where the knowledge base lies.
        encoder: the one that made the vectors. Its name goes into the knowledge base, so a
            sample of passages is encoded again and compared.
        faiss: an index file whose vectors are taken where the source has none. It is not
            searched: ``index`` is built from the vectors.
        split: of a dataset with several.
        column: of the vectors.
        index, generator, progress, resume: as `KnowledgeBase.build` has them.
        dtype: of the stored vectors; ``float32`` keeps them as they are.
        sample: passages that are encoded again; 0 trusts the source.

    Raises:
        DataError: a source or index that is damaged, of other columns, without vectors, or
            two that do not belong together.
        EncoderMismatch: the vectors are not this encoder's.
        KnowledgeBaseError: as `KnowledgeBase.build` does.
    """
    from ragkit.knowledge import KnowledgeBase

    opened = None if faiss is None else faiss_file.read(Path(faiss), encoder.dimension)
    found = sources.of(Path(source), split, column, opened)
    if found.dimension != encoder.dimension:
        raise EncoderMismatch(
            f"the vectors of {source} have {found.dimension} dimensions, and the encoder makes "
            f"{encoder.dimension}; name the encoder that made them"
        )
    if Path(out).exists() and not Path(out).is_dir():
        raise KnowledgeBaseError(f"{str(out)!r} is a file; give a directory")
    report = Report(str(out))
    _compare(found, encoder, sample, report)
    base = KnowledgeBase.build(
        found.passages(),
        StoredVectors(found, encoder, SHARD),
        index,
        out,
        generator=generator,
        dtype=dtype,
        shard_size=SHARD,
        progress=progress,
        resume=resume,
    )
    name = base.manifest.index["name"]
    report.made.append(f"a knowledge base, {out}: {len(base):,} passages, index {name!r}, {dtype}")
    report.notes += found.notes
    if opened is not None:
        _said_of_index(opened, name, report)
    return report


def _compare(source: Source, encoder: Encoder, size: int, report: Report) -> None:
    """Encode a few passages again; raises `EncoderMismatch` where others come out."""
    if size < 0:
        raise ConfigError(f"sample is {size}; it is a number of passages, 0 or more")
    passages = list(islice(source.passages(), size))
    if not passages:
        if not size:
            report.notes.append("that the vectors are the encoder's was not looked at (sample=0)")
        return
    stored = torch.from_numpy(source.vectors(0, len(passages)).copy())  # (n,D)
    made = encoder.passages(passages).detach().float().cpu()  # (n,D)
    cosines = torch.nn.functional.cosine_similarity(stored, made, dim=1).tolist()
    middle = sorted(cosines)[len(cosines) // 2]
    if not middle >= CLOSE:  # a NaN is refused, too
        raise EncoderMismatch(
            f"the vectors are not those of this passage encoder: {len(passages)} passages, encoded "
            f"again, have cosines of {min(cosines):.2f} to {max(cosines):.2f} with what is stored. "
            "Name the encoder that made them, or take them as they are with sample=0 (--sample 0)"
        )
    worst = (stored - made).abs().max().item()
    report.notes.append(
        f"{len(passages)} passages, encoded again, agree with the stored vectors: cosine at least "
        f"{min(cosines):.4f}, greatest difference {worst:.2g}"
    )


def _said_of_index(opened: FaissFile, name: str, report: Report) -> None:
    report.dropped.append(
        f"the faiss index ({opened.describe()}): {name!r} was built from the vectors in its place"
    )
    if opened.extended:
        report.notes.append(
            "the added dimension of DPR's form is gone: ragkit searches by inner product"
        )
    elif not opened.inner_product:
        report.notes.append(
            "the faiss index ranked by L2 distance, which is not the model's score; by inner "
            "product other passages may come first"
        )
