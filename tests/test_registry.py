"""Components are found whatever the neighbours do.

Distributions are made in a folder, as an installer would leave them, and looked at by a
fresh interpreter. Whatever is wrong with one, it is named with its distribution, version
and reason, and ragkit's own components are found as ever.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from neighbours import Plugin, install, look, offers
from ragkit import registry
from ragkit.errors import ConfigError, MissingDependency, PluginError, UnknownName
from ragkit.hookspecs import ROLES

OWN = len([one for one in registry.components() if one.distribution == "ragkit"])

BROKEN = {
    "a module that is not there": (
        Plugin("import nowhere_at_all"),
        "cannot be loaded from bad_one: ModuleNotFoundError: No module named 'nowhere_at_all'",
    ),
    "where the import fails": (Plugin("\n\n1 / 0"), "ZeroDivisionError: division by zero (", "3)"),
    "a syntax error": (Plugin("def (:"), "SyntaxError: ", "bad_one.py, line 1"),
    "leaving the process": (Plugin("raise SystemExit(3)"), "SystemExit: 3"),
    "no such module": (Plugin("", "no_such_module"), "No module named 'no_such_module'"),
    "an entry point of no form": (Plugin("", "?!"), "cannot be loaded from ?!"),
    "a hook that raises": (
        Plugin(offers("ragkit_indexes", "missing_name")),
        "failed in ragkit_indexes: NameError: name 'missing_name'",
        "bad_one.py, line 5",
    ),
    "a hook that leaves": (Plugin(offers("ragkit_indexes", "exit(4)")), "SystemExit: 4"),
    "a panic of compiled code": (
        Plugin("class PanicException(BaseException): ...\nraise PanicException('boom')"),
        "PanicException: boom",
        "bad_one.py, line 2",
    ),
    "nothing at all": (Plugin("", "bad_one:plugin"), "no attribute 'plugin'"),
    "None": (Plugin("plugin = None", "bad_one:plugin"), "implements no hook in bad_one:plugin"),
    "no hook": (Plugin("def ragkit_indexes(): ..."), "mark its hooks with @ragkit.hookimpl"),
    "a newer ragkit's names": (
        Plugin("from ragkit import Teleporter"),
        "ImportError: cannot import name 'Teleporter' from 'ragkit'",
    ),
    "a newer ragkit's fields": (
        Plugin(offers("ragkit_indexes", "Component('mine', 'bad_one:Thing', colour=1)")),
        "unexpected keyword argument 'colour'",
    ),
    "a number": (
        Plugin(offers("ragkit_indexes").replace("return []", "return 7")),
        "must return a list of Component, and returned 7",
    ),
    "a forgotten return": (
        Plugin(offers("ragkit_indexes").replace("return []", "[]")),
        "must return a list of Component, and returned None",
    ),
    "a bare component": (
        Plugin(offers("ragkit_indexes").replace("[]", "Component('x', 'bad_one:Thing')")),
        "must return a list of Component",
    ),
    "a list of strings": (
        Plugin(offers("ragkit_indexes", "'faiss'")),
        "'faiss' in its list is no ragkit.Component",
    ),
    "a name with a space": (
        Plugin(offers("ragkit_indexes", "Component('my index', 'bad_one:Thing')")),
        "the name 'my index' may have letters",
    ),
    "a target without class": (
        Plugin(offers("ragkit_indexes", "Component('mine', 'bad_one')")),
        "the target 'bad_one' must be 'module:Class'",
    ),
    "needs as a string": (
        Plugin(offers("ragkit_indexes", "Component('mine', 'bad_one:Thing', needs='faiss')")),
        "needs of 'mine' must be a tuple",
    ),
    "a name twice": (
        Plugin(offers("ragkit_indexes", *["Component('mine', 'bad_one:Thing')"] * 2)),
        "returned mine more than once",
    ),
    "a hook with an argument": (
        Plugin(offers("ragkit_indexes").replace("ragkit_indexes()", "ragkit_indexes(config)")),
        "has a hook of the wrong form",
        "config",
    ),
    "a misspelled hook": (
        Plugin(offers("ragkit_index", "Component('mine', 'bad_one:Thing')")),
        "there is no hook 'ragkit_index'; did you mean 'ragkit_indexes'?",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_neighbour_is_named_and_harms_nobody(name: str, tmp_path: Path) -> None:
    plugin, *reasons = BROKEN[name]
    install(tmp_path, "bad-one", plugin)
    good = offers("ragkit_indexes", "Component('good', 'good_one:Thing')")
    install(tmp_path, "good-one", Plugin(good))
    found = look(tmp_path, "index=good", "index=absent")
    (bad, *rest) = found["plugins"]
    assert bad[:3] == ["bad-one", "2.5", "broken"]
    assert bad[3].startswith("bad-one 2.5")
    for reason in reasons:
        assert reason in bad[3]
    assert rest == [["good-one", "2.5", "ready", ""]]
    assert found["own"] == OWN
    assert found["asked"]["index=good"] == "Thing"
    # Who looks in vain learns that the name may be the broken plugin's.
    assert "failed to load: bad-one 2.5; see `ragkit doctor`" in found["asked"]["index=absent"]


def test_what_one_hook_gets_wrong_leaves_the_other_hooks(tmp_path: Path) -> None:
    source = offers("ragkit_indexes", "Component('mine', 'mixed:Thing')")
    install(tmp_path, "mixed", Plugin(source + "@hookimpl\ndef ragkit_tasks():\n    return 1\n"))
    found = look(tmp_path, "index=mine")
    assert found["plugins"][0][2] == "broken"
    assert found["asked"]["index=mine"] == "Thing"


def test_damaged_metadata(tmp_path: Path) -> None:
    offer = offers("ragkit_indexes", "Component('mine', 'nameless:Thing')")
    install(tmp_path, "nameless", Plugin(offer, metadata=""))
    install(tmp_path, "garbled", Plugin("", entries="[ragkit]\nno equals sign\n"))
    for file in ("entry_points.txt", "METADATA"):  # text that is no UTF-8
        install(tmp_path, f"bytes-{file[:5].lower()}", Plugin(offers("ragkit_indexes")))
        info = tmp_path / f"bytes_{file[:5].lower()}-2.5.dist-info"
        (info / file).write_bytes(b"\xff\xfe[ragkit]")
    found = look(tmp_path, "index=mine")
    assert found["own"] == OWN
    assert found["asked"]["index=mine"] == "Thing"
    states = {name: (state, error) for name, _, state, error in found["plugins"]}
    assert states["nameless"][0] == "ready"
    assert "bytes_metad" in states  # named by its folder
    assert "bytes-entry" not in states
    assert states["garbled"][0] == "broken"
    assert "entry_points.txt" in states["garbled"][1]


def test_a_name_of_ragkits_own(tmp_path: Path) -> None:
    install(
        tmp_path, "usurper", Plugin(offers("ragkit_metrics", "Component('em', 'usurper:Thing')"))
    )
    found = look(tmp_path, "metric=em", "metric=usurper:em", "metric=ragkit:em")
    assert found["asked"] == {
        "metric=em": "ExactMatch",
        "metric=usurper:em": "Thing",
        "metric=ragkit:em": "ExactMatch",
    }
    ((_, _, state, error),) = found["theirs"]
    assert state == "clash"
    assert "metric 'em' of usurper 2.5: the name is ragkit's own" in error
    assert "choose this one as 'usurper:em'" in error


@pytest.mark.parametrize("first", ["alpha", "omega"])
def test_two_that_clash_whatever_their_order(first: str, tmp_path: Path) -> None:
    second = {"alpha": "omega", "omega": "alpha"}[first]
    for name in (first, second):
        offer = offers("ragkit_indexes", f"Component('mine', '{name}:Thing')")
        install(tmp_path, name, Plugin(offer))
    found = look(tmp_path, "index=mine", "index=alpha:mine", "index=mime")
    assert found["asked"]["index=mine"] == (
        "ConfigError: 2 plugins offer an index named 'mine'; choose one: "
        "'alpha:mine' or 'omega:mine'"
    )
    assert found["asked"]["index=alpha:mine"] == "Thing"
    known = found["asked"]["index=mime"].partition("Known: ")[2]
    assert {"alpha:mine", "exact", "faiss", "omega:mine"} <= set(known.split(". ")[0].split(", "))
    assert [one[2] for one in found["theirs"]] == ["clash", "clash"]


def test_two_entry_points_of_one_distribution_clash_too(tmp_path: Path) -> None:
    offer = offers("ragkit_indexes", "Component('mine', 'twice:Thing')")
    extra = "[ragkit]\na = twice\nb = twice_more\n"
    install(tmp_path, "twice", Plugin(offer, entries=extra))
    (tmp_path / "twice_more.py").write_text(offer)
    answers = look(tmp_path, "index=twice:mine", "index=exact")["asked"]
    assert answers["index=twice:mine"] == (
        "PluginError: index 'mine' of twice 2.5 is offered by several of its entry points; "
        "one of them must go"
    )
    assert answers["index=exact"] == "ExactIndex"


def test_a_slow_neighbour_is_known_by_its_seconds(tmp_path: Path) -> None:
    slow = "import time\ntime.sleep(0.2)\n"
    for name, before in (("slow", slow), ("swift", "")):
        record = f"Component('{name}', '{name}:Thing')"
        install(tmp_path, name, Plugin(offers("ragkit_indexes", record, before=before)))
    seconds = look(tmp_path)["seconds"]
    assert seconds["slow"] >= 0.2  # it slept so long; how fast the other is, nobody knows
    assert set(seconds) == {"slow", "swift"}


def test_a_missing_package_is_found_before_the_import(tmp_path: Path) -> None:
    records = (
        "Component('a', 'far:No', needs=('not_there',), install='pip install far[all]')",
        "Component('b', 'far:No', needs=('not_there', 'os'))",
    )
    install(tmp_path, "far", Plugin(offers("ragkit_indexes", *records)))
    found = look(tmp_path, "index=a", "index=b")
    assert found["asked"]["index=a"] == (
        "MissingDependency: index 'a' of far 2.5 needs not_there, not installed: "
        "pip install far[all]"
    )
    assert found["asked"]["index=b"].endswith("not installed: pip install not_there")
    assert [one[2] for one in found["theirs"]] == ["missing", "missing"]


@pytest.mark.parametrize(
    ("protocol", "upgrade"), [(0, "pip install --upgrade old-one"), (99, "--upgrade ragkit")]
)
def test_another_protocol(protocol: int, upgrade: str, tmp_path: Path) -> None:
    record = f"Component('mine', 'old_one:Thing', protocol={protocol})"
    install(tmp_path, "old-one", Plugin(offers("ragkit_indexes", record)))
    found = look(tmp_path, "index=mine")
    ((_, _, state, error),) = found["theirs"]
    assert state == "broken"
    assert f"of old-one 2.5 was written for protocol {protocol}, and this ragkit has 1" in error
    assert error.endswith(upgrade)
    assert found["asked"]["index=mine"] == f"PluginError: {error}"


def test_what_a_plugin_prints_is_not_our_output(tmp_path: Path) -> None:
    source = offers("ragkit_indexes", "Component('mine', 'loud:Thing')", before="print('hello')")
    install(tmp_path, "loud", Plugin(source.replace("    return", "    print('hi')\n    return")))
    lazy = "print('ho')\nfrom ragkit import Component, hookimpl\n"
    lazy += "@hookimpl\ndef ragkit_indexes():\n    print('hum')\n"
    lazy += "    yield Component('late', 'lazy_inside:Thing')\n"
    install(tmp_path, "lazy", Plugin(lazy))
    (tmp_path / "lazy_inside.py").write_text("print('hey')\nclass Thing: ...\n")
    asked = look(tmp_path, "index=mine", "index=late")["asked"]
    assert asked == {"index=mine": "Thing", "index=late": "Thing"}


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("hollow:Absent", "cannot be imported from hollow:Absent: AttributeError"),
        ("hollow_inside:X", "ModuleNotFoundError: No module named 'hollow_inside'"),
        ("hollow:number", "hollow:number is int, not a class or function"),
        ("hollow_exit:X", "SystemExit: 3 ("),
    ],
)
def test_a_record_that_leads_nowhere(target: str, reason: str, tmp_path: Path) -> None:
    offer = offers("ragkit_indexes", f"Component('mine', '{target}')") + "number = 3\n"
    install(tmp_path, "hollow", Plugin(offer))
    (tmp_path / "hollow_exit.py").write_text("raise SystemExit(3)\n")
    answer = look(tmp_path, "index=mine")["asked"]["index=mine"]
    assert answer.startswith("PluginError: index 'mine' of hollow 2.5")
    assert reason in answer


def test_the_allow_list(tmp_path: Path) -> None:
    for name in ("alpha-x", "omega"):
        module = name.replace("-", "_")
        offer = offers("ragkit_indexes", f"Component('mine', '{module}:Thing')")
        install(tmp_path, name, Plugin(offer))
    found = look(tmp_path, "index=mine", allow=" Alpha_X ,nobody")
    assert found["plugins"] == [
        ["alpha-x", "2.5", "ready", ""],
        ["omega", "2.5", "off", "not named in RAGKIT_PLUGINS"],
    ]
    assert found["asked"]["index=mine"] == "Thing"  # with omega off nothing clashes
    assert found["own"] == OWN
    assert [one[2] for one in look(tmp_path, allow="")["plugins"]] == ["off", "off"]


def test_names_of_our_own_load_no_plugin(tmp_path: Path) -> None:
    trace = tmp_path / "loaded"
    install(tmp_path, "traced", Plugin(f"open({str(trace)!r}, 'w').close()"))
    code = "from ragkit import make; make('metric', 'em')"
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    assert not trace.exists()
    look(tmp_path)
    assert trace.exists()


# ------------------------------------------------------------------ within this process


def test_every_component_of_our_own_can_be_imported() -> None:
    for one in registry.components():
        if one.distribution == "ragkit":
            assert one.state == "ready", one.error
            assert callable(registry.find(one.role, one.component.name))
            assert one.component.summary
    assert {one.role for one in registry.components()} == set(ROLES)


def test_a_bare_record_needs_nothing_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_installed", lambda module: module != "faiss")
    registry.forget()
    try:
        with pytest.raises(MissingDependency, match="needs faiss, not installed: pip install"):
            registry.make("index", "faiss")
        assert registry.make("index", "exact") is not None
    finally:
        monkeypatch.undo()
        registry.forget()


@pytest.mark.parametrize(
    ("role", "name", "options", "kind", "message"),
    [
        ("indx", "faiss", {}, UnknownName, "no role is named 'indx'; did you mean 'index'"),
        ("index", "fais", {}, UnknownName, r"did you mean 'faiss'\? Known: exact, .*faiss"),
        ("index", "ragkit:fais", {}, UnknownName, "no index is named 'ragkit:fais'"),
        ("index", 3, {}, ConfigError, "the name of an index is 3; it must be a string"),
        ("index", "faiss", {"factry": "Flat"}, ConfigError, "did you mean 'factory'"),
        ("index", "faiss", {"factory": 4}, ConfigError, r"factory: 4 \(int\) must be str"),
    ],
)
def test_what_cannot_be_made(
    role: str, name: str, options: dict[str, Any], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        registry.make(role, name, **options)


def test_all_faults_of_options_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        registry.make("index", "faiss", factory=4, serch=1)
    assert len(caught.value.faults) == 2


def test_our_own_hooks_must_be_right(monkeypatch: pytest.MonkeyPatch) -> None:
    from ragkit import builtin

    monkeypatch.setattr(builtin, "ragkit_tasks", builtin.hookimpl(lambda: 3))
    registry.forget()
    try:
        with pytest.raises(PluginError, match="failed in ragkit_tasks"):
            registry.components()
    finally:
        monkeypatch.undo()
        registry.forget()
