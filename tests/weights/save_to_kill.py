"""Saves a changed model over copies of one, and dies at the n-th step of each: for n = 0, 1 …

Prints a line of JSON for each copy: where it is, and how the save ended.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import torch

from ragkit.rag import RAG
from ragkit.weights import packed


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    rag = RAG.from_pretrained(folder)
    with torch.no_grad():
        rag.generator.model.lm_head.weight.mul_(2.0)
    for step in range(40):
        copy = folder.with_name(f"{folder.name}-{step}")
        shutil.copytree(folder, copy)
        child = os.fork()
        if child == 0:
            die_at(step)
            try:
                rag.save_pretrained(copy, weights="int8")
            except BaseException:
                os._exit(8)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        print(json.dumps({"folder": str(copy), "code": code}))
        if code == 0:
            return


def die_at(step: int) -> None:
    """Let the process end without a word at the n-th of these calls."""
    count = iter(range(step))

    def dying(real):
        def call(*arguments, **options):
            if next(count, None) is None:
                os._exit(9)
            return real(*arguments, **options)

        return call

    packed.save_file, packed.load_file = dying(packed.save_file), dying(packed.load_file)
    os.unlink, os.replace = dying(os.unlink), dying(os.replace)
    Path.unlink, Path.write_text = dying(Path.unlink), dying(Path.write_text)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
