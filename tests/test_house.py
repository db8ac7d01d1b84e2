"""What holds for the whole house: names, lightness, sizes, versions, the wheel."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import ragkit

ROOT = Path(__file__).parents[1]
VERSION = ragkit.__version__
HEAVY = ("torch", "numpy", "transformers", "faiss", "pyarrow", "datasets", "typer", "rich")


def loaded(code: str) -> set[str]:
    """The modules that are in memory after code ran in a fresh interpreter."""
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return set(done.stdout.split("\n")[-2].split())


@pytest.mark.parametrize(
    "module",
    [
        "ragkit",
        "ragkit.protocols",
        "ragkit.hookspecs",
        "ragkit.errors",
        "ragkit.builtin",
        "ragkit.registry",
        "ragkit.shipped",
        "ragkit.config",
        "ragkit.answer",
        "ragkit.answer_html",
        "ragkit.elsewhere",
        "ragkit.compatibility",
        "ragkit.scaffold",
    ],
)
def test_light_modules_load_nothing_heavy(module: str) -> None:
    assert not loaded(f"import {module}") & set(HEAVY)


def test_names_of_components_load_nothing_heavy() -> None:
    code = "from ragkit import registry; registry.components()"
    assert not loaded(code) & set(HEAVY)


def test_help_of_the_command_line_loads_nothing_heavy() -> None:
    code = "import sys; sys.argv = ['ragkit', '--help']\nfrom ragkit import cli\n"
    code += "try:\n    cli.main()\nexcept SystemExit:\n    pass"
    assert not loaded(code) & {"torch", "numpy", "transformers", "faiss", "pyarrow", "datasets"}


@pytest.mark.parametrize("name", ragkit.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(ragkit, name) is not None


def test_public_names_are_one_list() -> None:
    assert len(set(ragkit.__all__)) == len(ragkit.__all__)
    assert set(dir(ragkit)) == set(ragkit.__all__)
    source = Path(ragkit.__file__).read_text(encoding="utf-8")
    typed = source.partition("if TYPE_CHECKING:")[2].partition("\n\n")[0]
    names = set(re.findall(r"\b([A-Za-z]\w*)(?=,|\n|$)", re.sub(r"from \S+ import", "", typed)))
    assert names == set(ragkit.__all__) - {"__version__"}


def test_an_absent_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        ragkit.Nothing  # noqa: B018


def test_no_file_is_longer_than_500_lines() -> None:
    files = [f for d in ("src", "tests", "benchmarks", "plugins") for f in (ROOT / d).rglob("*.py")]
    assert len(files) > 50
    long = {str(f.relative_to(ROOT)) for f in files if len(f.read_bytes().splitlines()) > 500}
    assert not long


def test_versions_agree() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    top = re.search(r"^## \[(\d[^\]]*)\]", changes, re.MULTILINE)
    assert top is not None
    assert top[1] == project["version"] == ragkit.__version__


def test_the_wheel_holds_types_licence_and_all_modules(tmp_path: Path) -> None:
    pytest.importorskip("hatchling", reason="the build backend is not installed")
    build = "from hatchling.build import build_wheel; import sys; build_wheel(sys.argv[1])"
    subprocess.run(
        [sys.executable, "-c", build, str(tmp_path)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        timeout=120,
    )
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
    names = set(sizes)
    assert "ragkit/py.typed" in names
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
    for file in (ROOT / "src").rglob("*.py"):
        assert file.relative_to(ROOT / "src").as_posix() in names
    assert {name.split("/")[0] for name in names} == {"ragkit", f"ragkit-{VERSION}.dist-info"}
    assert not [name for name in names if name.endswith((".pyc", ".pt", ".bin", ".pkl"))]
    assert "ragkit/demo/page.html" in names
    assert "ragkit/scaffold/templates/index.txt" in names
    assert 0 < sizes["ragkit/demo/facts.tsv"] + sizes["ragkit/demo/phrasings.json"] < 1_000_000
    weights = {name: size for name, size in sizes.items() if name.endswith(".safetensors")}
    assert set(weights) == {
        f"ragkit/demo/checkpoint/{part}/model.safetensors" for part in ("encoder", "generator")
    }
    assert sum(weights.values()) <= 6_000_000
    assert "ragkit/demo/checkpoint/README.md" in names


SOURCES = sorted((ROOT / "src").rglob("*.py"))


@pytest.mark.parametrize("file", SOURCES, ids=lambda f: str(f.relative_to(ROOT / "src")))
def test_a_module_says_what_it_is_and_runs_nothing_it_was_given(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    tree = ast.parse(text)
    first = (ast.get_docstring(tree) or "").split("\n\n")[0]
    assert len(first) > 20, "a module's first lines say what it is"
    assert first.endswith((".", "!", ":"))
    assert not [found for node in ast.walk(tree) for found in dangers(node)]
    assert not re.search(r"(?<![\w.~])/(work|home|root|Users|mnt)/\w", text), "a machine's path"


def dangers(node: ast.AST) -> list[str]:
    """What would run code out of a file or a string: pickles, eval, shells, unsafe YAML."""
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        names = [alias.name for alias in node.names]
        if isinstance(node, ast.ImportFrom):
            names.append(node.module or "")
        return sorted({"pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve"} & {*names})
    if not isinstance(node, ast.Call):
        return []
    called = ast.unparse(node.func)
    given = {one.arg: ast.unparse(one.value) for one in node.keywords}
    wrong = [
        called in ("eval", "exec", "os.system", "yaml.unsafe_load", "yaml.full_load"),
        called == "torch.load" and given.get("weights_only") != "True",
        called.endswith("np.load") and given.get("allow_pickle", "False") != "False",
        called == "yaml.load" and len(node.args) + len(node.keywords) < 2,
        given.get("shell") == "True",
        given.get("trust_remote_code", "False") != "False",
    ]
    return [called] if any(wrong) else []


@pytest.mark.parametrize(
    ("code", "wrong"),
    [
        ("import pickle", True),
        ("from pickle import load", True),
        ("eval('1')", True),
        ("model.eval()", False),
        ("torch.load(f)", True),
        ("torch.load(f, weights_only=False)", True),
        ("torch.load(f, weights_only=True)", False),
        ("np.load(f, allow_pickle=True)", True),
        ("np.load(f)", False),
        ("yaml.load(f)", True),
        ("subprocess.run(c, shell=True)", True),
        ("AutoModel.from_pretrained(f, trust_remote_code=True)", True),
    ],
)
def test_dangers_are_seen(code: str, wrong: bool) -> None:
    assert any(dangers(node) for node in ast.walk(ast.parse(code))) is wrong
