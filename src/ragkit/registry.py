"""Finds components: by role and name, ragkit's own and those of installed plugins.

Each plugin is loaded alone, into a plugin manager of its own, so that one which fails to
import, raises, returns rubbish, misspells a hook or claims a taken name is named with its
distribution, version and reason, and harms nobody else. Names of ragkit's own components
never load a plugin. Knows nothing of what a component does.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import importlib.util
import os
import re
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import pluggy

from ragkit import compatibility, elsewhere, hookspecs, signature
from ragkit.errors import (
    ConfigError,
    MissingDependency,
    PluginError,
    UnknownName,
    nearest,
)
from ragkit.hookspecs import MODELS, ROLES, Component, Model

GROUP = "ragkit"
ALLOW = "RAGKIT_PLUGINS"
"""Environment variable: comma-separated distributions, the only plugins then loaded."""

_OWN = "ragkit"
_SLOW = 0.2  # seconds: a plugin that takes longer to load is named
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_Record = TypeVar("_Record", Component, Model)


@dataclass(frozen=True, slots=True)
class Listing:
    """A component as it was found.

    state: ``ready``; ``missing`` (a package it needs is not installed); ``clash`` (its name
    is taken: only ``distribution:name`` finds it); ``broken``.
    error: why it is not ready, and what to do.
    """

    role: str
    component: Component
    distribution: str
    version: str
    state: str
    error: str = ""

    @property
    def qualified(self) -> str:
        return f"{self.distribution}:{self.component.name}"


@dataclass(slots=True)
class Plugin:
    """An installed distribution with an entry point of the group ``ragkit``.

    state: ``ready``, ``broken`` or ``off`` (not on the allow-list).
    error: why, with the line of code where there is one. seconds: what loading it took.
    """

    distribution: str
    version: str
    entry_point: str
    state: str = "ready"
    error: str = ""
    seconds: float = 0.0
    found: list[tuple[str, Component]] = field(default_factory=list)
    models: list[Model] = field(default_factory=list)

    @property
    def label(self) -> str:
        return f"{self.distribution} {self.version}"

    @property
    def slow(self) -> str:
        """What to say of a plugin that takes long to load; "" of others."""
        if self.seconds < _SLOW:
            return ""
        return (
            f"{self.label} took {self.seconds * 1000:.0f} ms to load, at every command; let "
            f"{self.entry_point} import nothing but the standard library and ragkit"
        )


class _Manager(pluggy.PluginManager):
    """Looks only at names that begin with ``ragkit_``: others are never touched."""

    def parse_hookimpl_opts(self, plugin: object, name: str) -> Any:
        return super().parse_hookimpl_opts(plugin, name) if name.startswith("ragkit_") else None


# ------------------------------------------------------------------------ finding


def make(role: str, name: str, /, **options: Any) -> Any:
    """Build a component: ``make("index", "faiss", factory="HNSW32")``.

    Options are the constructor's keywords. Raises `UnknownName`, `MissingDependency`,
    `PluginError`, or `ConfigError` with every fault of the options.

    Examples:
        >>> import ragkit
        >>> ragkit.make("index", "exact", block=1024).block
        1024
    """
    target = find(role, name)
    faults = signature.faults(target, options, f"{role} {name}")
    if faults:
        raise ConfigError(faults)
    return target(**signature.converted(target, options))


def find(role: str, name: str) -> Callable[..., Any]:
    """The class or factory behind a name, imported now.

    ``name`` may be ``distribution:name``. Raises as `make` does.
    """
    listing = lookup(role, name)
    component = listing.component
    if listing.state == "missing":
        raise MissingDependency(listing.error)
    if listing.state == "broken":
        raise PluginError(listing.error)
    who = f"{role} {component.name!r} of {listing.distribution} {listing.version}"
    old = compatibility.warning(component.protocol, who, listing.distribution)
    if old and listing.distribution != _OWN:
        warnings.warn(old, FutureWarning, stacklevel=2)
    module, _, attribute = component.target.partition(":")
    try:
        with contextlib.redirect_stdout(sys.stderr):  # what it prints is no output of ours
            found: Any = importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise PluginError(
            f"{who} cannot be imported from {component.target}: {_explain(error)}"
        ) from error
    if not callable(found):
        raise PluginError(
            f"{who}: {component.target} is {type(found).__name__}, not a class or function"
        )
    return found  # type: ignore[no-any-return]


def lookup(role: str, name: str) -> Listing:
    """The listing behind a name, without importing it. Raises `UnknownName`, `ConfigError`."""
    if role not in ROLES:
        near = nearest(role, ROLES) or "."
        raise UnknownName(f"no role is named {role!r}{near} Roles: {_all(ROLES)}")
    if not isinstance(name, str):
        raise ConfigError(f"the name of {_a(role)} is {name!r}; it must be a string")
    for listing in _own_listings():
        if listing.role == role and name in (listing.component.name, listing.qualified):
            return listing
    others = [one for one in components() if one.role == role and one.distribution != _OWN]
    exact = [one for one in others if one.qualified == name]
    if exact:
        return exact[0]
    bare = [one for one in others if one.component.name == name]
    if len(bare) > 1:
        raise ConfigError(
            f"{len(bare)} plugins offer {_a(role)} named {name!r}; choose one: "
            + " or ".join(repr(one.qualified) for one in bare)
        )
    if bare:
        return bare[0]
    known = [one for one in components() if one.role == role]
    usable = sorted(_shown(one) for one in known if one.state != "broken")
    broken = [one.label for one in plugins() if one.state == "broken"]
    hint = f" (plugins that failed to load: {', '.join(broken)}; see `ragkit doctor`)"
    away = elsewhere.absent(role, {one.distribution for one in plugins()})
    near = nearest(name, [*usable, *(one.name for one in away)])
    said = f"no {role} is named {name!r}{near or '.'}"
    for one in away:
        if one.name == name:
            said = f"the {role} {name!r} is not installed: {one.install}."
    raise UnknownName(
        f"{said} Known: {_all(usable)}{elsewhere.hint(away)}" + (hint if broken else "")
    )


def components() -> list[Listing]:
    """Everything that is installed, ragkit's own first, then by distribution and name.

    Examples:
        >>> import ragkit
        >>> found = ragkit.components()
        >>> [one.component.name for one in found if one.role == "marginalizer"][:2]
        ['rag-sequence', 'rag-token']
    """
    return [*_own_listings(), *_listings(os.environ.get(ALLOW))]


def plugins() -> list[Plugin]:
    """Every installed plugin with its state; ragkit itself is not among them."""
    return list(_plugins(os.environ.get(ALLOW)))


def forget() -> None:
    """Look afresh at what is installed (for tests and long-lived processes)."""
    for cached in (_own_listings, _listings, _plugins):
        cached.cache_clear()


# ------------------------------------------------------------------------ loading


@cache
def _own_listings() -> tuple[Listing, ...]:
    from ragkit import __version__

    own = Plugin(_OWN, __version__, "ragkit.builtin")
    _register(own, importlib.import_module("ragkit.builtin"))
    if own.error:
        raise PluginError(own.error)
    return tuple(_listing(own, role, component, {}) for role, component in own.found)


@cache
def _listings(allow: str | None) -> tuple[Listing, ...]:
    found = [(p, role, component) for p in _plugins(allow) for role, component in p.found]
    claims: dict[tuple[str, str], list[str]] = {}
    for own in _own_listings():
        claims[own.role, own.component.name] = [_OWN]
    for plugin, role, component in found:
        claims.setdefault((role, component.name), []).append(plugin.distribution)
    return tuple(_listing(plugin, role, component, claims) for plugin, role, component in found)


def _listing(
    plugin: Plugin,
    role: str,
    component: Component,
    claims: dict[tuple[str, str], list[str]],
) -> Listing:
    state, error = "ready", ""
    who = f"{role} {component.name!r} of {plugin.label}"
    owners = claims.get((role, component.name), [])
    missing = [need for need in component.needs if not _installed(need)]
    refusal = compatibility.refusal(component.protocol, who, plugin.distribution)
    if refusal and plugin.distribution != _OWN:  # ours speak the version they come with
        state, error = "broken", refusal
    elif missing:
        state = "missing"
        install = component.install or f"pip install {' '.join(missing)}"
        error = f"{who} needs {' and '.join(missing)}, not installed: {install}"
    elif owners.count(plugin.distribution) > 1:
        state = "broken"
        error = f"{who} is offered by several of its entry points; one of them must go"
    elif len(owners) > 1:
        state = "clash"
        rivals = [owner for owner in owners if owner != plugin.distribution]
        taken = "ragkit's own" if _OWN in rivals else "also claimed by " + ", ".join(rivals)
        error = (
            f"{who}: the name is {taken}; choose this one as "
            f"'{plugin.distribution}:{component.name}'"
        )
    return Listing(role, component, plugin.distribution, plugin.version, state, error)


@cache
def _plugins(allow: str | None) -> tuple[Plugin, ...]:
    allowed = None if allow is None else {_plain(one) for one in allow.split(",") if one.strip()}
    found = _installed_plugins()
    # The order of entry points is the file system's; nothing may depend on it.
    found.sort(key=lambda pair: (pair[0].distribution, pair[0].entry_point))
    for plugin, entry in found:
        if allowed is not None and _plain(plugin.distribution) not in allowed:
            plugin.state, plugin.error = "off", f"not named in {ALLOW}"
        elif entry is not None:
            _load(plugin, entry)
    return tuple(plugin for plugin, _ in found)


def _installed_plugins() -> list[tuple[Plugin, importlib.metadata.EntryPoint | None]]:
    """Distributions with an entry point of ours, read one by one.

    `importlib.metadata.entry_points` would fail as a whole where one file is garbled.
    """
    found: list[tuple[Plugin, importlib.metadata.EntryPoint | None]] = []
    seen = {_OWN}
    for distribution in importlib.metadata.distributions():
        try:
            text = distribution.read_text("entry_points.txt") or ""
        except (OSError, UnicodeDecodeError):  # whose it is cannot be known
            continue
        if f"[{GROUP}]" not in text:
            continue
        name = _stated(distribution, "Name") or _folder(distribution)
        version = _stated(distribution, "Version") or "?"
        if _plain(name) in seen:  # the first on the path is the one that is imported
            continue
        seen.add(_plain(name))
        try:
            entries = list(distribution.entry_points.select(group=GROUP))
        except Exception as error:
            reason = f"{name} {version}: its entry_points.txt is garbled: {_explain(error)}"
            found.append((Plugin(name, version, "?", "broken", reason), None))
        else:
            found += [(Plugin(name, version, entry.value), entry) for entry in entries]
    return found


def _stated(distribution: importlib.metadata.Distribution, what: str) -> str:
    """A line of its metadata, "" where that is garbled."""
    try:
        metadata = distribution.metadata
    except (OSError, UnicodeDecodeError):
        return ""
    return str(metadata[what] or "") if what in metadata else ""


def _folder(distribution: importlib.metadata.Distribution) -> str:
    """The name that the folder bears, for metadata that lack one."""
    path = getattr(distribution, "_path", None)
    return "?" if path is None else str(path.name).partition("-")[0].partition(".")[0]


def _load(plugin: Plugin, entry: importlib.metadata.EntryPoint) -> None:
    begin = time.perf_counter()
    try:
        with contextlib.redirect_stdout(sys.stderr):  # what it prints is no output of ours
            loaded = entry.load()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit, and panics of compiled code, are among them
        plugin.state = "broken"
        plugin.error = f"{plugin.label} cannot be loaded from {entry.value}: {_explain(error)}"
    else:
        _register(plugin, loaded)
    plugin.seconds = time.perf_counter() - begin


def _register(plugin: Plugin, module: ModuleType | object) -> None:
    """Call the hooks of one plugin and keep what is right in their answers."""
    manager = _Manager(GROUP)
    manager.add_hookspecs(hookspecs)
    try:
        manager.register(module)
    except Exception as error:
        plugin.state = "broken"
        plugin.error = f"{plugin.label} has a hook of the wrong form: {_explain(error)}"
        return
    if not manager.get_hookcallers(module):
        plugin.state = "broken"
        plugin.error = (
            f"{plugin.label} implements no hook in {plugin.entry_point}; "
            "mark its hooks with @ragkit.hookimpl"
        )
        return
    faults = [_misspelled(plugin, name) for name in _pending(manager)]
    for role, hook in [*ROLES.items(), ("", MODELS)]:
        try:
            with contextlib.redirect_stdout(sys.stderr):  # also while a generator is read
                caller = getattr(manager.hook, hook)
                answers = caller()
                kind = Component if role else Model
                if len(answers) < len(caller.get_hookimpls()):  # pluggy leaves None out
                    raise TypeError(f"it must return a list of {kind.__name__}, and returned None")
                for answer in answers:
                    if role:
                        plugin.found += [(role, one) for one in _records(answer, Component)]
                    else:
                        plugin.models += _records(answer, Model)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            faults.append(f"{plugin.label} failed in {hook}: {_explain(error)}")
    if faults:
        plugin.state, plugin.error = "broken", "; ".join(faults)


def _pending(manager: pluggy.PluginManager) -> list[str]:
    """Hooks that the plugin implements and that do not exist."""
    names = set()
    for plugin in manager.get_plugins():
        for caller in manager.get_hookcallers(plugin) or []:
            if not caller.has_spec():
                names.add(caller.name)
    return sorted(names)


def _misspelled(plugin: Plugin, name: str) -> str:
    hooks = [*ROLES.values(), MODELS]
    near = nearest(name, hooks) or "."
    return f"{plugin.label}: there is no hook {name!r}{near} Hooks: {_all(hooks)}"


def _records(answer: object, kind: type[_Record]) -> list[_Record]:
    """Check what a hook returned; raises TypeError that says what was wrong."""
    if isinstance(answer, kind) or not isinstance(answer, Iterable):
        raise TypeError(f"it must return a list of {kind.__name__}, and returned {answer!r:.80}")
    records = list(answer)
    for record in records:
        if not isinstance(record, kind):
            raise TypeError(f"{record!r:.80} in its list is no ragkit.{kind.__name__}")
        if not isinstance(record.name, str) or not _NAME.fullmatch(record.name):
            raise TypeError(f"the name {record.name!r} may have letters, digits, '.', '_', '-'")
        if isinstance(record, Component):
            _check_component(record)
        else:
            _check_model(record)
        if not isinstance(record.protocol, int):
            raise TypeError(f"the protocol of {record.name!r} must be a number")
    names = [record.name for record in records]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise TypeError(f"it returned {_all(twice)} more than once")
    return records


def _check_component(record: Component) -> None:
    module, colon, attribute = str(record.target).partition(":")
    if not (module and colon and attribute):
        raise TypeError(f"the target {record.target!r} must be 'module:Class'")
    if not isinstance(record.needs, (tuple, list)) or not all(
        isinstance(need, str) and need for need in record.needs
    ):
        raise TypeError(f"needs of {record.name!r} must be a tuple of module names")
    if not (isinstance(record.install, str) and isinstance(record.summary, str)):
        raise TypeError(f"summary and install of {record.name!r} must be text")


def _check_model(record: Model) -> None:
    if not isinstance(record.folder, Path):
        package, colon, inner = str(record.folder).partition(":")
        if not (package and colon and inner) or ".." in inner or inner.startswith("/"):
            raise TypeError(f"the folder {record.folder!r} must be 'package:folder' or a Path")
    if not (isinstance(record.summary, str) and isinstance(record.licence, str)):
        raise TypeError(f"summary and licence of {record.name!r} must be text")


# ------------------------------------------------------------------------ wording


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except Exception:  # the parent of a dotted name is imported, and may do anything
        return False


def _explain(error: BaseException) -> str:
    """``ImportError: no module named x (plugin.py, line 3)``: the last line of its own code."""
    # pluggy spreads one sentence over several lines; others put the reason first.
    whole = isinstance(error, pluggy.PluginValidationError)
    text = " ".join(str(error).split()) if whole else str(error).strip().split("\n")[0]
    place = ""
    if isinstance(error, SyntaxError):
        place = f" ({error.filename}, line {error.lineno})"
        text = error.msg or text
    else:
        frames = [
            frame
            for frame in traceback.extract_tb(error.__traceback__)
            if not frame.filename.startswith("<") and "importlib" not in frame.filename
        ]
        own = [frame for frame in frames if frame.filename != __file__]
        if own and "pluggy" not in own[-1].filename:
            place = f" ({own[-1].filename}, line {own[-1].lineno})"
    return f"{type(error).__name__}: {text}{place}"


def _shown(listing: Listing) -> str:
    return listing.qualified if listing.state == "clash" else listing.component.name


def _plain(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution.strip()).lower()


def _all(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"


def _a(role: str) -> str:
    return f"an {role}" if role[0] in "aeiou" else f"a {role}"
