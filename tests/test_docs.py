"""README and docs: every Python block runs, every configuration is right, every command
exists, and what is said of layers is what the linter enforces.

The models that the pages name are folders of tiny random models here, so nothing is
fetched. The blocks of one page share their names, as a reader's session would.
"""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer.main

import tiny
from ragkit import cli, config, registry
from ragkit.hookspecs import MODELS, ROLES

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
NOTES = {
    "lighthouse.txt": "Ada Holm has kept the lighthouse on the northern cliff since 1999.",
    "ferry.md": "The ferry to the mainland leaves the harbour at nine every morning.",
}


def blocks(page: Path, language: str) -> list[tuple[int, str]]:
    """Line number and text of the fenced blocks of a language."""
    text = page.read_text(encoding="utf-8")
    fence = re.compile(rf"^([ ]*)```{language}\b[^\n]*\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
    found = []
    for match in fence.finditer(text):
        indent = len(match[1])
        lines = [line[indent:] for line in match[2].split("\n")]
        found.append((text[: match.start(2)].count("\n") + 1, "\n".join(lines)))
    return found


def having(language: str) -> list[Any]:
    return [
        pytest.param(page, id=page.relative_to(ROOT).as_posix())
        for page in PAGES
        if blocks(page, language)
    ]


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a reader's files, and tiny models under the names of real ones."""
    (tmp_path / "notes").mkdir()
    for name, text in NOTES.items():
        (tmp_path / "notes" / name).write_text(text)
    models = {
        "dpr-question_encoder-multiset-base": tiny.bert(seed=0),
        "dpr-ctx_encoder-multiset-base": tiny.bert(seed=1),
        "bart-base": tiny.bart(),
        "bart-large": tiny.bart(),
    }
    for name, model in models.items():
        model.save_pretrained(tmp_path / "facebook" / name)
        tiny.tokenizer().save_pretrained(tmp_path / "facebook" / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("session")
@pytest.mark.parametrize("page", having("python"))
def test_python_blocks_run(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {"__name__": "page"}
    sys.modules.pop("page", None)
    for line, text in blocks(page, "python"):
        # The line numbers of a traceback are the page's.
        exec(compile("\n" * line + text, str(page), "exec"), names)
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.usefixtures("session")
@pytest.mark.parametrize("page", having("yaml"))
def test_configurations_are_right(page: Path) -> None:
    training = importlib.import_module("ragkit.cli.train")
    for line, text in blocks(page, "yaml"):
        table = config.read(text, f"{page.name}, line {line}")
        if "train" in table:
            Path("train.jsonl").write_text('{"question": "q", "answers": ["a"]}\n')
            Path("dev.jsonl").write_text('{"question": "q", "answers": ["a"]}\n')
            assert training.check(table) == []
        for role in set(ROLES) & set(table):
            assert config.check(role, table[role]) == []


@pytest.mark.parametrize("page", having("console"))
def test_commands_exist(page: Path) -> None:
    app = typer.main.get_command(cli.build())
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for _, text in blocks(page, "console"):
        for command in re.sub(r"\\\n", " ", text).split("\n"):
            words = command.partition("  #")[0].removeprefix("$ ").split()
            if command.startswith("$ make"):
                assert words[1] in targets
            elif command.startswith("$ ragkit"):
                _check_command(app, words[1:])


def _check_command(app: Any, words: list[str]) -> None:
    while words and hasattr(app, "commands"):
        assert words[0] in app.commands, f"ragkit has no {words[0]!r}"
        app, words = app.commands[words[0]], words[1:]
    known = {name for one in app.params for name in (*one.opts, *one.secondary_opts)}
    typed = {word for word in words if re.fullmatch(r"--?[a-z][a-z-]*", word)}
    assert typed <= known, f"{app.name}: no options {typed - known}"


def test_the_layers_on_the_design_page_are_the_enforced_ones() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (contract,) = (
        one for one in project["tool"]["importlinter"]["contracts"] if one["type"] == "layers"
    )
    enforced = [set(re.findall(r"ragkit\.(\w+)", layer)) for layer in contract["layers"]]
    ((_, text),) = blocks(ROOT / "docs" / "design.md", "text")
    said = [set(re.findall(r"ragkit\.(\w+)", line)) for line in text.strip().split("\n")]
    assert said == enforced


def test_the_components_on_the_design_page_are_the_registered_ones() -> None:
    text = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    for role in ROLES:
        (row,) = re.findall(rf"^\| {role.capitalize()} \|.*\|([^|]+)\|$", text, re.MULTILINE)
        registered = {
            one.component.name
            for one in registry.components()
            if one.role == role and one.distribution == "ragkit"
        }
        assert set(re.findall(r"`([^`]+)`", row)) == registered


def test_every_hook_is_on_the_page_about_plugins() -> None:
    text = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
    sentence = text.partition("one hook for each role:")[2].partition(".\n")[0]
    assert re.findall(r"`([^`]+)`", sentence) == list(ROLES.values())
    assert f"`{MODELS}`" in text


def test_no_block_is_overlooked() -> None:
    seen = sum(len(blocks(page, "python")) for page in PAGES)
    assert seen == sum(page.read_text(encoding="utf-8").count("```python") for page in PAGES) > 12


def test_the_picture_is_what_its_script_draws() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "docs" / "way.py"], capture_output=True, text=True, check=True
    )
    assert done.stdout == (ROOT / "docs" / "way.svg").read_text(encoding="utf-8")


def test_every_page_is_in_the_navigation() -> None:
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert set(re.findall(r"[\w-]+\.md", text)) == {p.name for p in PAGES[1:]}
