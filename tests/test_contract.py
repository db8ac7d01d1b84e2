"""Protocols, records and hooks change by the policy of docs/protocols.md, and not otherwise."""

from __future__ import annotations

import copy
import json
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import contract
from neighbours import Plugin, install, offers, on_the_path
from ragkit import compatibility, hookspecs, protocols, registry, shipped
from ragkit.errors import PluginError

PAGE = Path(__file__).parents[1] / "docs" / "protocols.md"
HELD = json.loads(contract.FILE.read_text(encoding="utf-8"))


def test_nothing_has_changed_unsaid() -> None:
    done = contract.report()
    assert not done, "\n".join(
        ["what plugins are written against has changed; see docs/protocols.md", *done]
    )


def test_what_was_added_is_in_the_changelog_of_its_release() -> None:
    for name, release in HELD["since"].items():
        assert f"`{name}`" in contract.section(release), (name, release)


def test_everything_that_a_plugin_may_name_is_held() -> None:
    things = HELD["things"]
    assert set(hookspecs.ROLES.values()) | {hookspecs.MODELS} <= set(things)
    source = Path(protocols.__file__).read_text(encoding="utf-8")
    assert set(re.findall(r"^class (\w+)", source, re.MULTILINE)) <= set(things)
    assert things["Index"]["members"]["search"] == (
        "(self, queries: NDArray[np.float32], k: int) -> Hits"
    )
    assert things["Retrieved"]["members"]["tokens"] == "PassageTokens | None = None"
    assert things["Encoder"]["members"]["dimension"] == "property (self) -> int"


# ------------------------------------------------------------- changes, and what they ask


def gone(things: dict[str, Any]) -> None:
    del things["SupportsAdd"]


def less(things: dict[str, Any]) -> None:
    del things["Index"]["members"]["save"]


def other(things: dict[str, Any]) -> None:
    things["Index"]["members"]["search"] = "(self, queries: Tensor, k: int) -> Hits"


def asked_for(things: dict[str, Any]) -> None:
    things["Index"]["members"]["flush"] = "(self) -> None"


def obliged(things: dict[str, Any]) -> None:
    things["Example"]["members"]["language"] = "str"


def amid(things: dict[str, Any]) -> None:
    old = things["Component"]["members"]
    things["Component"]["members"] = {"name": old["name"], "colour": "str = ''", **old}


def wider(things: dict[str, Any]) -> None:
    things["Hits"]["members"]["seconds"] = "float = 0.0"


def moved(things: dict[str, Any]) -> None:
    old = things["Prediction"]["members"]
    things["Prediction"]["members"] = {name: old[name] for name in sorted(old)}


def recast(things: dict[str, Any]) -> None:
    things["Passage"]["kind"] = "record"


def hooked(things: dict[str, Any]) -> None:
    things["ragkit_indexes"]["members"][""] = "(config) -> Iterable[Component]"


def ability(things: dict[str, Any]) -> None:
    things["SupportsFlush"] = {"kind": "protocol", "members": {"flush": "(self) -> None"}}


def optional(things: dict[str, Any]) -> None:
    things["Example"]["members"]["language"] = "str | None = None"


def another_hook(things: dict[str, Any]) -> None:
    things["ragkit_readers"] = {"kind": "hook", "members": {"": "() -> Iterable[Component]"}}
    things["ROLES"]["members"]["reader"] = "= ragkit_readers"


BREAKING = (gone, less, other, asked_for, obliged, amid, wider, moved, recast, hooked)
ADDITIVE = (ability, optional, another_hook)


def changed(change: Any) -> list[contract.Change]:
    now = copy.deepcopy(HELD["things"])
    change(now)
    return contract.changes(HELD["things"], now)


@pytest.mark.parametrize("change", BREAKING)
def test_what_breaks_plugins_asks_for_another_version(change: Any) -> None:
    found = changed(change)
    assert any(one.breaking for one in found)
    named = "".join(f"`{one.name}` " for one in found)
    version = HELD["protocol"]
    (said,) = contract.faults(HELD, found, named, version, {})
    assert f"raise ragkit.protocols.PROTOCOL_VERSION to {version + 1}" in said
    # With a higher number the version before must still be read, and the changelog say why.
    unread, unsaid = contract.faults(HELD, found, named, version + 1, {})
    assert "ragkit.compatibility.STILL_READ" in unread
    assert f"'protocol {version + 1}'" in unsaid
    text = f"{named} protocol {version + 1}"
    assert contract.faults(HELD, found, text, version + 1, {version: "0.9"}) == []


@pytest.mark.parametrize("change", ADDITIVE)
def test_what_is_added_asks_for_a_line_in_the_changelog(change: Any) -> None:
    found = changed(change)
    assert found
    assert not any(one.breaking for one in found)
    (said,) = contract.faults(HELD, found, "nothing of note", HELD["protocol"], {})
    for one in found:
        assert f"`{one.name}`" in said
    named = " and ".join(f"`{one.name}`" for one in found)
    assert contract.faults(HELD, found, named, HELD["protocol"], {}) == []


def test_a_version_does_not_fall() -> None:
    (said,) = contract.faults(HELD, [], "", HELD["protocol"] - 1, {})
    assert "fell" in said


def test_it_is_taken_down_only_when_all_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    things = copy.deepcopy(HELD["things"])
    del things["SupportsAdd"]  # as if it were new
    monkeypatch.setattr(contract, "FILE", tmp_path / "contract.json")
    monkeypatch.setattr(contract, "CHANGELOG", tmp_path / "CHANGELOG.md")
    held = {"protocol": HELD["protocol"], "since": {}, "things": things}
    contract.FILE.write_text(json.dumps(held))
    contract.CHANGELOG.write_text("# Changelog\n\n## [0.1.0] - 2026\n\n- Nothing.\n")
    (said,) = contract.write()
    assert "`SupportsAdd`" in said
    assert json.loads(contract.FILE.read_text()) == held
    assert contract.report() == ["SupportsAdd is new", said, f"then type: {contract.COMMAND}"]
    contract.CHANGELOG.write_text("# Changelog\n\n## [0.1.0] - 2026\n\n- `SupportsAdd`.\n")
    assert contract.write() == []
    written = json.loads(contract.FILE.read_text())
    assert written["things"] == HELD["things"]
    assert list(written["since"]) == ["SupportsAdd"]
    assert contract.report() == []


# ------------------------------------------------------- one minor version more, warned


@pytest.fixture
def later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A ragkit of the next protocol, and plugins for this one, the last and that before."""
    now = protocols.PROTOCOL_VERSION
    for name, protocol in (("new", now + 1), ("old", now), ("ancient", now - 1)):
        record = f"Component({name!r}, '{name}_one:Thing', protocol={protocol})"
        install(tmp_path, f"{name}-one", Plugin(offers("ragkit_indexes", record)))
    source = offers("ragkit_indexes", "Component('unstated', 'silent:Thing')")
    (tmp_path / "folder").mkdir()
    source += f"""
import pathlib
from ragkit import Model
@hookimpl
def ragkit_models():
    return [Model('asleep', pathlib.Path({str(tmp_path / "folder")!r}))]
"""
    install(tmp_path, "silent", Plugin(source))
    monkeypatch.setattr(protocols, "PROTOCOL_VERSION", now + 1)
    monkeypatch.setattr(compatibility, "STILL_READ", {now: "0.9"})
    with on_the_path(tmp_path):
        yield


@pytest.mark.usefixtures("later")
def test_plugins_for_the_version_before_work_and_warn() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert registry.find("index", "new").__name__ == "Thing"
        assert registry.find("index", "exact").__name__ == "ExactIndex"  # ours are of today
        assert registry.lookup("index", "old").state == "ready"  # looking does not warn
    for name, owner in (("old", "old-one"), ("unstated", "silent")):  # the unstated is of 1
        with pytest.warns(FutureWarning, match="which ragkit 0.9 will no longer read") as caught:
            assert registry.find("index", name).__name__ == "Thing"
        (said,) = [str(one.message) for one in caught]
        assert said.startswith(f"index {name!r} of {owner} 2.5 was written for protocol ")
        assert said.endswith(f"pip install --upgrade {owner}")
    with pytest.warns(FutureWarning, match="^model 'asleep' of silent 2.5 was written for"):
        assert shipped.folder("asleep").name == "folder"
    with pytest.raises(PluginError, match=r"protocol 0, .*pip install --upgrade ancient-one"):
        registry.find("index", "ancient")


def test_a_record_states_its_version_or_is_of_the_first() -> None:
    for kind in (hookspecs.Component, hookspecs.Model):
        assert kind("a", "b:c").protocol == 1


# ------------------------------------------------------------------------- the page


def test_the_page_has_every_ability_hook_and_version() -> None:
    text = PAGE.read_text(encoding="utf-8")
    abilities = {name for name in HELD["things"] if name.startswith("Supports")}
    assert set(re.findall(r"^\| `(Supports\w+)` \|", text, re.MULTILINE)) == abilities
    rows = dict(re.findall(r"^\| `(ragkit_\w+)` \| `(\(.*?\))`", text, re.MULTILINE))
    hooks = {name: thing for name, thing in HELD["things"].items() if thing["kind"] == "hook"}
    assert set(rows) == set(hooks)
    for name, arguments in rows.items():
        assert hooks[name]["members"][""].startswith(arguments)
    versions = [int(one) for one in re.findall(r"^\| (\d+) \| \d", text, re.MULTILINE)]
    assert versions == list(range(1, protocols.PROTOCOL_VERSION + 1))
