"""The kit for what is installed: a component by its name, made from its options and checked.

Options that a component cannot do without, and that were not given, are filled in with
samples: an encoder, an index, a knowledge base over the sample passages, a file of questions.
Knows the registry and signatures; laws are the business of the roles' modules.
"""

from __future__ import annotations

import importlib
import inspect
import json
from collections.abc import Callable, Mapping
from typing import Any, cast

from ragkit import registry, signature
from ragkit.errors import ConfigError, PluginError, nearest
from ragkit.hookspecs import ROLES
from ragkit.signature import REQUIRED
from ragkit.testing import samples
from ragkit.testing.asserting import first_line
from ragkit.testing.encoder import EncoderConformance
from ragkit.testing.generator import GeneratorConformance
from ragkit.testing.index import IndexConformance
from ragkit.testing.kit import Conformance, Outcome, run
from ragkit.testing.marginalizer import MarginalizerConformance
from ragkit.testing.metric import MetricConformance
from ragkit.testing.objective import ObjectiveConformance
from ragkit.testing.retriever import RetrieverConformance
from ragkit.testing.task import TaskConformance

CONFORMANCE: dict[str, type[Conformance]] = {
    "encoder": EncoderConformance,
    "index": IndexConformance,
    "retriever": RetrieverConformance,
    "generator": GeneratorConformance,
    "marginalizer": MarginalizerConformance,
    "objective": ObjectiveConformance,
    "task": TaskConformance,
    "metric": MetricConformance,
}
"""Role to the class that holds its laws."""

OWN: dict[tuple[str, str], dict[str, Any]] = {
    ("index", "exact"): {"recall": 1.0},
    ("marginalizer", "rag-sequence"): {"kind": "sequence"},
    ("marginalizer", "rag-token"): {"kind": "token"},
    ("metric", "em"): {"best": 1.0},
    ("metric", "f1"): {"best": 1.0},
    ("metric", "answer-recall"): {"best": 1.0},
    ("metric", "gold-recall"): {"best": 1.0},
    ("metric", "rr"): {"best": 1.0},
    ("metric", "label-accuracy"): {"best": 1.0},
    ("metric", "bleu"): {"best": 1.0},
    ("metric", "bleu-1"): {"best": 1.0},
    ("metric", "rouge-l"): {"best": 1.0},
    ("metric", "distinct"): {"better": None},
    ("metric", "answer-absent"): {"better": "lower", "best": 0.0},
    ("metric", "r-precision"): {"best": 1.0},
    ("metric", "ndcg"): {"best": 1.0},
    ("metric", "kilt"): {"best": 1.0},
    ("metric", "unsupported"): {"better": None},
    ("metric", "ece"): {"better": None},
    ("metric", "brier"): {"better": None},
    ("metric", "prior-entropy"): {"better": None},
    ("metric", "posterior-rank"): {"better": None},
}
"""What ragkit's own components are held to beyond the defaults."""


def check(
    role: str,
    component: str | Callable[..., Any],
    /,
    *,
    settings: Mapping[str, Any] | None = None,
    **options: Any,
) -> list[Outcome]:
    """Hold a component to every law of its role, without pytest.

    Args:
        role: as in configurations: ``"index"``.
        component: the name of an installed one (``"faiss"``, ``"distribution:name"``), a class
            or factory, or a conformance class of the kit.
        settings: attributes of the role's conformance class: ``{"recall": 0.5}``.
        options: the component's own, as `ragkit.make` takes them; those that it needs and that
            are missing here are filled in with samples.

    A class that cannot be made from such options may name a conformance class of its own in an
    attribute: ``conformance = "my_package.conformance:MineConformance"``.

    Raises `UnknownName`, `MissingDependency`, `PluginError` where there is no such component,
    `ConfigError` for options and settings that it does not have.

    >>> outcomes = check("metric", "answer-recall", k=3)
    >>> [one.name for one in outcomes if one.state == "failed"]
    []
    """
    if role not in ROLES:
        raise ConfigError(f"no role is named {role!r}{nearest(role, ROLES) or '.'}")
    if inspect.isclass(component) and issubclass(component, Conformance):
        return run(_with(component, settings or {}))
    name = component if isinstance(component, str) else None
    target = registry.find(role, component) if isinstance(component, str) else component
    base = CONFORMANCE[role]
    held: dict[str, Any] = {"component": name}
    if name is not None and registry.lookup(role, name).distribution == "ragkit":
        name = registry.lookup(role, name).component.name  # also of 'ragkit:name'
        held |= OWN.get((role, name), {})
    own = None if options else _own_conformance(target, role)
    if own is not None:
        return run(_with(own, {**held, **(settings or {})}))
    known = [option.name for option in signature.options(target)]
    faults = [
        f"{role} {name or target!r}: unknown option {one!r}{nearest(one, known) or '.'} Options: "
        f"{', '.join(known) or 'none'}"
        for one in options
        if one not in known and not signature.open_ended(target)
    ]
    if faults:
        raise ConfigError(faults)

    def make(kit: Conformance) -> Any:
        filled = _filled(kit, role, name, target, options)
        missing = signature.faults(target, filled, f"{role} {name or ''}".strip())
        if missing:
            raise ConfigError(missing)
        return target(**signature.converted(target, filled))

    return run(_with(base, {**held, **(settings or {}), "make": make}))


def _with(base: type[Conformance], values: Mapping[str, Any]) -> type[Conformance]:
    """A conformance class with other settings."""
    known = [one for one in dir(base) if not one.startswith(("_", "test_"))]
    for name in values:
        if name not in known:
            raise ConfigError(
                f"{base.__name__} has no setting {name!r}{nearest(name, known) or '.'} See "
                "ragkit.testing"
            )
    return cast("type[Conformance]", type(base.__name__, (base,), dict(values)))


def _own_conformance(target: Any, role: str) -> type[Conformance] | None:
    """The conformance class that a component names for itself, if it does."""
    named = getattr(target, "conformance", None)
    if not isinstance(named, str):
        return None
    module, _, attribute = named.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except Exception as error:
        raise PluginError(
            f"{target.__name__}.conformance = {named!r} cannot be imported "
            f"({type(error).__name__}: {first_line(error)}); write 'package.module:Class'"
        ) from error
    if not (inspect.isclass(found) and issubclass(found, CONFORMANCE[role])):
        raise PluginError(
            f"{target.__name__}.conformance = {named!r} is no subclass of "
            f"{CONFORMANCE[role].__name__}; let it be one"
        )
    return found


# ------------------------------------------------------------------------ samples


def _filled(
    kit: Conformance, role: str, name: str | None, target: Any, given: Mapping[str, Any]
) -> dict[str, Any]:
    """The options given, and samples for those that are missing and needed."""
    filled = dict(given)
    own = _OWN_OPTIONS.get((role, name or ""), {})
    for option in signature.options(target):
        if option.name in filled:
            continue
        if option.name in own:
            filled[option.name] = own[option.name](kit)
        elif option.default is not REQUIRED:
            continue
        elif option.name == "knowledge_base":
            filled["knowledge_base"] = _knowledge_base(kit, filled.get("encoder") or _encoder(kit))
        elif option.name == "passages":
            filled["passages"] = list(samples.PASSAGES)
        elif option.role in _SAMPLES:
            filled[option.name] = _SAMPLES[option.role](kit)
    return filled


def _bert_folder(kit: Conformance) -> str:
    from ragkit.testing import tiny

    return str(tiny.folder(tiny.bert(), kit.folder() / "model"))


def _bart_folder(kit: Conformance) -> str:
    from ragkit.testing import tiny

    return str(tiny.folder(tiny.bart(), kit.folder() / "model"))


def _encoder(kit: Conformance) -> Any:
    from ragkit.testing import tiny

    return registry.make("encoder", "dpr", model=tiny.bert(), tokenizer=tiny.tokenizer())


def _knowledge_base(kit: Conformance, encoder: Any) -> Any:
    from ragkit.knowledge import KnowledgeBase

    folder = kit.folder() / "knowledge_base"
    return KnowledgeBase.build(samples.PASSAGES, encoder, "exact", folder, dtype="float32")


def _retriever(kit: Conformance) -> Any:
    encoder = _encoder(kit)
    base = _knowledge_base(kit, encoder)
    return registry.make("retriever", "dense", encoder=encoder, knowledge_base=base)


def _generator(kit: Conformance) -> Any:
    from ragkit.testing import tiny

    return registry.make("generator", "seq2seq", model=tiny.bart(), tokenizer=tiny.tokenizer())


def _questions(kit: Conformance) -> str:
    """A file of questions, as the task ``jsonl`` reads them."""
    path = kit.folder() / "dev.jsonl"
    pairs = zip(samples.QUESTIONS, samples.PASSAGES, strict=False)
    lines = [
        json.dumps({"question": question, "answers": [passage.title or "bread"]})
        for question, passage in pairs
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


_OWN_OPTIONS: dict[tuple[str, str], dict[str, Callable[[Conformance], str]]] = {
    ("encoder", "dpr"): {"model": _bert_folder},
    ("generator", "seq2seq"): {"model": _bart_folder},
    ("task", "jsonl"): {"path": _questions},
}
"""For ragkit's own, whose defaults are large and far away, or nothing."""

_SAMPLES: dict[str | None, Callable[[Conformance], Any]] = {
    "encoder": _encoder,
    "index": lambda kit: registry.make("index", "exact"),
    "retriever": _retriever,
    "generator": _generator,
    "marginalizer": lambda kit: registry.make("marginalizer", "rag-token"),
}
"""A component of each role for options that ask for one."""
