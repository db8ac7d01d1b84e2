"""``ragkit doctor``: versions, devices, threads and plugins, for a bug report or a look."""

from __future__ import annotations

import os
import platform
from typing import Annotated, Any

import typer

from ragkit.cli import terminal

PACKAGES = (
    "torch",
    "transformers",
    "tokenizers",
    "accelerate",
    "faiss-cpu",
    "datasets",
    "pyarrow",
    "pluggy",
    "safetensors",
    "huggingface_hub",
    "numpy",
)
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "TOKENIZERS_PARALLELISM", "RAGKIT_PLUGINS")


def register(app: typer.Typer) -> None:
    app.command("doctor")(doctor)


def doctor(json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False) -> None:
    """Say what is installed and whether it can be used."""
    found = examine()
    if json:
        terminal.json_object(found)
        return
    from rich.table import Table

    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for heading, values in found.items():
        table.add_row(heading, "", style="bold")
        rows = values.items() if isinstance(values, dict) else ((v["name"], v) for v in values)
        for name, value in rows:
            if isinstance(value, dict):
                value = f"{value['version']}  {value['state']}  {value['error']}".rstrip()
            table.add_row(f"  {name}", str(value))
    terminal.show(table)


def examine() -> dict[str, Any]:
    """Everything, as plain data."""
    from importlib import metadata

    import torch

    from ragkit import __version__, registry

    versions: dict[str, str] = {"ragkit": __version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    devices = {"cpu": f"{platform.machine()}, {os.cpu_count()} cores"}
    for number in range(torch.cuda.device_count()):
        devices[f"cuda:{number}"] = torch.cuda.get_device_name(number)
    if torch.backends.mps.is_available():
        devices["mps"] = "Apple GPU"
    threads = {"torch": torch.get_num_threads(), "torch interop": torch.get_num_interop_threads()}
    return {
        "versions": versions,
        "platform": {"system": platform.platform()},
        "devices": devices,
        "threads": threads | {name: os.environ.get(name, "not set") for name in THREADS},
        "plugins": [
            {
                "name": one.distribution,
                "version": one.version,
                "state": f"{one.state} ({one.seconds * 1000:.0f} ms)",
                "error": one.error,
            }
            for one in registry.plugins()
        ],
        "components": {
            state: sum(one.state == state for one in registry.components())
            for state in ("ready", "missing", "clash", "broken")
        },
    }
