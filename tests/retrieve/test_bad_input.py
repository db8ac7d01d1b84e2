"""What must be refused, each with the error that says what to do."""

from __future__ import annotations

import pytest
import torch
from transformers import BertModel

import tiny
from ragkit.errors import ConfigError, DataError, EncoderMismatch, KnowledgeBaseError
from ragkit.knowledge import KnowledgeBase
from ragkit.protocols import Passage
from ragkit.retrieve.dense import DenseRetriever
from ragkit.retrieve.dpr import DPREncoder

PASSAGES = [Passage("a", "A", "one"), Passage("b", "B", "two")]


def encoder(seed: int = 0, **options) -> DPREncoder:
    return DPREncoder(tiny.bert(), tiny.bert(seed=seed), tiny.tokenizer(), **options)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return KnowledgeBase.build(PASSAGES, encoder(), "exact", tmp_path_factory.mktemp("b") / "kb")


class _Unsaved:
    """An encoder without save and load."""

    def __init__(self) -> None:
        self.inner = encoder()

    def __getattr__(self, name):
        if name in ("save", "load"):
            raise AttributeError(name)
        return getattr(self.inner, name)


class _Stranger(DPREncoder):
    """An encoder that no component names."""


def broken_encoder() -> DPREncoder:
    model = encoder()
    with torch.no_grad():
        model.question_encoder.embeddings.word_embeddings.weight.fill_(torch.nan)
    return model


def wide_bert() -> BertModel:
    config = tiny.bert_config()
    config.hidden_size = 32
    return BertModel(config)


ENCODERS = {
    "no such model": (lambda path: DPREncoder(path / "none"), r"no encoder|no tokenizer"),
    "a folder without a model": (
        lambda path: DPREncoder(path, tokenizer=tiny.tokenizer()),
        "no encoder could be loaded",
    ),
    "a model without its tokenizer": (lambda _: DPREncoder(tiny.bert()), "tokenizer=…"),
    "an encoder-decoder": (
        lambda _: DPREncoder(tiny.bart(), tokenizer=tiny.tokenizer()),
        "not an encoder",
    ),
    "towers of two dimensions": (
        lambda _: DPREncoder(tiny.bert(), wide_bert(), tiny.tokenizer()),
        "vectors of 16 and the passage tower of 32",
    ),
    "unknown pooling": (lambda _: encoder(pooling="max"), "'cls' or 'mean'"),
    "unknown dtype": (lambda _: encoder(dtype="int8"), "'float32' or 'bfloat16'"),
    "unknown form": (lambda _: encoder(passage_form="body"), r"title \[SEP\] text"),
    "batches of none": (lambda _: encoder(batch_size=0), "at least 1"),
    "window too small to hold a word": (lambda _: encoder(max_passage=2), "at least 4"),
    "more than the model's window": (lambda _: encoder(max_passage=300), "at most 256"),
    "one tower and two": (lambda _: encoder(shared=True), "leave passage_model out"),
    "load from a folder that is no encoder": (lambda path: DPREncoder.load(path), "encoder.json"),
}


@pytest.mark.parametrize("name", ENCODERS)
def test_encoders(name, tmp_path):
    act, message = ENCODERS[name]
    with pytest.raises(ConfigError, match=message):
        act(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_all_wrong_options_are_named_at_once():
    with pytest.raises(ConfigError) as caught:
        encoder(pooling="max", dtype="int8", batch_size=0)
    assert len(caught.value.faults) == 3


RETRIEVERS = {
    "k of zero": (DataError, lambda r, _: r.retrieve(["q"], 0), "at least 1"),
    "k below zero": (DataError, lambda r, _: r.retrieve(["q"], -3), "k is -3"),
    "k that is no integer": (DataError, lambda r, _: r.retrieve(["q"], 2.5), "k is 2.5"),
    "k that is a truth value": (DataError, lambda r, _: r.retrieve(["q"], True), "k is True"),
    "questions as one string": (DataError, lambda r, _: r.retrieve("who", 1), r"\[question\]"),
    "a question beyond the window": (
        DataError,
        lambda r, _: r.retrieve(["w" * 300], 1),
        "302 tokens",
    ),
    "nothing allowed": (DataError, lambda r, _: r.retrieve_from(["q"], 1, []), "empty"),
    "an unknown id allowed": (
        (DataError, KnowledgeBaseError),
        lambda r, _: r.retrieve_from(["q"], 1, ["a", "zz"]),
        "zz",
    ),
    "a foreign encoder": (
        EncoderMismatch,
        lambda r, _: DenseRetriever(encoder(seed=5), r.knowledge_base),
        "encoder",
    ),
    "a foreign encoder's knowledge base swapped in": (
        EncoderMismatch,
        lambda r, path: r.swap(
            KnowledgeBase.build(PASSAGES, encoder(seed=5), "exact", path / "other")
        ),
        "encoder",
    ),
    "a temperature of zero": (
        ConfigError,
        lambda r, _: DenseRetriever(r.encoder, r.knowledge_base, temperature=0),
        "above 0",
    ),
    "a temperature that is not finite": (
        ConfigError,
        lambda r, _: DenseRetriever(r.encoder, r.knowledge_base, temperature=float("nan")),
        "above 0",
    ),
    "an oversample of zero": (
        ConfigError,
        lambda r, _: DenseRetriever(r.encoder, r.knowledge_base, oversample=0),
        "at least 1",
    ),
    "a question encoder full of NaN": (
        DataError,
        lambda r, _: DenseRetriever(broken_encoder(), r.knowledge_base).retrieve(["q"], 1),
        "NaN or infinity",
    ),
    "an encoder that cannot be saved": (
        ConfigError,
        lambda r, path: DenseRetriever(_Unsaved(), r.knowledge_base).save(path / "model"),
        "SupportsSave",
    ),
    "an encoder that nothing names": (
        ConfigError,
        lambda r, path: DenseRetriever(
            _Stranger(tiny.bert(), tiny.bert(), tiny.tokenizer()), r.knowledge_base
        ).save(path / "model"),
        "ragkit_encoders",
    ),
    "load from a folder that is no retriever": (
        ConfigError,
        lambda _, path: DenseRetriever.load(path),
        "retriever.json",
    ),
}


@pytest.mark.parametrize("name", RETRIEVERS)
def test_retrievers(name, base, tmp_path):
    error, act, message = RETRIEVERS[name]
    retriever = DenseRetriever(encoder(), base)
    with pytest.raises(error, match=message):
        act(retriever, tmp_path)
    assert not (tmp_path / "model").exists()
    assert retriever.knowledge_base is base


def test_a_knowledge_base_that_is_gone(base, tmp_path):
    DenseRetriever(encoder(), base).save(tmp_path)
    options = (tmp_path / "retriever.json").read_text()
    (tmp_path / "retriever.json").write_text(
        options.replace('"knowledge_base": "', '"knowledge_base": "gone/')
    )
    with pytest.raises(KnowledgeBaseError, match="knowledge_base=…"):
        DenseRetriever.load(tmp_path)
