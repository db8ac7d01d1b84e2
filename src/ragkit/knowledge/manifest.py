"""What a generation of a knowledge base says of itself: ``manifest.json``.

Knows the names and versions, not the contents of the files it lists.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ragkit.errors import CorruptError, KnowledgeBaseError
from ragkit.knowledge.disk import checksum

FORMAT = 1
NAME = "manifest.json"
PASSAGES = "passages.arrow"
_SUM = "sha256"  # of the manifest itself, in it


@dataclass(frozen=True)
class Manifest:
    """The manifest of one generation.

    encoder: class name and fingerprint of the passage encoder.
    tokenization: fingerprint of the generator's tokens, "" without.
    metric: always ``inner product``.
    dtype, dimension, count: of the vectors, those of removed passages among them.
    recall_sample: how many queries the recall was asked to be measured with.
    created_by: ragkit and its version.
    removed: how many of the rows are of removed passages.
    passages: the Arrow files, in order of rows.
    index: component name and its filled-in options.
    recall: of the index against exact search, {"recall@10": …, "queries": …}.
    files: path below the generation to {"bytes": …, "sha256": …}.
    """

    count: int
    dimension: int
    dtype: str
    encoder: dict[str, str]
    tokenization: str
    index: dict[str, Any]
    recall: dict[str, float] = field(default_factory=dict)
    recall_sample: int = 0
    created_by: str = ""
    removed: int = 0
    passages: list[str] = field(default_factory=lambda: [PASSAGES])
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    metric: str = "inner product"
    format: int = FORMAT

    def finished(self, recall: dict[str, float], files: dict[str, dict[str, Any]]) -> Manifest:
        """The same with what is known at the end."""
        from ragkit import __version__

        return replace(self, recall=recall, files=files, created_by=f"ragkit {__version__}")

    def write(self, generation: Path) -> None:
        body = asdict(self)
        text = json.dumps({**body, _SUM: _sum_of(body)}, indent=2, sort_keys=True)
        (generation / NAME).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def read(cls, generation: Path) -> Manifest:
        """Raises `CorruptError` where it is damaged, `KnowledgeBaseError` where it is newer."""
        try:
            found = json.loads((generation / NAME).read_text(encoding="utf-8"))
            version = found["format"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CorruptError(
                f"{generation.name}/{NAME} cannot be read ({error}); restore it from a copy or "
                "build the knowledge base again"
            ) from error
        if not isinstance(version, int) or version < 1:
            raise CorruptError(f"{generation.name}/{NAME} has the format {version!r}, no number")
        if version > FORMAT:
            raise KnowledgeBaseError(
                f"the knowledge base has format {version} and this ragkit reads up to {FORMAT}: "
                "pip install --upgrade ragkit"
            )
        said = found.pop(_SUM, None)
        if said is not None and said != _sum_of(found):
            raise CorruptError(
                f"{generation.name}/{NAME} is not what was written (its sha256 differs); restore "
                "it from a copy or build the knowledge base again"
            )
        try:
            return cls(**found)
        except TypeError as error:
            raise CorruptError(f"{generation.name}/{NAME} is incomplete: {error}") from error

    def check_sizes(self, generation: Path) -> None:
        """Every file is there in full length. Raises `CorruptError` naming the one that is not."""
        for name, entry in self.files.items():
            file = generation / name
            size = file.stat().st_size if file.is_file() else None
            if size != entry["bytes"]:
                what = "is missing" if size is None else f"has {size} bytes"
                raise CorruptError(
                    f"{generation.name}/{name} {what}, and should have {entry['bytes']}; restore "
                    "it from a copy or build the knowledge base again"
                )

    def check_sums(self, generation: Path) -> None:
        """Every file holds what was written. Raises `CorruptError` naming the one that does not."""
        self.check_sizes(generation)
        known: dict[int, str] = {}
        for name, entry in self.files.items():
            if _sum(generation / name, known) != entry["sha256"]:
                raise CorruptError(
                    f"{generation.name}/{name} is not what was written (its sha256 differs); "
                    "restore it from a copy or build the knowledge base again"
                )


def listed(
    generation: Path, before: Mapping[str, dict[str, Any]] | None = None
) -> dict[str, dict[str, Any]]:
    """The files of a generation with sizes and checksums; those of ``before`` are known."""
    found, sums = dict(before or {}), dict[int, str]()
    for file in sorted(generation.rglob("*")):
        name = file.relative_to(generation).as_posix()
        if file.is_file() and file.name != NAME and name not in found:
            found[name] = {"bytes": file.stat().st_size, "sha256": _sum(file, sums)}
    return found


def _sum_of(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _sum(file: Path, known: dict[int, str]) -> str:
    """sha256, read once for all hard links of a file."""
    inode = file.stat().st_ino
    if inode not in known:
        known[inode] = checksum(file)
    return known[inode]
