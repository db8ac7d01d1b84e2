"""Every public name has an example in its docstring, and the example does what it shows."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path
from typing import Any

import pytest

import ragkit

NAMES = [name for name in ragkit.__all__ if name != "__version__"]


def documented(name: str) -> Any:
    """Where a name's docstring is: a marker has that of its page, a package of its function."""
    places = {"hookimpl": ("ragkit.hookspecs", None), "evaluate": ("ragkit.evaluate", "harness")}
    if name not in places:
        return getattr(ragkit, name)
    module, function = places[name]
    found = importlib.import_module(module if function is None else f"{module}.{function}")
    return found if function is None else found.evaluate


@pytest.mark.parametrize("name", NAMES)
def test_the_example_of_a_public_name(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = documented(name).__doc__ or ""
    test = doctest.DocTestParser().get_doctest(text, {"__name__": "page"}, name, name, 0)
    assert test.examples, f"ragkit.{name} has no example in its docstring"
    said: list[str] = []
    outcome = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=said.append)
    assert outcome.failed == 0, "".join(said)
