"""Options of decoding as they are typed: ``num_beams=4`` to ``{"num_beams": 4}``.

Values are read as YAML, as everywhere in ragkit. Which names there are is the model's
affair.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ragkit.errors import ConfigError


def decoding(typed: Sequence[str] | None) -> dict[str, Any]:
    """The options by name; raises `ConfigError` with all that are not name=value."""
    import yaml

    found: dict[str, Any] = {}
    faults = []
    for one in typed or ():
        name, equals, value = one.partition("=")
        if not equals or not name.isidentifier():
            faults.append(f"-o {one}: not name=value; type -o num_beams=4")
        elif name in found:
            faults.append(f"-o {one}: {name} is given twice; keep one")
        else:
            try:
                found[name] = yaml.safe_load(value)
            except yaml.YAMLError:
                faults.append(f"-o {one}: {value!r} is no value; quote it, as in name='\"{{x\"'")
    if faults:
        raise ConfigError(faults)
    return found
