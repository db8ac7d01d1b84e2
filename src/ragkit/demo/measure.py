"""The demo's figures: what is right before and after, matched, mismatched and closed book.

All through `ragkit.evaluate`, with its intervals. Knows nothing of how they are shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from scipy.stats import binomtest

from ragkit.demo.prepare import Asked, Parts
from ragkit.evaluate import closed_book, evaluate, interval
from ragkit.evaluate.bootstrap import Interval
from ragkit.evaluate.measures import as_metrics, measure
from ragkit.protocols import Example
from ragkit.rag import RAG

MARGINALIZERS = ("rag-sequence", "rag-token")
RECALL_AT = (1, 5, 20)
MAX_NEW_TOKENS = 24
BATCH = 32

Figure = dict[str, float | int]


def figure(found: Interval) -> Figure:
    """Percent, rounded to what the interval can bear.

    Where all questions have the same outcome a bootstrap has nothing to resample; then the
    interval is the exact binomial one (Clopper and Pearson), which still has a width.
    """
    low, high = found.low, found.high
    if low == high and found.mean in (0.0, 1.0):
        exact = binomtest(round(found.mean * found.n), found.n).proportion_ci(0.95)
        low, high = float(exact.low), float(exact.high)
    return {
        "mean": round(100 * found.mean, 1),
        "low": round(100 * low, 1),
        "high": round(100 * high, 1),
        "n": found.n,
    }


def recall(parts: Parts, asked: dict[str, list[Example]], seed: int) -> dict[str, Any]:
    """Share of questions whose own passage is among the first 1, 5, 20, in each edition."""
    found: dict[str, Any] = {}
    parts.rag.eval()
    for edition, examples in asked.items():
        parts.rag.swap(parts.bases[edition])
        gold = parts.bases[edition].rows([one.passage_ids[0] for one in examples])
        with torch.no_grad():
            ids = parts.rag.retriever.retrieve(
                [one.question for one in examples], max(RECALL_AT)
            ).ids.cpu()  # (B,K)
        hit = ids.numpy() == np.asarray(gold)[:, None]  # (B,K)
        found[edition] = {
            f"recall@{k}": figure(interval(hit[:, :k].any(1), seed=seed)) for k in RECALL_AT
        }
    return found


def swaps(parts: Parts, asked: dict[str, list[Example]], k: int, seed: int) -> dict[str, Any]:
    """EM for every marginalizer, knowledge base and edition of the answers (section 4.5)."""
    table: dict[str, Any] = {}
    for name in MARGINALIZERS:
        rag = RAG(parts.rag.retriever, parts.rag.generator, name)
        table[name] = {}
        for base, examples in asked.items():
            rag.swap(parts.bases[base])
            said = evaluate(
                rag,
                Asked(examples),
                k=k,
                metrics=["em"],
                batch_size=BATCH,
                seed=seed,
                max_new_tokens=MAX_NEW_TOKENS,
            )
            for gold, right in asked.items():
                values = measure(as_metrics(["em"], k), said.predictions, right)
                (numbers,) = values.values()
                table[name][f"facts {base}, answers {gold}"] = figure(interval(numbers, seed=seed))
    return table


def without_book(parts: Parts, asked: dict[str, list[Example]], seed: int) -> dict[str, Figure]:
    """The generator alone: what it knows by heart, and guesses."""
    alone = closed_book(parts.rag.generator)
    found = {}
    for edition, examples in asked.items():
        said = evaluate(
            alone,
            Asked(examples),
            k=1,
            metrics=["em"],
            batch_size=BATCH,
            seed=seed,
            max_new_tokens=MAX_NEW_TOKENS,
        )
        (score,) = said.scores.values()
        found[edition] = figure(score)
    return found


def shown_answers(parts: Parts, examples: Sequence[Example], k: int) -> list[dict[str, Any]]:
    """A few questions answered by RAG-Token from both editions, for the page."""
    rag = RAG(parts.rag.retriever, parts.rag.generator, "rag-token")
    found: list[dict[str, Any]] = [{"question": one.question} for one in examples]
    for edition, base in parts.bases.items():
        rag.swap(base)
        answers = rag.answer([one.question for one in examples], k=k, max_new_tokens=MAX_NEW_TOKENS)
        for entry, answer in zip(found, answers, strict=True):
            entry[edition] = answer
    return found
