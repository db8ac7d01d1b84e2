"""People judge two models side by side, without knowing which is which (section 3.3, Table 4).

A study is a folder of pairs made from two runs; a page on this machine shows them, and the
outcome is a table of majorities with agreement and significance. The names below are imported
when first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ragkit.evaluate.annotate.agreement import krippendorff_alpha
    from ragkit.evaluate.annotate.server import serving
    from ragkit.evaluate.annotate.study import Study, begin, open_study
    from ragkit.evaluate.annotate.verdicts import Outcome, outcome

__all__ = [
    "Outcome",
    "Study",
    "begin",
    "krippendorff_alpha",
    "open_study",
    "outcome",
    "serving",
]

_HOME = {
    "Outcome": "verdicts",
    "Study": "study",
    "begin": "study",
    "krippendorff_alpha": "agreement",
    "open_study": "study",
    "outcome": "verdicts",
    "serving": "server",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
