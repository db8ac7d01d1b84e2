"""New plugin packages from templates: ``render`` gives the files, ``write`` a folder of them.

A package has one module and one test for each of its roles; the tests are the conformance kit,
and pass at once. Knows the names of roles and hooks, nothing of what a role does.
"""

from __future__ import annotations

from ragkit.scaffold.names import Names, names
from ragkit.scaffold.render import render, write

__all__ = ["Names", "names", "render", "write"]
