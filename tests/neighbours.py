"""Distributions made in a folder as an installer would leave them, and a look at them.

Whatever else is installed here is not looked at: the tests are about what lies in the folder.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from ragkit import registry

LOOK = """
import json, sys
from ragkit import registry
from ragkit.errors import RagkitError

assert type(registry.make("metric", "em")).__name__ == "ExactMatch"
found = {
    "plugins": [[p.distribution, p.version, p.state, p.error] for p in registry.plugins()],
    "theirs": [
        [one.role, one.qualified, one.state, one.error]
        for one in registry.components() if one.distribution != "ragkit"
    ],
    "own": sum(one.state == "ready" for one in registry.components()
               if one.distribution == "ragkit"),
    "seconds": {p.distribution: p.seconds for p in registry.plugins()},
    "asked": {},
}
for asked in sys.argv[1:]:
    role, name = asked.split("=")
    try:
        found["asked"][asked] = registry.find(role, name).__name__
    except RagkitError as error:
        found["asked"][asked] = f"{type(error).__name__}: {error}"
print(json.dumps(found))
"""


class Plugin(NamedTuple):
    """A distribution to be made: its module's source, and what its entry point names."""

    source: str
    entry: str = ""
    metadata: str = "Metadata-Version: 2.1\nName: {name}\nVersion: 2.5\n"
    entries: str = "[ragkit]\n{module} = {entry}\n"


def offers(hook: str, *records: str, before: str = "") -> str:
    """The source of a plugin whose hook returns these records."""
    return (
        f"{before}\nfrom ragkit import Component, hookimpl\n"
        f"@hookimpl\ndef {hook}():\n    return [{', '.join(records)}]\n"
        "class Thing:\n    pass\n"
    )


def install(folder: Path, name: str, plugin: Plugin) -> None:
    module = name.replace("-", "_")
    (folder / f"{module}.py").write_text(plugin.source)
    info = folder / f"{module}-2.5.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(plugin.metadata.format(name=name))
    names = {"module": module, "entry": plugin.entry or module}
    (info / "entry_points.txt").write_text(plugin.entries.format(**names))


OTHERS = {one.distribution for one in registry.plugins()}
"""Plugins that are installed where the tests run."""


def surroundings(folder: Path) -> dict[str, str]:
    """The environment of a process that finds what lies in a folder."""
    kept = {k: v for k, v in os.environ.items() if k != registry.ALLOW}
    return {**kept, "PYTHONPATH": str(folder)}


@contextmanager
def on_the_path(folder: Path) -> Iterator[None]:
    """Within: this process finds what lies in a folder; afterwards it never did."""
    before, path = set(sys.modules), list(sys.path)
    allowed = os.environ.pop(registry.ALLOW, None)
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    registry.forget()
    try:
        yield
    finally:
        sys.path[:] = path
        if allowed is not None:
            os.environ[registry.ALLOW] = allowed
        for name in set(sys.modules) - before:
            if str(folder) in str(getattr(sys.modules[name], "__file__", "")):
                del sys.modules[name]
        registry.forget()


def look(folder: Path, *asked: str, allow: str | None = None) -> dict[str, Any]:
    """What a fresh interpreter finds with this folder on its path."""
    environment = surroundings(folder)
    if allow is not None:
        environment[registry.ALLOW] = allow
    done = subprocess.run(
        [sys.executable, "-c", LOOK, *asked],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)  # stdout holds nothing but ours
    found["plugins"] = [one for one in found["plugins"] if one[0] not in OTHERS]
    found["theirs"] = [one for one in found["theirs"] if one[1].split(":")[0] not in OTHERS]
    found["seconds"] = {k: v for k, v in found["seconds"].items() if k not in OTHERS}
    return found
