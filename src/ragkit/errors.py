"""Every error that ragkit raises on purpose.

Each says what was wrong, what there is, and what to type. This module knows nothing
of the rest of ragkit, so anything may import it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches


class RagkitError(Exception):
    """Base of all errors that ragkit raises on purpose.

    Examples:
        >>> import ragkit
        >>> try:
        ...     ragkit.make("index", "exakt")
        ... except ragkit.RagkitError as error:
        ...     print(type(error).__name__)
        UnknownName
    """


class ConfigError(RagkitError, ValueError):
    """A configuration that cannot be built; lists all its faults, each with its path.

    Examples:
        >>> import ragkit
        >>> try:
        ...     ragkit.make("index", "exact", blok=8, device=0)
        ... except ragkit.ConfigError as error:
        ...     print(*error.faults, sep="\\n")
        index exact: unknown option 'blok'; did you mean 'block'? Options: device, block
        index exact.device: 0 (int) must be str
    """

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
    """No component of that role has that name.

    Examples:
        >>> import ragkit
        >>> ragkit.make("index", "exakt")
        Traceback (most recent call last):
        ragkit.errors.UnknownName: no index is named 'exakt'; did you mean 'exact'? Known: ...
    """


class MissingDependency(RagkitError, ImportError):
    """A component needs a package that is not installed; the message says what to type.

    Examples:
        >>> import ragkit
        >>> issubclass(ragkit.MissingDependency, ImportError)
        True
    """


class PluginError(RagkitError):
    """A plugin cannot be used; the message names its distribution and version.

    Examples:
        >>> import ragkit
        >>> for one in ragkit.components():
        ...     try:
        ...         if one.state == "broken":
        ...             ragkit.make(one.role, one.qualified)
        ...     except ragkit.PluginError as error:
        ...         print(error)
    """


class DataError(RagkitError, ValueError):
    """A record, file or argument is not what it should be.

    Examples:
        >>> import ragkit
        >>> from ragkit.knowledge import read
        >>> try:
        ...     list(read([{"id": "1", "title": "no text"}]))
        ... except ragkit.DataError as error:
        ...     print("text" in str(error))
        True
    """


class KnowledgeBaseError(RagkitError):
    """A knowledge base cannot be built, opened or used.

    Examples:
        >>> import ragkit
        >>> ragkit.KnowledgeBase.open("nowhere")
        Traceback (most recent call last):
        ragkit.errors.KnowledgeBaseError: 'nowhere' is no folder; build one with ...
    """


class CorruptError(KnowledgeBaseError):
    """A file does not hold what its manifest says.

    Examples:
        >>> import ragkit
        >>> from pathlib import Path
        >>> Path("damaged").mkdir()
        >>> _ = Path("damaged/current").write_text("not a number")
        >>> ragkit.KnowledgeBase.open("damaged")
        Traceback (most recent call last):
        ragkit.errors.CorruptError: damaged/current holds 'not a number' and not the number ...
    """


class EncoderMismatch(KnowledgeBaseError):
    """The knowledge base was built with another encoder.

    Examples:
        >>> import ragkit
        >>> from ragkit.retrieve.dense import DenseRetriever
        >>> from ragkit.retrieve.dpr import DPREncoder
        >>> from ragkit.testing import tiny
        >>> one, other = (DPREncoder(tiny.bert(n), tokenizer=tiny.tokenizer()) for n in (0, 1))
        >>> ferry = {"id": "7", "text": "The ferry leaves at nine."}
        >>> base = ragkit.KnowledgeBase.build([ferry], one, directory="kb-one")
        >>> try:
        ...     DenseRetriever(other, base)
        ... except ragkit.EncoderMismatch as error:
        ...     print("built by another encoder" in str(error))
        True
    """


class LockedError(KnowledgeBaseError):
    """Another process is writing there.

    Examples:
        >>> from pathlib import Path
        >>> import ragkit
        >>> from ragkit.knowledge import disk
        >>> with disk.writing(Path("kb-held")):
        ...     try:
        ...         with disk.writing(Path("kb-held")):
        ...             pass
        ...     except ragkit.LockedError as error:
        ...         print(str(error).partition(";")[0])
        another process is writing to 'kb-held'
    """


def nearest(name: str, known: Iterable[str]) -> str:
    """``"; did you mean 'faiss'?"`` where a known name is near, else ``""``."""
    close = get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""
