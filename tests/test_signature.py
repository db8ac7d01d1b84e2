"""Signatures as schemas: what each hint lets in, what it makes of it, and every fault named.

The same laws are asked of values drawn at random: whatever was built of hints fits them, and
comes back from YAML as the same arguments.
"""

from __future__ import annotations

import datetime
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Optional, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragkit import config, registry, signature
from ragkit.protocols import Encoder, Index, SupportsAdd

if TYPE_CHECKING:
    from somewhere import Unseen

T = TypeVar("T")


class Vectors:
    """No index, but no plain value either."""


# A hint, what fits it, and what does not.
HINTS: list[tuple[Any, list[Any], list[Any]]] = [
    (int, [0, -3, 10**30], [True, False, 1.0, "1", None, [1]]),
    (bool, [True, False], [0, 1, "true", None]),
    (float, [0.5, 3, float("inf")], [True, "0.5", None, [0.5]]),
    (str, ["", "1"], [1, None, b"x", Path("x")]),
    (bytes, [b"x"], ["x"]),
    (None, [None], [0, "", False]),
    (Path, ["x", Path("x")], [1, None, b"x"]),
    (Any, [None, 1, object()], []),
    (T, [None, 1], []),
    (Literal["a", 1], ["a", 1], ["b", True, 1.0, None]),
    (Literal[True], [True], [1]),
    (int | None, [1, None], [True, 1.5, "1"]),
    (Optional[str], ["x", None], [1]),  # noqa: UP045  the old way of writing it
    (int | str | None, [1, "x", None], [1.5, [1]]),
    (Annotated[int, "a count"], [1], [True, "1"]),
    (list, [[], [1, "a"]], [(1,), "ab", None]),
    (list[int], [[], [1]], [[True], [1, "a"], "12", {1: 2}, None]),
    (tuple, [(1, "a"), []], ["ab", 3]),
    (tuple[int, str], [(1, "a"), [1, "a"]], [(1,), (1, "a", 2), ("a", 1), "1a", 1]),
    (tuple[int, ...], [(), [1, 2]], [[1, "2"], "12"]),
    (set[int], [{1}, [1, 2]], [{"a"}, "12"]),
    (Sequence[str], [["a"], ("a", "b"), []], ["ab", [1], None, {"a": 1}]),
    (Iterable[int], [[1], iter([1])], ["1", 1]),
    (dict, [{}, {1: 2}], [[], None]),
    (dict[str, int], [{}, {"a": 1}], [{"a": True}, {1: 1}, [("a", 1)]]),
    (Mapping[str, list[int]], [{"a": [1]}], [{"a": 1}, {"a": ["b"]}]),
    (list[tuple[str, Path]], [[["a", "b"]], [("a", Path("b"))]], [[["a"]], ["ab"]]),
    (Callable[[int], int], [abs, lambda x: x], [1, "abs"]),
    (type[int], [int, bool], []),
    (datetime.date, [datetime.date(2020, 1, 1)], ["2020-01-01", 1]),
    (Encoder, [Vectors()], [1, "dpr", None, {}, [], True]),
    (SupportsAdd, [Vectors()], ["x", None]),
    (Index | None, [None, Vectors()], [1, "exact"]),
    (str | Index, ["exact", Vectors()], [1, None]),
]
CASES = [(hint, value, True) for hint, right, _ in HINTS for value in right]
CASES += [(hint, value, False) for hint, _, wrong in HINTS for value in wrong]


@pytest.mark.parametrize(("hint", "value", "right"), CASES)
def test_what_fits(hint: Any, value: Any, right: bool) -> None:
    assert signature.fits(value, hint) is right


def test_looking_into_an_iterator_does_not_use_it_up() -> None:
    numbers = iter([1, 2])
    assert signature.fits(numbers, Iterable[str])  # unknown until it is read
    assert list(numbers) == [1, 2]


@pytest.mark.parametrize(
    ("hint", "given_", "made"),
    [
        (Path, "a/b", Path("a/b")),
        (Path | None, "a", Path("a")),
        (Path | None, None, None),
        (str | Path, "a", "a"),
        (list[Path], ["a", Path("b")], [Path("a"), Path("b")]),
        (Sequence[Path], ("a",), (Path("a"),)),
        (dict[str, Path], {"a": "b"}, {"a": Path("b")}),
        (dict[str, tuple[int, ...]], {"a": [1]}, {"a": (1,)}),
        (tuple[int, ...], [1, 2], (1, 2)),
        (tuple[int, ...], [], ()),
        (tuple[int, Path], [1, "a"], (1, Path("a"))),
        (list[tuple[int, int]], [[1, 2], (3, 4)], [(1, 2), (3, 4)]),
        (list[int] | tuple[int, ...], [1], [1]),
        (tuple[int, ...] | list[int], [1], [1]),
        (tuple, [1], (1,)),
        (list, ["a"], ["a"]),
        (dict, {1: "a"}, {1: "a"}),
        (Any, ["a"], ["a"]),
    ],
)
def test_what_yaml_cannot_write_is_made_as_hinted(hint: Any, given_: Any, made: Any) -> None:
    def target(option: Any) -> None: ...

    target.__annotations__["option"] = hint
    found = signature.converted(target, {"option": given_})["option"]
    assert found == made
    assert type(found) is type(made)
    if isinstance(made, (list, tuple)):
        assert list(map(type, found)) == list(map(type, made))


# ---------------------------------------------------------------- where signatures come from


class Base:
    def __init__(self, size: int, rate: float = 0.5) -> None:
        self.size, self.rate = size, rate

    @classmethod
    def large(cls, rate: float = 0.5) -> Base:
        return cls(1000, rate)


class Heir(Base):
    pass


class Silent:
    pass


class Untyped:
    def __init__(self, size, rate=0.5, *rest, **more):  # type: ignore[no-untyped-def]
        pass


@dataclass
class Record:
    size: int
    rate: float = 0.5


class Row(NamedTuple):
    size: int
    rate: float = 0.5


def factory(size: int, *, rate: float = 0.5) -> Base:
    return Base(size, rate)


@functools.wraps(factory)
def wrapped(*arguments: Any, **options: Any) -> Base:
    return factory(*arguments, **options)


SIZED = [("size", int, signature.REQUIRED), ("rate", float, 0.5)]


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (Base, SIZED),
        (Heir, SIZED),
        (Record, SIZED),
        (Row, SIZED),
        (factory, SIZED),
        (wrapped, SIZED),
        (functools.partial(factory, rate=0.25), [SIZED[0], ("rate", float, 0.25)]),
        (Base.large, SIZED[1:]),
        (Silent, []),
        (Untyped, [("size", Any, signature.REQUIRED), ("rate", Any, 0.5)]),
        (dict, []),
    ],
)
def test_options_of_every_kind_of_target(target: Any, expected: list[Any]) -> None:
    assert [(o.name, o.hint, o.default) for o in signature.options(target)] == expected


@pytest.mark.parametrize(
    ("target", "is_open"), [(Untyped, True), (dict, True), (Base, False), (wrapped, False)]
)
def test_open_ended_targets(target: Any, is_open: bool) -> None:
    assert signature.open_ended(target) is is_open
    assert (signature.faults(target, {"size": 1, "odd": 1}, "t") == []) is is_open


def test_a_name_for_type_checkers_alone_lets_anything_in() -> None:
    def target(unseen: Unseen, also: int | Unseen | None = None, size: int = 1) -> None: ...

    assert [option.hint for option in signature.options(target)] == [Any, Any, int]
    assert signature.faults(target, {"unseen": object(), "size": "x"}, "t") == [
        "t.size: 'x' (str) must be int"
    ]


def test_every_fault_at_once_each_a_sentence_with_its_path() -> None:
    given_ = {"siz": 1, "rate": "fast", "colour": "red"}
    faults = signature.faults(Base, given_, "encoder")
    assert faults == [
        "encoder: unknown option 'siz'; did you mean 'size'? Options: size, rate",
        "encoder.rate: 'fast' (str) must be float",
        "encoder: unknown option 'colour'. Options: size, rate",
        "encoder: option 'size' is missing (int)",
    ]
    assert signature.faults(Silent, {"x": 1}, "s") == ["s: unknown option 'x'. Options: none"]


def test_long_values_are_cut_in_faults() -> None:
    (fault,) = signature.faults(Base, {"size": "x" * 5000}, "t")
    assert len(fault) < 120


@pytest.mark.parametrize(
    ("hint", "shown"),
    [
        (int, "int"),
        (int | None, "int or none"),
        (Literal["a", "b"], "'a' or 'b'"),
        (str | Path, "str or Path"),
        (list[int], "list[int]"),
        (Sequence[str] | None, "Sequence[str] or none"),
        (Index, "a component (index)"),
        (Any, "Any"),
    ],
)
def test_hints_are_shown_as_a_reader_would_write_them(hint: Any, shown: str) -> None:
    assert signature.Option("x", hint, None).shown == shown


@pytest.mark.parametrize(
    ("hint", "role", "takes_text"),
    [
        (Index, "index", False),
        (Index | None, "index", False),
        (str | Encoder, "encoder", True),
        (Path | Encoder, "encoder", True),
        (int, None, False),
        (Any, None, True),
    ],
)
def test_roles_of_options(hint: Any, role: str | None, takes_text: bool) -> None:
    option = signature.Option("x", hint, None)
    assert (option.role, option.takes_text) == (role, takes_text)


# --------------------------------------------------------------------------- drawn at random

LEAVES: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (int, st.integers(-(10**20), 10**20)),
    (bool, st.booleans()),
    (float, st.floats(allow_nan=False)),
    # Lone surrogates are no text that a file could hold.
    (str, st.text(st.characters(exclude_categories=["Cs", "Cc"]))),
    (str, st.sampled_from(["1e-3", "1E5", "yes", "no", "null", "~", "1_0", "0x1", ".5", "<<"])),
    (str, st.sampled_from(["2020-01-01", "1:30", "=", "a: b", "- a", "# a", "'", "!!int 3"])),
    (int | None, st.none() | st.integers()),
    (Literal["hot", "cold"], st.sampled_from(["hot", "cold"])),
    (Path, st.sampled_from([Path("a"), Path("a/b"), Path("/x"), Path("1e-3")])),
]
WRAPS: list[tuple[Callable[[Any], Any], Callable[[Any], st.SearchStrategy[Any]]]] = [
    (lambda h: list[h], lambda s: st.lists(s, max_size=3)),
    (lambda h: tuple[h, ...], lambda s: st.lists(s, max_size=3).map(tuple)),
    (lambda h: tuple[h, int], lambda s: st.tuples(s, st.integers())),
    (lambda h: dict[str, h], lambda s: st.dictionaries(st.text("abc", min_size=1), s, max_size=3)),
]


@st.composite
def hinted(draw: st.DrawFn) -> tuple[Any, Any]:
    """A hint, up to three deep, and a value of exactly that type."""
    hint, values = draw(st.sampled_from(LEAVES))
    for wrap_hint, wrap_values in draw(st.lists(st.sampled_from(WRAPS), max_size=2)):
        hint, values = wrap_hint(hint), wrap_values(values)
    return hint, draw(values)


@settings(max_examples=150, deadline=None)
@given(st.lists(hinted(), min_size=1, max_size=4))
def test_yaml_overrides_and_keywords_build_the_same(drawn: list[tuple[Any, Any]]) -> None:
    def target(**options: Any) -> dict[str, Any]:
        return options

    keywords = {f"o{i}": value for i, (_, value) in enumerate(drawn)}
    hints = {f"o{i}": hint for i, (hint, _) in enumerate(drawn)}
    parameters = [_keyword(name, hint) for name, hint in hints.items()]
    target.__signature__ = _signature(parameters)  # type: ignore[attr-defined]
    text = config.dump(keywords)
    by_yaml = config.read(text)
    one_line = {name: config.dump({"v": value}) for name, value in keywords.items()}
    # An override holds one value in YAML's flow form: JSON's strings are such.
    typed = [f"{name}={_flow(config.read(one_line[name])['v'])}" for name in keywords]
    by_override = config.override({}, typed)
    assert by_yaml == by_override
    for table in (keywords, by_yaml, by_override):
        assert signature.faults(target, table, "t") == []
        made = target(**signature.converted(target, table))
        assert made == keywords
        assert repr(made) == repr(keywords)  # 1 is not 1.0, a tuple no list


def _keyword(name: str, hint: Any) -> Any:
    from inspect import Parameter

    return Parameter(name, Parameter.KEYWORD_ONLY, annotation=hint)


def _signature(parameters: list[Any]) -> Any:
    from inspect import Signature

    return Signature(parameters)


def _flow(value: Any) -> str:
    """A value as somebody might type it after ``=``."""
    import json

    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        return ".inf" if value > 0 else "-.inf"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_flow(k)}: {_flow(v)}" for k, v in value.items()) + "}"
    if isinstance(value, str):  # JSON's escapes, but for letters beyond 16 bits
        plain = "".join(c if c < "\x7f" else f"\0{ord(c):08x}" for c in value)
        return json.dumps(plain).replace("\\u0000", "\\U")
    return json.dumps(value)


def test_a_value_of_no_known_type_is_no_plain_one() -> None:
    assert not signature.fits(Decimal("1"), float)
    assert config.dump({"a": Decimal("1")}) == "a: <decimal.Decimal>\n"


def test_make_converts_as_configurations_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def found(folders: tuple[Path, ...] = ()) -> Any:
        return folders

    monkeypatch.setattr(registry, "find", lambda role, name: found)
    for made in (
        registry.make("index", "x", folders=["a", "b"]),
        config.build("index", {"name": "x", "folders": ["a", "b"]}),
        config.build("index", config.read("name: x\nfolders: [a, b]")),
    ):
        assert made == (Path("a"), Path("b"))
