"""Pages of reference that are made by scripts say what the code says."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import pytest
import typer.main

from ragkit import cli, registry
from ragkit.hookspecs import ROLES

DOCS = Path(__file__).parents[1] / "docs"


def script(name: str) -> dict[str, Any]:
    return runpy.run_path(str(DOCS / f"{name}.py"))


def page(name: str) -> str:
    return (DOCS / f"{name}.md").read_text(encoding="utf-8")


# --------------------------------------------------------------------- components


def test_the_page_of_components_is_made_from_the_registry(
    capsys: pytest.CaptureFixture[str],
) -> None:
    made = script("components")
    installed = {one.distribution for one in registry.components() if one.state == "ready"}
    if not set(made["PACKAGES"]) - installed:
        made["main"]()
        assert page("components") == capsys.readouterr().out, (
            "python docs/components.py > docs/components.md"
        )
        return
    # Without the plugins: what is installed is on the page as it is.
    own = {one.component.name for one in registry.components() if one.distribution == "ragkit"}
    for name, section in made["sections"]().items():
        if name in ROLES or name.split()[1] in own:
            assert section in page("components")


def test_every_option_of_ours_is_on_the_page_with_its_meaning() -> None:
    """Counted from the constructors, not through the signature module that makes the page."""
    for piece in page("components").split("\n### ")[1:]:
        where = re.search(r"Class: `(ragkit\.[\w.]+):(\w+)`", piece)
        if where is None:
            continue
        cls = getattr(__import__(where[1], fromlist=[where[2]]), where[2])
        made = cls.__init__ if isinstance(cls, type) else cls
        code = made.__code__ if made is not object.__init__ else None
        count = code.co_argcount + code.co_kwonlyargcount if code else 0
        named = code.co_varnames[isinstance(cls, type) : count] if code else ()
        rows = re.findall(r"^\| `(\w+)` \|", piece, re.MULTILINE)
        assert rows == list(named), where[2]


# --------------------------------------------------------------- the command line


def test_the_page_of_the_command_line_is_made_from_the_commands(
    capsys: pytest.CaptureFixture[str],
) -> None:
    script("cli")["main"]()
    assert page("cli") == capsys.readouterr().out, "python docs/cli.py > docs/cli.md"


def test_every_command_and_option_is_on_the_page() -> None:
    app: Any = typer.main.get_command(cli.build())
    assert set(cli.VERBS) == set(app.commands)
    for verb, command in app.commands.items():
        inner = getattr(command, "commands", {"": command})
        for name, one in inner.items():
            heading = f"### `ragkit {verb} {name}`" if name else f"## `{verb}`"
            section = re.split(r"\n##+ ", page("cli").partition(f"{heading}\n")[2])[0]
            for parameter in one.params:
                assert parameter.help, f"{verb} {name}: {parameter.name} has no help"
                for flag in [*parameter.opts, *parameter.secondary_opts]:
                    shown = flag if flag.startswith("-") else flag.upper()
                    assert f"`{shown}`" in section, f"{verb} {name} {flag}"
