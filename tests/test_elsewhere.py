"""What is one installation away is what the packages in ``plugins/`` bring, and is said."""

from __future__ import annotations

import importlib.util
import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from typer.testing import CliRunner

from ragkit import elsewhere, registry, shipped
from ragkit.cli import build
from ragkit.errors import UnknownName
from ragkit.hookspecs import ROLES

PLUGINS = Path(__file__).parents[1] / "plugins"
EXAMPLE = "ragkit-example"  # to be read, not to be installed
PROJECTS = [file for file in sorted(PLUGINS.glob("*/pyproject.toml")) if EXAMPLE not in file.parts]


def entries(project: Path) -> tuple[str, list[ModuleType]]:
    """The distribution of a project, and the modules of its entry points, from its sources."""
    table = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
    modules = []
    for name in table["entry-points"]["ragkit"].values():
        file = project.parent / "src" / Path(*name.split("."))
        file = file / "__init__.py" if file.is_dir() else file.with_suffix(".py")
        spec = importlib.util.spec_from_file_location(f"read_{name.replace('.', '_')}", file)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        modules.append(module)
    return table["name"], modules


def test_the_list_is_what_the_packages_bring() -> None:
    brought = set()
    for project in PROJECTS:
        distribution, modules = entries(project)
        for module in modules:
            for role, hook in ROLES.items():
                for one in getattr(module, hook, list)():
                    brought.add((role, one.name, distribution, one.summary))
    held = [(one.role, one.name, one.distribution, one.summary) for one in elsewhere.KNOWN]
    assert len(held) == len(set(held)) == len(brought)
    assert set(held) == brought


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Where no plugin is installed."""
    monkeypatch.setattr(registry, "_installed_plugins", list)
    registry.forget()
    yield
    monkeypatch.undo()
    registry.forget()


@pytest.mark.usefixtures("bare")
def test_a_name_that_is_not_found_leads_to_its_package() -> None:
    with pytest.raises(UnknownName) as caught:
        registry.make("retriever", "bm25")
    assert str(caught.value) == (
        "the retriever 'bm25' is not installed: pip install ragkit-bm25. Known: dense. "
        "One install away: bm25, hybrid (pip install ragkit-bm25)"
    )
    with pytest.raises(UnknownName, match="no retriever is named 'bm52'; did you mean 'bm25'"):
        registry.make("retriever", "bm52")


@pytest.mark.usefixtures("bare")
def test_components_lists_what_is_one_installation_away() -> None:
    found = json.loads(CliRunner().invoke(build(), ["components", "--json"]).stdout)
    away: list[dict[str, Any]] = found["available"]
    assert {(one["role"], one["name"]) for one in away} == {
        *((one.role, one.name) for one in elsewhere.KNOWN),
        *(("model", name) for name in shipped.INSTALL),
    }
    (hnswlib,) = [one for one in away if one["name"] == "hnswlib"]
    assert hnswlib["install"] == "pip install ragkit-hnswlib"
    shown = CliRunner().invoke(build(), ["components", "index"], env={"COLUMNS": "200"}).stdout
    (row,) = [line for line in shown.split("\n") if "hnswlib" in line]
    assert "pip install ragkit-hnswlib" in row
    assert "not installed" in row
    assert "bm25" not in shown


def test_what_is_installed_is_not_away() -> None:
    installed = {one.distribution for one in registry.plugins()}
    assert not {one.distribution for one in elsewhere.absent(None, installed)} & installed
    everything = {one.distribution for one in elsewhere.KNOWN}
    assert elsewhere.absent(None, everything) == []
    assert elsewhere.hint([]) == ""
    assert [one.name for one in elsewhere.absent("index", set())] == ["hnswlib"]
