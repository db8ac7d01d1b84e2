"""New packages: what they are called, what is refused, and that their own tests pass at once."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
import xml.etree.ElementTree as ElementTree
import zipfile
from pathlib import Path

import pytest

from ragkit import registry, scaffold
from ragkit.errors import ConfigError, UnknownName
from ragkit.hookspecs import ROLES
from ragkit.protocols import PROTOCOL_VERSION

ROOT = Path(__file__).parents[2]
PACKAGES = {
    "ragkit-near": ["index"],
    "ragkit-begins": ["metric"],
    "next-byte": ["generator"],
    "ragkit-the-rest": ["encoder", "retriever", "marginalizer", "objective", "task"],
}


def built(folder: Path) -> Path:
    """The packages as folders, and a site with all their wheels as an installer leaves them."""
    build = "from hatchling.build import build_wheel; import sys; build_wheel(sys.argv[1])"
    site = folder / "site"
    site.mkdir()
    for name, roles in PACKAGES.items():
        scaffold.write(scaffold.render(name, roles), folder / name)
        subprocess.run(
            [sys.executable, "-c", build, str(folder)],
            cwd=folder / name,
            check=True,
            capture_output=True,
            timeout=120,
        )
    for wheel in folder.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(site)
    return site


def test_their_own_tests_pass_at_once(tmp_path: Path) -> None:
    pytest.importorskip("hatchling", reason="the build backend is not installed")
    site = built(tmp_path)
    report = tmp_path / "report.xml"
    options = ("-q", "-p", "no:cacheprovider", "-W", "error", f"--junitxml={report}")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", *options),
            *("-c", str(tmp_path / "ragkit-near" / "pyproject.toml")),
            *(str(tmp_path / name / "tests") for name in PACKAGES),
        ],
        # The sources are not on the path: it is the wheels that are imported.
        env={**os.environ, "PYTHONPATH": str(site)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    cases = list(ElementTree.parse(report).iter("testcase"))
    passed: dict[str, set[str]] = {}
    for case in cases:
        if case.find("skipped") is None:
            owner = case.attrib["classname"].rpartition(".")[2]
            passed.setdefault(owner, set()).add(case.attrib["name"])
    for name, roles in PACKAGES.items():
        for role in roles:
            mine = passed[f"Test{scaffold.names(name).cls(role)}"]
            # That it is found by its name, and that its entry module is light, was looked at.
            assert {"test_is_registered", "test_entry_module_is_light", "test_signatures"} <= mine
            assert len(mine) > 8, (name, role)
    assert sorted(role for roles in PACKAGES.values() for role in roles) == sorted(ROLES)


@pytest.mark.parametrize("role", ROLES)
def test_a_package_of_one_role(role: str) -> None:
    files = scaffold.render("ragkit-near-by", [role])
    assert set(files) == {
        *("pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE"),
        *("src/ragkit_near_by/__init__.py", "src/ragkit_near_by/py.typed"),
        *(f"src/ragkit_near_by/{role}.py", f"tests/test_{role}.py"),
    }
    for name, text in files.items():
        assert name == "LICENSE" or "$" not in text.replace("$ ", ""), name  # all is filled in
        if name.endswith(".py"):
            compile(text, name, "exec")
    project = tomllib.loads(files["pyproject.toml"])["project"]
    assert project["name"] == "ragkit-near-by"
    assert project["entry-points"]["ragkit"] == {"ragkit-near-by": "ragkit_near_by"}
    entry = files["src/ragkit_near_by/__init__.py"]
    assert f"def {ROLES[role]}()" in entry
    assert f"protocol={PROTOCOL_VERSION}," in entry
    assert files == scaffold.render("ragkit-near-by", [role, role])


def test_its_licence_is_the_one_it_names() -> None:
    files = scaffold.render("ragkit-near", ["index"])
    assert files["LICENSE"] == (ROOT / "LICENSE").read_text(encoding="utf-8")


def test_they_are_clean(tmp_path: Path) -> None:
    pytest.importorskip("ruff", reason="ruff is not installed")
    for name, roles in PACKAGES.items():
        scaffold.write(scaffold.render(name, roles), tmp_path / name)
    for words in (["check"], ["format", "--check"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *words, "--no-cache", str(tmp_path)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout


def test_the_example_is_what_the_template_gives() -> None:
    folder = ROOT / "plugins" / "ragkit-example"
    found = {
        file.relative_to(folder).as_posix(): file.read_text(encoding="utf-8")
        for file in folder.rglob("*")
        if file.is_file()
        and not {"__pycache__", "dist", "build"} & set(file.parts)
        and not any(part.startswith(".") for part in file.relative_to(folder).parts)
    }
    assert found == scaffold.render("ragkit-example", ["index"]), (
        "render it anew: ragkit plugins new ragkit-example --role index --into plugins"
    )


@pytest.mark.parametrize(
    ("name", "like"),
    [
        ("My Index", "my-index"),
        ("RagkitNear", "ragkit-near"),
        ("ragkit_near", "ragkit-near"),
        ("near-", "near"),
        ("3d", "ragkit-nearest"),
        ("ragkit-3d", "ragkit-nearest"),
        ("", "ragkit-nearest"),
        ("ragkit", "ragkit-nearest"),
        ("json", "ragkit-json"),
        ("class", "ragkit-class"),
        ("../near", "near"),
        ("n" * 41, "n" * 40),
    ],
)
def test_bad_names_are_answered_with_a_good_one(name: str, like: str) -> None:
    with pytest.raises(ConfigError, match="cannot name a package") as caught:
        scaffold.names(name)
    assert str(caught.value).endswith(f": {like}")
    assert scaffold.names(like).distribution == like


@pytest.mark.parametrize(
    ("distribution", "package", "component", "cls"),
    [
        ("ragkit-near", "ragkit_near", "near", "NearIndex"),
        ("acme-near-by", "acme_near_by", "acme-near-by", "AcmeNearByIndex"),
        ("my-index", "my_index", "my-index", "MyIndex"),
    ],
)
def test_names(distribution: str, package: str, component: str, cls: str) -> None:
    called = scaffold.names(distribution)
    assert (called.package, called.component, called.cls("index")) == (package, component, cls)
    assert registry._NAME.fullmatch(called.component)


def test_roles_are_named_rightly_or_refused() -> None:
    with pytest.raises(UnknownName, match="no role is named 'indx'; did you mean 'index'"):
        scaffold.render("ragkit-near", ["indx"])
    with pytest.raises(ConfigError, match="at least one role: --role index"):
        scaffold.render("ragkit-near", [])


def test_nothing_is_written_over(tmp_path: Path) -> None:
    folder = tmp_path / "ragkit-near"
    folder.mkdir()
    with pytest.raises(ConfigError, match="exists already"):
        scaffold.write({"a": "b"}, folder)
    assert list(folder.iterdir()) == []
    with pytest.raises(ConfigError, match="is no folder; make it first"):
        scaffold.write({"a": "b"}, tmp_path / "absent" / "ragkit-near")


def test_a_package_is_made_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Path, *_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    files = {"one": "1", "two/deep": "2"}
    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(OSError, match="No space left"):
        scaffold.write(files, tmp_path / "ragkit-near")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    scaffold.write(files, tmp_path / "ragkit-near")
    assert [one.name for one in tmp_path.iterdir()] == ["ragkit-near"]
    assert (tmp_path / "ragkit-near" / "two" / "deep").read_text() == "2"
    # As any folder that its maker made.
    plain = tmp_path / "plain"
    plain.mkdir()
    assert (tmp_path / "ragkit-near").stat().st_mode == plain.stat().st_mode
