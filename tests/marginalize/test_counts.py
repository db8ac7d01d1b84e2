"""What a loss and an answer cost, in counts that no clock can blur: nothing gets dearer unseen.

Each number is derived beside its assertion from the sizes of one small case; a change that
reads a pair twice, makes logits that nobody asked for, or projects keys again, shows here.
"""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

import pytest
import torch

import tiny
from ragkit import RAG, KnowledgeBase
from ragkit.generate import encode
from ragkit.generate.seq2seq import Seq2SeqGenerator
from ragkit.marginalize.rag_sequence import RagSequence
from ragkit.marginalize.rag_token import RagToken
from ragkit.retrieve.dense import DenseRetriever
from ragkit.retrieve.dpr import DPREncoder

B, K, W, T = 2, 3, 2, 5
P, LAYERS = B * K, 2  # pairs; layers of the decoder
QUESTIONS = ["who?", "where is it"]
TEXTS = ["one", "two words", "three more words", "four", "a fifth text"]


class Counted:
    """A whole model whose parts report what goes through them."""

    def __init__(self, directory):
        encoder = DPREncoder(tiny.bert(), tokenizer=tiny.tokenizer())
        passages = [{"id": str(i), "text": text} for i, text in enumerate(TEXTS)]
        base = KnowledgeBase.build(passages, encoder, directory=directory)
        self.generator = Seq2SeqGenerator(tiny.bart(scale=0.45), tiny.tokenizer())
        self.retriever = DenseRetriever(encoder, base)
        self.rag = RAG(self.retriever, self.generator).eval()
        self.count = Counter()
        model = self.generator.model
        self._watch(model.get_encoder(), "encoder tokens", lambda made: made[0].shape[:2])
        self._watch(model.get_decoder(), "decoder tokens", lambda made: made[0].shape[:2])
        self._watch(model.lm_head, "head rows", lambda made: made.shape[:-1])
        for layer in model.get_decoder().layers:
            self._watch(layer.encoder_attn.k_proj, "cross keys", lambda made: made.shape[:2])
        search = base.index.search

        def counted(*a, **o):
            self.count["searches"] += 1
            return search(*a, **o)

        base.index.search = counted

    def _watch(self, part, name, size):
        def add(module, seen, made):
            self.count[name] += size(made).numel()

        part.register_forward_hook(add)

    def sources(self):
        """Tokens and mask of the pairs (P,S), made without the model."""
        found = self.retriever.retrieve(QUESTIONS, K)
        self.count.clear()
        return self.generator.sources.of_pairs(QUESTIONS, found)

    def answer(self, marginalizer, n=1, **options):
        self.rag.marginalizer = marginalizer
        self.count.clear()
        # Exactly T tokens: nothing ends before, all ends then.
        return self.rag.answer(
            QUESTIONS, K, min_new_tokens=T, max_new_tokens=T, num_return_sequences=n, **options
        )


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    return Counted(tmp_path_factory.mktemp("counts") / "kb")


def test_a_loss(case):
    longest = case.sources().mask.shape[1]
    targets = ["ab", "abcd"]
    lengths = [3, 5]  # their bytes and EOS
    case.rag.loss(QUESTIONS, targets, K).backward()
    assert case.count == {
        "searches": 1,  # for all questions at once
        "encoder tokens": P * longest,  # every pair once (so few are not worth packing)
        "decoder tokens": P * max(lengths),  # every target with its K passages
        "head rows": K * sum(lengths),  # gold tokens alone, no padding
        "cross keys": LAYERS * P * longest,  # once a layer and pair
    }


def test_padding_is_not_encoded_where_that_pays(case, monkeypatch):
    monkeypatch.setattr(encode, "CALL", 0)
    real = int(case.sources().mask.sum())
    case.rag.loss(QUESTIONS, ["a", "b"], K)
    # The tokens of all pairs end to end, filled up to a whole block.
    assert case.count["encoder tokens"] == -(-real // encode.BLOCK) * encode.BLOCK


@pytest.mark.parametrize("beams", [1, W])
def test_a_rag_token_answer(case, beams):
    longest = case.sources().mask.shape[1]
    case.answer(RagToken(), num_beams=beams)
    # First one hypothesis a question, then its beams, each against its K passages.
    rows = B * K + (T - 1) * B * beams * K
    assert case.count == {
        "searches": 1,
        "encoder tokens": P * longest,
        "decoder tokens": rows,  # one token a row and step: the past is cached
        "head rows": rows,
        "cross keys": LAYERS * P * longest,  # at the first step, not once a beam
    }


@pytest.mark.parametrize("beams", [1, W])
def test_a_fast_answer(case, beams):
    longest = case.sources().mask.shape[1]
    case.answer(RagSequence("fast"), num_beams=beams)
    # First one hypothesis a pair, then its beams, each against its pair.
    rows = P + (T - 1) * P * beams
    assert case.count == {
        "searches": 1,
        "encoder tokens": P * longest,
        "decoder tokens": rows,
        "head rows": rows,
        "cross keys": LAYERS * P * longest,
    }


def test_a_thorough_answer(case):
    longest = case.sources().mask.shape[1]
    found = []
    whole = RagSequence("fast")
    decode = whole.decode
    whole.decode = lambda *a: found.append(decode(*a)) or found[-1]
    case.answer(whole, n=P * W, num_beams=W)  # the unions, whole
    fast = dict(case.count)
    case.answer(RagSequence("thorough"), n=P * W, num_beams=W)  # so many that all may win
    # Step two reads, for each pair, the beginnings of the candidates that its own beam
    # lacks, each beginning once: the empty one, and all but the last token of each.
    rows = []
    for union in found[0]:
        for passage in range(K):
            lacking = [one.tokens.tolist() for one in union if one.posterior[passage] == -torch.inf]
            beginnings = {tuple(y[:t]) for y in lacking for t in range(T)}
            rows.append(len(beginnings))
    # Not a second pass over what beams have paid for, and much is shared.
    assert 0 < sum(rows) < sum(len(union) for union in found[0]) * K * T
    read = [n for n in rows if n]
    assert case.count == {
        "searches": 1,
        "encoder tokens": P * longest,  # step two reads the same states
        "decoder tokens": fast["decoder tokens"] + len(read) * max(read),  # a row a pair
        "head rows": fast["head rows"] + sum(rows),  # no padding
        "cross keys": fast["cross keys"] + LAYERS * len(read) * longest,
    }


def test_a_thorough_answer_reads_no_candidate_that_has_lost(case):
    case.answer(RagSequence("thorough"), n=P * W, num_beams=W)
    all_of_them = case.count["head rows"]
    case.answer(RagSequence("thorough"), n=1, num_beams=W)
    assert case.count["head rows"] <= all_of_them


def test_questions_beyond_the_batch_cost_what_they_cost_alone(case):
    """Two batches of one: two searches, and the same sum of everything else but padding."""
    case.rag.marginalizer = RagToken()
    options = SimpleNamespace(min_new_tokens=T, max_new_tokens=T)
    case.count.clear()
    case.rag.answer(QUESTIONS, K, batch_size=1, **vars(options))
    assert case.count["searches"] == 2
    assert case.count["decoder tokens"] == case.count["head rows"] == T * B * K
