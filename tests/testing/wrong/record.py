"""One deliberately wrong implementation, and how the kit must catch it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ragkit.testing import Conformance


@dataclass(frozen=True)
class Wrong:
    """
    title: what is wrong with it.
    kit: the laws that it is held to.
    make: makes it; takes the conformance object.
    check: the check that must catch it.
    fault, advice: patterns that the message must match: what is wrong, and what to do.
    settings: of the conformance class.
    """

    title: str
    kit: type[Conformance]
    make: Callable[[Any], Any]
    check: str
    fault: str
    advice: str
    settings: dict[str, Any] = field(default_factory=dict)

    def conformance(self) -> type[Conformance]:
        return type("Wrong", (self.kit,), {**self.settings, "make": self.make})
