"""Both retrievers within a RAG: loss, answers, scores in the answer, folders, the command line."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shore
import torch
from ragkit_bm25.hybrid import HybridRetriever
from ragkit_bm25.retriever import BM25Retriever
from shore import PASSAGES, QUESTIONS, Letters
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import BartConfig, BartForConditionalGeneration, PreTrainedTokenizerFast

from ragkit import RAG, KnowledgeBase
from ragkit.generate.seq2seq import Seq2SeqGenerator
from ragkit.retrieve.dense import DenseRetriever


def generator() -> Seq2SeqGenerator:
    """A BART of one layer and random weights, which spells."""
    vocabulary = {token: i for i, token in enumerate(["<s>", "<pad>", "</s>", "<unk>"])}
    for letter in sorted(pre_tokenizers.ByteLevel.alphabet()):
        vocabulary[letter] = len(vocabulary)
    raw = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    raw.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw,
        bos_token="<s>",
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
    )
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
    tokens = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 2}
    config = BartConfig(
        vocab_size=len(vocabulary),
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        max_position_embeddings=256,
        dropout=0.0,
        init_std=0.4,
        forced_eos_token_id=None,
        **sizes,
        **heads,
        **tokens,
    )
    return Seq2SeqGenerator(BartForConditionalGeneration(config).eval(), tokenizer=tokenizer)


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
        prior = np.exp(scores[order]) / np.exp(scores[order]).sum()
        evidence, found = rag([question], [target], k=3)
        assert found.ids[0].tolist() == order.tolist()
        likelihood = evidence.token_logp[0].sum(-1).exp().detach().double().numpy()
        expected = -math.log((prior * likelihood).sum())
        assert rag.loss([question], [target], k=3).item() == pytest.approx(expected, rel=1e-4)


def test_training_moves_the_generator_alone(base: KnowledgeBase) -> None:
    rag = RAG(BM25Retriever(base), generator(), "rag-token")
    assert not list(rag.retriever.parameters())
    rag.loss(QUESTIONS, ["a", "b", "c", "d"], k=3).backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in rag.generator.parameters())


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


def test_a_folder_of_it_is_opened_again_and_asked_on_the_command_line(
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
    code = "from ragkit.cli import main; main()"
    command = ["ask", "-m", str(tmp_path / "model"), QUESTIONS[0], "--json", "-k", "2"]
    said = subprocess.run(
        [sys.executable, "-c", code, *command], capture_output=True, text=True, timeout=120
    )
    assert said.returncode == 0, said.stderr
    record = json.loads(said.stdout)
    assert set(record["passages"][0]["scores"]) == {"bm25", "bm25-2"}
