"""Good folders spoilt on purpose, and the one clear error that must follow."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from ragkit.errors import RagkitError

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 2\n"


@dataclass(frozen=True)
class Case:
    """What is done to a good folder, and the words of the error that follows."""

    name: str
    spoil: Callable[[Path], Any]
    error: type[RagkitError]
    says: tuple[str, ...]


def refuses(case: Case, call: Callable[[], Any], folder: Path) -> None:
    before = sorted(folder.rglob("*"))
    with pytest.raises(case.error) as caught:
        call()
    text = str(caught.value)
    for words in case.says:
        assert words in text, text
    assert len(text) < 900
    assert "\x1b" not in text
    assert sorted(folder.rglob("*")) == before


def edit(name: str, how: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        table = json.loads((folder / name).read_text())
        how(table)
        (folder / name).write_text(json.dumps(table))

    return change


def cut(name: str, share: float = 0.5) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: int(len(data) * share)])

    return change


def write(name: str, text: str) -> Callable[[Path], Any]:
    return lambda folder: (folder / name).write_text(text)


def drop(name: str) -> Callable[[Path], Any]:
    def change(folder: Path) -> None:
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return change


def both(*changes: Callable[[Path], Any]) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        for one in changes:
            one(folder)

    return change


class Bomb:
    def __reduce__(self) -> Any:
        return print, ("it ran",)


def saves(name: str, value: Any, **options: Any) -> Callable[[Path], Any]:
    return lambda folder: torch.save(value, folder / name, **options)
