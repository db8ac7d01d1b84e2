"""The safetensors files below a folder, packed into one.

``weights.safetensors`` holds every distinct tensor once, whichever and however many files
it stood in; ``weights.json`` says which tensors each file had, of what type they were, and
the checksum of the whole. Packing takes the files away, reading gives their tensors back in
memory. Knows nothing of models: any part that saves safetensors is packed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from ragkit.errors import CorruptError
from ragkit.weights import compact

DATA = "weights.safetensors"
INDEX = "weights.json"
_SUFFIX = ".safetensors"
_SCALE = ".scale"
_VOUCHED = "manifest.json"
"""Beside it, the files are under a checksum of their own: a copied knowledge base."""


class Index(NamedTuple):
    """What ``weights.json`` says.

    files: path below the folder to {tensor's name: number of a stored tensor}.
    dtypes: of each stored tensor before it was rounded.
    metadata: of each file, as safetensors keeps it.
    """

    sha256: str
    files: dict[str, dict[str, int]]
    dtypes: list[str]
    metadata: dict[str, dict[str, str]]


# ------------------------------------------------------------------------- writing


def pack(folder: Path, weights: str) -> str:
    """Take all safetensors files below a folder into one; returns the index's checksum.

    Args:
        folder: nobody else may be using it.
        weights: ``float32`` (as they are), ``float16``, ``bfloat16`` or ``int8``.

    Raises:
        ConfigError: another ``weights``.
    """
    compact.check(weights)
    files: dict[str, dict[str, int]] = {}
    metadata: dict[str, dict[str, str]] = {}
    numbers: dict[str, int] = {}
    dtypes: list[str] = []
    data: dict[str, Tensor] = {}
    taken = _files(folder)
    for file in taken:
        path = file.relative_to(folder).as_posix()
        with safe_open(file, "pt") as opened:
            metadata[path] = opened.metadata() or {}
        files[path] = {}
        for name, tensor in sorted(load_file(file).items()):
            number = numbers.setdefault(_content(tensor), len(dtypes))
            files[path][name] = number
            if number == len(dtypes):
                dtypes.append(str(tensor.dtype).removeprefix("torch."))
                kept, scales = compact.stored(tensor, weights)
                data[str(number)] = kept.contiguous()
                if scales is not None:
                    data[f"{number}{_SCALE}"] = scales
    save_file(data, folder / DATA, metadata={"format": "pt"})
    index = {
        "weights": weights,
        "sha256": _sum(folder / DATA),
        "files": files,
        "dtypes": dtypes,
        "metadata": metadata,
    }
    text = json.dumps(index, separators=(",", ":"), sort_keys=True) + "\n"
    (folder / INDEX).write_text(text, encoding="utf-8")
    for file in taken:
        file.unlink()
    return hashlib.sha256(text.encode()).hexdigest()


def _files(folder: Path) -> list[Path]:
    """Those to be packed: not of a folder whose manifest vouches for its files."""
    vouched = {one.parent for one in folder.rglob(_VOUCHED)}
    return [
        file
        for file in sorted(folder.rglob(f"*{_SUFFIX}"))
        if file.is_file() and vouched.isdisjoint(file.parents)
    ]


def _content(tensor: Tensor) -> str:
    """Equal for tensors of equal type, shape and bytes."""
    digest = hashlib.sha256(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
    raw: Any = tensor.contiguous().flatten().view(torch.uint8).numpy()
    digest.update(raw)
    return digest.hexdigest()


def _sum(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


# ------------------------------------------------------------------------- reading


def check(folder: Path, sha256: str) -> None:
    """Raises `CorruptError` where the index or the weights are not what was written."""
    for name in (INDEX, DATA):
        if not (folder / name).is_file():
            raise CorruptError(f"{folder / name} is missing; {_AGAIN}")
    if _sum(folder / INDEX) != sha256:
        raise CorruptError(
            f"{folder / INDEX} is not what was written (its sha256 differs); {_AGAIN}"
        )
    if _sum(folder / DATA) != _index(folder).sha256:
        raise CorruptError(
            f"{folder / DATA} is not what was written (its sha256 differs); {_AGAIN}"
        )


_AGAIN = "restore it from a copy, or install or download the model again"


def tensors(folder: Path) -> dict[str, Tensor] | None:
    """All tensors of the packed files that lay directly in a folder, by name.

    None where none did: then its safetensors files, if any, are there to be read. Each
    tensor has memory of its own. Raises `CorruptError` where the pack is damaged.
    """
    home, names = _packed(folder)
    wanted: dict[str, int] = {}
    for name, entries in names.items():
        if "/" not in name:
            wanted.update(entries)
    if home is None or not wanted:
        return None
    return _read(home, wanted)


def holds(folder: Path) -> bool:
    """Whether a file of this folder, or of one below it, was packed."""
    return bool(_packed(folder)[1])


@contextlib.contextmanager
def unpacked(folder: Path) -> Iterator[Path]:
    """The folder as it was before packing, for whoever reads its files: a passing copy."""
    home, names = _packed(folder)
    if home is None or not names:
        yield folder
        return
    index = _index(home)
    where = folder.resolve().relative_to(home).as_posix()
    with tempfile.TemporaryDirectory(prefix="ragkit-", ignore_cleanup_errors=True) as made:
        copy = Path(made) / folder.name
        copy.mkdir()
        for file in folder.rglob("*"):
            target = copy / file.relative_to(folder)
            if file.is_dir():
                target.mkdir(parents=True, exist_ok=True)
            else:
                target.parent.mkdir(parents=True, exist_ok=True)
                target.symlink_to(file.resolve())
        for name, entries in names.items():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            path = name if where == "." else f"{where}/{name}"
            save_file(_read(home, entries), copy / name, metadata=index.metadata[path])
        yield copy


def _packed(folder: Path) -> tuple[Path | None, dict[str, dict[str, int]]]:
    """The folder of the pack above, and the entries of this one's files below their path."""
    folder = folder.resolve()
    for home in (folder, *folder.parents):
        if (home / INDEX).is_file() and (home / DATA).is_file():
            prefix = "" if home == folder else f"{folder.relative_to(home).as_posix()}/"
            return home, {
                path.removeprefix(prefix): entries
                for path, entries in _index(home).files.items()
                if path.startswith(prefix)
            }
    return None, {}


def _index(home: Path) -> Index:
    try:
        found: dict[str, Any] = json.loads((home / INDEX).read_text(encoding="utf-8"))
        return Index(*(found[name] for name in Index._fields))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CorruptError(f"{home / INDEX} cannot be read ({error}); {_AGAIN}") from error


def _read(home: Path, wanted: dict[str, int]) -> dict[str, Tensor]:
    index = _index(home)
    try:
        with safe_open(home / DATA, "pt") as opened:
            there = set(opened.keys())
            found = {}
            for name, number in wanted.items():
                key = str(number)
                scales = opened.get_tensor(key + _SCALE) if key + _SCALE in there else None
                dtype = getattr(torch, index.dtypes[number])
                found[name] = compact.restored(opened.get_tensor(key), scales, dtype)
            return found
    except (OSError, SafetensorError, IndexError, AttributeError) as error:
        raise CorruptError(f"{home / DATA} cannot be read ({error}); {_AGAIN}") from error
