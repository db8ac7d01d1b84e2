"""The dense retriever against inner products taken by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import tiny
from ragkit.knowledge import KnowledgeBase
from ragkit.protocols import Hits, Passage, SupportsFilter
from ragkit.retrieve.dense import DenseRetriever
from ragkit.retrieve.dpr import DPREncoder

PASSAGES = [Passage(f"p{i}", f"Title {i}", f"the text {i * 7 % 5} of {'x' * i}") for i in range(9)]
QUESTIONS = ["who is it", "what", "where are they now"]


@pytest.fixture(scope="module")
def encoder():
    return DPREncoder(tiny.bert(), tiny.bert(seed=1), tiny.tokenizer())


@pytest.fixture(scope="module")
def knowledge_base(encoder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("kb") / "base"
    return KnowledgeBase.build(PASSAGES, encoder, "exact", folder, dtype="float32")


def expected_scores(encoder) -> torch.Tensor:
    return encoder.questions(QUESTIONS) @ encoder.passages(PASSAGES).T  # (B,N)


@pytest.mark.parametrize("k", [1, 4, 9])
def test_the_k_best_by_inner_product(encoder, knowledge_base, k):
    found = DenseRetriever(encoder, knowledge_base).retrieve(QUESTIONS, k)
    best, ids = expected_scores(encoder).topk(k)
    assert found.ids.dtype == torch.int64
    assert torch.equal(found.ids, ids)
    assert found.mask.all()
    torch.testing.assert_close(found.scores, best)
    torch.testing.assert_close(found.prior().exp(), best.softmax(-1))


def test_gradient_is_that_of_the_inner_product(encoder, knowledge_base):
    retriever = DenseRetriever(encoder, knowledge_base, temperature=0.5)
    weights = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    grads = []
    for scores in (
        retriever.retrieve(QUESTIONS, 4).scores,
        (expected_scores(encoder) / 0.5).topk(4).values,
    ):
        encoder.zero_grad()
        (scores * weights).sum().backward()
        grads.append([p.grad.clone() for p in encoder.parameters() if p.grad is not None])
    assert len(grads[0]) == len(grads[1]) > 0
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(one, other)
    encoder.zero_grad()


def test_scores_come_from_the_stored_vectors(encoder, tmp_path):
    half = KnowledgeBase.build(PASSAGES, encoder, "exact", tmp_path / "half", dtype="float16")
    found = DenseRetriever(encoder, half).retrieve(QUESTIONS, 9)
    stored = encoder.passages(PASSAGES).half().float()  # (N,D)
    expected = (encoder.questions(QUESTIONS) @ stored.T).gather(1, found.ids)
    torch.testing.assert_close(found.scores, expected)


def test_a_poor_index_gives_poor_candidates_but_right_scores(encoder, knowledge_base, monkeypatch):
    def backwards(queries, k, allowed_rows=None):
        rows = np.tile(np.array([7, -1, 2, 5]), (len(queries), 1))
        return Hits(rows, np.full(rows.shape, 123.0, dtype=np.float32))

    monkeypatch.setattr(knowledge_base, "propose", backwards)
    found = DenseRetriever(encoder, knowledge_base).retrieve(QUESTIONS, 4)
    for b, row in enumerate(expected_scores(encoder)):
        best = sorted((2, 5, 7), key=lambda i: -row[i])
        assert found.ids[b].tolist() == [*best, -1]
        torch.testing.assert_close(found.scores[b, :3], row[best])
        assert found.scores[b, 3] == -torch.inf


def test_k_larger_than_the_knowledge_base_is_masked(encoder, knowledge_base):
    found = DenseRetriever(encoder, knowledge_base).retrieve(QUESTIONS, 12)
    assert found.scores.shape == found.ids.shape == found.mask.shape == (3, 12)
    assert found.mask.sum(1).tolist() == [9, 9, 9]
    assert (found.ids[:, 9:] == -1).all()
    assert (found.scores[:, 9:] == -torch.inf).all()
    assert list(found.passages[0][9:]) == [None] * 3
    prior = found.prior()
    torch.testing.assert_close(prior.exp().sum(1), torch.ones(3))
    (-prior[:, 0].sum()).backward()
    grads = [p.grad for p in encoder.parameters() if p.grad is not None]
    assert all(grad.isfinite().all() for grad in grads)
    encoder.zero_grad()


def test_only_allowed_passages(encoder, knowledge_base):
    retriever = DenseRetriever(encoder, knowledge_base)
    assert isinstance(retriever, SupportsFilter)
    found = retriever.retrieve_from(QUESTIONS, 3, {"p1", "p8"})
    scores = expected_scores(encoder)[:, [1, 8]]
    for b in range(3):
        order = [1, 8] if scores[b, 0] >= scores[b, 1] else [8, 1]
        assert found.ids[b].tolist() == [*order, -1]
    torch.testing.assert_close(found.scores[:, :2], scores.sort(descending=True).values)


def test_ties_are_broken_by_row(tmp_path):
    encoder = DPREncoder(tiny.bert(), tokenizer=tiny.tokenizer())
    same = [Passage(f"p{i}", "same", "text") for i in range(6)]
    knowledge_base = KnowledgeBase.build(same, encoder, "exact", tmp_path / "kb")
    found = DenseRetriever(encoder, knowledge_base, oversample=10).retrieve(QUESTIONS, 4)
    assert found.ids.tolist() == [[0, 1, 2, 3]] * 3


def test_passages_are_those_of_the_ids(encoder, knowledge_base):
    found = DenseRetriever(encoder, knowledge_base).retrieve(QUESTIONS, 4)
    assert len(found.passages) == 3
    for row, ids in zip(found.passages, found.ids.tolist(), strict=True):
        assert list(row) == [PASSAGES[i] for i in ids]
    assert [list(row) for row in found.passages[1:]] == [list(found.passages[b]) for b in (1, 2)]


def test_passages_are_not_read_before_somebody_looks(encoder, knowledge_base, monkeypatch):
    calls = []
    read = knowledge_base.passages
    monkeypatch.setattr(
        knowledge_base, "passages", lambda rows: (calls.append(list(rows)), read(rows))[1]
    )
    found = DenseRetriever(encoder, knowledge_base).retrieve(QUESTIONS, 4)
    assert len(found.passages) == 3
    assert calls == []
    for row in found.passages:
        assert None not in row
    assert calls == [sorted(set(found.ids.flatten().tolist()))]


def test_what_is_on_its_way_keeps_its_knowledge_base(encoder, knowledge_base, tmp_path):
    other = KnowledgeBase.build(
        [Passage(p.id, p.title, "new") for p in PASSAGES], encoder, "exact", tmp_path / "new"
    )
    retriever = DenseRetriever(encoder, knowledge_base)
    before = retriever.retrieve(QUESTIONS, 2)
    retriever.swap(other)
    after = retriever.retrieve(QUESTIONS, 2)
    assert {p.text for row in after.passages for p in row} == {"new"}
    assert [p for row in before.passages for p in row] == [
        PASSAGES[i] for i in before.ids.flatten().tolist()
    ]


def test_learnt_temperature(encoder, knowledge_base):
    retriever = DenseRetriever(encoder, knowledge_base, temperature=0.25, learn_temperature=True)
    fixed = DenseRetriever(encoder, knowledge_base, temperature=0.25)
    assert retriever.temperature == pytest.approx(0.25)
    scores = retriever.retrieve(QUESTIONS, 3).scores
    torch.testing.assert_close(scores, fixed.retrieve(QUESTIONS, 3).scores)
    scores.sum().backward()
    # d(s/t)/d(log t) = -s/t
    torch.testing.assert_close(retriever.log_temperature.grad, -scores.detach().sum())
    assert "log_temperature" not in dict(fixed.named_parameters())
    encoder.zero_grad()


@settings(max_examples=25, deadline=None)
@given(
    texts=st.lists(st.text("abc de", min_size=1, max_size=12), min_size=2, max_size=5),
    k=st.integers(1, 11),
)
def test_a_question_is_answered_the_same_alone_and_in_a_batch(encoder, knowledge_base, texts, k):
    retriever = DenseRetriever(encoder, knowledge_base)
    together = retriever.retrieve(texts, k)
    for b, text in enumerate(texts):
        alone = retriever.retrieve([text], k)
        torch.testing.assert_close(alone.scores[0], together.scores[b], rtol=1e-4, atol=1e-4)
        assert torch.equal(alone.mask[0], together.mask[b])


@pytest.mark.parametrize("copied", [False, True])
def test_save_and_load(copied, encoder, tmp_path):
    folder = tmp_path / "home"
    knowledge_base = KnowledgeBase.build(PASSAGES, encoder, "exact", folder / "kb")
    retriever = DenseRetriever(encoder, knowledge_base, 0.5, learn_temperature=True, oversample=2)
    (folder / "model").mkdir()
    retriever.save(folder / "model", copy_knowledge_base=copied)
    reference = json.loads((folder / "model" / "retriever.json").read_text())["knowledge_base"]
    assert reference == ("knowledge_base" if copied else "../kb")
    again = DenseRetriever.load(folder / "model")
    assert again.oversample == 2
    assert again.learn_temperature
    one, other = again.retrieve(QUESTIONS, 3), retriever.retrieve(QUESTIONS, 3)
    assert torch.equal(one.ids, other.ids)
    torch.testing.assert_close(one.scores, other.scores)


def test_a_moved_folder_still_loads(encoder, tmp_path):
    knowledge_base = KnowledgeBase.build(PASSAGES, encoder, "exact", tmp_path / "a" / "kb")
    retriever = DenseRetriever(encoder, knowledge_base)
    (tmp_path / "a" / "model").mkdir()
    retriever.save(tmp_path / "a" / "model")
    expected = retriever.retrieve(QUESTIONS, 3).ids
    (tmp_path / "a").rename(tmp_path / "b")
    again = DenseRetriever.load(tmp_path / "b" / "model")
    assert torch.equal(again.retrieve(QUESTIONS, 3).ids, expected)


def test_another_knowledge_base_can_be_given_on_loading(encoder, knowledge_base, tmp_path):
    DenseRetriever(encoder, knowledge_base).save(tmp_path)
    again = DenseRetriever.load(tmp_path, knowledge_base=knowledge_base)
    assert again.knowledge_base is knowledge_base
