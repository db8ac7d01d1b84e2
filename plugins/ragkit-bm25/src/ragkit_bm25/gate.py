"""A gate between many who read and one who changes: readings that met a change are repeated.

Readers take no lock, so they never wait for each other. Knows nothing of what is read.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

T = TypeVar("T")


class Gate:
    """Counts changes; an odd count means that one is under way."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._count = 0

    @contextlib.contextmanager
    def changing(self) -> Iterator[None]:
        """Whoever changes something; one at a time."""
        with self._lock:
            self._count += 1
            try:
                yield
            finally:
                self._count += 1

    def steady(self, read: Callable[[], T]) -> T:
        """What ``read`` gives, of a time in which nothing changed."""
        while True:
            begun = self._count
            if begun % 2:
                with self._lock:  # until the change is over
                    continue
            try:
                found = read()
            except Exception:
                if self._count == begun:
                    raise
                continue  # what it met may be the change's doing
            if self._count == begun:
                return found

    def __deepcopy__(self, _: object) -> Gate:
        return Gate()

    def __reduce__(self) -> tuple[type[Gate], tuple[()]]:
        return Gate, ()
