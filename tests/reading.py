"""Pages as a reader follows them: fenced blocks in order, files written, commands typed.

A block with a title is a file (``python title="a/b.py"``) or a change to one (``diff title=…``);
a block ``console`` is typed line by line, and what a page shows of an output must be what comes.
Knows nothing of which pages there are.
"""

from __future__ import annotations

import io
import os
import re
import shlex
import subprocess
import sys
import sysconfig
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple
from unittest import mock

from ragkit import cli

ANY = "…"
"""Stands for the rest of a line, or, alone on a line, for any number of lines."""

FAILS = "fails"
"""A comment that ends so is of a command that is meant to fail."""


class Block(NamedTuple):
    """line: of the page, where its text begins; title: the file that it is, or ""."""

    language: str
    title: str
    line: int
    text: str


class Command(NamedTuple):
    """A line that is typed, and what the page shows after it."""

    typed: str
    comment: str
    shown: str


class Done(NamedTuple):
    """What came of a command."""

    status: int
    out: str
    err: str


def blocks(page: Path, language: str | None = None) -> list[Block]:
    """All fenced blocks of a page, or those of a language, in order."""
    text = page.read_text(encoding="utf-8")
    fence = re.compile(r"^([ ]*)```(\w+)\b([^\n]*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
    found = []
    for match in fence.finditer(text):
        title = re.search(r'title="([^"]+)"', match[3])
        body = "\n".join(line[len(match[1]) :] for line in match[4].split("\n"))
        line = text[: match.start(4)].count("\n") + 1
        found.append(Block(match[2], title[1] if title else "", line, body))
    return [one for one in found if language in (None, one.language)]


def follows(block: Block, before: Block | None) -> bool:
    """Whether nothing but blank lines stands between two blocks, the first being Python."""
    if before is None or before.language != "python":
        return False
    end = before.line + before.text.count("\n")
    return block.line - 1 - end <= 2


def commands(text: str) -> list[Command]:
    """What a console block has typed, each with the output below it."""
    found = []
    for part in re.split(r"^\$ ", text.replace("\\\n", " "), flags=re.MULTILINE)[1:]:
        first, _, shown = part.partition("\n")
        typed, _, comment = first.partition("  #")
        found.append(Command(typed.strip(), comment.strip(), shown.strip("\n")))
    return found


def matches(shown: str, came: str) -> bool:
    """Whether an output is the one that is shown, `ANY` standing for what changes."""
    pattern = ""
    for line in shown.split("\n"):
        if line.strip() == ANY:
            pattern += r"(?:[^\n]*\n)*?"
        else:
            parts = (re.escape(part) for part in line.rstrip().split(ANY))
            pattern += r"[^\n]*".join(parts) + r"\n"
    lines = [line.rstrip() for line in came.strip("\n").split("\n")]
    return re.fullmatch(pattern, "\n".join(lines) + "\n") is not None


def change(file: Path, text: str) -> None:
    """Apply a ``diff`` block: the lines that it shows must stand in the file once."""
    lines = [line for line in text.split("\n") if line]
    old = "".join(f"{line[1:]}\n" for line in lines if line[0] in " -")
    new = "".join(f"{line[1:]}\n" for line in lines if line[0] in " +")
    before = file.read_text(encoding="utf-8")
    assert before.count(old) == 1, f"{file.name} has these lines {before.count(old)} times:\n{old}"
    file.write_text(before.replace(old, new), encoding="utf-8")


class Shell:
    """Types commands in a folder, in an environment that sees what is installed.

    Only what is listed in `_real` may be typed. Nothing is fetched: pip takes what is there. Until
    the page installs or runs something, there is no environment of its own to be made, and
    ``ragkit`` is the function behind that command, called in this process.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.python: Path | None = None

    def type(self, command: Command) -> None:
        """Run a command; its status and its output must be what the page says."""
        said, out = f"$ {command.typed}\n", ""
        chain = [shlex.split(one) for one in command.typed.split(" && ")]
        for words in chain:
            done = self._done(words)
            said += f"{done.out}\n{done.err}"
            out += done.out
            failed = done.status != 0
            meant = words is chain[-1] and command.comment.endswith(FAILS)
            assert failed == meant, said
        if command.shown:
            assert matches(command.shown, out), f"{said}\nbut the page shows\n{command.shown}"

    def _done(self, words: list[str]) -> Done:
        if words[0] == "cd":
            self.folder = (self.folder / words[1]).resolve()
            return Done(0 if self.folder.is_dir() else 1, "", str(self.folder))
        if words[0] == "ragkit" and self.python is None:
            return _called(words, self.folder)
        done = subprocess.run(
            self._real(words),
            cwd=self.folder,
            env=_surroundings(),
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def _real(self, words: list[str]) -> list[str]:
        python = str(self._made())
        if words[0] == "ragkit":
            start = "import sys; from ragkit.cli import main; sys.argv[0] = 'ragkit'; main()"
            return [python, "-c", start, *words[1:]]
        if words[0] == "pytest":
            return [python, "-m", "pytest", "-p", "no:cacheprovider", *words[1:]]
        if words[0] == "python":
            return [python, *words[1:]]
        assert words[0] == "pip", f"nobody here can type {words[0]!r}"
        pip = [sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check"]
        offline = ["--no-index", "--no-deps", "--no-build-isolation"]
        return [*pip, words[1], *(offline if words[1] in ("install", "wheel") else []), *words[2:]]

    def _made(self) -> Path:
        """The interpreter of an environment that holds what this one holds."""
        if self.python is None:
            home = self.folder / ".environment"
            subprocess.run([sys.executable, "-m", "venv", "--without-pip", home], check=True)
            self.python = home / "bin" / "python"
            version = f"python{sys.version_info.major}.{sys.version_info.minor}"
            here = sysconfig.get_path("purelib")
            site = home / "lib" / version / "site-packages"
            (site / "surrounding.pth").write_text(f"import site; site.addsitedir({here!r})\n")
        return self.python


def _called(words: list[str], folder: Path) -> Done:
    """The command ``ragkit`` without a process of its own: modules are loaded already."""
    out, err = io.StringIO(), io.StringIO()
    with (
        chdir(folder),
        mock.patch.dict(os.environ, _surroundings(), clear=True),
        mock.patch.object(sys, "argv", words),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        try:
            cli.main()
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else int(end.code is not None)
    return Done(status, out.getvalue(), err.getvalue())


def _surroundings() -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "RAGKIT_", "PIP_"))}
    return {**kept, "COLUMNS": "100", "NO_COLOR": "1", "PYTHONDONTWRITEBYTECODE": "1"}
