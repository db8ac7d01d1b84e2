"""What things in a new package are called, derived from the name of its distribution.

``ragkit-nearest`` offers a component ``nearest`` from the package ``ragkit_nearest``, as a class
``NearestIndex`` where its role is an index.
"""

from __future__ import annotations

import keyword
import re
import sys
from dataclasses import dataclass

from ragkit.errors import ConfigError

_GOOD = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_LONGEST = 40


@dataclass(frozen=True, slots=True)
class Names:
    """distribution: as installers know it. package: as Python does. component: as configs do."""

    distribution: str
    package: str
    component: str

    def cls(self, role: str) -> str:
        """The class of a role: ``NearestIndex``."""
        camel = "".join(part.capitalize() for part in self.component.split("-"))
        return camel if camel.endswith(role.capitalize()) else camel + role.capitalize()


def names(distribution: str) -> Names:
    """The names of a new package. Raises `ConfigError` that says what a good one is."""
    component = distribution.removeprefix("ragkit-")
    good = _GOOD.fullmatch(distribution) and _GOOD.fullmatch(component)
    if not good or len(distribution) > _LONGEST:
        raise ConfigError(
            f"{distribution!r} cannot name a package; a good name is of lower-case letters and "
            f"digits, at most {_LONGEST}, in words joined by '-', and begins with a letter, also "
            f"after 'ragkit-': {_near(distribution)}"
        )
    package = distribution.replace("-", "_")
    if package in {*sys.stdlib_module_names, *keyword.kwlist, "ragkit"}:
        raise ConfigError(
            f"{distribution!r} cannot name a package: {package!r} is Python's or ragkit's own; "
            f"choose another: {_near(f'ragkit-{component}')}"
        )
    return Names(distribution, package, component)


def _near(name: str) -> str:
    """The good name that is nearest to a bad one."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).lower()
    words = re.findall(r"[a-z0-9]+", spaced)
    found = "-".join(words)[:_LONGEST].rstrip("-").replace("ragkit-ragkit", "ragkit-nearest")
    good = _GOOD.fullmatch(found) and _GOOD.fullmatch(found.removeprefix("ragkit-"))
    return found if good else "ragkit-nearest"
