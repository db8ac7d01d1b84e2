"""``ragkit config``: a component's options, and a configuration checked and filled in."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

import typer

from ragkit.cli import terminal


def register(app: typer.Typer) -> None:
    config = typer.Typer(help="Options of components; configurations checked and filled in.")
    config.command("show")(show)
    config.command("check")(check)
    app.add_typer(config, name="config", no_args_is_help=True)


def show(
    role: Annotated[str, typer.Argument(help="encoder, index, retriever …")],
    name: Annotated[str, typer.Argument(help="The component's name.")],
    json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """The options of a component, their types and defaults."""
    from ragkit import config
    from ragkit.signature import REQUIRED

    options = config.schema(role, name)
    if json:
        terminal.json_object(
            {
                one.name: {
                    "type": one.shown,
                    "required": one.default is REQUIRED,
                    "default": None if one.default is REQUIRED else _plain(one.default),
                }
                for one in options
            }
        )
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("option", "type", "default"):
        table.add_column(heading)
    for one in options:
        default = "(required)" if one.default is REQUIRED else repr(one.default)
        table.add_row(one.name, one.shown, default)
    terminal.show(table)


def check(
    file: Annotated[Path, typer.Argument(help="A YAML file: role: {name: …, option: value}.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Dotted overrides, as in index.factory=HNSW32.")
    ] = None,
) -> None:
    """Check a configuration and print its components filled in.

    One with arguments is checked as `ragkit train` would. Of others, keys that are no role
    are printed as they are, unless a role is nearly meant.
    """
    from ragkit import config
    from ragkit.cli import train
    from ragkit.errors import ConfigError
    from ragkit.hookspecs import ROLES

    table = config.load(file, overrides or ())
    if "arguments" in table:
        faults = train.check(table)
    else:
        faults = _misspelt(table, {*ROLES, *train.KEYS})
        for role in ROLES:
            if role in table:
                faults += config.check(role, table[role])
    if faults:
        raise ConfigError(faults)
    filled = {
        key: config.resolve(key, value) if key in ROLES else value for key, value in table.items()
    }
    print(config.dump(filled), end="")


def _misspelt(table: dict[str, Any], known: set[str]) -> list[str]:
    """A fault for every key that is almost a known one."""
    faults = []
    for key in table:
        near = get_close_matches(str(key), known, n=1, cutoff=0.75)
        if near and key not in known:
            faults.append(f"unknown key {key!r}; did you mean {near[0]!r}?")
    return faults


def _plain(value: Any) -> Any:
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)
