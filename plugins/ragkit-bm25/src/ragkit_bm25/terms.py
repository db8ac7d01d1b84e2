"""The index of terms: which passages a word stands in, and what it adds to their scores.

Made by bm25s, written once to a folder of its own and memory-mapped from there. It belongs to
the passages of one generation of a knowledge base and says which. Knows nothing of prior and
tensors.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import weakref
from array import array
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import bm25s
import numpy as np
from numpy.typing import NDArray

from ragkit import KnowledgeBase
from ragkit.errors import CorruptError
from ragkit_bm25.words import Words

_META, _ROWS = "terms.json", "rows.npy"
_SMALL = ("vocab.index.json", "params.index.json")
_ARRAYS = ("data.csc.index.npy", "indices.csc.index.npy", "indptr.csc.index.npy", _ROWS)
FORMAT = 1
_BLOCK = 1 << 12


@dataclass(frozen=True, slots=True)
class Options:
    """All that decides a score, besides the passages."""

    k1: float
    b: float
    delta: float
    method: str
    stopwords: tuple[str, ...] | str | None
    stemmer: str | None
    pattern: str

    @property
    def words(self) -> Words:
        return Words(self.stopwords, self.stemmer, self.pattern)


class TermIndex:
    """An index of terms in a folder, mapped. Made by `build` or `open`.

    Nothing in it changes. ``rows`` (n,) are the rows of the knowledge base that were indexed,
    ascending: the passages that were not removed.
    """

    def __init__(self, folder: Path, options: Options) -> None:
        meta = _checked(folder)
        self.folder = folder
        self.options = options
        self.identity: str = meta["identity"]
        self.rows: NDArray[np.int64] = np.load(folder / _ROWS, mmap_mode="r")  # (n,)
        self._bm25 = bm25s.BM25.load(folder, mmap=True)
        self._words = options.words
        scores, count = self._bm25.scores, len(self.rows)
        starts = scores["indptr"]
        whole = (
            scores["num_docs"] == count == meta["passages"]
            and len(scores["data"]) == len(scores["indices"]) == int(starts[-1])
            and int(starts[0]) == 0
            and bool((np.diff(starts) >= 0).all())
            and len(starts) > max(self._bm25.vocab_dict.values())
        )
        if not whole:
            raise CorruptError(f"the index of terms in {folder.name} does not fit together")

    @classmethod
    def build(cls, base: KnowledgeBase, options: Options, directory: Path | None) -> Self:
        """Index the passages of a knowledge base, or open the index that is there.

        directory: where indexes of terms are kept, each in a folder named after what it is
            of. None: in a passing folder, which goes with the index.
        """
        identity = identify(base, options)
        if directory is not None:
            folder = directory / identity[:24]
            if (folder / _META).is_file():
                found = cls(folder, options)
                if found.identity == identity:
                    return found
            directory.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix="terms-", dir=directory))
        try:
            _write(made, base, options, identity)
            if directory is not None:
                _place(made, folder)
                return cls(folder, options)
            index = cls(made, options)
        except BaseException:
            shutil.rmtree(made, ignore_errors=True)
            raise
        weakref.finalize(index, shutil.rmtree, made, ignore_errors=True)
        return index

    def scores(self, text: str) -> NDArray[np.float32]:
        """The BM25 score (n,) of each passage; exactly 0 where it shares no word.

        Of ``bm25l`` and ``bm25+``, what every passage has is left out: the prior is the same.
        """
        known = self._bm25.vocab_dict
        terms = [known[word] for word in self._words.of(text) if word in known]
        if not terms:
            return np.zeros(len(self.rows), dtype=np.float32)
        found: NDArray[np.float32] = self._bm25.get_scores_from_ids(terms)  # (n,)
        beyond = self._bm25.nonoccurrence_array
        if beyond is not None:
            found = np.where(self._touched(terms), found - beyond[terms].sum(), 0)
        return found.astype(np.float32, copy=False)

    def _touched(self, terms: list[int]) -> NDArray[np.bool_]:
        """(n,) whether any of the terms stands in a passage."""
        held = self._bm25.scores
        touched = np.zeros(len(self.rows), dtype=bool)
        for term in terms:
            start, end = held["indptr"][term], held["indptr"][term + 1]
            touched[held["indices"][start:end]] = True
        return touched

    def copy(self, folder: Path) -> None:
        """Put it elsewhere, into a folder that is made."""
        shutil.copytree(self.folder, folder)

    def verify(self) -> None:
        """Read everything and compare it with its checksums. Raises `CorruptError`."""
        for name, entry in _checked(self.folder)["files"].items():
            if _sum(self.folder / name) != entry["sha256"]:
                raise CorruptError(f"{name} of the index of terms is not what was written")

    def __deepcopy__(self, _: object) -> Self:
        return self  # nothing in it changes; a copied model reads the same files

    def __reduce__(self) -> tuple[type[Self], tuple[Path, Options]]:
        return type(self), (self.folder, self.options)  # another process maps anew


def identify(base: KnowledgeBase, options: Options) -> str:
    """Of the text of a knowledge base and of the options: what an index of terms is of."""
    manifest = base.manifest
    text = [manifest.files[name]["sha256"] for name in manifest.passages]
    gone = [entry["sha256"] for name, entry in manifest.files.items() if name.startswith("removed")]
    known = {"passages": text, "removed": gone if manifest.removed else [], "n": len(base)}
    body = json.dumps({**known, "options": asdict(options), "format": FORMAT}, sort_keys=True)
    return hashlib.sha256(body.encode()).hexdigest()


def _write(folder: Path, base: KnowledgeBase, options: Options, identity: str) -> None:
    words, vocabulary = options.words, {"": 0}  # never empty, whatever the passages hold
    rows: list[NDArray[np.int64]] = []
    found: list[array[int]] = []
    for block, texts in _living(base):
        rows.append(block)
        for text in texts:
            terms = [vocabulary.setdefault(word, len(vocabulary)) for word in words.of(text)]
            found.append(array("i", terms))
    bm25 = bm25s.BM25(
        method=options.method, k1=options.k1, b=options.b, delta=options.delta, backend="numpy"
    )
    with np.errstate(invalid="ignore", divide="ignore"):  # passages without any word
        bm25.index((found, vocabulary), create_empty_token=False, show_progress=False)
    bm25.save(folder, show_progress=False)
    np.save(folder / _ROWS, np.concatenate(rows), allow_pickle=False)
    names = sorted(file.name for file in folder.iterdir())
    files = {
        name: {"bytes": (folder / name).stat().st_size, "sha256": _sum(folder / name)}
        for name in names
    }
    meta = {"format": FORMAT, "identity": identity, "passages": len(found), "files": files}
    (folder / _META).write_text(json.dumps(meta, indent=2) + "\n", encoding="utf-8")


def _living(base: KnowledgeBase) -> Iterator[tuple[NDArray[np.int64], list[str]]]:
    """Rows and texts of the passages that were not removed, a block at a time."""
    if not base.manifest.removed:
        for start in range(0, len(base), _BLOCK):
            rows = np.arange(start, min(start + _BLOCK, len(base)))
            yield rows, [f"{p.title} {p.text}" for p in base.passages(rows)]
        return
    for passage in base:
        yield np.array([base.row(passage.id)]), [f"{passage.title} {passage.text}"]


def _place(made: Path, folder: Path) -> None:
    """Move a finished index to its place; another process may have been there first."""
    if folder.exists() and not (folder / _META).is_file():
        shutil.rmtree(folder)
    try:
        os.replace(made, folder)
    except OSError:
        if not (folder / _META).is_file():
            raise
        shutil.rmtree(made, ignore_errors=True)


def _checked(folder: Path) -> dict[str, Any]:
    """What is noted of a folder, once its files have the sizes that are noted.

    Raises `CorruptError` naming the file that has not; the texts among them, which are read
    whole anyway, are compared with their checksums too.
    """
    try:
        meta = json.loads((folder / _META).read_text(encoding="utf-8"))
        version, files = meta["format"], dict(meta["files"])
        entries = {name: (entry["bytes"], entry["sha256"]) for name, entry in files.items()}
        str(meta["identity"]), int(meta["passages"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CorruptError(f"the index of terms in {folder} cannot be read ({error})") from error
    if version != FORMAT:
        raise CorruptError(
            f"the index of terms in {folder} has format {version!r} and this reads {FORMAT}; "
            "remove the folder, and it is made anew"
        )
    for name in (*_SMALL, *_ARRAYS):
        size = (folder / name).stat().st_size if (folder / name).is_file() else None
        if name not in entries or size != entries[name][0]:
            what = "is missing" if size is None else f"has {size} bytes"
            raise CorruptError(
                f"{name} of the index of terms in {folder} {what}, and it is not what was written; "
                "remove the folder, and it is made anew"
            )
        if name in _SMALL and _sum(folder / name) != entries[name][1]:
            raise CorruptError(
                f"{name} of the index of terms in {folder} is not what was written (its sha256 "
                "differs); remove the folder, and it is made anew"
            )
    return dict(meta)


def _sum(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
