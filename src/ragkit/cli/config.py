"""``ragkit config``: a component's options, and a configuration checked and filled in."""

from __future__ import annotations

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
    """Check the components of a configuration and print it filled in.

    Top-level keys that are no role (training options, paths) are printed as they are.
    """
    from ragkit import config
    from ragkit.errors import ConfigError
    from ragkit.hookspecs import ROLES

    table = config.load(file, overrides or ())
    faults = []
    for role in ROLES:
        if role in table:
            faults += _faults(role, table[role])
    if faults:
        raise ConfigError(faults)
    filled = {
        key: config.resolve(key, value) if key in ROLES else value for key, value in table.items()
    }
    print(config.dump(filled), end="")


def _faults(role: str, table: Any) -> list[str]:
    """Faults of one component; what training builds itself may be missing."""
    from ragkit import config

    later = ("option 'knowledge_base' is missing",)
    return [f for f in config.check(role, table) if not any(one in f for one in later)]


def _plain(value: Any) -> Any:
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)
