"""The command line: ``ragkit VERB``. One file a verb; this one joins them.

Verbs import nothing heavy until they run. Exit codes: 0 done, 1 failed, 2 used wrongly,
130 interrupted. Knows nothing of what the verbs do.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import NoReturn

import typer

from ragkit.errors import ConfigError, RagkitError, UnknownName

VERBS = (
    "demo",
    "kb",
    "train",
    "ask",
    "evaluate",
    "trec",
    "compare",
    "report",
    "annotate",
    "tasks",
    "convert",
    "components",
    "plugins",
    "config",
    "doctor",
)


def build() -> typer.Typer:
    """The whole command line."""
    app = typer.Typer(
        name="ragkit",
        help="Retrieval-augmented generation as trainable, swappable parts.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    @app.callback()
    def ragkit(
        version: bool = typer.Option(False, "--version", help="Print the version and exit."),
    ) -> None:
        if version:
            from ragkit import __version__

            print(f"ragkit {__version__}")
            raise typer.Exit

    for verb in VERBS:
        importlib.import_module(f"ragkit.cli.{verb}").register(app)
    return app


def main() -> NoReturn:
    """The entry point of the command ``ragkit``."""
    # Threads that wait by spinning make a small model many times slower where another process
    # wants the cores too. Read when torch is first imported; what the user has set stands.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        # Only a bare `ragkit --version` is spared the verbs.
        if sys.argv[1:] == ["--version"]:
            from ragkit import __version__

            print(f"ragkit {__version__}", flush=True)
        else:
            build()()
    except RagkitError as error:
        _fail(error, 2 if isinstance(error, (ConfigError, UnknownName)) else 1)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # whoever read our output has gone: nothing more to say
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:  # a full disk, a folder that is not ours: no fault of the code
        _fail(error, 1)
    sys.exit(0)


def _fail(error: Exception, code: int) -> NoReturn:
    from ragkit.cli import terminal

    terminal.complain(error)
    sys.exit(code)
