"""What a conversion says of itself: what was made, what is to be known, what was dropped.

Knows nothing of what is converted.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(slots=True)
class Report:
    """The outcome of a conversion, as sentences for people.

    out: what was written, a folder.
    made: what is in it.
    notes: what differs, and what to type for it.
    dropped: what the source has and the outcome has not.

    Examples:
        >>> from ragkit.convert import Report
        >>> report = Report("model/", made=["a model"], dropped=["n_docs=5"])
        >>> report.as_dict()["dropped"]
        ['n_docs=5']
    """

    out: str
    made: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    def add(self, other: Report) -> None:
        """Take in what a part of the conversion has to say."""
        self.made += other.made
        self.notes += other.notes
        self.dropped += other.dropped
