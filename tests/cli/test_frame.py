"""The frame of the command line, and the verbs components, config and doctor."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ragkit import __version__, config, registry
from ragkit.cli import VERBS, build


def ragkit(*words: str) -> subprocess.CompletedProcess[str]:
    """The command as users run it, away from any terminal."""
    return subprocess.run(
        [sys.executable, "-c", "from ragkit.cli import main; main()", *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def as_json(*words: str) -> Any:
    done = ragkit(*words, "--json")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return json.loads(done.stdout)


def test_help_names_every_verb() -> None:
    done = ragkit("--help")
    assert done.returncode == 0
    for verb in VERBS:
        assert verb in done.stdout


def test_version() -> None:
    assert ragkit("--version").stdout == f"ragkit {__version__}\n"


@pytest.mark.parametrize(
    ("words", "code", "parts"),
    [
        (["fly"], 2, ["fly"]),
        (["components", "indx"], 2, ["no role is named 'indx'; did you mean 'index'?"]),
        (["config", "show", "index", "fais"], 2, ["did you mean 'faiss'?"]),
        (["config", "check", "absent.yaml"], 2, ["absent.yaml", "give a YAML file"]),
        (["components", "--colour"], 2, ["--colour"]),
    ],
)
def test_wrong_use_is_said_on_stderr(words: list[str], code: int, parts: list[str]) -> None:
    done = ragkit(*words)
    assert done.returncode == code
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    for part in parts:
        assert part in done.stderr.replace("\n", " ")


def test_components_lists_all() -> None:
    found = as_json("components", "index")["components"]
    assert {one["name"] for one in found if one["distribution"] == "ragkit"} == {"exact", "faiss"}
    shown = ragkit("components", "index").stdout
    assert "faiss" in shown
    assert "dpr" not in shown


def test_config_show_has_types_and_defaults() -> None:
    options = as_json("config", "show", "retriever", "dense")
    assert options["encoder"]["required"]
    assert options["temperature"] == {"type": "float", "required": False, "default": 1.0}
    assert "(required)" in ragkit("config", "show", "retriever", "dense").stdout


@pytest.mark.parametrize(
    ("role", "name"),
    [(c.role, c.component.name) for c in registry.components() if c.distribution == "ragkit"],
)
def test_config_show_knows_every_component(role: str, name: str) -> None:
    words = ["config", "show", role, name]
    shown = CliRunner().invoke(build(), words).stdout
    options = json.loads(CliRunner().invoke(build(), [*words, "--json"]).stdout)
    assert set(options) == {option.name for option in config.schema(role, name)}
    for option in options:
        assert option in shown


def test_config_check_fills_in(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("index: faiss\nsteps: 5\n")
    done = ragkit("config", "check", str(file), "index.factory=HNSW16")
    assert done.returncode == 0, done.stderr
    assert "factory: HNSW16" in done.stdout
    assert "name: faiss" in done.stdout
    assert "steps: 5" in done.stdout


def test_config_check_says_every_fault(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("index: {name: faiss, factory: 3, factry: x}\nobjective: margnal\n")
    done = ragkit("config", "check", str(file))
    assert done.returncode == 2
    assert "3 errors" in done.stderr
    for part in ("index.factory", "'factry'", "did you mean 'marginal'?"):
        assert part in done.stderr


def test_doctor_knows_versions_and_threads() -> None:
    found = as_json("doctor")
    assert found["versions"]["ragkit"] == __version__
    assert found["threads"]["torch"] >= 1
    assert found["components"]["broken"] == 0
    assert "OMP_NUM_THREADS" in ragkit("doctor").stdout
