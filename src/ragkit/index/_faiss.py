"""The one place where faiss is imported.

faiss and torch bring an OpenMP runtime each; on macOS two of them in one process can
crash. torch is imported first, and there faiss is held to one thread.
"""

from __future__ import annotations

import sys
from typing import Any

import torch  # noqa: F401  (must be loaded before faiss)

from ragkit.errors import MissingDependency

try:
    import faiss as _faiss
except ImportError as error:  # pragma: no cover - a core dependency
    raise MissingDependency("the index 'faiss' needs faiss: pip install faiss-cpu") from error

faiss: Any = _faiss

if sys.platform == "darwin":  # pragma: no cover
    faiss.omp_set_num_threads(1)
