"""Options as they are typed: ``num_beams=4`` to ``{"num_beams": 4}``, and a model's name.

Values are read as everywhere in ragkit, names may be dotted (``search.nprobe=8``). Which
names there are is the business of whatever takes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ragkit import shipped
from ragkit.errors import ConfigError, EncoderMismatch

MODEL_HELP = f"A saved RAG's folder, an installed model or a hub name; {shipped.DEFAULT} if none."


def decoding(
    typed: Sequence[str] | None, flag: str = "-o", like: str = "num_beams=4"
) -> dict[str, Any]:
    """The options by name; raises `ConfigError` with all that are not name=value.

    flag, like: how they are typed, and an example, for the message.
    """
    from ragkit import config

    found: dict[str, Any] = {}
    faults, seen = [], set()
    for one in typed or ():
        name, equals, _ = one.partition("=")
        if not equals or not all(part.isidentifier() for part in name.split(".")):
            faults.append(f"{flag} {one}: not name=value; type {flag} {like}")
        elif name in seen:
            faults.append(f"{flag} {one}: {name} is given twice; keep one")
        else:
            try:
                found = config.override(found, [one])
            except ConfigError as error:
                faults += [f"{flag}: {fault}" for fault in error.faults]
        seen.add(name)
    if faults:
        raise ConfigError(faults)
    return found


def opened(model: str | None, kb: Path | None = None) -> Any:
    """The RAG that is named, or the one that is installed by default.

    Raises what `RAG.from_pretrained` does; `EncoderMismatch` says if no model was named.
    """
    from ragkit.rag import RAG

    try:
        return RAG.from_pretrained(model or shipped.DEFAULT, knowledge_base=kb)
    except EncoderMismatch as error:
        if model is not None:
            raise
        raise EncoderMismatch(
            f"{error}. No --model was given, so it is {shipped.DEFAULT} that was tried"
        ) from error
