"""The laws of their roles, by ragkit's own kit."""

from __future__ import annotations

from typing import ClassVar

import fid_models as tiny
from ragkit_fid.generator import FiDGenerator
from ragkit_fid.marginalizer import NoMixture

from ragkit.testing import GeneratorConformance, MarginalizerConformance


class TestFiDOverBart(GeneratorConformance):
    component = "fid"

    def make(self) -> FiDGenerator:
        return tiny.make("bart")


class TestFiDOverT5(GeneratorConformance):
    component = "fid"

    def make(self) -> FiDGenerator:
        return tiny.make("t5", max_target=64)


class TestNone(MarginalizerConformance):
    component = "none"
    kind: ClassVar = "fused"

    def make(self) -> NoMixture:
        return NoMixture()
