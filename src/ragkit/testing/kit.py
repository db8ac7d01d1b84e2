"""The frame of the kit: what a check is, how checks are run, and the laws of all roles.

A check is a method ``test_…`` of a conformance class. It passes, raises `AssertionError`
with a sentence that names the fault and what to do, or is skipped with a reason. Knows no
role; the laws of a role stand in the module of its name.
"""

from __future__ import annotations

import importlib.metadata
import inspect
import os
import shutil
import subprocess
import sys
import tempfile
import traceback
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, NoReturn
from unittest import SkipTest

from ragkit import protocols, registry
from ragkit.errors import RagkitError
from ragkit.signature import ROLE_OF
from ragkit.testing.asserting import attempt, first_line, must

_HEAVY = ("torch", "numpy", "transformers", "faiss", "pyarrow", "datasets", "scipy", "pandas")
"""What the module of an entry point must not load: it is imported for every command."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one check.

    name: of the method. law: the first line of its docstring.
    message: why it was skipped or failed, and what to do; "" where it passed.
    """

    name: str
    law: str
    state: Literal["passed", "skipped", "failed"]
    message: str = ""


class Conformance:
    """The laws of every role, and what the classes of the roles share.

    ``make()`` is yours: it returns a new component, the same one each time (seed its random
    weights). ``component`` is the name that it is installed under, if it is.
    """

    role: ClassVar[str] = ""
    component: ClassVar[str | None] = None
    refuses: ClassVar[tuple[str, ...]] = ()
    """Abilities that it declares, and must refuse with the options that make() gives it."""
    tolerance: ClassVar[float] = 1e-4
    """Greatest difference between numbers that should be equal, absolute and relative."""

    def make(self) -> Any:
        """Return a new component. Yours to write."""
        raise AssertionError(
            f"{type(self).__name__} has no make(); write one that returns a new {self.role}"
        )

    def made(self) -> Any:
        """What ``make()`` gives; raises `AssertionError` where it gives nothing of use."""
        with attempt("make()", f"it must return a new {self.role}, ready to be checked"):
            component = self.make()
        must(component is not None, f"make() returned None; let it return a new {self.role}")
        return component

    def parts(self, component: Any) -> list[tuple[object, type]]:
        """A component, and what it gives that has a protocol too, each with that protocol."""
        (protocol,) = (one for one, role in ROLE_OF.items() if role == self.role)
        return [(component, protocol)]

    def folder(self) -> Path:
        """A new empty folder, gone when this object is."""
        path = Path(tempfile.mkdtemp(prefix="ragkit-"))
        weakref.finalize(self, shutil.rmtree, path, True)
        return path

    def skip(self, reason: str) -> NoReturn:
        """Leave a check out, as pytest and `run` understand it."""
        raise SkipTest(reason)

    def needs(self, component: object, ability: type, say: str = "") -> None:
        """Skip the check unless a component declares a ``Supports…`` protocol."""
        if not isinstance(component, ability):
            self.skip(say or f"{_kind(component)} does not declare {ability.__name__}")

    @contextmanager
    def declared(self, component: object, ability: type) -> Iterator[None]:
        """Within: a declared ability is used, and must work.

        Where it is named in ``refuses`` it must raise a `RagkitError`, which skips the check.
        """
        name, kind = ability.__name__, _kind(component)
        may_refuse = name in self.refuses
        try:
            with attempt(
                name,
                f"{kind} declares {name} by having its methods, so they must work; take the "
                "methods away, or refuse with a ragkit.errors.RagkitError that says what to do "
                "instead",
            ):
                yield
        except AssertionError as error:
            cause = error.__cause__
            if not isinstance(cause, RagkitError):
                raise
            if may_refuse:
                self.skip(f"{name} is refused: {first_line(cause)}")
            raise AssertionError(
                f"{kind} declares {name} by having its methods, and refuses: {first_line(cause)}; "
                f"let it work, take the methods away, or set refuses = ({name!r},) where it is "
                "these options that cannot have it"
            ) from cause
        must(
            not may_refuse,
            f"{name} is named in refuses, and {kind} does not refuse it; take it out of refuses",
        )

    # ------------------------------------------------------------- laws of all roles

    def test_signatures(self) -> None:
        """Every method of the role and of each declared ability takes what its protocol says."""
        for part, protocol in self.parts(self.made()):
            _check_signatures(part, protocol)

    def test_is_registered(self) -> None:
        """Its name is found in the registry, ready, and leads to what make() makes."""
        if self.component is None:
            self.skip(f"set component = '<its name>' in {type(self).__name__} to check it")
        with attempt(f"the {self.role} {self.component!r}", "see `ragkit plugins list`"):
            found = registry.find(self.role, self.component)
            listing = registry.lookup(self.role, self.component)
        must(
            listing.component.summary.strip(),
            f"{self.role} {self.component!r} has no summary; give its Component one line that "
            "says what it is",
        )
        component = self.made()
        must(
            not inspect.isclass(found) or isinstance(component, found),
            f"{self.role} {self.component!r} is {found!r}, and make() returned a "
            f"{_kind(component)}; make the one that the name stands for",
        )

    def test_entry_module_is_light(self) -> None:
        """The module of its entry point loads neither torch nor numpy nor what it needs."""
        if self.component is None:
            self.skip(f"set component = '<its name>' in {type(self).__name__} to check it")
        with attempt(f"the {self.role} {self.component!r}", "see `ragkit plugins list`"):
            listing = registry.lookup(self.role, self.component)
        needs = {need.partition(".")[0] for need in listing.component.needs}
        for module in _entry_modules(listing.distribution):
            loaded = _loaded(module)
            heavy = sorted({*_HEAVY, *needs} & loaded)
            must(
                not heavy,
                f"importing {module}, the entry point of {listing.distribution}, loads "
                f"{', '.join(heavy)}; import nothing there but the standard library and ragkit, "
                "and name the class by its path ('package.module:Class')",
            )


def run(conformance: type[Conformance] | Conformance) -> list[Outcome]:
    """Every check of a conformance class, in order, without pytest.

    >>> from ragkit.testing import TaskConformance
    >>> class TestMine(TaskConformance):
    ...     def make(self):
    ...         return None
    >>> run(TestMine)[0].message
    'make() returned None; let it return a new task'
    """
    cls = conformance if inspect.isclass(conformance) else type(conformance)
    return [_run_one(cls, name) for name in checks(cls)]


def checks(cls: type[Conformance]) -> list[str]:
    """The names of the checks of a class: those of its role first, those of all roles last."""
    found: dict[str, None] = {}
    for one in cls.__mro__[: cls.__mro__.index(Conformance)]:
        found.update({name: None for name in vars(one) if name.startswith("test_")})
    found.update({name: None for name in vars(Conformance) if name.startswith("test_")})
    return [name for name in found if callable(getattr(cls, name, None))]


def law(cls: type[Conformance], name: str) -> str:
    """What a check holds a component to: the first line of its docstring."""
    return (inspect.getdoc(getattr(cls, name)) or "").partition("\n")[0]


def abilities() -> list[type]:
    """All ``Supports…`` protocols."""
    return [value for name, value in vars(protocols).items() if name.startswith("Supports")]


def members(protocol: type) -> set[str]:
    """The names that a protocol asks for, without Python's own but ``__len__``, ``__call__``."""
    own = {name for name in vars(protocol) if not name.startswith("_")}
    own |= {
        name for name in ("__len__", "__call__") if inspect.isfunction(vars(protocol).get(name))
    }
    return own | set(inspect.get_annotations(protocol))


def _run_one(cls: type[Conformance], name: str) -> Outcome:
    try:
        getattr(cls(), name)()
    except SkipTest as reason:
        return Outcome(name, law(cls, name), "skipped", str(reason))
    except AssertionError as error:
        return Outcome(name, law(cls, name), "failed", str(error) or "it does not hold")
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        message = (
            f"{type(error).__name__}: {first_line(error)} ({Path(frame.filename).name}, line "
            f"{frame.lineno}); the check calls what the protocol names and nothing else, so this "
            "must not be raised"
        )
        return Outcome(name, law(cls, name), "failed", message)
    return Outcome(name, law(cls, name), "passed")


def _check_signatures(part: object, protocol: type) -> None:
    """Assert that a part has all that its protocol asks for, and no half of an ability."""
    for name in members(protocol):
        must(
            hasattr(part, name),
            f"{_kind(part)} has no {name!r}, which every {protocol.__name__} needs; see "
            f"ragkit.protocols.{protocol.__name__}",
        )
        _same_signature(part, protocol, name)
    for ability in abilities():
        asked = members(ability)
        has = sorted(name for name in asked if getattr(part, name, None) is not None)
        missing = sorted(asked - set(has))
        if not missing:
            for name in has:
                _same_signature(part, ability, name)
        elif not set(has) <= members(protocol):
            raise AssertionError(
                f"{_kind(part)} has {has[0]!r} but not {missing[0]!r}: half of {ability.__name__} "
                f"is no ability; write {missing[0]!r} too, or take {has[0]!r} away"
            )


def _same_signature(component: object, protocol: type, name: str) -> None:
    """Whether a method can be called as its protocol writes it."""
    wanted = inspect.getattr_static(protocol, name, None)
    wanted = wanted.__func__ if isinstance(wanted, classmethod) else wanted
    if not inspect.isfunction(wanted):
        return  # a property or attribute
    method = getattr(component, name)
    must(
        callable(method), f"{_kind(component)}.{name} is no method; see {protocol.__name__}.{name}"
    )
    takes = [one for one in inspect.signature(wanted).parameters if one not in ("self", "cls")]
    try:
        inspect.signature(method).bind(*takes)
    except TypeError as error:
        raise AssertionError(
            f"{_kind(component)}.{name} cannot be called as {name}({', '.join(takes)}): {error}; "
            "take these and give whatever else you take a default"
        ) from error
    except ValueError:  # compiled code without a signature
        return


def _entry_modules(distribution: str) -> list[str]:
    found = importlib.metadata.distribution(distribution).entry_points.select(group=registry.GROUP)
    return [entry.value.partition(":")[0] for entry in found]


def _loaded(module: str) -> set[str]:
    """Modules in memory after an import in a fresh interpreter with the same path."""
    done = subprocess.run(
        [sys.executable, "-c", f"import {module}, sys; print('\\n', *sys.modules)"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        timeout=120,
    )
    must(
        done.returncode == 0,
        f"importing {module} failed: {(done.stderr.strip().splitlines() or ['?'])[-1]}; it must "
        "be importable without what it needs",
    )
    return set(done.stdout.split("\n")[-2].split())


def _kind(component: object) -> str:
    return type(component).__name__
