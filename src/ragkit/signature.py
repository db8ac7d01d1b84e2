"""A constructor's signature as the schema of its options.

Checks values against type hints, converts the few that YAML cannot write (paths, tuples),
fills in defaults. Every fault is a sentence with its path; none is raised here. Knows nothing of
components and files.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from ragkit import protocols
from ragkit.errors import nearest

REQUIRED = inspect.Parameter.empty

ROLE_OF = {
    protocols.Encoder: "encoder",
    protocols.Index: "index",
    protocols.Retriever: "retriever",
    protocols.Generator: "generator",
    protocols.Marginalizer: "marginalizer",
    protocols.Objective: "objective",
    protocols.Task: "task",
    protocols.Metric: "metric",
}
"""Role protocols, by which a parameter is known to take a component."""


@dataclass(frozen=True, slots=True)
class Option:
    """One option of a component: its name, type hint and default (`REQUIRED` if none)."""

    name: str
    hint: Any
    default: Any

    @property
    def role(self) -> str | None:
        """The role of the component that goes here, if one does."""
        for part in _parts(self.hint):
            if part in ROLE_OF:
                return ROLE_OF[part]
        return None

    @property
    def takes_text(self) -> bool:
        """Whether a string is a value of its own here (a path, say)."""
        return any(part in (str, Path, Any) for part in _parts(self.hint))

    @property
    def shown(self) -> str:
        """The hint as a reader would write it."""
        return _name(self.hint)


def options(target: Callable[..., Any]) -> list[Option]:
    """The options of a class or factory, in order."""
    found = []
    function = _function(target)
    if function is None:
        return []
    module = inspect.getmodule(inspect.unwrap(function))
    for parameter in _parameters(target):
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        found.append(Option(parameter.name, _hint(parameter, module), parameter.default))
    return found


def open_ended(target: Callable[..., Any]) -> bool:
    """Whether it takes options beyond those it names (``**options``)."""
    return any(p.kind is p.VAR_KEYWORD for p in _parameters(target))


def _function(target: Callable[..., Any]) -> Callable[..., Any] | None:
    """What is called in the end, where its hints' names mean something; None: no options."""
    if not inspect.isclass(target):
        return target
    if target.__init__ is not object.__init__:
        return target.__init__
    return None if target.__new__ is object.__new__ else target.__new__


def _parameters(target: Callable[..., Any]) -> list[inspect.Parameter]:
    """Its parameters; of compiled code without a signature, that it takes anything."""
    try:
        return list(inspect.signature(target).parameters.values())
    except ValueError:
        return [inspect.Parameter("options", inspect.Parameter.VAR_KEYWORD)]


def faults(
    target: Callable[..., Any],
    given: Mapping[str, Any],
    path: str,
    built_elsewhere: Iterable[str] = (),
) -> list[str]:
    """Everything that is wrong with these options.

    ``built_elsewhere``: options that somebody else checks (nested components).
    """
    known = {option.name: option for option in options(target)}
    found = []
    for name, value in given.items():
        if name not in known:
            if not open_ended(target):
                found.append(
                    f"{path}: unknown option {name!r}{nearest(str(name), known) or '.'} "
                    f"Options: {', '.join(known) or 'none'}"
                )
        elif name not in built_elsewhere and not fits(value, known[name].hint):
            found.append(
                f"{path}.{name}: {value!r:.60} ({type(value).__name__}) must be {known[name].shown}"
            )
    for name, option in known.items():
        if option.default is REQUIRED and name not in given:
            found.append(f"{path}: option {name!r} is missing ({option.shown})")
    return found


def converted(target: Callable[..., Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The same options as their hints have them: paths of strings, tuples of lists.

    Only where nothing else will do: ``str | Path`` leaves a string as it is.
    """
    hints = {option.name: option.hint for option in options(target)}
    return {name: _convert(value, hints.get(name, Any)) for name, value in given.items()}


def _convert(value: Any, hint: Any) -> Any:
    if not isinstance(value, (str, list, tuple, dict)):
        return value
    parts = [part for part in _parts(hint) if fits(value, part)]
    if not parts or any(_holds(value, part) for part in parts):
        return value
    part = parts[0]
    if part is Path:
        return Path(str(value))
    origin, arguments = get_origin(part), get_args(part)
    if isinstance(value, dict):
        key, item = arguments
        return {_convert(k, key): _convert(v, item) for k, v in value.items()}
    if part is tuple:
        return tuple(value)
    if origin is tuple:
        each = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else arguments
        return tuple(map(_convert, value, each))
    return type(value)(_convert(one, arguments[0]) for one in value)


def _holds(value: Any, hint: Any) -> bool:
    """Whether a value that fits is of the type already, to its last item."""
    origin, arguments = get_origin(hint), get_args(hint)
    if hint in (Path, tuple):
        return isinstance(value, hint)
    if not arguments or not isinstance(origin, type) or isinstance(value, str):
        return True
    if isinstance(value, dict):
        return len(arguments) != 2 or all(
            _holds(k, arguments[0]) and _holds(v, arguments[1]) for k, v in value.items()
        )
    if origin is tuple:
        each = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else arguments
        return isinstance(value, tuple) and all(map(_holds, value, each))
    return not isinstance(value, (list, tuple)) or all(_holds(one, arguments[0]) for one in value)


def fits(value: Any, hint: Any) -> bool:
    """Whether a value is of a type; strict about bool and int, generous where unknown."""
    if hint is Any or isinstance(hint, (str, typing.TypeVar)):
        return True
    if hint is None or hint is type(None):
        return value is None
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is typing.Annotated:
        return fits(value, arguments[0])
    if origin in (Union, types.UnionType):
        return any(fits(value, part) for part in arguments)
    if origin is Literal:
        return any(value == one and type(value) is type(one) for one in arguments)
    if origin is not None:
        return _fits_generic(value, origin, arguments)
    if hint is bool:
        return isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if hint is Path:
        return isinstance(value, (str, Path))
    if hint is tuple:  # YAML has lists alone
        return isinstance(value, (list, tuple))
    if getattr(hint, "_is_protocol", False):  # a component: whatever is no plain value
        return not isinstance(value, (str, bytes, int, float, dict, list, tuple, type(None)))
    return isinstance(value, hint) if isinstance(hint, type) else True


def _fits_generic(value: Any, origin: Any, arguments: tuple[Any, ...]) -> bool:
    if origin is type or not isinstance(origin, type):
        return True
    if issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            return False
        key, item = arguments if len(arguments) == 2 else (Any, Any)
        return all(fits(k, key) and fits(v, item) for k, v in value.items())
    if issubclass(origin, tuple):
        if not isinstance(value, (list, tuple)):
            return False
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return all(fits(one, arguments[0]) for one in value)
        return len(value) == len(arguments) and all(map(fits, value, arguments))
    if origin in (list, set, frozenset) or issubclass(origin, (Sequence, Iterable)):
        if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
            return False
        # A generator must not be used up by looking into it.
        return not isinstance(value, (list, tuple, set)) or all(
            fits(one, arguments[0]) for one in value
        )
    return isinstance(value, origin)


def _hint(parameter: inspect.Parameter, module: types.ModuleType | None) -> Any:
    """The evaluated annotation; `Any` where it names what is only known to type checkers."""
    annotation = parameter.annotation
    if annotation is REQUIRED:
        return Any
    if isinstance(annotation, typing.ForwardRef):  # as named tuples have them
        annotation = annotation.__forward_arg__
    if not isinstance(annotation, str):
        return annotation

    def carrier() -> None: ...

    carrier.__annotations__ = {"hint": annotation}
    try:
        return typing.get_type_hints(carrier, vars(module) if module else None)["hint"]
    except Exception:  # a name under TYPE_CHECKING: the value is checked by whoever takes it
        return Any


def _parts(hint: Any) -> list[Any]:
    """The members of a union, or the hint alone."""
    if get_origin(hint) in (Union, types.UnionType):
        return [part for one in get_args(hint) for part in _parts(one)]
    return [hint]


def _name(hint: Any) -> str:
    if hint is type(None):
        return "none"
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join(_name(part) for part in get_args(hint))
    if get_origin(hint) is Literal:
        return " or ".join(repr(one) for one in get_args(hint))
    if hint in ROLE_OF:
        return f"a component ({ROLE_OF[hint]})"
    whole = getattr(hint, "__name__", str(hint)) if get_origin(hint) is None else str(hint)
    return whole.replace("collections.abc.", "").replace("typing.", "")
