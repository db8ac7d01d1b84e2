"""Makes the demo's starting checkpoint anew and prints its bars: one resumable command.

    python benchmarks/demo/pretrain.py --work build/demo [--out FOLDER]

The recipe itself is `ragkit.demo.recipe`, which ``ragkit demo --from-scratch`` uses too.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import bars

from ragkit.demo.recipe import pretrain
from ragkit.demo.world import CHECKPOINT

if __name__ == "__main__":
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--out", type=Path, default=CHECKPOINT)
    out = parser.parse_known_args()[0].out
    pretrain.main()
    print(json.dumps(bars.measure(out), indent=2))
