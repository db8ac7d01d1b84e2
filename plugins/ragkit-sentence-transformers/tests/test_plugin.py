"""The plugin as ragkit finds it: light, typed, and clear where its library is missing."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import ragkit_sentence_transformers

from ragkit import registry

ROOT = Path(__file__).parents[1]


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True
    )
    return done.stdout.strip()


def test_the_entry_module_loads_nothing_heavy() -> None:
    name = "ragkit_sentence_transformers"
    code = f"import {name}, sys; {name}.ragkit_encoders(); print(*sys.modules)"
    heavy = {"torch", "numpy", "sentence_transformers", "transformers", "faiss"}
    assert not heavy & set(run(code).split())


def test_it_is_listed_ready_with_its_distribution() -> None:
    distribution = "ragkit-sentence-transformers"
    (listing,) = [one for one in registry.components() if one.distribution == distribution]
    found = (listing.role, listing.component.name, listing.state)
    assert found == ("encoder", "sentence-transformers", "ready")


def test_without_the_library_the_answer_says_what_to_type() -> None:
    hidden = (
        "import importlib.util\n"
        "real = importlib.util.find_spec\n"
        "def find(name, *a):\n"
        "    return None if name == 'sentence_transformers' else real(name, *a)\n"
        "importlib.util.find_spec = find\n"
        "import ragkit\n"
        "try:\n    ragkit.make('encoder', 'sentence-transformers', model='x')\n"
        "except ragkit.MissingDependency as error:\n    print(error)\n"
    )
    said = run(hidden)
    assert said.endswith(
        "needs sentence_transformers, not installed: pip install sentence-transformers"
    )


def test_versions_agree() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert project["version"] == ragkit_sentence_transformers.__version__
    assert changes.split("## [")[1].startswith(project["version"])
    assert (ROOT / "src" / "ragkit_sentence_transformers" / "py.typed").is_file()
