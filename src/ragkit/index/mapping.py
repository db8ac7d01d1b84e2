"""Files as arrays without reading them. Knows nothing of what is in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def mapped(path: Path, dtype: Any, shape: tuple[int, ...]) -> NDArray[Any]:
    """A whole file as an array; nothing is read until it is looked at.

    Mapped copy-on-write where the system allows it, since torch takes only arrays that it
    could write to without a copy. Linux refuses that for files larger than its memory, and
    those are mapped for reading.
    """
    if 0 in shape:
        return np.zeros(shape, dtype=dtype)
    try:
        return np.memmap(path, dtype=dtype, mode="c", shape=shape)
    except OSError:
        return np.memmap(path, dtype=dtype, mode="r", shape=shape)
