"""The page of the command line, made from the commands themselves.

``python docs/cli.py > docs/cli.md``; a test compares the two.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Union, get_args, get_origin

import typer.main

from ragkit import cli

HEAD = """# The command line

`ragkit VERB`, and for some verbs a second word. `ragkit VERB --help` says the same as this page.

| exit code | |
|---|---|
| 0 | done |
| 1 | failed, or found faults |
| 2 | used wrongly: an option, a name or a configuration that cannot be |
| 130 | interrupted |

What is asked for goes to standard output, and with `--json` nothing else does; progress, notes and
errors go to standard error. A dotted override is `PATH=VALUE`, as in `index.factory=HNSW32`.
"""
TYPES = {Path: "path", str: "text", int: "number", float: "number"}


def main() -> None:
    print(HEAD)
    print("\n".join(section for _, section in sections()), end="")


def sections() -> Iterator[tuple[str, str]]:
    """Each command's words and its piece of the page, verbs in the order of the help."""
    app: Any = typer.main.get_command(cli.build())
    for verb in cli.VERBS:
        yield from _sections(f"ragkit {verb}", app.commands[verb], "##")


def _sections(words: str, command: Any, mark: str) -> Iterator[tuple[str, str]]:
    inner = getattr(command, "commands", {})
    title = words if mark == "###" else words.removeprefix("ragkit ")
    text = inspect.cleandoc(command.help or "").replace("<", "&lt;")
    parts = [f"{mark} `{title}`", text]
    if not inner:
        parts += [f"`{_usage(words, command)}`", *_tables(command)]
    yield words, "\n\n".join(parts) + "\n"
    for name, one in inner.items():
        yield from _sections(f"{words} {name}", one, "###")


def _usage(words: str, command: Any) -> str:
    """Arguments in their order; those that may be left out in brackets."""
    shown = []
    for one in command.params:
        name = one.name.upper() + ("…" if _many(one) else "")
        if one.param_type_name == "argument":
            shown.append(name if one.required else f"[{name}]")
        elif one.required:
            shown.append(f"{one.opts[0]} {name}")
    return " ".join([words, *shown, "[OPTIONS]"])


def _tables(command: Any) -> Iterator[str]:
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    options = [one for one in command.params if one.param_type_name == "option" and not one.hidden]
    if arguments:
        rows = [f"| `{one.name.upper()}` | {_type(one)} | {_help(one)} |" for one in arguments]
        yield "\n".join(["| argument | type | |", "|---|---|---|", *rows])
    if options:
        rows = [
            f"| {_flags(one)} | {_type(one)} | {_default(one)} | {_help(one)} |" for one in options
        ]
        yield "\n".join(["| option | type | default | |", "|---|---|---|---|", *rows])


def _flags(option: Any) -> str:
    return ", ".join(f"`{flag}`" for flag in [*option.opts, *option.secondary_opts])


def _default(option: Any) -> str:
    if option.required:
        return "required"
    if option.default is None or option.default == () or option.multiple:
        return ""
    if isinstance(option.default, bool):
        return "" if not option.default else f"`{option.opts[0]}`"
    return f"`{option.default}`"


def _type(parameter: Any) -> str:
    annotation = parameter.type_descriptor.annotation
    if get_origin(annotation) in (Union, types.UnionType):
        (annotation,) = (one for one in get_args(annotation) if one is not types.NoneType)
    if get_origin(annotation) is list:
        return f"{TYPES[get_args(annotation)[0]]}, several"
    return "switch" if annotation is bool else TYPES[annotation]


def _many(parameter: Any) -> bool:
    return parameter.nargs == -1 or getattr(parameter, "multiple", False)


def _help(parameter: Any) -> str:
    return (parameter.help or "").replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    main()
