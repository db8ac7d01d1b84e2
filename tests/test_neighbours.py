"""Life beside broken neighbours: each is a distribution of its own, installed in a folder.

With each of them ragkit lists its components, shows the help of its demo and builds every one of
its own components; and whatever is wrong is said, with the name, the version and what to do.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import tiny
from neighbours import OTHERS, Plugin, install, offers, on_the_path, surroundings
from ragkit import KnowledgeBase, Passage, registry

RUN = """
import contextlib, io, json, sys
from ragkit.cli import build

found = {}
for words in sys.argv[1:]:
    stdout = io.StringIO()
    with contextlib.redirect_stdout(stdout):
        build()(words.split(), standalone_mode=False)
    found[words] = stdout.getvalue()
heavy = {"torch", "numpy", "transformers"} & set(sys.modules)
print(json.dumps({"said": found, "heavy": sorted(heavy)}))
"""


class Neighbour(NamedTuple):
    """What is wrong: plugins by name, and what must be said of the first of them.

    state: of the plugin, or of its component where the plugin itself is ready.
    said: regular expressions, all of which the report must match.
    """

    plugins: dict[str, Plugin]
    state: str
    said: tuple[str, ...]


def thing(module: str, name: str = "mine", **more: str) -> str:
    extra = "".join(f", {key}={value}" for key, value in more.items())
    return f"Component({name!r}, '{module}:Thing'{extra})"


NEIGHBOURS = {
    "import error": Neighbour(
        {"bad-import": Plugin("\nimport nowhere_at_all\n")},
        "broken",
        (
            r"^bad-import 2\.5 cannot be loaded from bad_import: ModuleNotFoundError: ",
            r"No module named 'nowhere_at_all' \(.*bad_import\.py, line 2\)$",
        ),
    ),
    "SyntaxError": Neighbour(
        {"bad-syntax": Plugin("x = 1\ndef (:\n")},
        "broken",
        (r"^bad-syntax 2\.5 .* SyntaxError: .* \(.*bad_syntax\.py, line 2\)$",),
    ),
    "raises in the hook": Neighbour(
        {"bad-hook": Plugin(offers("ragkit_indexes", "1 / 0"))},
        "broken",
        (
            r"^bad-hook 2\.5 failed in ragkit_indexes: ZeroDivisionError: division by zero",
            r"\(.*bad_hook\.py, line 5\)$",
        ),
    ),
    "returns wrong things": Neighbour(
        {"bad-answer": Plugin(offers("ragkit_indexes", "'faiss', 7"))},
        "broken",
        (r"^bad-answer 2\.5 failed in .* 'faiss' in its list is no ragkit\.Component$",),
    ),
    "wrong signature": Neighbour(
        {
            "bad-signature": Plugin(
                offers("ragkit_indexes").replace("ragkit_indexes()", "ragkit_indexes(settings)")
            )
        },
        "broken",
        (r"^bad-signature 2\.5 has a hook of the wrong form: .*settings",),
    ),
    "misspelled hook": Neighbour(
        {"bad-spelling": Plugin(offers("ragkit_indices", thing("bad_spelling")))},
        "broken",
        (
            r"^bad-spelling 2\.5: there is no hook 'ragkit_indices'; did you mean "
            r"'ragkit_indexes'\? Hooks: ragkit_encoders, ",
        ),
    ),
    "takes a built-in's name": Neighbour(
        {"usurper": Plugin(offers("ragkit_indexes", thing("usurper", "exact")))},
        "clash",
        (
            r"^index 'exact' of usurper 2\.5: the name is ragkit's own; choose this one as "
            r"'usurper:exact'$",
        ),
    ),
    "two that clash": Neighbour(
        {
            name: Plugin(offers("ragkit_indexes", thing(name, "twin")))
            for name in ("castor", "pollux")
        },
        "clash",
        (
            r"^index 'twin' of castor 2\.5: the name is also claimed by pollux; choose this one as "
            r"'castor:twin'$",
        ),
    ),
    "missing dependency": Neighbour(
        {
            "lacking": Plugin(
                offers(
                    "ragkit_indexes",
                    thing("lacking", needs="('far_away',)", install="'pip install far-away[all]'"),
                )
            )
        },
        "missing",
        (r"^index 'mine' of lacking 2\.5 needs far_away, not installed: pip install far-away",),
    ),
    "built for an older protocol": Neighbour(
        {"older": Plugin(offers("ragkit_indexes", thing("older", protocol="0")))},
        "broken",
        (r"of older 2\.5 was written for protocol 0, .* pip install --upgrade older$",),
    ),
    "built for a newer protocol": Neighbour(
        {"newer": Plugin(offers("ragkit_indexes", thing("newer", protocol="99")))},
        "broken",
        (r"of newer 2\.5 was written for protocol 99, .* pip install --upgrade ragkit$",),
    ),
    "prints on import": Neighbour(
        {"loud": Plugin(offers("ragkit_indexes", thing("loud"), before="print('{loud}')"))},
        "ready",
        (),
    ),
    "slow import": Neighbour(
        {
            "slow": Plugin(
                offers("ragkit_indexes", thing("slow"), before="import time; time.sleep(0.3)")
            )
        },
        "ready",
        (r"^slow 2\.5 took [3-9]\d\d+ ms to load, at every command; let slow import nothing but",),
    ),
    "entry point to nothing": Neighbour(
        {"hollow": Plugin("", "hollow:plugin")},
        "broken",
        (r"^hollow 2\.5 cannot be loaded from hollow:plugin: AttributeError: .*'plugin'",),
    ),
    "entry point to no module": Neighbour(
        {"absent": Plugin("", "absent_module")},
        "broken",
        (r"^absent 2\.5 cannot be loaded from absent_module: .* No module named 'absent_module'",),
    ),
}
COMMANDS = ("components", "components --json", "plugins list", "plugins list --json", "demo --help")


def run(folder: Path) -> dict[str, str]:
    """What the commands print, with a folder on the path of a fresh interpreter."""
    done = subprocess.run(
        [sys.executable, "-c", RUN, *COMMANDS],
        env={**surroundings(folder), "COLUMNS": "500"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)  # nothing of a plugin's is in it
    assert found["heavy"] == []
    return dict(found["said"])


def check(said: dict[str, str], neighbour: Neighbour) -> None:
    """Assert that the commands did what they do, and reported this neighbour."""
    assert "--seed" in said["demo --help"]
    components = json.loads(said["components --json"])
    own = [one for one in components["components"] if one["distribution"] == "ragkit"]
    expected = [one for one in registry.components() if one.distribution == "ragkit"]
    assert len(own) == len(expected)
    assert all(one["state"] == "ready" for one in own)
    first = next(iter(neighbour.plugins))
    rows = [
        one
        for one in json.loads(said["plugins list --json"])["plugins"]
        if one["distribution"] == first
    ]
    (row,) = rows
    assert (row["version"], row["state"]) == ("2.5", neighbour.state)
    assert row["milliseconds"] >= 0
    for command in ("components", "plugins list"):
        lines = [line.strip() for line in said[command].split("\n")]
        for reason in neighbour.said:
            # In the table a sentence follows other cells, below it one has a line of its own.
            anywhere = [line for line in lines if re.search(reason.lstrip("^"), line)]
            assert anywhere, f"{command}: {reason}\n{said[command]}"
    if row["state"] != "ready":
        for reason in neighbour.said:
            assert re.search(reason, row["error"]), row["error"]


@pytest.mark.parametrize("what", NEIGHBOURS)
def test_commands_work_and_say_what_is_wrong(what: str, tmp_path: Path) -> None:
    neighbour = NEIGHBOURS[what]
    for name, plugin in neighbour.plugins.items():
        install(tmp_path, name, plugin)
    check(run(tmp_path), neighbour)


BUILD = """
import os, sys
from hatchling.build import build_wheel

for project in sys.argv[2:]:
    os.chdir(project)
    build_wheel(sys.argv[1])
"""


def project(folder: Path, name: str, plugin: Plugin) -> Path:
    """The sources of a distribution, as its author has them."""
    module = name.replace("-", "_")
    root = folder / name
    root.mkdir()
    (root / f"{module}.py").write_text(plugin.source)
    (root / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
        f'[project]\nname = "{name}"\nversion = "2.5"\n'
        f'[project.entry-points.ragkit]\n{name} = "{plugin.entry or module}"\n'
        f'[tool.hatch.build.targets.wheel]\ninclude = ["{module}.py"]\n'
    )
    return root


def test_all_of_them_at_once_from_wheels(tmp_path: Path) -> None:
    pytest.importorskip("hatchling", reason="the build backend is not installed")
    projects = []
    for neighbour in NEIGHBOURS.values():
        for name, plugin in neighbour.plugins.items():
            # Each offers a name of its own, so that only those clash that are to clash.
            source = plugin.source.replace("'mine'", f"'{name}'")
            projects.append(project(tmp_path, name, plugin._replace(source=source)))
    build = [sys.executable, "-c", BUILD, str(tmp_path), *map(str, projects)]
    subprocess.run(build, check=True, capture_output=True, timeout=240)
    site = tmp_path / "site"
    for wheel in tmp_path.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(site)
    said = run(site)
    for neighbour in NEIGHBOURS.values():
        said_of = [one.replace("'mine'", r"'[\w-]+'") for one in neighbour.said]
        check(said, neighbour._replace(said=tuple(said_of)))


# ------------------------------------------------------------------ within this process


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> KnowledgeBase:
    passages = [Passage("1", "one", "the first"), Passage("2", "two", "the second")]
    folder = tmp_path_factory.mktemp("base") / "base"
    return KnowledgeBase.build(passages, encoder(), "exact", folder)


def encoder() -> Any:
    return registry.make("encoder", "dpr", model=tiny.bert(), tokenizer=tiny.tokenizer())


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    with on_the_path(tmp_path):
        yield tmp_path


@pytest.mark.parametrize("what", NEIGHBOURS)
def test_every_built_in_is_built(
    what: str, path: Path, base: KnowledgeBase, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, plugin in NEIGHBOURS[what].plugins.items():
        install(path, name, plugin)
    registry.forget()
    assert {one.distribution for one in registry.plugins()} >= set(NEIGHBOURS[what].plugins)
    options: dict[str, dict[str, Any]] = {
        "dpr": {"model": tiny.bert(), "tokenizer": tiny.tokenizer()},
        "seq2seq": {"model": tiny.bart(), "tokenizer": tiny.tokenizer()},
        "seq2seq-classifier": {
            "model": tiny.bart(),
            "tokenizer": tiny.tokenizer(),
        },
        "dense": {"encoder": encoder(), "knowledge_base": base},
        "beir": {"path": str(path)},
    }
    (path / "dev.jsonl").write_text('{"question": "q", "answers": ["a"]}\n')
    task = {"path": str(path / "dev.jsonl")}
    built = [
        registry.make(
            one.role,
            one.component.name,
            **options.get(one.component.name, task if one.role == "task" else {}),
        )
        for one in registry.components()
        if one.distribution == "ragkit"
    ]
    assert len(built) >= 40
    assert None not in built
    assert capsys.readouterr().out == ""  # what a plugin prints is no output of ours


def test_no_neighbour_is_installed_where_the_tests_run() -> None:
    assert not OTHERS & {name for one in NEIGHBOURS.values() for name in one.plugins}
