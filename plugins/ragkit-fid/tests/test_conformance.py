"""The laws of their roles, by ragkit's own kit."""

from __future__ import annotations

import fid_models as tiny
import pytest
from ragkit_fid.conformance import (
    DistillationConformance,
    FiDConformance,
    NoMixtureConformance,
)
from ragkit_fid.generator import FiDGenerator

from ragkit.testing import check


class TestOverBart(FiDConformance):
    pass


class TestOverT5(FiDConformance):
    def make(self) -> FiDGenerator:
        return tiny.make("t5", max_target=64)


class TestNone(NoMixtureConformance):
    pass


class TestDistillation(DistillationConformance):
    pass


@pytest.mark.parametrize(
    ("role", "name"),
    [("generator", "fid"), ("marginalizer", "none"), ("objective", "fid-distillation")],
)
def test_by_its_name_it_passes_every_check(role: str, name: str) -> None:
    outcomes = check(role, name)
    assert len(outcomes) > 10
    assert not [one for one in outcomes if one.state == "failed"]
