"""Configurations: one table of values against type hints, one of faults, and the way there and
back. The signatures under test are here, so that no component's options are repeated."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pytest

from ragkit import config, registry, signature
from ragkit.errors import ConfigError
from ragkit.protocols import Encoder, Index, Marginalizer


class Engine:
    """Every kind of option once; the parts that a registry would find are below."""

    def __init__(
        self,
        size: int,
        rate: float = 0.5,
        fast: bool = False,
        mode: Literal["hot", "cold"] = "hot",
        title: str | None = None,
        folder: Path = Path("here"),
        either: int | str = 1,
        layers: list[int] = [1, 2],  # noqa: B006  never changed
        pair: tuple[int, str] = (1, "a"),
        many: tuple[int, ...] = (),
        names: Sequence[str] = (),
        table: dict[str, int] | None = None,
        anything: Any = None,
    ) -> None:
        self.given = dict(locals())


class Car:
    def __init__(self, encoder: Encoder, index: Index | None = None, wheels: int = 4) -> None:
        self.encoder, self.index, self.wheels = encoder, index, wheels


class Reader:
    def __init__(self, marginalizer: str | Marginalizer = "rag-token") -> None:
        self.marginalizer = marginalizer


class Open:
    def __init__(self, size: int = 1, **options: Any) -> None:
        self.options = options


NAMES = {
    ("encoder", "engine"): Engine,
    ("encoder", "open"): Open,
    ("retriever", "car"): Car,
    ("retriever", "reader"): Reader,
}


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The classes above under names, ragkit's own still there."""
    real = registry.find
    monkeypatch.setattr(registry, "find", lambda r, n: NAMES.get((r, n)) or real(r, n))


VALUES = [
    ("rate", 1, True),
    ("rate", 1e-3, True),
    ("rate", True, False),
    ("rate", "1", False),
    ("size", True, False),
    ("size", 1.0, False),
    ("size", "3", False),
    ("size", None, False),
    ("fast", True, True),
    ("fast", 1, False),
    ("fast", "yes", False),
    ("mode", "cold", True),
    ("mode", "warm", False),
    ("title", None, True),
    ("title", "x", True),
    ("title", 3, False),
    ("folder", "there", True),
    ("folder", Path("there"), True),
    ("folder", 3, False),
    ("either", "a", True),
    ("either", 2, True),
    ("either", 2.5, False),
    ("either", None, False),
    ("layers", [3], True),
    ("layers", [3, "x"], False),
    ("layers", 3, False),
    ("layers", "3", False),
    ("pair", [1, "b"], True),
    ("pair", [1], False),
    ("pair", ["b", 1], False),
    ("many", [1, 2, 3], True),
    ("many", [1, "2"], False),
    ("names", ["a"], True),
    ("names", "a", False),
    ("table", {"a": 1}, True),
    ("table", {"a": "b"}, False),
    ("table", {1: 1}, False),
    ("anything", object(), True),
]


@pytest.mark.parametrize(("option", "value", "right"), VALUES)
def test_values_against_hints(option: str, value: Any, right: bool) -> None:
    found = signature.faults(Engine, {"size": 1, option: value}, "engine")
    assert (found == []) is right
    if not right:
        assert found[0].startswith(f"engine.{option}: ")
        assert "must be" in found[0]


FAULTS = [
    ("engine", ["option 'size' is missing (int)"]),
    ({"name": "engine", "siez": 3}, ["unknown option 'siez'; did you mean 'size'?", "missing"]),
    ({"size": 3}, ["a table needs a name"]),
    ({"name": 3}, ["a table needs a name"]),
    ({"name": "engine", "size": 1, 7: 1, True: 2}, ["7 (int) is no option's name", "True (bool)"]),
    (3, ["3 is no encoder"]),
    (None, ["None is no encoder"]),
    ({"name": "engin", "size": 1}, ["no encoder is named 'engin'", "Known:"]),
    (
        {"name": "engine", "size": "3", "mode": "warm", "colour": 1},
        ["encoder.size: '3' (str) must be int", "encoder.mode", "'hot' or 'cold'", "'colour'"],
    ),
]


@pytest.mark.parametrize(("table", "parts_of_faults"), FAULTS)
@pytest.mark.usefixtures("parts")
def test_faults_of_one_component(table: Any, parts_of_faults: list[str]) -> None:
    text = "\n".join(config.check("encoder", table))
    for part in parts_of_faults:
        assert part in text


@pytest.mark.usefixtures("parts")
def test_all_faults_come_at_once_with_their_paths() -> None:
    table = {
        "name": "car",
        "encoder": {"name": "engine", "size": "big", "fst": True},
        "index": {"name": "exactly"},
        "wheels": "four",
    }
    with pytest.raises(ConfigError) as caught:
        config.build("retriever", table)
    assert len(caught.value.faults) == 4
    text = str(caught.value)
    assert text.startswith("4 errors in the configuration:")
    for part in (
        "retriever.encoder.size: 'big' (str) must be int",
        "retriever.encoder: unknown option 'fst'; did you mean 'fast'?",
        "retriever.index: no index is named 'exactly'; did you mean 'exact'?",
        "retriever.wheels: 'four' (str) must be int",
    ):
        assert part in text


@pytest.mark.usefixtures("parts")
def test_nested_tables_are_built() -> None:
    car = config.build("retriever", {"name": "car", "encoder": {"name": "engine", "size": 2}})
    assert isinstance(car.encoder, Engine)
    assert (car.encoder.given["size"], car.index, car.wheels) == (2, None, 4)


@pytest.mark.usefixtures("parts")
def test_a_component_may_be_given_as_itself() -> None:
    engine = Engine(5)
    assert config.build("retriever", {"name": "car", "encoder": engine}).encoder is engine
    assert config.build("encoder", engine) is engine


@pytest.mark.usefixtures("parts")
def test_a_constructor_that_takes_names_gets_the_name() -> None:
    built = config.build("retriever", {"name": "reader", "marginalizer": "rag-sequence"})
    assert built.marginalizer == "rag-sequence"


@pytest.mark.usefixtures("parts")
def test_open_ended_options_pass() -> None:
    assert config.build("encoder", {"name": "open", "colour": 1}).options == {"colour": 1}


@pytest.mark.usefixtures("parts")
def test_yaml_overrides_and_keywords_are_the_same_thing() -> None:
    by_yaml = config.build("encoder", config.read("name: engine\nsize: 3\nfolder: x\nrate: 1e-3"))
    by_override = config.build(
        "encoder", config.override({"name": "engine"}, ["size=3", "folder=x", "rate=1e-3"])
    )
    by_keyword = registry.make("encoder", "engine", size=3, folder="x", rate=1e-3)
    for built in (by_override, by_keyword):
        assert {k: v for k, v in built.given.items() if k != "self"} == {
            k: v for k, v in by_yaml.given.items() if k != "self"
        }
    assert by_keyword.given["folder"] == Path("x")


@pytest.mark.usefixtures("parts")
def test_a_filled_in_config_builds_the_same_and_is_filled_in_already(tmp_path: Path) -> None:
    table = {"name": "car", "encoder": {"name": "engine", "size": 2, "many": [7]}}
    filled = config.resolve("retriever", table)
    assert filled["wheels"] == 4
    assert filled["encoder"]["mode"] == "hot"
    config.save(filled, tmp_path / "config.yaml")
    back = config.load(tmp_path / "config.yaml")
    assert config.read(config.dump(config.resolve("retriever", back))) == back
    assert list(config.build("retriever", back).encoder.given["many"]) == [7]


OVERRIDES = [
    ({}, ["a=1"], {"a": 1}),
    ({}, ["a.b.c=x"], {"a": {"b": {"c": "x"}}}),
    ({"a": {"b": 1, "c": 2}}, ["a.b=3"], {"a": {"b": 3, "c": 2}}),
    (
        {"index": "faiss"},
        ["index.factory=HNSW32"],
        {"index": {"name": "faiss", "factory": "HNSW32"}},
    ),
    ({}, ["a=1", "a=2"], {"a": 2}),
    (
        {},
        ["a=[1, 2]", "b={c: d}", "c=null", "d=true", "e='1'"],
        {"a": [1, 2], "b": {"c": "d"}, "c": None, "d": True, "e": "1"},
    ),
    ({}, ["a=x=y"], {"a": "x=y"}),
    ({}, ["a=3e-5", "b=-2E4", "c=1e", "d=1.5"], {"a": 3e-5, "b": -2e4, "c": "1e", "d": 1.5}),
    ({}, ["a="], {"a": None}),
]


@pytest.mark.parametrize(("table", "overrides", "after"), OVERRIDES)
def test_overrides(table: dict[str, Any], overrides: list[str], after: dict[str, Any]) -> None:
    before = repr(table)
    assert config.override(table, overrides) == after
    assert repr(table) == before  # the table that was given stays as it was


def test_every_malformed_override_is_named() -> None:
    with pytest.raises(ConfigError) as caught:
        config.override(
            {"k": 5},
            ["nothing", "=1", "a..b=1", "k.x=1", "a=[", "d=2020-99-99", "e={x: 1, x: 2}"],
        )
    assert len(caught.value.faults) == 7
    assert "'x' stands a second time" in str(caught.value)
    assert "k is 5, not a table" in str(caught.value)
    assert "index.factory=HNSW32" in str(caught.value)


YAML = [
    ("a: 1\nb: 2\na: 3\n", ["line 3", "'a' stands a second time (first in line 1)"]),
    ("a:\n  b: 1\n  b: 2\n", ["line 3", "'b'"]),
    ("a: [1\n", ["line 2", "no YAML"]),
    ("a: !!python/object/apply:os.getcwd []\n", ["line 1", "no YAML"]),
    ("- 1\n", ["list", "table of options"]),
    ("[1]: 2\n", ["line 1", "must be a name"]),
    ("a: 2020-99-99\n", ["cannot be read", "quote it"]),
    ("a: &x {b: *x}\n", ["line 1", "recursive"]),
    ("a: " + "[" * 5000, ["nested too deeply"]),
    ("a: *nobody\n", ["line 1", "undefined alias"]),
]


@pytest.mark.parametrize(("text", "parts_of_fault"), YAML)
def test_bad_yaml_is_answered_with_its_line(text: str, parts_of_fault: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        config.read(text, "run.yaml")
    for part in ("run.yaml", *parts_of_fault):
        assert part in str(caught.value)


def test_good_yaml() -> None:
    assert config.read("") == {}
    merged = "base: &base\n  a: 1\nother:\n  <<: *base\n  b: 2\n"
    assert config.read(merged)["other"] == {"a": 1, "b": 2}


def test_what_is_written_bears_no_tags_and_no_anchors(tmp_path: Path) -> None:
    shared = [1, 2]
    table = {"a": shared, "b": shared, "c": (1, 2), "d": tmp_path, "e": int, "f": {1: {2.5: None}}}
    text = config.dump(table)
    assert not {"!", "&", "*"} & set(text.replace(str(tmp_path), ""))
    assert config.read(text) == {
        "a": shared,
        "b": shared,
        "c": [1, 2],
        "d": tmp_path.as_posix(),
        "e": "<builtins.type>",
        "f": {"1": {"2.5": None}},
    }


def test_texts_that_look_like_something_else_stay_texts() -> None:
    table = {"a": "1e-3", "b": "yes", "c": "2020-01-01", "d": "null", "e": "<<", "f": "0x1"}
    assert config.read(config.dump(table)) == table


def test_files_that_are_not_there_or_no_text(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.yaml.*No such file.*give a YAML file"):
        config.load(tmp_path / "absent.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="no UTF-8"):
        config.load(tmp_path / "binary.yaml")


def test_make_says_all_that_is_wrong_with_options() -> None:
    with pytest.raises(ConfigError) as caught:
        registry.make("index", "faiss", factry="Flat", factory=3)
    assert len(caught.value.faults) == 2
    assert "did you mean 'factory'?" in str(caught.value)


def test_ragkits_own_retriever_is_checked_through_its_encoder() -> None:
    table = {"name": "dense", "knowledge_base": "kb", "encoder": {"name": "dpr", "poling": "cls"}}
    (fault,) = config.check("retriever", table)
    assert fault.startswith("retriever.encoder: ")
    assert "did you mean 'pooling'?" in fault


@pytest.mark.parametrize(
    ("role", "name"), [(c.role, c.component.name) for c in registry.components()]
)
def test_every_own_component_imports_and_has_readable_options(role: str, name: str) -> None:
    for option in config.schema(role, name):
        assert option.shown


REQUIRED: dict[str, dict[str, Any]] = {
    "dense": {"encoder": {"name": "dpr", "model": "somewhere"}, "knowledge_base": "kb"}
}


@pytest.mark.parametrize(
    ("role", "name"),
    [(c.role, c.component.name) for c in registry.components() if c.distribution == "ragkit"],
)
def test_every_own_component_filled_in_is_right_and_stays_so(role: str, name: str) -> None:
    needed = {"path": "somewhere"} if role == "task" and name != "jsonl" else {}
    table = {"name": name, **needed, **REQUIRED.get(name, {})}
    filled = config.resolve(role, table)
    back = config.read(config.dump(filled))
    assert config.check(role, back) == []
    assert config.resolve(role, back) == back
    assert set(back) == {"name"} | {option.name for option in config.schema(role, name)}
