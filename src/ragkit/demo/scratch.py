"""``ragkit demo --from-scratch``: the starting checkpoint is made anew instead of opened.

Runs `ragkit.demo.recipe` in processes of its own, resumable. Knows nothing of the demo's
live part.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from ragkit.demo.report import say
from ragkit.errors import RagkitError

MINUTES = 45
"""What the recipe takes on two cores, about."""


def pretrain(folder: Path) -> Path:
    """Pre-train reader and encoder below a folder; where they are then.

    Goes on where it was if it was interrupted. Raises `RagkitError` where a part fails.
    """
    out = folder / "checkpoint"
    say(f"0  Pre-training reader and encoder from nothing: about {MINUTES} minutes on two cores")
    command = [sys.executable, "-m", "ragkit.demo.recipe.pretrain", "--work", str(folder)]
    done = subprocess.run([*command, "--out", str(out)], stdout=sys.stderr, check=False)
    if done.returncode:
        raise RagkitError(
            f"pre-training ended with exit code {done.returncode}; run the demo again with "
            "--from-scratch and the same --out to go on"
        )
    return out
