"""The laws of an index, held against ours."""

from __future__ import annotations

from ragkit.testing import IndexConformance

from ragkit_example.index import ExampleIndex


class TestExampleIndex(IndexConformance):
    component = "example"
    recall = 1.0  # of the k nearest; set the share that yours must find

    def make(self) -> ExampleIndex:
        return ExampleIndex()
