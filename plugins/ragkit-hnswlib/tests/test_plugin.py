"""The plugin as ragkit finds it: light, typed, and clear where hnswlib is missing."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import ragkit_hnswlib
from ragkit_hnswlib import library

from ragkit import registry
from ragkit.errors import MissingDependency

ROOT = Path(__file__).parents[1]


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True
    )
    return done.stdout.strip()


def test_the_entry_module_loads_nothing_heavy() -> None:
    code = "import ragkit_hnswlib, sys; ragkit_hnswlib.ragkit_indexes(); print(*sys.modules)"
    heavy = {"torch", "numpy", "hnswlib", "transformers", "faiss"}
    assert not heavy & set(run(code).split())


def test_it_is_listed_ready_with_its_distribution() -> None:
    (listing,) = [one for one in registry.components() if one.distribution == "ragkit-hnswlib"]
    assert (listing.role, listing.component.name, listing.state) == ("index", "hnswlib", "ready")


def test_without_hnswlib_the_answer_says_what_to_type_and_that_a_compiler_is_needed(
    tmp_path: Path,
) -> None:
    hidden = (
        "import importlib.util, os, sys\n"
        "real = importlib.util.find_spec\n"
        "def find(name, *a):\n    return None if name == 'hnswlib' else real(name, *a)\n"
        "importlib.util.find_spec = find\n"
        f"os.environ['PATH'] = {str(tmp_path)!r}\n"
        "import ragkit\n"
        "try:\n    ragkit.make('index', 'hnswlib')\n"
        "except ragkit.MissingDependency as error:\n    print(error)\n"
    )
    said = run(hidden)
    assert "needs hnswlib, not installed: pip install hnswlib" in said
    assert "no C++ compiler was found" in said
    assert "apt-get install g++ python3-dev" in said


def test_where_a_compiler_is_there_it_is_not_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    compiler = tmp_path / "c++"
    compiler.write_text("#!/bin/sh\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "no C++ compiler" not in ragkit_hnswlib.install()
    assert ragkit_hnswlib.install().startswith("pip install hnswlib")


def test_a_build_that_cannot_be_imported_is_answered_with_the_install_line() -> None:
    code = (
        "import sys\n"
        "sys.modules['hnswlib'] = None\n"
        "from ragkit.errors import MissingDependency\n"
        "try:\n    import ragkit_hnswlib.library\n"
        "except MissingDependency as error:\n    print(error)\n"
    )
    assert "pip install hnswlib" in run(code)
    assert issubclass(MissingDependency, ImportError)
    assert library.hnswlib.Index


def test_versions_agree() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert project["version"] == ragkit_hnswlib.__version__
    assert changes.split("## [")[1].startswith(project["version"])
    assert (ROOT / "src" / "ragkit_hnswlib" / "py.typed").is_file()
