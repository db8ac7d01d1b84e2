"""Search functions for BEIR and mteb, called as these document, without either.

BEIR's ``EvaluateRetrieval(model, k_values, score_function).retrieve(corpus, queries)`` calls
``model.search(corpus, queries, max(k_values), score_function)`` and gives the outcome to
pytrec_eval. mteb's ``SearchProtocol`` (mteb 2) is ``index(corpus, *, task_metadata, hf_split,
hf_subset, encode_kwargs)``, ``search(queries, *, …, top_k, encode_kwargs, top_ranked)`` and
``mteb_model_meta``; corpus and queries are ``datasets.Dataset``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytrec_eval
import torch
from datasets import Dataset

from hashing import HashEncoder, vector
from ragkit.errors import ConfigError, DataError
from ragkit.evaluate import BeirSearch, MtebSearch, retrieval
from ragkit.evaluate.replaying import Qrels
from ragkit.knowledge import KnowledgeBase
from ragkit.protocols import Example, Passage, Retrieved
from ragkit.retrieve.dense import DenseRetriever

CORPUS = {f"p{i}": {"title": f"title {i}", "text": f"thing {i}"} for i in range(25)}
QUERIES = {f"q{i}": f"what is {i}?" for i in range(7)}
QRELS = {f"q{i}": {f"p{3 * i}": 2, f"p{i}": 1} for i in range(7)}
MTEB: dict[str, Any] = {
    "task_metadata": object(),
    "hf_split": "test",
    "hf_subset": "default",
    "encode_kwargs": {"batch_size": 8},
}


def build(folder: Path) -> Any:
    def over(passages: Iterator[Passage]) -> DenseRetriever:
        encoder: Any = HashEncoder()
        return DenseRetriever(encoder, KnowledgeBase.build(passages, encoder, "exact", folder))

    return over


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> DenseRetriever:
    passages = (Passage(id, **one) for id, one in CORPUS.items())
    made: DenseRetriever = build(tmp_path_factory.mktemp("kb") / "kb")(passages)
    return made


def expected(retriever: DenseRetriever, k: int) -> dict[str, list[str]]:
    base = retriever.knowledge_base
    assert base is not None
    d = base.vectors(np.arange(25)).astype(np.float64)
    return {
        id: [f"p{i}" for i in np.argsort(-(d @ vector(text).astype(np.float64)))[:k]]
        for id, text in QUERIES.items()
    }


def test_beir_is_answered(ready: DenseRetriever, tmp_path: Path) -> None:
    built = BeirSearch(build(tmp_path / "kb"), batch_size=3)
    for model in (BeirSearch(ready), built):
        found = model.search(CORPUS, QUERIES, 10, "cos_sim")
        assert {id: list(scores) for id, scores in found.items()} == expected(ready, 10)
        assert all(type(one) is float for scores in found.values() for one in scores.values())
    evaluator = pytrec_eval.RelevanceEvaluator(QRELS, {"ndcg_cut.10", "recall.10"})
    scored = evaluator.evaluate(found)

    class Asked(Qrels):
        def examples(self, split: str) -> Iterator[Example]:
            for id, grades in QRELS.items():
                yield Example(id, QUERIES[id], (), tuple(grades), extra={"relevance": grades})

    ours = retrieval(ready, Asked(""), k=10, metrics=["nDCG@10", "R@10"])
    for label, name in (("nDCG@10", "ndcg_cut_10"), ("gold R@10", "recall_10")):
        mean = np.mean([one[name] for one in scored.values()])
        assert ours[label].mean == pytest.approx(mean, abs=1e-6)


def test_mteb_is_answered(ready: DenseRetriever, tmp_path: Path) -> None:
    rows = [{"id": id, **one} for id, one in CORPUS.items()]
    whole = [{**row, "body": row["text"], "text": f"{row['title']} {row['text']}"} for row in rows]
    queries = Dataset.from_list([{"id": id, "text": text} for id, text in QUERIES.items()])
    meta = object()
    for i, corpus in enumerate((rows, whole)):
        model = MtebSearch(build(tmp_path / f"kb-{i}"), meta)
        assert model.mteb_model_meta is meta
        model.index(Dataset.from_list(corpus), **MTEB)
        found = model.search(queries, top_k=10, top_ranked=None, **MTEB)
        assert {id: list(scores) for id, scores in found.items()} == expected(ready, 10)
        among = {id: [f"p{j}" for j in range(i, 25, 3)] for i, id in enumerate([*QUERIES][:6])}
        ranked = model.search(queries, top_k=4, top_ranked=among, **MTEB)
        order = expected(ready, 25)
        for id in QUERIES:
            kept = [one for one in order[id] if one in among.get(id, ())]
            assert list(ranked[id]) == kept[:4]


class Level:
    """All passages alike: what a tool sorts by must still tell them apart, in this order."""

    def retrieve(self, questions: list[str], k: int) -> Retrieved:
        ids = torch.tensor([[2, 0, 1, -1]]).expand(len(questions), 4)
        held: list[Passage | None] = [Passage(f"p{i}", "", "x") for i in (2, 0, 1)]
        return Retrieved(
            [[*held, None] for _ in questions],
            ids,
            torch.zeros(len(questions), 4).masked_fill(ids < 0, -torch.inf),
            ids >= 0,
        )


def test_equal_scores_are_told_apart_and_absent_passages_left_out() -> None:
    found = BeirSearch(Level()).search({}, {"q": "x"}, 4)["q"]
    assert list(found) == ["p2", "p0", "p1"]
    for best in found:
        evaluator = pytrec_eval.RelevanceEvaluator({"q": {best: 1}}, {"recip_rank"})
        place = 1 + list(found).index(best)
        assert evaluator.evaluate({"q": found})["q"]["recip_rank"] == pytest.approx(1 / place)


def test_what_is_refused(ready: DenseRetriever) -> None:
    other = {**dict(list(CORPUS.items())[1:]), "new": {"text": "x"}}
    with pytest.raises(DataError, match=r"has 25 passages .* 25, and lacks 1 of them, such as"):
        BeirSearch(ready).search(other, QUERIES, 3)
    with pytest.raises(DataError, match=r"has 24 passages and the retriever's .* 25; build one"):
        BeirSearch(ready).search(dict(list(CORPUS.items())[1:]), QUERIES, 3)
    with pytest.raises(DataError, match="no corpus was indexed"):
        MtebSearch(ready).search([], top_k=3)
    model = MtebSearch(Level())
    with pytest.raises(DataError, match="a row has text None, and texts are needed; it has id"):
        MtebSearch(lambda passages: [*passages] and Level()).index([{"id": "1", "image": 2}])  # type: ignore[arg-type, return-value]
    model.index([])
    with pytest.raises(DataError, match=r"a row has text \['turn'\], and texts"):
        model.search([{"id": "1", "text": ["turn"]}], top_k=3)
    with pytest.raises(ConfigError, match="Level cannot keep to some ids"):
        model.search([{"id": "1", "text": "x"}], top_k=3, top_ranked={"1": ["p1"]})
