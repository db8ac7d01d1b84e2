"""``ragkit components``: everything that can be named: in a configuration, or as a model."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ragkit.cli import terminal


def register(app: typer.Typer) -> None:
    app.command("components")(components)


def components(
    role: Annotated[
        str | None, typer.Argument(help="Only this role: encoder, index, retriever … or model.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """List components by role, and models, with where they come from and their state."""
    from ragkit import registry, shipped
    from ragkit.errors import UnknownName, nearest
    from ragkit.hookspecs import ROLES

    known = [*ROLES, "model"]
    if role is not None and role not in known:
        near = nearest(role, known) or "."
        raise UnknownName(f"no role is named {role!r}{near} Roles: {', '.join(known)}")
    found = [one for one in registry.components() if role in (None, one.role)]
    models = shipped.models() if role in (None, "model") else []
    away = _away(role)
    if json:
        terminal.json_object(
            {
                "components": [_record(one) for one in found],
                "models": [_model(one) for one in models],
                "plugins": [
                    {
                        "distribution": one.distribution,
                        "version": one.version,
                        "state": one.state,
                        "error": one.error,
                    }
                    for one in registry.plugins()
                ],
                "available": away,
            }
        )
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("role", "name", "from", "state", "what it is"):
        table.add_column(heading, overflow="fold", no_wrap=heading == "name")
    last = ""
    for one in found:
        table.add_row(
            one.role if one.role != last else "",
            one.component.name,
            f"{one.distribution} {one.version}",
            one.state,
            one.error or one.component.summary,
            style=None if one.state == "ready" else "yellow",
        )
        last = one.role
    for number, model in enumerate(models):
        table.add_row(
            "" if number else "model",
            model.model.name,
            f"{model.distribution} {model.version}",
            model.state,
            model.error or " · ".join(filter(None, (model.model.summary, model.model.licence))),
            style=None if model.state == "ready" else "yellow",
        )
    for record in away:
        cells = (record[name] for name in ("role", "name", "install"))
        table.add_row(*cells, "not installed", record["summary"], style="dim")
    terminal.show(table)
    for plugin in registry.plugins():
        if plugin.state != "ready":
            terminal.show(f"{plugin.label}: {plugin.error}", style="yellow")
        elif plugin.slow:
            terminal.show(plugin.slow, style="yellow")


def _away(role: str | None) -> list[dict[str, str]]:
    """What is one installation away."""
    from ragkit import elsewhere, registry, shipped

    found = [
        {"role": one.role, "name": one.name, "install": one.install, "summary": one.summary}
        for one in elsewhere.absent(role, {one.distribution for one in registry.plugins()})
    ]
    models = {one.model.name for one in shipped.models()}
    if role in (None, "model"):
        found += [
            {"role": "model", "name": name, "install": install, "summary": "a trained model"}
            for name, install in shipped.INSTALL.items()
            if name not in models
        ]
    return found


def _record(one: Any) -> dict[str, Any]:
    return {
        "role": one.role,
        "name": one.component.name,
        "distribution": one.distribution,
        "version": one.version,
        "state": one.state,
        "summary": one.component.summary,
        "target": one.component.target,
        "error": one.error,
    }


def _model(one: Any) -> dict[str, Any]:
    return {
        "name": one.model.name,
        "distribution": one.distribution,
        "version": one.version,
        "state": one.state,
        "summary": one.model.summary,
        "licence": one.model.licence,
        "folder": None if one.folder is None else str(one.folder),
        "error": one.error,
    }
