"""Weights of a checkpoint as named tensors: safetensors, or PyTorch's files, in one or in
parts. Tensors alone are read; a file that would run code is refused.

Knows nothing of models.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from ragkit.convert.place import check_file
from ragkit.errors import DataError


class ForeignObject(DataError):
    """A file asks for an object that is no tensor and no plain value: ``name`` says which."""

    def __init__(self, text: str, name: str) -> None:
        super().__init__(text)
        self.name = name


_NAMES = ("model.safetensors", "pytorch_model.bin")
_ELSEWHERE = {"tf_model.h5": "TensorFlow's", "flax_model.msgpack": "Flax's"}


def of_folder(folder: Path) -> dict[str, Tensor]:
    """All tensors of a checkpoint by name, on the CPU.

    Raises `DataError` where there are none, or a file is cut short, damaged or no weights.
    """
    for name in _NAMES:
        read = _safetensors if name.endswith(".safetensors") else _pytorch
        if (folder / name).is_file():
            return read(check_file(folder / name, "the weights"))
        index = folder / f"{name}.index.json"
        if index.is_file():
            return _parts(index, read)
    for name, whose in _ELSEWHERE.items():
        if (folder / name).is_file():
            raise DataError(
                f"{folder} has weights in {whose} form alone ({name}); convert them with the "
                "transformers that wrote them, to model.safetensors"
            )
    there = ", ".join(sorted(one.name for one in folder.iterdir())[:8]) or "nothing"
    raise DataError(
        f"{folder} has no weights: {' or '.join(_NAMES)} should be there, and there is {there}. "
        "Is the download complete?"
    )


def _parts(index: Path, read: Callable[[Path], dict[str, Tensor]]) -> dict[str, Tensor]:
    """A checkpoint in several files, and a table that says which tensor is where."""
    try:
        places: dict[str, str] = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        files = sorted(set(places.values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{index.name} is no table of weights ({error!r}); fetch it again"
        ) from error
    missing = [name for name in files if not (index.parent / name).is_file()]
    if missing:
        raise DataError(
            f"{index.name} names {len(files)} files and {len(missing)} of them are not in "
            f"{index.parent}, such as {missing[0]}. Is the download complete?"
        )
    found: dict[str, Tensor] = {}
    for name in files:
        found |= read(check_file(index.parent / name, "the weights"))
    lost = sorted(set(places) - set(found))
    if lost:
        raise DataError(
            f"{index.name} names {len(lost)} tensors that are not in its files, such as "
            f"{lost[0]!r}; fetch them again"
        )
    return found


def _safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except Exception as error:  # its own kind of error, and those of the system
        raise DataError(
            f"{path.name} is no whole safetensors file ({_first(error)}). Is the download complete?"
        ) from error


def _pytorch(path: Path) -> dict[str, Tensor]:
    found = pytorch(path)
    if isinstance(found.get("state_dict"), dict):
        found = found["state_dict"]
    return {name: value for name, value in found.items() if isinstance(value, Tensor)}


def pytorch(path: Path) -> dict[str, Any]:
    """The table that a file of ``torch.save`` holds: tensors and plain values alone.

    Raises `DataError` where the file is cut short, would run code, or holds no table.
    """
    check_file(path, "the checkpoint")
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise _refusal(path, error) from error
    if not isinstance(found, dict):
        raise DataError(f"{path.name} holds {type(found).__name__}, and no table of weights")
    return found


def _refusal(path: Path, error: Exception) -> DataError:
    text = str(error)
    if "Unsupported" in text or "weights_only" in text.lower().replace(" ", "_"):
        which = next((line.strip() for line in text.split("\n") if "GLOBAL" in line), "")
        named = which.partition("GLOBAL ")[2].split(" ")[0].strip("`'\"")
        if named and "." not in named:
            named = f"builtins.{named}"  # as PyTorch's list of what is let through has it
        if named:
            return ForeignObject(
                f"{path.name} holds more than weights: it asks for {named}, and what is in such "
                "a file (a pickle) can run any code. Load it where you trust it, and save its "
                "tensors alone: torch.save(model.state_dict(), FILE)",
                named,
            )
    reason = "" if "weights_only" in text else f" ({_first(error)})"  # that is not of the file
    return DataError(
        f"{path.name} is no whole file of PyTorch weights{reason}. Is the download complete?"
    )


def _first(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
