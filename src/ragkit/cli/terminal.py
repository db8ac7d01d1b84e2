"""Where ``ask`` and ``evaluate`` write: results to stdout, all else to stderr.

JSON goes out bare, one object a line or indented, so that it can be piped. Progress is
silent where stderr is no terminal. Knows nothing of what is written.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ragkit.errors import RagkitError

if TYPE_CHECKING:
    from rich.console import RenderableType


def show(what: RenderableType, style: str | None = None) -> None:
    """Print something of rich's to stdout; text is taken as it is, without markup."""
    from rich.console import Console

    Console(markup=False, emoji=False, highlight=False).print(what, style=style)


def complain(error: RagkitError) -> None:
    """An error that does not end the command, as a red line on stderr."""
    from rich.console import Console

    Console(stderr=True, markup=False, highlight=False).print(str(error), style="red")


def json_line(record: Mapping[str, Any]) -> None:
    """One object on one line, at once visible to whoever reads the pipe."""
    print(json.dumps(record, ensure_ascii=False, allow_nan=False), flush=True)


def json_object(record: Mapping[str, Any]) -> None:
    """One object, indented."""
    print(json.dumps(record, ensure_ascii=False, allow_nan=False, indent=2))


@contextmanager
def status(what: str) -> Iterator[None]:
    """Says what is being waited for, while it is, and keeps libraries' bars quiet."""
    from rich.console import Console

    from ragkit.progress import quiet

    with quiet():
        if not sys.stderr.isatty():
            yield
            return
        with Console(stderr=True).status(what):
            yield


@contextmanager
def progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar that is told (done, total); it appears when it is first told."""
    from ragkit.progress import Progress

    bar = Progress(what, None)

    def report(done: int, total: int) -> None:
        if bar.total is None and done < total:
            bar.total = total
            bar.__enter__()
        bar.reach(done)

    try:
        yield report
    finally:
        bar.__exit__(*sys.exc_info())
