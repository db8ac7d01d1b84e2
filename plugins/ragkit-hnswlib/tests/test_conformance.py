"""The laws of an index, by ragkit's own kit."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
from ragkit_hnswlib.index import HnswlibIndex

from ragkit.testing import IndexConformance, check


class TestOneThread(IndexConformance):
    component: ClassVar[str | None] = "hnswlib"
    recall: ClassVar[float] = 0.97
    score_tolerance: ClassVar[float | None] = 1e-5

    def make(self) -> HnswlibIndex:
        return HnswlibIndex(threads=1)


class TestFewLinks(TestOneThread):
    """Where the graph loses neighbours, and keeps the places of removed rows."""

    recall: ClassVar[float] = 0.6

    def make(self) -> HnswlibIndex:
        return HnswlibIndex(M=4, ef=12, ef_construction=12, threads=1, replace_deleted=False)


@pytest.mark.parametrize("options", [{}, {"ef": 200}])
def test_by_its_name_it_passes_every_check(options: dict[str, Any]) -> None:
    outcomes = check("index", "hnswlib", **options)
    assert len(outcomes) > 20
    assert not [one for one in outcomes if one.state == "failed"]
    assert not [one for one in outcomes if one.state == "skipped" and "Supports" in one.message]
