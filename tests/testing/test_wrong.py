"""The kit against deliberately wrong implementations: each is caught by the check that is
named, and the message says what is wrong and what to do."""

from __future__ import annotations

import re

import pytest

from ragkit.testing.kit import checks
from testing.wrong import encoder, generator, index, marginalizer, others, reading, retriever
from testing.wrong.record import Wrong

MODULES = (encoder, generator, index, marginalizer, others, reading, retriever)
WRONG = [wrong for module in MODULES for wrong in module.WRONG]


@pytest.mark.parametrize("wrong", WRONG, ids=lambda w: f"{w.kit.role}: {w.title}")
def test_each_is_caught_by_its_check(wrong: Wrong) -> None:
    cls = wrong.conformance()
    assert wrong.check in checks(cls)
    with pytest.raises(AssertionError) as caught:
        getattr(cls(), wrong.check)()
    message = str(caught.value)
    assert re.search(wrong.fault, message), message
    assert re.search(wrong.advice, message), message
