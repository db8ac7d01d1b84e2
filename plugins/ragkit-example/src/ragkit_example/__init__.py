"""The plugin ``ragkit-example``: what it offers, without importing it.

Import nothing here but the standard library and ragkit: this module is loaded whenever
components are listed. The classes are imported when their names are first built.
"""

from __future__ import annotations

from ragkit import Component, hookimpl


@hookimpl
def ragkit_indexes() -> list[Component]:
    return [
        Component(
            "example",
            "ragkit_example.index:ExampleIndex",
            "exact search by inner product, in numpy",
            needs=("numpy",),
            install="pip install ragkit-example",
            protocol=1,
        )
    ]
