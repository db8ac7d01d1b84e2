"""Where the verbs write: results to stdout, all else to stderr.

JSON goes out bare, one object a line or indented, so that it can be piped. Knows nothing
of what is written.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import RenderableType


def show(what: RenderableType, style: str | None = None) -> None:
    """Print something of rich's to stdout; text is taken as it is, without markup."""
    from rich.console import Console

    text = isinstance(what, str)  # a sentence in a pipe is one line
    Console(markup=False, emoji=False, highlight=False).print(what, style=style, soft_wrap=text)


def complain(error: Exception) -> None:
    """An error as a red line on stderr, not broken where the window ends."""
    from rich.console import Console

    console = Console(stderr=True, markup=False, emoji=False, highlight=False)
    console.print(str(error), style="red", soft_wrap=True)


def json_line(record: Mapping[str, Any]) -> None:
    """One object on one line, at once visible to whoever reads the pipe."""
    print(json.dumps(record, ensure_ascii=False, allow_nan=False), flush=True)


def json_object(record: Mapping[str, Any]) -> None:
    """One object, indented."""
    print(json.dumps(record, ensure_ascii=False, allow_nan=False, indent=2))


@contextmanager
def status(what: str) -> Iterator[None]:
    """Says at a terminal what is being waited for, in place of transformers' bars."""
    from rich.console import Console
    from transformers.utils import logging as transformers_logging

    logging: Any = transformers_logging  # its functions have no types
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        if sys.stderr.isatty():
            with Console(stderr=True).status(what):
                yield
        else:
            yield
    finally:
        if shown:
            logging.enable_progress_bar()
