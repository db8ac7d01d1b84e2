"""The plugin's entry: what it offers to ragkit, without loading any of it."""

from __future__ import annotations

from ragkit import Component, hookimpl

_NEEDS = ("torch", "transformers")
_INSTALL = "pip install ragkit-fid"


@hookimpl
def ragkit_generators() -> list[Component]:
    """The generator ``fid``."""
    return [
        Component(
            "fid",
            "ragkit_fid.generator:FiDGenerator",
            "Fusion-in-Decoder: all passages of a question read as one (M = 1)",
            needs=_NEEDS,
            install=_INSTALL,
            protocol=1,
        )
    ]


@hookimpl
def ragkit_marginalizers() -> list[Component]:
    """The marginalizer ``none``."""
    return [
        Component(
            "none",
            "ragkit_fid.marginalizer:NoMixture",
            "p(y|x) = p(y|x, all passages): nothing is mixed; for generators that fuse",
            needs=_NEEDS,
            install=_INSTALL,
            protocol=1,
        )
    ]


@hookimpl
def ragkit_objectives() -> list[Component]:
    """The objective ``fid-distillation``."""
    return [
        Component(
            "fid-distillation",
            "ragkit_fid.objective:Distillation",
            "-log p(y|x), and the prior drawn to where the reader looks",
            needs=_NEEDS,
            install=_INSTALL,
            protocol=1,
        )
    ]
