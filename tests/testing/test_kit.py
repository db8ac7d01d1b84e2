"""The frame of the kit: how checks are found and run, and the laws of all roles."""

from __future__ import annotations

import doctest
import importlib
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from ragkit import registry, testing
from ragkit.errors import ConfigError, DataError, PluginError, UnknownName
from ragkit.hookspecs import ROLES
from ragkit.index.exact import ExactIndex
from ragkit.protocols import SupportsSave
from ragkit.testing import CONFORMANCE, IndexConformance, MetricConformance, check, run
from ragkit.testing.asserting import attempt, difference, refused, unchanged
from ragkit.testing.files import pickled
from ragkit.testing.kit import checks, law
from ragkit.testing.threads import together
from testing.right import BruteIndex, SameText
from testing.wrong.index import OffByOne

CHECKS = [(role, name) for role, cls in CONFORMANCE.items() for name in checks(cls)]


def test_there_is_a_class_for_every_role() -> None:
    assert list(CONFORMANCE) == list(ROLES)
    assert all(cls.role == role for role, cls in CONFORMANCE.items())
    assert set(dir(testing)) == set(testing.__all__)
    assert all(getattr(testing, name) is not None for name in testing.__all__)


@pytest.mark.parametrize(("role", "name"), CHECKS)
def test_every_check_says_its_law(role: str, name: str) -> None:
    said = law(CONFORMANCE[role], name)
    assert len(said) > 20
    assert said.endswith(".")


@pytest.mark.parametrize("module", ["kit", "installed"])
def test_examples_of_docstrings(module: str) -> None:
    found = doctest.testmod(importlib.import_module(f"ragkit.testing.{module}"))
    assert found.failed == 0
    assert found.attempted > 1


def test_pytest_is_not_needed_and_names_cost_nothing() -> None:
    code = "import ragkit.testing, sys; assert not {'torch', 'numpy'} & set(sys.modules)\n"
    code += "from ragkit.testing import check\n"
    code += "assert not [m for m in ('pytest', 'hypothesis') if m in sys.modules]\n"
    code += "assert all(one.state != 'failed' for one in check('metric', 'em'))"
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=120)


def test_what_is_right_passes_and_what_is_wrong_fails_with_a_message() -> None:
    class Right(IndexConformance):
        def make(self):
            return BruteIndex()

    class Wrong(Right):
        def make(self):
            return OffByOne()

    right, wrong = run(Right), {one.name: one for one in run(Wrong)}
    assert {one.state for one in right} == {"passed", "skipped"}
    assert [one.name for one in right] == checks(Right)
    assert {one.name for one in right if one.state == "skipped"} == {
        "test_is_registered",
        "test_entry_module_is_light",
    }
    caught = wrong["test_ids_are_row_numbers"]
    assert caught.state == "failed"
    assert "off by 1" in caught.message
    assert caught.law == "Row i of the vectors that an index was built of has the id i."


def test_an_error_of_the_component_is_a_failure_with_its_place() -> None:
    class Broken(MetricConformance):
        def make(self):
            return None

    class Raising(SameText):
        def __call__(self, predictions, examples):
            raise RuntimeError("out of paper")

    class Raises(MetricConformance):
        def make(self):
            return Raising()

    assert all("return a new metric" in one.message for one in run(Broken) if one.state == "failed")
    by_name = {one.name: one for one in run(Raises)}
    assert "RuntimeError: out of paper (test_kit.py, line" in by_name["test_numbers"].message


# ------------------------------------------------------------------------- by name


def test_by_name_with_options_and_settings() -> None:
    found = check("index", "faiss", factory="Flat", settings={"recall": 1.0, "count": 60})
    assert not [one for one in found if one.state == "failed"]
    light = {one.name: one.state for one in found}
    assert light["test_entry_module_is_light"] == light["test_is_registered"] == "passed"


def test_by_its_full_name_it_is_held_to_the_same() -> None:
    assert {one.state for one in check("metric", "ragkit:em")} <= {"passed", "skipped"}
    with pytest.raises(ConfigError, match="no setting 'recal'"):
        check("metric", "ragkit:em", settings={"recal": 1.0})


def test_a_class_or_a_conformance_class() -> None:
    assert not [one for one in check("index", ExactIndex, block=9) if one.state == "failed"]

    class Mine(MetricConformance):
        def make(self):
            return SameText()

    assert not [one for one in check("metric", Mine) if one.state == "failed"]


@pytest.mark.parametrize("role", ["encoder", "retriever", "generator", "task"])
def test_what_it_needs_is_filled_in(role: str) -> None:
    for listing in registry.components():
        name = listing.component.name
        if (role == "task" and name != "jsonl") or name == "seq2seq-classifier":
            continue  # their classes stand in `testing.test_tasks`, with the files they read
        if listing.role == role and listing.distribution == "ragkit":
            found = check(role, name)
            assert not [one for one in found if one.state == "failed"]


def test_a_component_may_name_its_own_class(monkeypatch: pytest.MonkeyPatch) -> None:
    class Odd(SameText):
        conformance = "testing.own:OddConformance"

        def __init__(self, secret: str) -> None:
            assert secret == "sesame"

    with pytest.raises(PluginError, match="cannot be imported"):
        check("metric", Odd)
    module = type(sys)("testing.own")
    monkeypatch.setitem(sys.modules, "testing.own", module)
    module.OddConformance = dict
    with pytest.raises(PluginError, match="no subclass of MetricConformance"):
        check("metric", Odd)

    class OddConformance(MetricConformance):
        def make(self):
            return Odd("sesame")

    module.OddConformance = OddConformance
    assert not [one for one in check("metric", Odd) if one.state == "failed"]


def test_what_there_is_not_is_said() -> None:
    with pytest.raises(UnknownName, match="did you mean 'exact'"):
        check("index", "exakt")
    with pytest.raises(ConfigError, match="did you mean 'index'"):
        check("indexes", "exact")
    with pytest.raises(ConfigError, match=r"unknown option 'blok'.*did you mean 'block'"):
        check("index", "exact", blok=3)
    with pytest.raises(ConfigError, match="no setting 'recal'; did you mean 'recall'"):
        check("index", "exact", settings={"recal": 1.0})


def test_options_that_nobody_can_guess_are_asked_for() -> None:
    class Needy(SameText):
        def __init__(self, licence: str) -> None:
            self.licence = licence

    found = check("metric", Needy)
    assert all("'licence' is missing" in one.message for one in found if one.state == "failed")
    assert any(one.state == "failed" for one in found)


# ------------------------------------------------------------------ what is installed


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A distribution whose entry module and component are written by the test."""
    monkeypatch.syspath_prepend(tmp_path)

    def install(entry: str, needs: str = "") -> None:
        (tmp_path / "gadget.py").write_text(
            f"{entry}\nfrom ragkit import Component, hookimpl\n"
            "@hookimpl\ndef ragkit_metrics():\n"
            f"    return [Component('gadget', 'gadget_metric:Gadget', '', needs=({needs}))]\n"
        )
        (tmp_path / "gadget_metric.py").write_text("from testing.right import SameText as Gadget\n")
        info = tmp_path / "gadget-1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: gadget\nVersion: 1\n")
        (info / "entry_points.txt").write_text("[ragkit]\ngadget = gadget\n")
        registry.forget()

    yield install
    for name in ("gadget", "gadget_metric"):
        sys.modules.pop(name, None)
    registry.forget()


@pytest.mark.parametrize(
    ("entry", "needs", "heavy"),
    [("import json", "", ""), ("import numpy", "", "numpy"), ("import regex", "'regex',", "regex")],
)
def test_entry_modules_must_be_light(installed, entry: str, needs: str, heavy: str) -> None:
    installed(entry, needs)
    found = {one.name: one for one in check("metric", "gadget")}
    light = found["test_entry_module_is_light"]
    if heavy:
        assert light.state == "failed"
        assert f"loads {heavy}" in light.message
        assert "name the class by its path" in light.message
    else:
        assert light.state == "passed"
    assert "no summary" in found["test_is_registered"].message


def test_make_must_make_what_the_name_stands_for() -> None:
    class Mine(IndexConformance):
        component = "faiss"

        def make(self):
            return ExactIndex()

    with pytest.raises(AssertionError, match="make the one that the name stands for"):
        Mine().test_is_registered()


# -------------------------------------------------------------------------- assertions


class Closed(BruteIndex):
    def add(self, vectors):
        raise DataError("rows cannot be added to a closed index; build a new one")


@pytest.mark.parametrize(
    ("kind", "refuses", "state", "says"),
    [
        (Closed, (), "failed", r"declares SupportsAdd .* and refuses: .*set refuses ="),
        (Closed, ("SupportsAdd",), "skipped", "build a new one"),
        (BruteIndex, (), "passed", ""),
        (BruteIndex, ("SupportsAdd",), "failed", "take it out of refuses"),
    ],
)
def test_declared_abilities_hold_or_are_named_as_refused(kind, refuses, state, says) -> None:
    settings = {"make": lambda kit: kind(), "refuses": refuses}
    (found,) = (
        one for one in run(type("Kit", (IndexConformance,), settings)) if one.name == "test_add"
    )
    assert found.state == state
    assert re.search(says, found.message)


@pytest.mark.parametrize(
    ("work", "says"),
    [
        (lambda: None, "was accepted; mend it"),
        (lambda: [][1], "raised IndexError: list index out of range; mend it"),
        (lambda: exec("raise DataError('no')"), "says too little"),
    ],
)
def test_refusals_must_say_something(work, says: str) -> None:
    with pytest.raises(AssertionError, match=says):
        refused("it", work, "mend it")
    refused("it", lambda: ExactIndex(block=0), "mend it")


def test_attempts_say_what_was_tried() -> None:
    says = r"^it raised ZeroDivisionError: division by zero; mend it \(test_kit\.py, line \d+\)$"
    with pytest.raises(AssertionError, match=says), attempt("it", "mend it"):
        1 / 0  # noqa: B018


def test_attempts_name_the_line_of_the_component_not_of_its_libraries() -> None:
    (line,) = re.findall(r"line (\d+)\)$", _said(lambda: json.loads("{")))
    here = _said.__code__.co_firstlineno
    assert int(line) < here < int(line) + 8
    assert "test_kit.py" in _said(lambda: json.loads("{"))


def _said(work) -> str:
    with pytest.raises(AssertionError) as caught, attempt("it", "mend it"):
        work()
    return str(caught.value)


def test_differences() -> None:
    inf = float("inf")
    assert difference([1.0, -inf], torch.tensor([1.0, -inf]), 0.0) == ""
    assert difference([1.0, float("nan")], [1.0, float("nan")], 0.0) == ""
    assert "at [1]" in difference([1.0, -inf], [1.0, 0.0], 1.0)
    assert "shape (1,) instead of (2,)" in difference([1], [1, 2], 0.0)
    assert difference([1.0], [1.0 + 1e-6], 1e-5) == ""
    assert difference(np.array([1, 2]), np.array([1, 3]), 10.0)


@pytest.mark.parametrize("value", [[1, 2], np.ones(2), torch.ones(2)], ids=["list", "np", "torch"])
def test_changes_are_seen(value) -> None:
    with unchanged("it", value=value):
        pass
    with pytest.raises(AssertionError, match="it changed its input 'value'; work on a copy"):  # noqa: SIM117
        with unchanged("it", value=value):
            value[0] = 7


def test_an_error_in_a_thread_is_not_lost() -> None:
    def work(i: int) -> int:
        if i == 2:
            raise ValueError("the third")
        return i

    with pytest.raises(ValueError, match="the third"):
        together(work, 4, 3)
    assert together(lambda i: i, 3, 2) == [[0, 0], [1, 1], [2, 2]]


def test_pickles_are_seen(tmp_path: Path) -> None:
    import json
    import pickle

    torch.save({"a": torch.ones(2)}, tmp_path / "torch")
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    for protocol in range(2, 6):
        (tmp_path / f"plain{protocol}").write_bytes(pickle.dumps({"a": [1]}, protocol))
    (tmp_path / "named.pkl").write_bytes(b"whatever")
    harmful = sorted(tmp_path.iterdir())
    assert [file.name for file in harmful if not pickled(file)] == []
    harmless = tmp_path / "harmless"
    harmless.mkdir()
    np.save(harmless / "numbers.npy", np.ones(3))
    np.ones(500, dtype=np.float32).tofile(harmless / "raw.bin")
    (harmless / "text.json").write_text(json.dumps({"a": 1}))
    (harmless / "empty").write_bytes(b"")
    (harmless / "begins").write_bytes(b"\x80\x04 and goes on otherwise")
    assert [file.name for file in harmless.iterdir() if pickled(file)] == []


def test_half_an_ability_is_none() -> None:
    class OnlySaves(SameText):
        def save(self, directory: Path) -> None: ...

    class Kit(MetricConformance):
        def make(self):
            return OnlySaves()

    assert not isinstance(OnlySaves(), SupportsSave)
    with pytest.raises(AssertionError, match="has 'save' but not 'load'"):
        Kit().test_signatures()
