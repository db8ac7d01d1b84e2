"""A RAG as a folder: ``config.json``, the parts below it, a model card.

The parts of one save lie in a folder of their own (``parts-1``, ``parts-2`` …), and
``config.json``, replaced last and atomically, says which counts: a save that is killed
leaves the model that was there before. Components are found again by name through the
registry, never by import path. Weights may be packed (`ragkit.weights`): then their
checksum stands in ``config.json``. Knows nothing of what the parts hold.
"""

from __future__ import annotations

import inspect
import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from huggingface_hub import ModelCard, ModelCardData, snapshot_download

from ragkit import registry, shipped, signature
from ragkit.errors import ConfigError, CorruptError
from ragkit.progress import quiet
from ragkit.protocols import SupportsSave
from ragkit.weights import compact, models, packed

if TYPE_CHECKING:
    from ragkit.knowledge import KnowledgeBase
    from ragkit.rag import RAG

CONFIG = "config.json"
FORMAT = 2
"""2: with packed weights. Others are written as 1, which older versions read."""


def save(
    rag: RAG, directory: Path, copy_knowledge_base: bool, weights: compact.Weights = "float32"
) -> None:
    """Write a RAG below a folder, which is made if need be."""
    compact.check(weights)
    directory.mkdir(parents=True, exist_ok=True)
    before = _read(directory) if (directory / CONFIG).is_file() else None
    number = 1 + max((int(p.name[6:]) for p in _parts(directory)), default=0)
    parts = directory / f"parts-{number}"
    try:
        with quiet():
            table = {
                "retriever": _save_part(rag.retriever, "retriever", parts, copy_knowledge_base),
                "generator": _save_part(rag.generator, "generator", parts, False),
                "marginalizer": _save_part(rag.marginalizer, "marginalizer", parts, False),
            }
        own: dict[str, Any] = {"format": 1, "parts": parts.name, "components": table}
        if weights != "float32":
            own["format"] = FORMAT
            own["weights"] = {"kept_as": weights, "sha256": packed.pack(parts, weights)}
        config = {"model_type": "ragkit", "ragkit": own}
        _replace(directory / CONFIG, json.dumps(config, indent=2) + "\n")
    except BaseException:
        # An interrupt may come just after the switch: then the new parts are the model.
        if not (directory / CONFIG).is_file() or _read(directory)["parts"] != parts.name:
            shutil.rmtree(parts, ignore_errors=True)
        raise
    if not (directory / "README.md").exists():
        card(rag).save(directory / "README.md")
    keep = {parts.name}
    if before is not None:
        keep |= _in_use(rag, directory)
    for old in _parts(directory):
        if old.name not in keep:
            shutil.rmtree(old, ignore_errors=True)


def load(
    cls: type[RAG], model_id: str, knowledge_base: KnowledgeBase | str | Path | None, **hub: Any
) -> RAG:
    """Open a folder, a model that is installed, or one of the hub, which is then downloaded.

    Raises `ConfigError` where it is no RAG, `CorruptError` where parts are missing or packed
    weights are not what was written, and what `ragkit.shipped.folder` does for names.
    """
    directory = _find(model_id, hub)
    config = _read(directory)
    parts = directory / config["parts"]
    if not parts.is_dir():
        raise CorruptError(f"{directory} says its parts are in {parts.name}, which is missing")
    if "weights" in config:
        packed.check(parts, config["weights"]["sha256"])
    with quiet():
        found = {
            role: _load_part(role, entry, parts, knowledge_base)
            for role, entry in config["components"].items()
        }
    return cls(**found)


def _find(model_id: str, hub: dict[str, Any]) -> Path:
    """A folder, or else a model that a package ships, or else one of the hub."""
    directory = Path(model_id)
    if directory.is_dir():
        return directory
    like_a_path = model_id.startswith((".", "~")) or model_id.endswith(("/", "\\"))
    if like_a_path or directory.is_absolute() or model_id.count("/") > 1:
        raise ConfigError(
            f"there is no folder {model_id!r}; give one that RAG.save_pretrained wrote, the name "
            "of an installed model, or a hub name such as 'owner/model'"
        )
    if "/" not in model_id:
        return shipped.folder(model_id)
    return Path(snapshot_download(model_id, **hub))


def card(rag: RAG) -> ModelCard:
    """What a reader of the folder should know, as far as the model itself knows it."""
    count = sum(p.numel() for p in rag.parameters())
    text = f"""---
{ModelCardData(library_name="ragkit", tags=["retrieval-augmented-generation"]).to_yaml()}
---

# A retrieval-augmented model

| part | class | parameters |
|---|---|---|
| retriever | `{type(rag.retriever).__name__}` | {_count(rag.retriever):,} |
| generator | `{type(rag.generator).__name__}` | {_count(rag.generator):,} |
| marginalizer | `{type(rag.marginalizer).__name__}` | – |

{count:,} parameters in all. Made with ragkit (`pip install ragkit`); the
model is that of Lewis et al. 2020, *Retrieval-Augmented Generation for Knowledge-Intensive NLP
Tasks* (arXiv 2005.11401).

```python
from ragkit import RAG

rag = RAG.from_pretrained("this folder")
print(rag.answer(["your question"])[0].text)
```

Training data, evaluation and limits: to be written by whoever trained it.
"""
    return ModelCard(text)


def _count(part: object) -> int:
    parameters = getattr(part, "parameters", None)
    return sum(p.numel() for p in parameters()) if parameters else 0


def _save_part(part: object, role: str, parts: Path, copy: bool) -> dict[str, Any]:
    cls = type(part)
    target = f"{cls.__module__}:{cls.__qualname__}"
    names = [
        listing.component.name
        for listing in registry.components()
        if listing.role == role and listing.component.target == target
    ]
    if not names:
        raise ConfigError(
            f"the {role} {target} cannot be saved, for no component has that target; register "
            f"it with the hook of {role}s (ragkit.hookspecs)"
        )
    if isinstance(part, SupportsSave):
        folder = parts / role
        folder.mkdir(parents=True)
        saver: Any = part
        if copy:
            if "copy_knowledge_base" not in inspect.signature(saver.save).parameters:
                raise ConfigError(f"the {role} {names[0]!r} has no knowledge base to copy")
            saver.save(folder, copy_knowledge_base=True)
        else:
            saver.save(folder)
        return {"name": names[0], "folder": role}
    options = {name: getattr(part, name, ...) for name in _options_of(cls)}
    try:
        json.dumps(options)
    except TypeError as error:
        raise ConfigError(
            f"the {role} {names[0]!r} cannot be saved: it has no save and load "
            "(ragkit.protocols.SupportsSave), and its options are not attributes of its own with "
            f"plain values ({error})"
        ) from error
    return {"name": names[0], "options": options}


def _options_of(cls: type) -> list[str]:
    return [option.name for option in signature.options(cls)]


def _load_part(
    role: str, entry: dict[str, Any], parts: Path, knowledge_base: KnowledgeBase | str | Path | None
) -> Any:
    if "folder" not in entry:
        return registry.make(role, entry["name"], **entry.get("options", {}))
    cls = cast(Any, registry.find(role, entry["name"]))
    if role == "retriever" and knowledge_base is not None:
        if isinstance(knowledge_base, (str, Path)):
            from ragkit.knowledge import KnowledgeBase

            knowledge_base = KnowledgeBase.open(Path(knowledge_base))
        return models.load_part(cls, parts / entry["folder"], knowledge_base=knowledge_base)
    return models.load_part(cls, parts / entry["folder"])


def _read(directory: Path) -> dict[str, Any]:
    file = directory / CONFIG
    if not file.is_file():
        raise ConfigError(
            f"{directory} holds no RAG: {CONFIG} is missing; give a folder that "
            "RAG.save_pretrained wrote"
        )
    try:
        config = json.loads(file.read_text())["ragkit"]
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{file} is no configuration of a RAG ({error}); give a folder that "
            "RAG.save_pretrained wrote"
        ) from error
    if config["format"] > FORMAT:
        raise ConfigError(
            f"{directory} has format {config['format']} and this ragkit reads up to {FORMAT}; "
            "pip install --upgrade ragkit"
        )
    return cast(dict[str, Any], config)


def _parts(directory: Path) -> list[Path]:
    return [p for p in directory.glob("parts-*") if p.name[6:].isdigit()]


def _in_use(rag: RAG, directory: Path) -> set[str]:
    """Older parts in which the model's own knowledge base lies: a folder saved into itself."""
    base = getattr(rag.retriever, "knowledge_base", None)
    where = getattr(base, "directory", None)
    if where is None:
        return set()
    target = Path(where).resolve()
    return {old.name for old in _parts(directory) if target.is_relative_to(old.resolve())}


def _replace(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
