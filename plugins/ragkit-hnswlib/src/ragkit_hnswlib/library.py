"""The one place where hnswlib is imported. Knows what to type where that fails."""

from __future__ import annotations

from typing import Any

from ragkit.errors import MissingDependency
from ragkit_hnswlib import install

try:
    import hnswlib as _hnswlib
except ImportError as error:
    raise MissingDependency(
        f"the index 'hnswlib' cannot import hnswlib ({error}): {install()}"
    ) from error

hnswlib: Any = _hnswlib
