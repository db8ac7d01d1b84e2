"""What the measurements share: model, knowledge bases, questions, and how they are run.

Made when first asked for; a run lies in a folder of its own and goes on where it stopped.
Knows nothing of which figures are wanted.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import encoders
import names
import numpy as np
import sources
import torch

from ragkit import RAG, KnowledgeBase, evaluate
from ragkit.protocols import Example, Passage
from ragkit.retrieve.dense import DenseRetriever


class Bench:
    """The model, its knowledge bases and questions, made when first asked for."""

    def __init__(self, model: Path, work: Path, low: bool) -> None:
        self.folder, self.work = model, work
        self.dev, self.train = sources.squad("dev"), sources.squad("train")
        self.chosen = self.train.only(sources.chosen_titles(self.train), True)
        self.rag = RAG.from_pretrained(model)
        self.encoder: Any = self.rag.retriever.encoder
        self.start: Any = encoders.rounded(encoders.minilm().passage_encoder).eval()
        if low:
            self.rag.generator.model.to(torch.bfloat16)
        self.rag.eval()
        self.results: dict[str, Any] = {}

    def base(self, name: str) -> KnowledgeBase:
        """``all``: train and dev paragraphs; ``dev``: the dev articles' alone.

        ``start-all`` and ``start-dev``: the same by MiniLM as it was.
        """
        folder = self.work / f"kb-{name}"
        if (folder / "current").exists():
            return KnowledgeBase.open(folder)
        passages = [*self.dev.passages.values()]
        if name.endswith("all"):
            passages = [*self.train.passages.values(), *passages]
        encoder = self.start if name.startswith("start-") else self.encoder
        with torch.autocast("cpu", torch.bfloat16):
            return KnowledgeBase.build(passages, encoder, "exact", folder)

    def over(self, name: str) -> RAG:
        """The model over one of them."""
        self.rag.swap(self.base(name))
        return self.rag

    def frozen(self, generator: Any = None) -> RAG:
        """MiniLM as it was, and this generator (the model's): all paragraphs."""
        return RAG(
            DenseRetriever(
                self.start, self.base("start-all"), temperature=self.rag.retriever.temperature
            ),
            self.rag.generator if generator is None else generator,
            "rag-sequence",
        ).eval()

    def run(self, model: Any, name: str, examples: Sequence[Example], k: int, **more: Any) -> Any:
        """`ragkit.evaluate` in a folder of its own, so that it goes on where it stopped."""
        metrics = more.pop("metrics", ["em", "f1"])
        return evaluate(
            model,
            Questions(examples),
            k=k,
            metrics=metrics,
            directory=self.work / "runs" / name,
            batch_size=max(1, 64 // k),
            **more,
        )


class Questions:
    """Examples as a task."""

    metrics = ("em", "f1")

    def __init__(self, examples: Sequence[Example]) -> None:
        self._examples = list(examples)

    def examples(self, split: str) -> list[Example]:
        return self._examples

    def __repr__(self) -> str:
        return f"Questions({len(self._examples)}, {self._examples[0].id})"


def sample(examples: Sequence[Example], n: int) -> list[Example]:
    return random.Random(7).sample(list(examples), min(n, len(examples)))


def scores(result: Any) -> dict[str, Any]:
    return {
        label: {"mean": s.mean, "low": s.low, "high": s.high, "n": s.n}
        for label, s in result.scores.items()
    }


def invented(bench: Bench, n: int, one_each: bool = False) -> tuple[list[Example], list[Passage]]:
    """Questions whose answer, once in its paragraph, is replaced by an invented name.

    In the other golds of a question too, where they hold it ("the Rhine", "Rhine").
    """
    rng = random.Random(11)
    changed, passages, taken = [], [], set()
    for example in sample(bench.dev.examples, len(bench.dev.examples)):
        passage = bench.dev.passages[example.passage_ids[0]]
        answer = example.answers[0]
        name_like = answer[:1].isupper() and len(answer.split()) <= 3
        if not name_like or passage.text.count(answer) != 1 or answer in example.question:
            continue
        if answer in passage.title or (one_each and passage.id in taken):
            continue
        taken.add(passage.id)
        made = " ".join(names.word(rng) for _ in answer.split())
        key = passage.id if one_each else f"{passage.id}-{example.id}"
        passages.append(Passage(key, passage.title, passage.text.replace(answer, made)))
        golds = [one.replace(answer, made) for one in example.answers if answer in one]
        changed.append(replace(example, answers=tuple(dict.fromkeys(golds)), passage_ids=(key,)))
        if len(changed) == n:
            break
    return changed, passages


def reliability(log_likelihood: Sequence[float], em: Any) -> Any:
    """Ten bins of equal size of p(y|x): mean probability, share right; and ECE."""
    p = np.exp(np.array(log_likelihood))
    order = np.argsort(p)
    bins = [
        {"p": float(p[part].mean()), "em": float(np.asarray(em)[part].mean()), "n": len(part)}
        for part in np.array_split(order, 10)
    ]
    ece = sum(one["n"] * abs(one["p"] - one["em"]) for one in bins) / len(p)
    return {"bins": bins, "ece": ece}
