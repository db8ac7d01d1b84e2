"""The distribution: its entry point, its lightness, what its README shows."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import fid_models as tiny
import pytest
from transformers import BertConfig, BertModel

from ragkit import registry

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "ragkit_fid"


def test_it_is_listed_as_ready_with_its_distribution() -> None:
    own = [one for one in registry.components() if one.distribution == "ragkit-fid"]
    assert {(one.role, one.component.name, one.state) for one in own} == {
        ("generator", "fid", "ready"),
        ("marginalizer", "none", "ready"),
        ("objective", "fid-distillation", "ready"),
    }


def test_a_configuration_says_fid_and_none(tmp_path: Path) -> None:
    tiny.bart().save_pretrained(tmp_path / "bart")
    tiny.tokenizer().save_pretrained(tmp_path / "bart")
    made = registry.make("generator", "fid", model=str(tmp_path / "bart"), max_source=40)
    assert made.reader.max_source == 40
    assert registry.make("marginalizer", "none")
    assert registry.make("objective", "fid-distillation", weight=0.5)


def test_its_entry_loads_nothing_heavy() -> None:
    code = "import ragkit_fid as m, sys\n"
    code += (
        "for hook in (m.ragkit_generators, m.ragkit_marginalizers, m.ragkit_objectives): hook()\n"
    )
    code += "print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert not {"torch", "numpy", "transformers"} & set(done.stdout.split())


def test_it_uses_nothing_that_ragkit_keeps_private() -> None:
    for file in PACKAGE.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ragkit."):
                names = [*(node.module or "").split("."), *(alias.name for alias in node.names)]
                assert not [name for name in names if name.startswith("_")], file


def test_versions_agree() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    top = re.search(r"^## \[(\d[^\]]*)\]", changes, re.MULTILINE)
    assert top is not None
    assert top[1] == project["version"]


def test_the_readmes_blocks_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With tiny random models in folders of the names that it uses."""
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("Ada Holm has kept the lighthouse since 1999.")
    (tmp_path / "notes" / "b.txt").write_text("The ferry leaves the harbour at nine.")
    config = BertConfig(
        vocab_size=261,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        pad_token_id=1,
    )
    for name, made in (
        ("facebook/dpr-question_encoder-multiset-base", BertModel(config)),
        ("google-t5/t5-base", tiny.t5()),
    ):
        made.save_pretrained(tmp_path / name)
        tiny.tokenizer().save_pretrained(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert blocks
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
