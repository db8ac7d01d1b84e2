"""Models that are shipped as packages: found by name, whatever their neighbours do."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ragkit import persist, registry, shipped
from ragkit.errors import ConfigError, MissingDependency, PluginError, RagkitError, UnknownName


class Site:
    """A folder on the path with distributions as an installer would leave them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def install(
        self, name: str, records: str, before: str = "", hook: str = "ragkit_models"
    ) -> None:
        """A distribution whose plugin lies in a package with a folder ``model``."""
        package = self.folder / name.replace("-", "_")
        (package / "model").mkdir(parents=True)
        (package / "__init__.py").write_text(
            f"{before}\nfrom ragkit import Component, Model, hookimpl\n"
            f"@hookimpl\ndef {hook}():\n    return {records}\n"
        )
        info = self.folder / f"{package.name}-2.5.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 2.5\n")
        (info / "entry_points.txt").write_text(f"[ragkit]\n{package.name} = {package.name}\n")
        registry.forget()

    def theirs(self) -> list[shipped.Shipped]:
        """The listings of what was installed here."""
        return [one for one in shipped.models() if str(one.version) == "2.5"]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    (tmp_path / "site").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.delenv(registry.ALLOW, raising=False)
    before = set(sys.modules)
    yield Site(tmp_path / "site")
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) and str(tmp_path) in str(
            sys.modules[name].__file__
        ):
            del sys.modules[name]
    registry.forget()


def test_a_model_is_found_by_name_and_listed(site: Site) -> None:
    site.install("good-model", "[Model('fine', 'good_model:model', 'a line', 'MIT')]")
    assert shipped.folder("fine") == site.folder / "good_model" / "model"
    assert shipped.folder("good-model:fine") == shipped.folder("fine")
    (one,) = site.theirs()
    assert (one.state, one.qualified, one.model.licence) == ("ready", "good-model:fine", "MIT")


def test_a_path_is_a_folder_too(site: Site, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    place = f"__import__('pathlib').Path({str(tmp_path / 'elsewhere')!r})"
    site.install("far-model", f"[Model('far', {place})]")
    assert shipped.folder("far") == tmp_path / "elsewhere"


@pytest.mark.parametrize(
    ("records", "before", "reason"),
    [
        ("[]", "1 / 0", "ZeroDivisionError"),
        ("[Model('x y', 'broken_model:model')]", "", "the name 'x y' may have letters"),
        ("[Model('x', 'nocolon')]", "", "'package:folder'"),
        ("[Model('x', 'broken_model:../up')]", "", "'package:folder'"),
        ("[Model('x', 'broken_model:/etc')]", "", "'package:folder'"),
        ("[Model('x', 'broken_model:model', 3)]", "", "must be text"),
        ("[Model('x', 'broken_model:model', protocol='1')]", "", "must be a number"),
        ("[Model('x', 'broken_model:model')] * 2", "", "more than once"),
        ("Model('x', 'broken_model:model')", "", "must return a list of Model"),
        ("[Component('x', 'a:B')]", "", "is no ragkit.Model"),
        ("None", "", "must return a list of Model, and returned None"),
        ("[missing_name]", "", "NameError"),
    ],
)
def test_a_broken_plugin_harms_no_neighbour(
    site: Site, records: str, before: str, reason: str
) -> None:
    site.install("broken-model", records, before)
    site.install("good-model", "[Model('fine', 'good_model:model')]")
    (broken,) = [one for one in registry.plugins() if one.distribution == "broken-model"]
    assert broken.state == "broken"
    assert reason in broken.error
    assert [one.model.name for one in site.theirs()] == ["fine"]
    with pytest.raises(PluginError, match=r"broken-model 2\.5"):
        shipped.folder("broken-model")  # its distribution is asked for by name


def test_a_misspelt_hook_is_answered_with_the_right_one(site: Site) -> None:
    site.install("broken-model", "[]", hook="ragkit_model")
    (broken,) = [one for one in registry.plugins() if one.distribution == "broken-model"]
    assert "did you mean 'ragkit_models'?" in broken.error


def test_a_name_claimed_twice_must_be_written_in_full(site: Site) -> None:
    site.install("one-model", "[Model('fine', 'one_model:model')]")
    site.install("two-model", "[Model('fine', 'two_model:model')]")
    with pytest.raises(ConfigError, match="'one-model:fine' or 'two-model:fine'"):
        shipped.folder("fine")
    assert shipped.folder("two-model:fine").parent.name == "two_model"
    assert {one.state for one in site.theirs()} == {"clash"}


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ("Model('x', 'gone_model:absent')", "pip install --force-reinstall gone-model"),
        ("Model('x', 'no_such_package:model')", "pip install --force-reinstall gone-model"),
        ("Model('x', 'gone_model:model', protocol=99)", "pip install --upgrade ragkit"),
        ("Model('x', 'gone_model:model', protocol=0)", "pip install --upgrade gone-model"),
    ],
)
def test_what_cannot_be_opened_says_what_to_do(site: Site, record: str, reason: str) -> None:
    site.install("gone-model", f"[{record}]")
    (one,) = site.theirs()
    assert one.state == "broken"
    assert reason in one.error
    with pytest.raises(PluginError, match=reason):
        shipped.folder("x")


def test_unknown_names(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.install("good-model", "[Model('fine-one', 'good_model:model')]")
    with pytest.raises(UnknownName, match=r"did you mean 'fine-one'\?.*save_pretrained"):
        shipped.folder("fineone")
    # As if ragkit-tiny were not installed.
    monkeypatch.setattr(registry, "plugins", lambda: [])
    with pytest.raises(MissingDependency, match=r"pip install ragkit\[tiny\]"):
        shipped.folder("ragkit-tiny")
    with pytest.raises(
        UnknownName, match=r"'ragkit-tiny'.*To be had: .*pip install ragkit\[tiny\]"
    ):
        shipped.folder("ragkit-tny")


def test_one_that_the_allow_list_shuts_out_is_said_to_be_so(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.install("good-model", "[Model('good-model', 'good_model:model')]")
    monkeypatch.setenv(registry.ALLOW, "other")
    with pytest.raises(PluginError, match=f"not named in {registry.ALLOW}"):
        shipped.folder("good-model")


def test_a_folder_goes_before_a_name_and_a_name_before_the_hub(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.install("good-model", "[Model('fine', 'good_model:model')]")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(persist, "snapshot_download", lambda name, **_: f"hub/{name}")
    assert persist._find("fine", {}) == site.folder / "good_model" / "model"
    (tmp_path / "fine").mkdir()
    assert persist._find("fine", {}) == Path("fine")
    assert persist._find("owner/fine", {}) == Path("hub/owner/fine")
    for wrong in ("./absent", "absent/", "a/b/c", str(tmp_path / "absent")):
        with pytest.raises(ConfigError, match="there is no folder"):
            persist._find(wrong, {})
    with pytest.raises(RagkitError, match="'fine'"):
        persist._find("fin", {})


def test_finding_loads_nothing_heavy_and_not_the_package(site: Site) -> None:
    site.install("far-model", "[Model('far', 'weights_here:model')]")
    (site.folder / "weights_here" / "model").mkdir(parents=True)
    (site.folder / "weights_here" / "__init__.py").write_text("raise SystemExit('imported')")
    code = (
        "import sys; from ragkit import shipped; print(shipped.folder('far'))\n"
        "print([m for m in ('torch', 'numpy', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(site.folder), "PATH": "", registry.ALLOW: "far-model"},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.splitlines() == [str(site.folder / "weights_here" / "model"), "[]"]


def test_the_command_line_shows_models(site: Site) -> None:
    from typer.testing import CliRunner

    from ragkit.cli import build

    site.install("good-model", "[Model('fine', 'good_model:model', 'a line', 'MIT')]")
    shown: Any = CliRunner().invoke(build(), ["components", "model"])
    assert "fine" in shown.stdout
    assert "dpr" not in shown.stdout
    found = json.loads(CliRunner().invoke(build(), ["components", "--json"]).stdout)
    (mine,) = [one for one in found["models"] if one["distribution"] == "good-model"]
    assert mine["licence"] == "MIT"
    assert mine["folder"] == str(site.folder / "good_model" / "model")
