"""How a check says what is wrong: assertions whose messages tell an author what to do.

Raised outright, so that they hold under ``python -O`` too. Knows errors and numbers, no role.
"""

from __future__ import annotations

import copy
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import SkipTest

import numpy as np
from numpy.typing import NDArray

from ragkit.errors import RagkitError


def must(condition: object, message: str) -> None:
    """Raise `AssertionError` with a message unless a condition holds."""
    if not condition:
        raise AssertionError(message)


def first_line(error: BaseException) -> str:
    """The first line of what an error says."""
    return (str(error).strip().splitlines() or [""])[0][:300]


def where(error: BaseException) -> str:
    """``" (nearest.py, line 47)"``: the last line of the component that an error came through.

    The component is what a check called, so its file is the first outside of this kit; what
    lies below in libraries does not tell an author which line to mend.
    """
    kit = Path(__file__).parent
    frames = [
        (Path(frame.f_code.co_filename), line)
        for frame, line in traceback.walk_tb(error.__traceback__)
        if Path(frame.f_code.co_filename).parent != kit
    ]
    mine = [(file, line) for file, line in frames if file.parent == frames[0][0].parent]
    return f" ({mine[-1][0].name}, line {mine[-1][1]})" if mine else ""


@contextmanager
def attempt(what: str, advice: str) -> Iterator[None]:
    """Within: the component is called. Whatever it raises becomes an `AssertionError`."""
    try:
        yield
    except (AssertionError, SkipTest):
        raise
    except Exception as error:
        raise AssertionError(
            f"{what} raised {type(error).__name__}: {first_line(error)}; {advice}{where(error)}"
        ) from error


def refused(what: str, work: Callable[[], object], advice: str) -> None:
    """Assert that something is refused with an error of ragkit that says why."""
    try:
        work()
    except RagkitError as error:
        must(
            len(str(error)) > 15,
            f"{what} was refused with {str(error)!r}, which says too little; say what was wrong, "
            "what there is, and what to type",
        )
    except Exception as error:
        raise AssertionError(
            f"{what} raised {type(error).__name__}: {first_line(error)}; {advice} with "
            "ragkit.errors.DataError that says what was wrong, what there is, and what to type"
            f"{where(error)}"
        ) from error
    else:
        raise AssertionError(
            f"{what} was accepted; {advice} with ragkit.errors.DataError that says what was "
            "wrong, what there is, and what to type"
        )


def array(value: Any) -> NDArray[Any]:
    """Numbers as a numpy array of their own, wherever they were."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        value = value.double() if value.is_floating_point() else value
        return np.array(value.numpy())
    found = np.array(value)
    return found.astype(np.float64) if found.dtype.kind == "f" else found


def difference(got: Any, want: Any, tolerance: float) -> str:
    """``""`` where two tables are equal within a tolerance, else where and how they differ.

    Infinities equal themselves, and so does NaN.
    """
    one, other = array(got), array(want)
    if one.shape != other.shape:
        return f"shape {one.shape} instead of {other.shape}"
    if one.dtype.kind in "fc" or other.dtype.kind in "fc":
        with np.errstate(invalid="ignore"):
            equal = np.isclose(one, other, rtol=tolerance, atol=tolerance, equal_nan=True)
    else:
        equal = one == other
    if equal.all():
        return ""
    place = tuple(int(i) for i in np.argwhere(~equal)[0])
    at = f" at {list(place)}" if place else ""
    return f"{one[place]!s} instead of {other[place]!s}{at}"


def same(got: Any, want: Any, tolerance: float, message: str) -> None:
    """Assert that two tables are equal within a tolerance; the message says what it means."""
    found = difference(got, want, tolerance)
    must(not found, f"{message} (found {found})")


@contextmanager
def unchanged(what: str, **inputs: Any) -> Iterator[None]:
    """Assert that nothing within changes the values of inputs (tables or plain values)."""
    before = {name: _copied(value) for name, value in inputs.items()}
    yield
    for name, value in inputs.items():
        here, there = _comparable(value), _comparable(before[name])
        equal = not difference(here, there, 0.0) if isinstance(here, np.ndarray) else here == there
        must(
            equal,
            f"{what} changed its input {name!r}; work on a copy, for the caller goes on using it",
        )


def _copied(value: Any) -> Any:
    return array(value) if hasattr(value, "dtype") else copy.deepcopy(value)


def _comparable(value: Any) -> Any:
    return array(value) if hasattr(value, "dtype") else value
