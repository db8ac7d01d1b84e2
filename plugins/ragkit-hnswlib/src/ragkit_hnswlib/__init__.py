"""The plugin ``ragkit-hnswlib``: what it offers, without importing it.

Loads nothing but the standard library and ragkit's light modules, so that listing
components costs nothing. hnswlib comes as source alone; where it is missing, the answer says
whether a compiler is missing too.
"""

from __future__ import annotations

import shutil

from ragkit.hookspecs import Component, hookimpl

__version__ = "0.1.0"

_COMPILERS = ("c++", "g++", "clang++", "cl")
_INSTALL = "pip install hnswlib"


@hookimpl
def ragkit_indexes() -> list[Component]:
    return [
        Component(
            "hnswlib",
            "ragkit_hnswlib.index:HnswlibIndex",
            "a graph (HNSW) that grows and forgets rows; filtered search",
            needs=("hnswlib",),
            install=install(),
        )
    ]


def install() -> str:
    """What to type where hnswlib is missing: a compiler first, if there is none."""
    if any(shutil.which(name) for name in _COMPILERS):
        return f"{_INSTALL} (it is compiled here, which takes a minute and Python's headers)"
    return (
        f"{_INSTALL}; it comes as source alone, and no C++ compiler was found here: first "
        "`apt-get install g++ python3-dev` (Debian), `xcode-select --install` (macOS) or the "
        "Build Tools for Visual Studio (Windows)"
    )
