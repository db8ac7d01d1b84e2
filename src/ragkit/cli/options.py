"""Options as they are typed: ``num_beams=4`` to ``{"num_beams": 4}``.

Values are read as everywhere in ragkit, names may be dotted (``search.nprobe=8``). Which
names there are is the business of whatever takes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ragkit.errors import ConfigError


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
