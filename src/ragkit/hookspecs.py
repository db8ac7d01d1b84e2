"""Everything in ragkit that can be extended, on one page.

A plugin is a module named by an entry point of the group ``ragkit``; it implements
any of these hooks with ``@ragkit.hookimpl``. ragkit's own components
(`ragkit.builtin`) come through the same hooks. A hook returns light records; the
class behind a record is imported when its name is first built, so the module that
implements the hooks should import nothing but the standard library and `ragkit`.

Examples:
    >>> from ragkit import Component, hookimpl
    >>> @hookimpl
    ... def ragkit_indexes():
    ...     return [Component("mine", "my_package.index:MyIndex", "what it is, in a line")]
    >>> [one.name for one in ragkit_indexes()]
    ['mine']
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pluggy

hookspec = pluggy.HookspecMarker("ragkit")
hookimpl = pluggy.HookimplMarker("ragkit")


@dataclass(frozen=True, slots=True)
class Component:
    """One implementation of a role.

    name: what users write in configs (``faiss``).
    target: where the class or factory is (``"ragkit.index.faiss:FaissIndex"``); its
        signature is the configuration's schema.
    summary: one line for ``ragkit components``.
    needs: modules that must be importable (``("faiss",)``), looked for before the import.
    install: what to type where one is missing (``"pip install faiss-cpu"``).
    protocol: the `PROTOCOL_VERSION` it was written for; state it, for what is unstated is 1.

    Examples:
        >>> from ragkit import Component
        >>> one = Component("mine", "my_package.index:MyIndex", needs=("numpy",), protocol=1)
        >>> one.target.partition(":")[2]
        'MyIndex'
    """

    name: str
    target: str
    summary: str = ""
    needs: tuple[str, ...] = ()
    install: str = ""
    protocol: int = 1


@dataclass(frozen=True, slots=True)
class Model:
    """A trained model that a package ships, for ``RAG.from_pretrained(name)``.

    name: what users write (``ragkit-tiny``).
    folder: where the folder of `RAG.save_pretrained` lies: ``"my_package:model"`` for the
        folder ``model`` of the package, which is found without importing it, or a path.
    summary: one line for ``ragkit components``.
    licence: of the weights (``"CC-BY-SA-4.0"``).
    protocol: the `PROTOCOL_VERSION` it was written for; state it, for what is unstated is 1.

    Examples:
        >>> from ragkit import Model
        >>> Model("my-model", "my_package:model", licence="Apache-2.0").folder
        'my_package:model'
    """

    name: str
    folder: str | Path
    summary: str = ""
    licence: str = ""
    protocol: int = 1


@hookspec
def ragkit_encoders() -> Iterable[Component]:
    """Text to vectors: `ragkit.protocols.Encoder`."""
    raise AssertionError  # a specification, never called


@hookspec
def ragkit_indexes() -> Iterable[Component]:
    """Vectors to neighbours: `ragkit.protocols.Index`."""
    raise AssertionError


@hookspec
def ragkit_retrievers() -> Iterable[Component]:
    """Questions to scored passages: `ragkit.protocols.Retriever`."""
    raise AssertionError


@hookspec
def ragkit_generators() -> Iterable[Component]:
    """Reading and writing: `ragkit.protocols.Generator`."""
    raise AssertionError


@hookspec
def ragkit_marginalizers() -> Iterable[Component]:
    """p(y|x) from p(z|x) and p(y|x,z): `ragkit.protocols.Marginalizer`."""
    raise AssertionError


@hookspec
def ragkit_objectives() -> Iterable[Component]:
    """What training minimises: `ragkit.protocols.Objective`."""
    raise AssertionError


@hookspec
def ragkit_tasks() -> Iterable[Component]:
    """Examples to train and evaluate on: `ragkit.protocols.Task`."""
    raise AssertionError


@hookspec
def ragkit_metrics() -> Iterable[Component]:
    """One number per prediction: `ragkit.protocols.Metric`."""
    raise AssertionError


@hookspec
def ragkit_models() -> Iterable[Model]:
    """Trained models that come with a package, by name: `ragkit.shipped`."""
    raise AssertionError


ROLES = {
    "encoder": "ragkit_encoders",
    "index": "ragkit_indexes",
    "retriever": "ragkit_retrievers",
    "generator": "ragkit_generators",
    "marginalizer": "ragkit_marginalizers",
    "objective": "ragkit_objectives",
    "task": "ragkit_tasks",
    "metric": "ragkit_metrics",
}
"""Role, as written in configs, to its hook."""
MODELS = "ragkit_models"
"""The hook of models that packages ship."""
