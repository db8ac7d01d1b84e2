"""What the README shows runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def test_the_blocks_run() -> None:
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL):
        exec(compile(block, "README.md", "exec"), names)
    assert names["ids"].shape == names["scores"].shape == (2, 10)
    assert names["ids"][:, 0].tolist() == [0, 1]


def test_the_options_are_all_there_with_their_defaults() -> None:
    from ragkit_hnswlib.index import HnswlibIndex

    index = HnswlibIndex()
    shown = dict(re.findall(r"^\| `(\w+)` \| (\w+) \|", README, re.MULTILINE))
    assert shown == {name: str(value).lower() for name, value in index._options().items()}
