"""Processes that encode passages, each on a device of its own.

They are started when the first passages come and kept until `Workers.close`, or until whoever
holds them goes. Knows nothing of prompts and forms.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

from sentence_transformers import SentenceTransformer


class Workers:
    """A pool of processes over one model.

    Args:
        devices: one process each, as in ``["cuda:0", "cuda:1"]`` or ``["cpu", "cpu"]``.
    """

    def __init__(self, devices: Sequence[str]) -> None:
        self.devices = list(devices)
        self._pool: Any = None
        self._stop: Any = None

    def encode(self, model: SentenceTransformer, texts: list[str], **options: Any) -> Any:
        """As ``model.encode(texts, **options)``, an equal share on each device."""
        if self._pool is None:
            self._pool = model.start_multi_process_pool(self.devices)
            # Not tied to self, which would never go then.
            self._stop = weakref.finalize(self, _stop, self._pool)
        share = -(-len(texts) // len(self.devices))
        return model.encode(texts, pool=self._pool, chunk_size=share, **options)

    def close(self) -> None:
        """End the processes; passages that come later start them anew."""
        if self._stop is not None:
            self._stop()
        self._pool = self._stop = None

    def __deepcopy__(self, _: object) -> Workers:
        return Workers(self.devices)  # a copied encoder starts its own

    def __reduce__(self) -> tuple[type[Workers], tuple[list[str]]]:
        return Workers, (self.devices,)


def _stop(pool: Any) -> None:
    SentenceTransformer.stop_multi_process_pool(pool)
