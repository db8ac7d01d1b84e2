"""The laws of a retriever, by ragkit's own kit."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
import shore
from ragkit_bm25.conformance import HybridConformance
from ragkit_bm25.hybrid import HybridRetriever
from ragkit_bm25.retriever import BM25Retriever

from ragkit.testing import RetrieverConformance, check


class TestBM25(RetrieverConformance):
    component: ClassVar[str | None] = "bm25"

    def make(self) -> BM25Retriever:
        return BM25Retriever(shore.base(self.folder() / "kb", self.passages))


class TestBM25Plus(TestBM25):
    def make(self) -> BM25Retriever:
        base = shore.base(self.folder() / "kb", self.passages)
        return BM25Retriever(base, method="bm25+", stopwords=None, temperature=2.0)


class TestByRank(HybridConformance):
    pass


class TestBySum(HybridConformance):
    learns: ClassVar[bool | None] = True
    options: ClassVar[dict[str, Any]] = {"fusion": "sum", "weights": (1.0, 0.5), "oversample": 2}


class TestTwiceBM25(RetrieverConformance):
    """Two that learn nothing, and that both lack a word for most passages."""

    component: ClassVar[str | None] = "hybrid"
    steady: ClassVar[bool] = False

    def make(self) -> HybridRetriever:
        base = shore.base(self.folder() / "kb", self.passages)
        return HybridRetriever(BM25Retriever(base), BM25Retriever(base, k1=0.2), "sum")


@pytest.mark.parametrize("name", ["bm25", "hybrid"])
def test_by_its_name_it_passes_every_check(name: str) -> None:
    outcomes = check("retriever", name)
    assert len(outcomes) > 10
    assert not [one for one in outcomes if one.state == "failed"]
