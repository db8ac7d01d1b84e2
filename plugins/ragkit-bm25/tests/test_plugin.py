"""The plugin as ragkit finds it: light, typed, and clear where its library is missing."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import ragkit_bm25

from ragkit import registry

ROOT = Path(__file__).parents[1]


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True
    )
    return done.stdout.strip()


def test_the_entry_module_loads_nothing_heavy() -> None:
    code = "import ragkit_bm25, sys; ragkit_bm25.ragkit_retrievers(); print(*sys.modules)"
    heavy = {"torch", "numpy", "bm25s", "Stemmer", "transformers", "faiss"}
    assert not heavy & set(run(code).split())


def test_both_are_listed_ready_with_their_distribution() -> None:
    found = [one for one in registry.components() if one.distribution == "ragkit-bm25"]
    listed = [(one.role, one.component.name, one.state) for one in found]
    assert listed == [("retriever", "bm25", "ready"), ("retriever", "hybrid", "ready")]


def test_without_bm25s_the_answer_says_what_to_type() -> None:
    hidden = (
        "import importlib.util\n"
        "real = importlib.util.find_spec\n"
        "def find(name, *a):\n    return None if name == 'bm25s' else real(name, *a)\n"
        "importlib.util.find_spec = find\n"
        "import ragkit\n"
        "try:\n    ragkit.make('retriever', 'bm25', knowledge_base='x')\n"
        "except ragkit.MissingDependency as error:\n    print(error)\n"
    )
    assert run(hidden).endswith("needs bm25s, not installed: pip install bm25s")


def test_the_hybrid_works_without_bm25s() -> None:
    code = (
        "import sys\nsys.modules['bm25s'] = None\n"
        "from ragkit import registry\n"
        "print(registry.find('retriever', 'hybrid').__name__)\n"
    )
    assert run(code) == "HybridRetriever"


def test_versions_agree() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert project["version"] == ragkit_bm25.__version__
    assert changes.split("## [")[1].startswith(project["version"])
    assert (ROOT / "src" / "ragkit_bm25" / "py.typed").is_file()
