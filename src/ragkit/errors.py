"""Every error that ragkit raises on purpose.

Each says what was wrong, what there is, and what to type. This module knows nothing
of the rest of ragkit, so anything may import it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches


class RagkitError(Exception):
    """Base of all errors that ragkit raises on purpose."""


class ConfigError(RagkitError, ValueError):
    """A configuration that cannot be built; lists all its faults, each with its path."""

    def __init__(self, faults: Sequence[str] | str) -> None:
        self.faults = [faults] if isinstance(faults, str) else list(faults)
        if len(self.faults) == 1:
            text = self.faults[0]
        else:
            text = f"{len(self.faults)} errors in the configuration:\n" + "\n".join(
                f"  {fault}" for fault in self.faults
            )
        super().__init__(text)


class UnknownName(RagkitError, LookupError):
    """No component of that role has that name."""


class MissingDependency(RagkitError, ImportError):
    """A component needs a package that is not installed."""


class PluginError(RagkitError):
    """A plugin cannot be used; the message names its distribution and version."""


class DataError(RagkitError, ValueError):
    """A record, file or argument is not what it should be."""


class KnowledgeBaseError(RagkitError):
    """A knowledge base cannot be built, opened or used."""


class CorruptError(KnowledgeBaseError):
    """A file does not hold what its manifest says."""


class EncoderMismatch(KnowledgeBaseError):
    """The knowledge base was built with another encoder."""


class LockedError(KnowledgeBaseError):
    """Another process is writing there."""


def nearest(name: str, known: Iterable[str]) -> str:
    """``"; did you mean 'faiss'?"`` where a known name is near, else ``""``."""
    close = get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""
