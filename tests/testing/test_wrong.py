"""The kit against deliberately wrong implementations: each is caught by the check that is
named, and the message says what is wrong and what to do."""

from __future__ import annotations

import re

import pytest

from ragkit.testing import CONFORMANCE, Conformance
from ragkit.testing.kit import checks
from testing.wrong import (
    decode,
    encoder,
    generator,
    index,
    marginalizer,
    others,
    reading,
    retriever,
)
from testing.wrong.record import Wrong

MODULES = (decode, encoder, generator, index, marginalizer, others, reading, retriever)
WRONG = [wrong for module in MODULES for wrong in module.WRONG]


COMMON = {name for name in vars(Conformance) if name.startswith("test_")}
"""Laws of every role: tested in `test_kit` besides."""


def test_every_check_of_every_role_has_caught_something() -> None:
    assert len(WRONG) > 24
    caught = {(wrong.kit.role, wrong.check) for wrong in WRONG}
    for role, cls in CONFORMANCE.items():
        for name in set(checks(cls)) - COMMON:
            assert (role, name) in caught, f"no wrong {role} is made for {name}"


@pytest.mark.parametrize("wrong", WRONG, ids=lambda w: f"{w.kit.role}: {w.title}")
def test_each_is_caught_by_its_check(wrong: Wrong) -> None:
    cls = wrong.conformance()
    assert wrong.check in checks(cls)
    with pytest.raises(AssertionError) as caught:
        getattr(cls(), wrong.check)()
    message = str(caught.value)
    assert re.search(wrong.fault, message), message
    assert re.search(wrong.advice, message), message
