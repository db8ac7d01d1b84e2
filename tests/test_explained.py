"""Pages that explain: every function they name is there, and computes by the line they quote."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
MATHEMATICS = (ROOT / "docs" / "mathematics.md").read_text(encoding="utf-8")
PAPER = (ROOT / "docs" / "paper.md").read_text(encoding="utf-8")
LINKS = re.findall(
    r"^\* `(src/\S+\.py)`, `([\w.]+)`[^\n]*\n((?:    \* `[^\n]+`\n)+)", MATHEMATICS, re.MULTILINE
)
NAMES = sorted(set(re.findall(r"`(ragkit\.[\w.]+):([\w.]+)`", PAPER)))


def found(module: str, name: str) -> Any:
    """What the dotted name means in the module; fields of a record count."""
    thing: Any = importlib.import_module(module)
    for part in name.split("."):
        fields = getattr(thing, "__annotations__", {})
        thing = getattr(thing, part) if hasattr(thing, part) else fields[part]
    return thing


@pytest.mark.parametrize(("file", "name", "quoted"), LINKS, ids=lambda one: one.strip()[:60])
def test_a_formula_is_computed_where_the_page_says(file: str, name: str, quoted: str) -> None:
    module = file.removeprefix("src/").removesuffix(".py").replace("/", ".")
    function = inspect.unwrap(found(module, name))
    assert (ROOT / file).samefile(inspect.getsourcefile(function) or "")
    lines = [line.strip().partition("  #")[0] for line in inspect.getsource(function).split("\n")]
    for line in re.findall(r"`(.+)`", quoted):
        assert line in lines, f"{file}: {name} has no such line now; say in docs/mathematics.md"


def test_every_formula_has_its_function() -> None:
    sections = MATHEMATICS.split("\n## ")[1:]
    assert len(sections) >= 10
    for section in sections:
        assert "```text" in section
        assert re.search(r"^\* `src/", section, re.MULTILINE), section[:40]
    items = re.findall(r"^\* `src/", MATHEMATICS, re.MULTILINE)
    assert len(items) == len(LINKS)  # none is written so that it is overlooked


@pytest.mark.parametrize(("module", "name"), NAMES, ids=lambda one: one)
def test_what_the_page_about_the_paper_names_is_there(module: str, name: str) -> None:
    assert found(module, name) is not None


def test_the_sections_of_the_paper_are_all_there() -> None:
    sections = set(re.findall(r"^\| ([2-4A-H][.\d]*)", PAPER, re.MULTILINE))
    methods = {"2", "2.1", "2.2", "2.3", "2.4", "2.5"}
    assert (
        methods | {"3", "3.1", "3.2", "3.4", "4.1", "4.3", "4.5", "A", "C", "D", "E", "F", "H"}
        <= sections
    )


def test_plain_names_in_the_page_about_the_paper_are_not_overlooked() -> None:
    assert len(re.findall(r"`ragkit\.[^`]*`", PAPER)) == len(
        re.findall(r"`ragkit\.[\w.]+:[\w.]+`", PAPER)
    )
