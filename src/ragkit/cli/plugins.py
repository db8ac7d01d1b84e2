"""``ragkit plugins``: a new plugin from a template, what is installed, and whether it is right.

Knows the registry, the templates and the conformance kit; none of the roles.
"""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ragkit.cli import terminal
from ragkit.cli.options import decoding

if TYPE_CHECKING:
    from ragkit.registry import Listing, Plugin
    from ragkit.testing import Outcome

Json = Annotated[bool, typer.Option("--json", help="As JSON.")]


def register(app: typer.Typer) -> None:
    plugins = typer.Typer(help="Plugins: make a new one, list what is installed, check one.")
    plugins.command("new")(new)
    plugins.command("list")(list_)
    plugins.command("check")(check)
    app.add_typer(plugins, name="plugins", no_args_is_help=True)


# ---------------------------------------------------------------------------- new


def new(
    name: Annotated[str, typer.Argument(help="Of the package, as in ragkit-nearest.")],
    role: Annotated[
        list[str] | None,
        typer.Option("--role", "-r", help="encoder, index, retriever …; repeatable."),
    ] = None,
    into: Annotated[Path, typer.Option(help="The folder that it is made in.")] = Path(),
) -> None:
    """Make a package that works: a plugin of these roles, and tests that pass at once."""
    from ragkit import scaffold

    files = scaffold.render(name, role or [])
    _refuse_taken(scaffold.names(name), role or [])
    scaffold.write(files, into / name)
    terminal.show(f"made {into / name}")
    for file in sorted(files):
        terminal.show(f"  {file}")
    terminal.show(
        f'next: cd {into / name} && pip install -e ".[test]" && pytest && '
        f"ragkit plugins check {name}"
    )


def _refuse_taken(called: Any, roles: list[str]) -> None:
    """Raise `ConfigError` where another package has the component's name, or the module's."""
    from importlib.util import find_spec

    from ragkit import elsewhere, registry
    from ragkit.errors import ConfigError

    owners = [(one.role, one.component.name, one.distribution) for one in registry.components()]
    owners += [(one.role, one.name, one.distribution) for one in elsewhere.KNOWN]
    for role, name, distribution in owners:
        mine = role in roles and name == called.component
        if mine and distribution != called.distribution:
            raise ConfigError(
                f"the {role} {name!r} is {distribution}'s; choose another name, as "
                f"'my-{called.component}'"
            )
    own = {one.distribution for one in registry.plugins()}
    if called.distribution not in own and find_spec(called.package) is not None:
        raise ConfigError(
            f"a module {called.package!r} is installed already, and the new package would hide it; "
            f"choose another name, as 'my-{called.component}'"
        )


# --------------------------------------------------------------------------- list


def list_(json: Json = False) -> None:
    """List what plugins offer, with versions and states; ragkit's own are not among them."""
    from ragkit import registry

    rows = [row for plugin in registry.plugins() for row in _rows(plugin)]
    if json:
        terminal.json_object({"plugins": rows})
        return
    if not rows:
        terminal.show("no plugins are installed; `ragkit components` lists ragkit's own")
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("role", "name", "from", "protocol", "state", "ms"):
        table.add_column(heading, overflow="fold", no_wrap=heading in ("role", "name"))
    for row in rows:
        table.add_row(
            row["role"] or "–",
            row["name"] or "–",
            f"{row['distribution']} {row['version']}",
            "–" if row["protocol"] is None else str(row["protocol"]),
            row["state"],
            str(row["milliseconds"]),
            style=None if row["state"] == "ready" else "yellow",
        )
    terminal.show(table)
    said = [row["error"] for row in rows] + [plugin.slow for plugin in registry.plugins()]
    for sentence in dict.fromkeys(filter(None, said)):
        terminal.show(sentence, style="yellow")


def _rows(plugin: Plugin) -> list[dict[str, Any]]:
    """A row for each thing that a plugin offers; one of its own where it is not ready."""
    from ragkit import registry, shipped

    common = {
        "distribution": plugin.distribution,
        "version": plugin.version,
        "entry_point": plugin.entry_point,
        "milliseconds": round(plugin.seconds * 1000),
    }
    mine = [
        {
            "role": one.role,
            "name": one.component.name,
            **common,
            "protocol": one.component.protocol,
            "state": one.state,
            "error": one.error,
        }
        for one in registry.components()
        if _is_of(one, plugin)
    ]
    mine += [
        {
            "role": "model",
            "name": one.model.name,
            **common,
            "protocol": one.model.protocol,
            "state": one.state,
            "error": one.error,
        }
        for one in shipped.models()
        if one.distribution == plugin.distribution
    ]
    if plugin.state == "ready" and mine:
        return mine
    whole = {"role": None, "name": None, **common, "protocol": None}
    return [{**whole, "state": plugin.state, "error": plugin.error}, *mine]


def _is_of(listing: Listing, plugin: Plugin) -> bool:
    return listing.distribution == plugin.distribution and any(
        role == listing.role and component is listing.component for role, component in plugin.found
    )


# -------------------------------------------------------------------------- check


def check(
    name: Annotated[
        str, typer.Argument(help="A component, distribution:component, or a distribution.")
    ],
    role: Annotated[str | None, typer.Option("--role", "-r", help="Only this role.")] = None,
    option: Annotated[
        list[str] | None,
        typer.Option("--option", "-o", help="Of the component, as in factory=HNSW32; repeatable."),
    ] = None,
    json: Json = False,
) -> None:
    """Hold what is installed to the laws of its role, and say which it keeps."""
    options = decoding(option, "-o", "factory=HNSW32")
    results = []
    for found in _named(name, role):
        with terminal.status(f"checking the {found.role} {found.component.name}"):
            results.append((found, _outcomes(found, options)))
    failed = any(one.state == "failed" for _, outcomes in results for one in outcomes)
    if json:
        terminal.json_object(
            {
                "components": [_report(found, outcomes) for found, outcomes in results],
                "passed": not failed,
            }
        )
    else:
        for found, outcomes in results:
            _show(found, outcomes)
    if failed:
        raise typer.Exit(1)


def _named(name: str, role: str | None) -> list[Listing]:
    """What a name stands for: all of a distribution, or the components of that name.

    Raises `UnknownName`, `ConfigError` where two plugins offer it or it is a plugin that offers
    nothing of the kind, `PluginError` where it is one that cannot be used.
    """
    from ragkit import registry
    from ragkit.errors import ConfigError, PluginError, UnknownName, nearest
    from ragkit.hookspecs import ROLES

    everything = registry.components()
    for plugin in registry.plugins():
        if plugin.distribution == name and plugin.state != "ready":
            raise PluginError(plugin.error)
    whole = [one for one in everything if one.distribution == name and role in (None, one.role)]
    if whole:
        return whole
    if name in {one.distribution for one in registry.plugins()}:
        raise ConfigError(
            f"{name} offers no {role or 'component'}, so there is nothing to check; "
            "`ragkit plugins list` says what it offers"
        )
    if role is not None:
        return [registry.lookup(role, name)]
    found = []
    for one in ROLES:
        try:
            found.append(registry.lookup(one, name))
        except UnknownName:
            continue
    if not found:
        known = {said for one in everything for said in (one.component.name, one.distribution)}
        raise UnknownName(
            f"no component or plugin is named {name!r}{nearest(name, known) or '.'} Known: "
            f"{', '.join(sorted(known))}"
        )
    return found


def _outcomes(listing: Listing, options: dict[str, Any]) -> list[Outcome]:
    """The kit's, or a single failure where the component cannot be had at all."""
    from ragkit import testing
    from ragkit.errors import ConfigError, MissingDependency, PluginError

    clash = listing.state == "clash"
    name = listing.qualified if clash else listing.component.name
    try:
        with redirect_stdout(sys.stderr):  # what it prints is no output of ours
            return testing.check(listing.role, name, **options)
    except ConfigError:  # options of the one who types
        raise
    except (MissingDependency, PluginError) as error:
        law = "It can be imported, and what it needs is installed."
        return [testing.Outcome("installed", law, "failed", str(error))]


def _show(listing: Listing, outcomes: list[Outcome]) -> None:
    shown = f"{listing.role} {listing.component.name}"
    terminal.show(f"{shown} ({listing.distribution} {listing.version})", style="bold")
    styles = {"passed": None, "skipped": "dim", "failed": "red"}
    for one in outcomes:
        terminal.show(f"{one.state:8}{one.name}: {one.law}", style=styles[one.state])
        if one.message:
            terminal.show(f"{'':8}{one.message}", style=styles[one.state])
    counts = _counts(outcomes)
    terminal.show(", ".join(f"{number} {state}" for state, number in counts.items() if number))


def _report(listing: Listing, outcomes: list[Outcome]) -> dict[str, Any]:
    return {
        "role": listing.role,
        "name": listing.component.name,
        "distribution": listing.distribution,
        "version": listing.version,
        **_counts(outcomes),
        "checks": [
            {"check": one.name, "law": one.law, "state": one.state, "message": one.message}
            for one in outcomes
        ],
    }


def _counts(outcomes: list[Outcome]) -> dict[str, int]:
    return {
        state: sum(one.state == state for one in outcomes)
        for state in ("passed", "skipped", "failed")
    }
