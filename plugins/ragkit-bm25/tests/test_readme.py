"""What the README shows runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import shore
from ragkit_bm25.hybrid import HybridRetriever
from ragkit_bm25.retriever import BM25Retriever

from ragkit import config, signature
from ragkit.generate.seq2seq import Seq2SeqGenerator
from ragkit.testing import tiny

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def test_the_blocks_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shore.base(tmp_path / "kb")
    names: dict[str, Any] = {
        "generator": Seq2SeqGenerator(tiny.bart(), tokenizer=tiny.tokenizer(), max_target=8)
    }
    for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL):
        exec(compile(block, "README.md", "exec"), names)
    assert names["answer"].passages[0].id == "light"


def test_the_configuration_is_right() -> None:
    for block in re.findall(r"```yaml\n(.*?)```", README, re.DOTALL):
        assert config.check("retriever", config.read(block)["retriever"]) == []


def test_the_options_are_all_there_with_their_defaults() -> None:
    halves = README.split("## `hybrid`")
    for half, kind in zip(halves, (BM25Retriever, HybridRetriever), strict=True):
        rows = re.findall(r"^\| (`[^|]*`) \|([^|]*)\|", half, re.MULTILINE)
        names = [name for cell, _ in rows for name in re.findall(r"`(\w+)`", cell)]
        options = {option.name: option.default for option in signature.options(kind)}
        assert set(names) == set(options) - {"knowledge_base"}
        for cell, shown in rows:
            values = shown.strip().split(", ")
            for name, value in zip(re.findall(r"`(\w+)`", cell), values, strict=False):
                default = options[name]
                if isinstance(default, (int, float)):
                    assert float(value) == default
                elif isinstance(default, str):
                    assert value.strip("`") == default
