"""The classifier on FEVER-symmetric: claims that each stand there twice, once supported and
once refuted, so that whoever does not read the evidence is right half of the time."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

import ragkit
import tiny
from ragkit import RAG
from ragkit.evaluate.tasks import evidence
from ragkit.generate.classifier import Seq2SeqClassifier
from ragkit.protocols import Example, Passage, Retrieved

DATA = Path(os.environ.get("RAGKIT_DATA", Path(__file__).parents[4] / "shared" / "data"))
FILE = DATA / "fever-symmetric" / "symmetric_v0.1" / "fever_symmetric_full.jsonl"
CLAIMS = 3


class Beside:
    """The evidence of each of these examples, in their order."""

    def __init__(self, passages: list[Passage]) -> None:
        self.passages = passages

    def retrieve(self, questions: Sequence[str], k: int) -> Retrieved:
        rows = torch.arange(len(questions))[:, None]
        return Retrieved(
            [[one] for one in self.passages],
            rows,
            torch.zeros(rows.shape),
            torch.ones(rows.shape, dtype=torch.bool),
        )


def pairs() -> list[Example]:
    """Both examples of the shortest claims."""
    task: Any = ragkit.make("task", "fever", path=str(FILE), ways=2)
    by_claim: dict[str, list[Example]] = defaultdict(list)
    for example in task.examples("symmetric-full"):
        by_claim[example.question].append(example)
    assert len(by_claim) == 475
    twice = [
        found
        for found in by_claim.values()
        if len(found) == 2 and found[0].answers != found[1].answers
    ]
    twice.sort(key=lambda found: sum(len(one.extra["evidence"]) for one in found))
    return [example for found in twice[:CLAIMS] for example in found]


def test_it_learns_to_read_the_evidence() -> None:
    if not FILE.is_file():
        pytest.skip("needs RAGKIT_DATA/fever-symmetric")
    examples = pairs()
    passages = {one.id: one for one in evidence(FILE)}
    beside = Beside([passages[one.passage_ids[0]] for one in examples])
    labels = ["SUPPORTS", "REFUTES"]
    classifier = Seq2SeqClassifier(tiny.bart(), labels, tokenizer=tiny.tokenizer())
    rag = RAG(beside, classifier, "rag-token")
    claims = [one.question for one in examples]
    targets = [one.target or "" for one in examples]
    optimiser = torch.optim.AdamW(rag.parameters(), lr=3e-3)
    for _ in range(60):
        loss = rag.loss(claims, targets, k=1)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if loss < 0.1:
            break
    metric = ragkit.make("metric", "label-accuracy")
    said = [
        answer.prediction(one.id)
        for answer, one in zip(rag.answer(claims, k=1), examples, strict=True)
    ]
    assert metric(said, examples) == [1.0] * len(examples)
    # With the evidence of the other half of each pair, every verdict turns round.
    beside.passages = [beside.passages[i ^ 1] for i in range(len(examples))]
    turned = [answer.text for answer in rag.answer(claims, k=1)]
    assert turned == [targets[i ^ 1] for i in range(len(examples))]
