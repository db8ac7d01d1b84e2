"""Models that are shipped as packages: found by name, without a network.

A distribution offers them through the hook ``ragkit_models``; what is installed is looked
at with the same care as components are (`ragkit.registry`). Knows where a model's folder
lies, and nothing of what is in it: neither torch nor the package is imported.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ragkit import compatibility, registry
from ragkit.errors import ConfigError, MissingDependency, PluginError, UnknownName, nearest
from ragkit.hookspecs import Model

DEFAULT = "ragkit-tiny"
"""The model that the command line uses where none is named."""
INSTALL = {"ragkit-tiny": "pip install ragkit[tiny]"}
"""Models that are known to be one command away."""


@dataclass(frozen=True, slots=True)
class Shipped:
    """A model as it was found.

    folder: where it lies; None where that cannot be known.
    state: ``ready``; ``clash`` (several distributions offer the name: only
        ``distribution:name`` finds it); ``broken``.
    error: why it is not ready, and what to do.
    """

    model: Model
    distribution: str
    version: str
    folder: Path | None
    state: str = "ready"
    error: str = ""

    @property
    def qualified(self) -> str:
        return f"{self.distribution}:{self.model.name}"


def models() -> list[Shipped]:
    """Every model that is installed, by distribution and name."""
    found = [(plugin, one) for plugin in registry.plugins() for one in plugin.models]
    names = [one.name for _, one in found]
    return [_listed(plugin, one, names.count(one.name)) for plugin, one in found]


def folder(name: str) -> Path:
    """The folder of a model by its name, or ``distribution:name``.

    Raises `UnknownName` with the nearest name, `MissingDependency` with what to install,
    `PluginError` where the model's plugin is broken, `ConfigError` where several
    distributions offer the name.
    """
    found = models()
    matches = [one for one in found if one.qualified == name]
    matches = matches or [one for one in found if one.model.name == name]
    if len(matches) > 1:
        raise ConfigError(
            f"{len(matches)} distributions offer a model named {name!r}; choose one: "
            + " or ".join(repr(one.qualified) for one in matches)
        )
    if not matches:
        raise _unknown(name, found)
    (one,) = matches
    if one.folder is None or one.state == "broken":
        raise PluginError(one.error)
    who = f"model {one.model.name!r} of {one.distribution} {one.version}"
    old = compatibility.warning(one.model.protocol, who, one.distribution)
    if old:
        warnings.warn(old, FutureWarning, stacklevel=2)
    return one.folder


def _unknown(name: str, found: Sequence[Shipped]) -> Exception:
    # The package may be there and not work, or be shut out.
    for plugin in registry.plugins():
        if plugin.distribution == name and plugin.error:
            return PluginError(f"the model {name!r} cannot be used: {plugin.error}")
    if name in INSTALL:
        return MissingDependency(f"the model {name!r} is not installed: {INSTALL[name]}")
    known = {one.model.name if one.state == "ready" else one.qualified for one in found}
    away = [f"{one!r} ({INSTALL[one]})" for one in sorted(set(INSTALL) - known)]
    return UnknownName(
        f"no model is named {name!r}{nearest(name, known | set(INSTALL)) or '.'} "
        f"Installed: {', '.join(sorted(known)) or 'none'}."
        + (f" To be had: {', '.join(away)}." if away else "")
        + " A model may also be a folder that RAG.save_pretrained wrote, or a hub name such as "
        "'owner/model'"
    )


def _listed(plugin: registry.Plugin, model: Model, claims: int) -> Shipped:
    who = f"model {model.name!r} of {plugin.label}"
    place, state, error = None, "ready", ""
    refusal = compatibility.refusal(model.protocol, who, plugin.distribution)
    if refusal:
        state, error = "broken", refusal
    else:
        place = _place(model.folder)
        if place is None or not place.is_dir():
            state = "broken"
            error = (
                f"{who}: its folder {str(place or model.folder)!r} is not there: "
                f"pip install --force-reinstall {plugin.distribution}"
            )
        elif claims > 1:
            state = "clash"
            error = (
                f"{who}: the name is claimed by {claims}; choose this one as "
                f"'{plugin.distribution}:{model.name}'"
            )
    return Shipped(model, plugin.distribution, plugin.version, place, state, error)


def _place(where: str | Path) -> Path | None:
    """Of ``package:folder``; None where there is no such package. It is not imported."""
    if isinstance(where, Path):
        return where
    package, _, inner = where.partition(":")
    try:
        spec = importlib.util.find_spec(package)
    except Exception:  # a parent package is imported, and may do anything
        return None
    if spec is None or not spec.submodule_search_locations:
        return None
    homes = [Path(one) / inner for one in spec.submodule_search_locations]
    return next((one for one in homes if one.is_dir()), homes[0])
