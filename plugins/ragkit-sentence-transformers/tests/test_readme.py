"""What the README shows runs, on a model of straw under the name of the real one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import straw
from ragkit_sentence_transformers.encoder import SentenceTransformerEncoder

from ragkit import signature

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def test_the_blocks_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "light.txt").write_text("Ada Holm keeps the lighthouse.")
    model = straw.model(tmp_path / "base")
    model.save("sentence-transformers/all-MiniLM-L6-v2", create_model_card=False)
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL):
        exec(compile(block, "README.md", "exec"), names)
    assert names["found"].mask.tolist() == [[True, False, False]]


def test_the_options_are_all_there() -> None:
    listed = re.findall(r"^\| (`.*?`) \|", README, re.MULTILINE)
    names = [name for cell in listed for name in re.findall(r"`(\w+)`", cell)]
    assert set(names) == {o.name for o in signature.options(SentenceTransformerEncoder)}
