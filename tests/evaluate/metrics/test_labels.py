"""Label accuracy on cases by hand."""

from __future__ import annotations

import math

import pytest

from judging import gold, one, said
from ragkit.evaluate.metrics import LabelAccuracy


@pytest.mark.parametrize(
    ("text", "labels", "right"),
    [
        ("SUPPORTS", ["SUPPORTS"], 1),
        (" supports\n", ["SUPPORTS"], 1),
        ("not  enough info", ["NOT ENOUGH INFO"], 1),
        ("NOT ENOUGH", ["NOT ENOUGH INFO"], 0),
        ("the SUPPORTS", ["SUPPORTS"], 0),  # a label has no article, unlike an answer
        ("SUPPORTS.", ["SUPPORTS"], 0),
        ("REFUTES", ["SUPPORTS", "REFUTES"], 1),  # several labels are right
        ("fu\u0308r", ["FÜR"], 1),  # composed and decomposed
        ("STRASSE", ["Straße"], 1),
        ("", ["SUPPORTS"], 0),
    ],
)
def test_by_hand(text: str, labels: list[str], right: int) -> None:
    assert one(LabelAccuracy(), said(text), gold(*labels)) == right


def test_without_a_label_there_is_nothing_to_say() -> None:
    assert math.isnan(one(LabelAccuracy(), said("SUPPORTS"), gold()))
