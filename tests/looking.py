"""Commands of pages that are not typed by tests, and what is looked at in their place.

That the command is there and takes these options is checked here: by its own parser, without
running it. Knows nothing of which pages there are.
"""

from __future__ import annotations

import argparse
import re
import runpy
import shlex
import sys
import tomllib
from collections.abc import Callable
from importlib import metadata
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import pytest
import typer.main
from packaging.requirements import Requirement

from ragkit import cli

ROOT = Path(__file__).parents[1]


class Look(NamedTuple):
    """Commands that a pattern fits, why they are not typed, and how their words are looked at."""

    pattern: str
    why: str
    at: Callable[[list[str]], None]


def at_make(words: list[str]) -> None:
    """Each target stands in the Makefile."""
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(words[1:]) <= set(targets), f"the Makefile has no target of {words[1:]}"


def at_pip(words: list[str]) -> None:
    """What is installed is ours, with such extras, or known to our packages or to this machine."""
    ours, asked = _distributions()
    for word in words[2:]:
        if word.startswith((".", "-", "dist/")):
            continue
        wanted = Requirement(word)
        if wanted.name in ours:
            unknown = wanted.extras - ours[wanted.name]
            assert not unknown, f"{wanted.name} has no extras {unknown}"
        elif wanted.name not in asked:
            metadata.version(wanted.name)


def at_torchrun(words: list[str]) -> None:
    """torchrun takes these options."""
    run = pytest.importorskip("torch.distributed.run")
    run.get_args_parser().parse_args(words[1:])


def at_script(words: list[str]) -> None:
    """A script of this repository: its parser takes the words, it reads the variables before."""
    at = words.index("python") + 1
    script = ROOT / words[at]
    text = "".join(file.read_text(encoding="utf-8") for file in script.parent.glob("*.py"))
    for variable in words[: at - 1]:
        assert variable.partition("=")[0] in text, f"nothing reads {variable}"
    assert _parses(script, words[at + 1 :]), f"{script.name} never looks at its arguments"


def at_ragkit(words: list[str]) -> None:
    """There is such a verb, and it has these options."""
    app: Any = typer.main.get_command(cli.build())
    words = words[1:]
    while words and words[0] != "--help" and hasattr(app, "commands"):
        assert words[0] in app.commands, f"ragkit has no {words[0]!r}"
        app, words = app.commands[words[0]], words[1:]
    known = {name for one in app.params for name in (*one.opts, *one.secondary_opts)} | {"--help"}
    typed = {word for word in words if re.fullmatch(r"--?[a-z][a-z-]*", word)}
    assert typed <= known, f"{app.name}: no options {typed - known}"


NOT_TYPED = (
    Look(r"make ", "makes an environment from an index, then works for minutes", at_make),
    Look(r"""pip install (?!(-\S+ )*["']?(\.|dist/))""", "fetches from an index", at_pip),
    Look(r"ragkit annotate ", "serves a page, and waits for people", at_ragkit),
    Look(r"torchrun ", "wants a GPU for each process", at_torchrun),
    Look(r"(\w+=\S+ )*python benchmarks/", "minutes to hours, some with a data set", at_script),
)
"""All that no test types."""
TYPED = (
    Look(r"ragkit ", "typed", at_ragkit),
    Look(r"pip |cd |pytest|python ", "typed", lambda words: None),
)
"""All that is typed where a page is followed; on other pages, these are looked at, too."""


def not_typed(command: str) -> Look | None:
    """The entry of what is not typed, or None for a command that is."""
    return next((one for one in NOT_TYPED if re.match(one.pattern, command)), None)


def look(command: str) -> None:
    """Look at each part of a line; one that nobody knows is a fault."""
    for part in command.split(" && "):
        found = [one for one in (*NOT_TYPED, *TYPED) if re.match(one.pattern, part)]
        assert found, f"nobody here can type or look at {part!r}"
        found[0].at(shlex.split(part))


def _distributions() -> tuple[dict[str, set[str]], set[str]]:
    """Our distributions with their extras, and the names of all that they may ask for."""
    ours, asked = {}, set()
    for file in (ROOT / "pyproject.toml", *ROOT.glob("plugins/*/pyproject.toml")):
        project = tomllib.loads(file.read_text(encoding="utf-8"))["project"]
        extras = project.get("optional-dependencies", {})
        ours[project["name"]] = set(extras)
        for wanted in [*project.get("dependencies", []), *chain(*extras.values())]:
            asked.add(Requirement(wanted).name)
    return ours, asked


class _Read(Exception):
    """A script has read its arguments."""


def _parses(script: Path, words: list[str]) -> bool:
    """Run a script until it has read its arguments; a wrong one ends as it does for a user."""
    real = argparse.ArgumentParser.parse_args

    def parse(self: Any, *given: Any, **named: Any) -> None:
        real(self, *given, **named)
        raise _Read

    # Its neighbours are imported by bare names, which tests may have given to others.
    neighbours = {file.stem for file in script.parent.glob("*.py")}
    set_aside = {name: sys.modules.pop(name) for name in neighbours & set(sys.modules)}
    try:
        with (
            mock.patch.object(argparse.ArgumentParser, "parse_args", parse),
            mock.patch.object(sys, "argv", [str(script), *words]),
            mock.patch.object(sys, "path", [str(script.parent), *sys.path]),
        ):
            runpy.run_path(str(script), run_name="__main__")
    except _Read:
        return True
    finally:
        for name in neighbours & set(sys.modules):
            del sys.modules[name]
        sys.modules.update(set_aside)
    return False
