"""Both retrievers within a RAG: loss, answers, scores in the answer, folders, JSON."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import shore
from ragkit_bm25.hybrid import HybridRetriever
from ragkit_bm25.retriever import BM25Retriever
from shore import PASSAGES, QUESTIONS, Letters

from ragkit import RAG, KnowledgeBase
from ragkit.cli.ask import as_record
from ragkit.generate.seq2seq import Seq2SeqGenerator
from ragkit.retrieve.dense import DenseRetriever
from ragkit.testing import tiny


def generator() -> Seq2SeqGenerator:
    """A BART of two layers and random weights, which spells."""
    return Seq2SeqGenerator(tiny.bart(), tokenizer=tiny.tokenizer())


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> KnowledgeBase:
    return shore.base(tmp_path_factory.mktemp("shore") / "kb")


def test_the_loss_is_the_mixture_under_the_softmax_of_bm25(base: KnowledgeBase) -> None:
    writer = generator()
    rag = RAG(BM25Retriever(base, stopwords=sorted(shore.STOP)), writer, "rag-sequence")
    targets = ["Ada Holm", "the old town", "rye", "no"]
    for question, target in zip(QUESTIONS, targets, strict=True):
        scores = np.array(shore.bm25(question))
        order = np.argsort(-scores.round(6), kind="stable")[:3]
        prior = scores[order] - np.log(np.exp(scores[order]).sum())
        evidence, found = rag([question], [target], k=3)
        assert found.ids[0].tolist() == order.tolist()
        likelihood = evidence.token_logp[0].detach().double().sum(-1).numpy()
        expected = -np.logaddexp.reduce(prior + likelihood)
        assert rag.loss([question], [target], k=3).item() == pytest.approx(expected, rel=1e-4)


def test_training_moves_the_generator_alone(base: KnowledgeBase) -> None:
    retriever, writer = BM25Retriever(base), generator()
    rag = RAG(retriever, writer, "rag-token")
    assert not list(retriever.parameters())
    rag.loss(QUESTIONS, ["a", "b", "c", "d"], k=3).backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in writer.parameters())


def test_an_answer_keeps_what_each_retriever_gave(base: KnowledgeBase) -> None:
    encoder = Letters()
    dense, words = DenseRetriever(encoder, base, temperature=0.01), BM25Retriever(base)
    rag = RAG(HybridRetriever(dense, words, "sum"), generator(), "rag-sequence")
    (answer,) = rag.answer(QUESTIONS[0], k=4, max_new_tokens=3)
    q, d = encoder.questions(QUESTIONS[:1])[0], encoder.passages(PASSAGES).half().float()
    by_words = words.retrieve(QUESTIONS[:1], len(PASSAGES))
    lexical = dict(zip(by_words.ids[0].tolist(), by_words.scores[0].tolist(), strict=True))
    assert len(answer.passages) == 4
    for read in answer.passages:
        row = base.row(read.id)
        assert read.scores == {
            "dense": pytest.approx((q @ d[row]).item() / 0.01, rel=1e-4),
            "bm25": pytest.approx(lexical[row], rel=1e-5),
        }
    hash(answer.passages[0])
    (plain,) = RAG(dense, rag.generator, "rag-sequence").answer(QUESTIONS[0], max_new_tokens=2)
    assert all(read.scores == {} for read in plain.passages)
    # Found by one alone: the other's score is not there, rather than a number.
    tops = [part.retrieve(["tide"], 1).ids.item() for part in (dense, words)]
    assert tops[0] != tops[1]
    few = HybridRetriever(dense, words, oversample=1)
    (answer,) = RAG(few, rag.generator, "rag-sequence").answer("tide", k=1, max_new_tokens=2)
    (read,) = answer.passages
    assert list(read.scores) == ["dense" if base.row(read.id) == tops[0] else "bm25"]


def test_a_filter_and_a_swap_reach_the_retrievers(base: KnowledgeBase, tmp_path: Path) -> None:
    other = shore.base(tmp_path / "kb", PASSAGES[:3])
    for retriever in (
        BM25Retriever(base),
        HybridRetriever(DenseRetriever(Letters(), base), BM25Retriever(base)),
    ):
        rag = RAG(retriever, generator(), "rag-sequence")
        (answer,) = rag.answer("rye", k=3, allowed={"moss", "tram"}, max_new_tokens=2)
        assert {read.id for read in answer.passages} == {"moss", "tram"}
        rag.swap(other)
        (answer,) = rag.answer("rye", k=5, max_new_tokens=2)
        assert {read.id for read in answer.passages} == {"light", "tram", "bakery"}


def test_a_folder_of_it_is_opened_again_and_its_answers_written_down(
    base: KnowledgeBase, tmp_path: Path
) -> None:
    words = HybridRetriever(BM25Retriever(base), BM25Retriever(base, k1=0.5), weights=(1.0, 2.0))
    rag = RAG(words, generator(), "rag-sequence")
    rag.save_pretrained(tmp_path / "model", copy_knowledge_base=True)
    again = RAG.from_pretrained(tmp_path / "model")
    for one, other in zip(
        rag.answer(QUESTIONS, k=3, max_new_tokens=3),
        again.answer(QUESTIONS, k=3, max_new_tokens=3),
        strict=True,
    ):
        assert one.text == other.text
        assert [p.scores for p in one.passages] == [p.scores for p in other.passages]
    (answer,) = again.answer(QUESTIONS[0], k=2, max_new_tokens=2)
    record = json.loads(json.dumps(as_record(answer)))  # what `ragkit ask --json` prints
    assert set(record["passages"][0]["scores"]) == {"bm25", "bm25-2"}
