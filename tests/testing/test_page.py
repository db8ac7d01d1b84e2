"""The page about the kit is what the kit says of itself, and names every check of every role."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from ragkit.testing import CONFORMANCE
from ragkit.testing.kit import checks

DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_is_made_from_the_docstrings(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(DOCS / "conformance.py"), run_name="__main__")
    said = (DOCS / "conformance.md").read_text(encoding="utf-8")
    assert said == capsys.readouterr().out, "python docs/conformance.py > docs/conformance.md"


def test_every_check_is_on_the_page() -> None:
    sections = (DOCS / "conformance.md").read_text(encoding="utf-8").split("\n## ")
    common = next(one for one in sections if one.startswith("Laws of every role"))
    for role, cls in CONFORMANCE.items():
        (section,) = (one for one in sections if one.startswith(f"{role.capitalize()}: "))
        for name in checks(cls):
            assert f"| `{name}` |" in section or f"| `{name}` |" in common
