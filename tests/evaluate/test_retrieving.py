"""A retriever evaluated alone, against a matrix product and ir_measures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ir_measures
import numpy as np
import pytest
import torch
from ir_measures import RR, R, nDCG
from torch import nn

from hashing import HashEncoder, vector
from ragkit.errors import ConfigError, DataError
from ragkit.evaluate import retrieval
from ragkit.knowledge import KnowledgeBase
from ragkit.protocols import Example, Passage, Retrieved
from ragkit.retrieve.dense import DenseRetriever

PASSAGES = [Passage(f"p{i}", f"title {i}", f"thing number {i}") for i in range(30)]


class Asked:
    """Twelve questions with one to three golds each, graded."""

    metrics: Sequence[str] = ("em", "ndcg@10", "R@5", "rr", "answer-recall@3")

    def __repr__(self) -> str:
        return "Asked()"

    def examples(self, split: str) -> list[Example]:
        def grades(i: int) -> dict[str, int]:
            return {f"p{(7 * i + j * j) % 30}": 1 + j for j in range(1 + i % 3)}

        return [
            Example(
                f"q{i}",
                f"what is thing {i}?",
                (f"number {i}",),
                tuple(grades(i)),
                extra={"relevance": grades(i)},
            )
            for i in range(12)
        ]


@pytest.fixture(scope="module")
def dense(tmp_path_factory: pytest.TempPathFactory) -> DenseRetriever:
    folder = tmp_path_factory.mktemp("kb")
    encoder: Any = HashEncoder()
    return DenseRetriever(encoder, KnowledgeBase.build(PASSAGES, encoder, "exact", folder / "kb"))


def test_it_finds_what_a_matrix_product_finds(dense: DenseRetriever) -> None:
    found = retrieval(dense, Asked(), split="test", k=20, batch_size=5)
    assert list(found.scores) == ["nDCG@10", "gold R@5", "RR@20", "answer R@3"]  # no EM
    base = dense.knowledge_base
    assert base is not None
    d = base.vectors(np.arange(30)).astype(np.float64)  # (N,D)
    run: dict[str, dict[str, float]] = {}
    for example, said in zip(Asked().examples("test"), found.predictions, strict=True):
        scores = d @ vector(example.question).astype(np.float64)
        best = np.argsort(-scores)[:20]
        assert [one.id for one in said.passages] == [f"p{i}" for i in best]
        prior = np.exp(scores[best]) / np.exp(scores[best]).sum()
        assert said.prior == pytest.approx(prior, rel=1e-4)
        assert (said.text, said.posterior, said.passages[0].title) == ("", (), f"title {best[0]}")
        run[example.id] = {f"p{i}": float(scores[i]) for i in best}
    qrels = {one.id: dict(one.extra["relevance"]) for one in Asked().examples("test")}
    theirs = ir_measures.calc_aggregate([nDCG @ 10, R @ 5, RR @ 20], qrels, run)
    means = [found[label].mean for label in ("nDCG@10", "gold R@5", "RR@20")]
    assert means == pytest.approx([theirs[nDCG @ 10], theirs[R @ 5], theirs[RR @ 20]], abs=1e-4)


def test_a_folder_is_continued_and_another_retriever_refused(
    dense: DenseRetriever, tmp_path: Path
) -> None:
    first = retrieval(dense, Asked(), k=20, limit=5, directory=tmp_path, texts=False)
    asked: list[str] = []

    class Counting(DenseRetriever):
        def retrieve(self, questions: Sequence[str], k: int) -> Retrieved:
            asked.extend(questions)
            return super().retrieve(questions, k)

    Counting.__name__ = "DenseRetriever"
    again = Counting(dense.encoder, dense.knowledge_base)
    found = retrieval(again, Asked(), k=20, directory=tmp_path, texts=False)
    assert asked == [one.question for one in Asked().examples("dev")[5:]]
    assert list(found.predictions)[:5] == list(first.predictions)
    assert found.predictions[0].passages[0].text == ""
    config = json.loads((tmp_path / "run.json").read_text())
    assert config["model"]["retriever"]["class"] == "DenseRetriever"
    assert config["model"]["knowledge_base"]["passages"] == 30
    assert "generator" not in config["model"]
    cooler = DenseRetriever(dense.encoder, dense.knowledge_base, temperature=0.5)
    with pytest.raises(DataError, match=r"model\.retriever\.temperature is 1\.0 there and 0\.5"):
        retrieval(cooler, Asked(), k=20, directory=tmp_path, texts=False)
    with pytest.raises(DataError, match=r"options\.texts is false there and true"):
        retrieval(dense, Asked(), k=20, directory=tmp_path)


def test_it_can_be_kept_to_some_passages_and_lack_some(dense: DenseRetriever) -> None:
    allowed = {"p3", "p4", "p29"}
    found = retrieval(dense, Asked(), k=10, metrics=["gold-recall"], allowed=allowed)
    assert {one.id for said in found.predictions for one in said.passages} == allowed
    assert all(len(said.prior) == len(said.passages) == 3 for said in found.predictions)
    more = retrieval(dense, Asked(), k=40, metrics=["gold-recall"])
    assert more["gold R@40"].mean == 1  # there are thirty, and all are found
    assert len(more.predictions[0].passages) == 30


def test_dropout_rests_and_no_gradient_is_kept() -> None:
    class Drops(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.drop, self.weight = nn.Dropout(0.9), nn.Parameter(torch.ones(4))
            self.seen: list[bool] = []

        def retrieve(self, questions: Sequence[str], k: int) -> Retrieved:
            scores = self.drop(self.weight * torch.tensor([4.0, 3, 2, 1]))[:k]
            self.seen.append(self.drop.training or scores.requires_grad)
            shape = (len(questions), k)
            return Retrieved(
                [PASSAGES[:k] for _ in questions],
                torch.arange(k).expand(shape),
                scores.expand(shape),
                torch.ones(shape, dtype=torch.bool),
            )

    held = Drops().train()
    held.drop.eval()
    retrieval(held, Asked(), k=4, metrics=["rr"])
    assert held.seen == [False]
    assert (held.training, held.drop.training) == (True, False)  # each as it was


def test_what_is_refused(dense: DenseRetriever) -> None:
    class Labels(Asked):
        metrics = ("label-accuracy", "em")

    with pytest.raises(ConfigError, match=r"judged by label-accuracy, em, and none of these looks"):
        retrieval(dense, Labels(), k=3)
    with pytest.raises(ConfigError, match="metric nDCG@10 counts 10 passages"):
        retrieval(dense, Asked(), k=3)

    class Bare:
        def retrieve(self, questions: Sequence[str], k: int) -> Retrieved:
            raise AssertionError

    with pytest.raises(ConfigError, match="Bare cannot filter"):
        retrieval(Bare(), Asked(), k=3, metrics=["rr"], allowed={"p1"})
