"""Who sees what where: orders that look random and need not be stored.

The side of each model and the order of the pairs are read from a hash of seed, annotator and
pair. So they differ between annotators, carry no trace of the models, and are the same when
an annotator comes back. Knows nothing of texts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence


def order(seed: int, who: str, ids: Sequence[str]) -> list[str]:
    """The ids in the order of this annotator (or of whatever else ``who`` names)."""
    return sorted(ids, key=lambda id: (_digest(seed, who, "order", id), id))


def first_is_left(seed: int, annotator: str, id: str) -> bool:
    """Whether the first model of a pair stands on the left for this annotator."""
    return bool(_digest(seed, annotator, "side", id)[0] & 1)


def _digest(seed: int, *parts: str) -> bytes:
    total = hashlib.blake2b(str(seed).encode(), digest_size=16)
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        total.update(len(data).to_bytes(8, "big") + data)
    return total.digest()
