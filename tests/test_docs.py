"""README and docs: every Python block runs, every configuration is right, every command is typed
and answers what is shown, and what is said of layers is what the linter enforces.

The models that the pages name are folders of tiny random models here, so nothing is fetched. The
blocks of one page share their names, as a reader's session would. A page with plugins is left out
where they are not installed. Commands that cannot be typed here stand in a table of `looking`, with
the reasons; they are looked at.
"""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

import tiny
from looking import NOT_TYPED, look, not_typed
from ragkit import config, registry, shipped
from ragkit.hookspecs import MODELS, ROLES
from reading import Block, Command, Shell, blocks, change, commands, follows, matches

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.md"))
BESIDE = [*sorted(ROOT.glob("plugins/*/README.md")), *sorted(ROOT.glob("benchmarks/*/README.md"))]
"""Pages whose commands are only looked at; Python of plugins is run by their own tests, but for:"""
EXAMPLE = ROOT / "plugins" / "ragkit-example" / "README.md"
SHIPPED = ROOT / "plugins" / "ragkit-tiny" / "README.md"
NEEDS = {
    "ragkit_bm25": "ragkit_bm25",
    "hybrid": "ragkit_bm25",
    "ragkit_causal_lm": "ragkit_causal_lm",
    "ragkit_fid": "ragkit_fid",
    "hnswlib": "ragkit_hnswlib",
    "ragkit-example": "ragkit_example",
    "sklearn": "sklearn",
    "pip wheel": "hatchling",
    "pip install -e": "hatchling",
}
"""What a page's blocks may name, and the module that must then be there."""
PRINTING = ("tutorials", "how-to")
"""Where each ``text`` block is what was printed; elsewhere, one right below a Python block."""
NOTES = {
    "lighthouse.txt": "Ada Holm has kept the lighthouse on the northern cliff since 1999.",
    "ferry.md": "The ferry to the mainland leaves the harbour at nine every morning.",
}
TINY = "ragkit-tiny"
WITHOUT_MODEL = re.compile(r"ragkit (ask|kb build|kb search)\b(?!.* (--model|-m|--encoder|-e)\b)")
"""Commands that use the model of `TINY`, since they name no other."""


def named(pages: list[Path]) -> list[Any]:
    return [pytest.param(page, id=page.relative_to(ROOT).as_posix()) for page in pages]


def having(*languages: str, pages: list[Path] = PAGES) -> list[Path]:
    return [page for page in pages if any(block.language in languages for block in blocks(page))]


def tiny_is_there() -> bool:
    return any(one.model.name == TINY and one.state == "ready" for one in shipped.models())


def skip_without_plugins(page: Path) -> None:
    text = "\n".join(block.text for block in blocks(page))
    for word, module in NEEDS.items():
        if re.search(rf"\b{word}\b", text):
            pytest.importorskip(module, reason=f"{page.name} needs {module}")
    python = "\n".join(block.text for block in blocks(page, "python"))
    if f'"{TINY}"' in python and not tiny_is_there():
        pytest.skip(f"{page.name} needs the model of {TINY}")


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


@pytest.mark.parametrize("page", named(TUTORIALS))
def test_tutorials_can_be_followed(
    page: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """From an empty folder: files are written, blocks run, commands typed, in order; each
    ``text`` block is what was printed by the Python above it."""
    skip_without_plugins(page)
    monkeypatch.chdir(tmp_path)
    _follow(page, tmp_path, capsys)


@pytest.mark.parametrize(
    "page",
    named([*(page for page in having("python", "console") if page not in TUTORIALS), SHIPPED]),
)
def test_pages_can_be_followed(
    page: Path, session: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same, for a reader with files and models."""
    skip_without_plugins(page)
    _follow(page, session, capsys)
    assert session == Path.cwd()


def test_the_example_of_a_plugin_runs() -> None:
    """What it has typed is typed by the tutorial that ends in it."""
    skip_without_plugins(EXAMPLE)
    names: dict[str, Any] = {}
    for block in blocks(EXAMPLE, "python"):
        _run(EXAMPLE, block, names)
    assert len(names["index"]) == 0


def _follow(page: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shell, left_out = Shell(folder), []
    names: dict[str, Any] = {"__name__": "page"}
    before: Block | None = None

    def printed() -> str:
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return out

    for block in blocks(page):
        if block.language == "diff":
            change(shell.folder / block.title, block.text)
        elif block.title:
            (shell.folder / block.title).parent.mkdir(parents=True, exist_ok=True)
            (shell.folder / block.title).write_text(block.text, encoding="utf-8")
        elif block.language == "python":
            printed()
            _run(page, block, names)
        elif block.language == "text" and (page.parent.name in PRINTING or follows(block, before)):
            came = printed()
            assert matches(block.text.strip("\n"), came), f"line {block.line}:\n{came}"
        elif block.language == "console":
            left_out += _type(block, shell)
        before = block
    printed()
    if left_out:
        pytest.skip(f"all but these ran, which need the model of {TINY}: {'; '.join(left_out)}")


def _run(page: Path, block: Block, names: dict[str, Any]) -> None:
    # The line numbers of a traceback are the page's.
    exec(compile("\n" * (block.line - 1) + block.text, str(page), "exec"), names)


def _type(block: Block, shell: Shell) -> list[str]:
    """Type what can be typed; returns what waits for a model."""
    waiting = []
    for command in commands(block.text):
        if WITHOUT_MODEL.match(command.typed) and not tiny_is_there():
            waiting.append(command.typed)
        elif not not_typed(command.typed):
            shell.type(command)
    return waiting


def test_a_wrong_page_is_noticed(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    right = ("python -c 'print(12)'", "", "12"), ("python -c 'raise OSError'", "it fails", "")
    for command in right:
        shell.type(Command(*command))
    wrong = (right[0][0], "", "13"), (right[0][0], "it fails", ""), (right[1][0], "", "")
    for command in (*wrong, ("curl ragkit", "", "")):
        with pytest.raises(AssertionError):
            shell.type(Command(*command))
    (tmp_path / "a.py").write_text("one\ntwo\ntwo\n")
    change(tmp_path / "a.py", " one\n-two\n+three\n")
    assert (tmp_path / "a.py").read_text() == "one\nthree\ntwo\n"
    with pytest.raises(AssertionError, match="0 times"):
        change(tmp_path / "a.py", "-four\n+five\n")


def test_ragkit_in_this_process_is_the_command(tmp_path: Path) -> None:
    typed = ["ragkit", "config", "show", "index", "exact"], ["ragkit", "config", "shw"]
    shell = Shell(tmp_path)
    here = [shell._done(words) for words in typed]
    assert shell.python is None
    shell.type(Command("python -c 1", "", ""))
    assert shell.python is not None
    assert here == [shell._done(words) for words in typed]
    assert [done.status for done in here] == [0, 2]


@pytest.mark.parametrize(
    "typed",
    [
        "make tests",
        "pip install ragkit[tinny]",
        "pip install ragkit-nobody-wrote",
        "torchrun --nproc-per-nod 4 --nowhere train.py",
        "python benchmarks/squad_retrieval.py --wrok build",
        "NOBODY_READS=this python benchmarks/squad_retrieval.py --work build",
        "ragkit aks",
        "ragkit ask --knowledge-base kb",
        "cd kb && curl ragkit",
    ],
)
def test_a_wrong_command_is_noticed(typed: str) -> None:
    with pytest.raises((AssertionError, SystemExit, metadata.PackageNotFoundError)):
        look(typed)


def test_what_is_shown_is_compared() -> None:
    assert matches("a … c\n…\nend", "a b c\none\ntwo\nend\n")
    assert matches("…\nend", "end\n")
    assert not matches("a … c\nend", "a b c\none\nend\n")
    assert not matches("0.91", "0x91")
    assert not matches("first", "first\nsecond")
    (one, two) = commands("$ ragkit ask \\\n  --k 2    # it fails\nshown\n$ cd kb\n")
    assert one == ("ragkit ask    --k 2", "it fails", "shown")
    assert two == ("cd kb", "", "")


def test_output_is_right_below() -> None:
    assert follows(Block("text", "", 7, "3\n"), Block("python", "", 3, "print(3)\n"))
    assert not follows(Block("text", "", 9, "x\n"), Block("python", "", 3, "print(3)\n"))
    assert not follows(Block("text", "", 7, "x\n"), Block("yaml", "", 3, "a: 3\n"))
    assert not follows(Block("text", "", 7, "x\n"), None)


@pytest.mark.usefixtures("session")
@pytest.mark.parametrize("page", named(having("yaml")))
def test_configurations_are_right(page: Path) -> None:
    training = importlib.import_module("ragkit.cli.train")
    skip_without_plugins(page)
    for block in blocks(page, "yaml"):
        table = config.read(block.text, f"{page.name}, line {block.line}")
        if "train" in table:
            Path("train.jsonl").write_text('{"question": "q", "answers": ["a"]}\n')
            Path("dev.jsonl").write_text('{"question": "q", "answers": ["a"]}\n')
            assert training.check(table) == []
        for role in set(ROLES) & set(table):
            assert config.check(role, table[role]) == []


@pytest.mark.parametrize("page", named(having("console", "sh", pages=[*PAGES, *BESIDE])))
def test_commands_exist(page: Path) -> None:
    for block in blocks(page):
        if block.language == "console":
            for command in commands(block.text):
                look(command.typed)
        elif block.language == "sh":
            for line in block.text.strip().split("\n"):
                assert line.startswith("pip install "), f"a console block for {line!r}"
                look(line)


@pytest.mark.parametrize("page", named([*PAGES, *BESIDE]))
def test_commands_within_sentences_exist(page: Path) -> None:
    text = re.sub(r"^ *```.*?^ *```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    for typed in re.findall(r"`((?:ragkit|make) [^`]+)`", text):
        if not re.search(r"[A-Z…[]", typed.partition(" ")[2].partition(" ")[0]):
            look(re.sub(r"\s+", " ", typed))


def test_what_is_not_typed_is_on_a_page() -> None:
    """No reason outlives the commands that it was given for."""
    typed = {
        command.typed
        for page in PAGES
        for block in blocks(page, "console")
        for command in commands(block.text)
    }
    found = {not_typed(one) for one in typed} - {None}
    assert found == set(NOT_TYPED)


def test_the_layers_on_the_design_page_are_the_enforced_ones() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (contract,) = (
        one for one in project["tool"]["importlinter"]["contracts"] if one["type"] == "layers"
    )
    enforced = [set(re.findall(r"ragkit\.(\w+)", layer)) for layer in contract["layers"]]
    (block,) = blocks(ROOT / "docs" / "design.md", "text")
    said = [set(re.findall(r"ragkit\.(\w+)", line)) for line in block.text.strip().split("\n")]
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
    docs = ROOT / "docs"
    pages = {page.relative_to(docs).as_posix() for page in PAGES[1:]}
    assert set(re.findall(r"[\w/-]+\.md", text)) == pages
