"""The two-tower encoder against transformers called by hand."""

from __future__ import annotations

import copy

import pytest
import torch
from transformers import (
    DPRConfig,
    DPRContextEncoder,
    DPRQuestionEncoder,
    RobertaConfig,
    RobertaModel,
)

import tiny
from ragkit.protocols import Passage
from ragkit.retrieve.dpr import DPREncoder

TEXTS = ["who", "what is the longest of them", "b"]
PASSAGES = [
    Passage("0", "Title", "text"),
    Passage("1", "", "a text that is a good deal longer than the others are"),
    Passage("2", "T", ""),
    Passage("3", "Other", 'with "quotes" in it'),
    Passage("4", "x", "y"),
]


def encoder(**options) -> DPREncoder:
    return DPREncoder(tiny.bert(), tiny.bert(seed=1), tiny.tokenizer(), **options)


def by_hand(model, ids: list[int], pooling: str) -> torch.Tensor:
    """One text, no padding."""
    tokens = torch.tensor([ids])
    states = model(input_ids=tokens, token_type_ids=torch.zeros_like(tokens)).last_hidden_state[0]
    return states[0] if pooling == "cls" else states.mean(0)


@pytest.mark.parametrize("pooling", ["cls", "mean"])
@pytest.mark.parametrize("normalize", [False, True])
def test_question_vectors(pooling, normalize):
    model, words = encoder(pooling=pooling, normalize=normalize), tiny.tokenizer()
    expected = torch.stack(
        [by_hand(model.question_encoder, words(text)["input_ids"], pooling) for text in TEXTS]
    )
    if normalize:
        expected = expected / expected.pow(2).sum(-1, keepdim=True).sqrt()
    torch.testing.assert_close(model.questions(TEXTS), expected)


@pytest.mark.parametrize("batch_size", [1, 2, 64])
@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_passage_vectors_keep_their_order(batch_size, pooling):
    model, words = encoder(pooling=pooling, batch_size=batch_size), tiny.tokenizer()
    expected = []
    for passage in PASSAGES:
        parts = [[passage.title], [passage.text]] if passage.title else [[passage.text]]
        (ids,) = words(*parts)["input_ids"]
        expected.append(by_hand(model.passage_encoder, ids, pooling))
    torch.testing.assert_close(model.passages(PASSAGES), torch.stack(expected))


def test_no_texts_give_no_vectors():
    assert encoder().questions([]).shape == (0, 16)
    assert encoder().passages([]).shape == (0, 16)


def test_gradient_reaches_the_question_tower_alone():
    model = encoder()
    assert not model.passages(PASSAGES).requires_grad
    model.questions(TEXTS).sum().backward()
    learns = dict(model.question_encoder.named_parameters())
    assert all((p.grad is not None) == p.requires_grad for p in learns.values())
    assert {name for name, p in learns.items() if not p.requires_grad} == {
        "pooler.dense.weight",
        "pooler.dense.bias",
    }
    assert all(not p.requires_grad for p in model.passage_encoder.parameters())


def test_passage_tower_stays_in_evaluation_mode():
    config = tiny.bert_config()
    config.hidden_dropout_prob = 0.5
    from transformers import BertModel

    model = DPREncoder(BertModel(config), None, tiny.tokenizer()).train()
    assert model.question_encoder.training
    assert not model.passage_encoder.training
    assert torch.equal(model.passages(PASSAGES), model.passages(PASSAGES))
    assert not torch.equal(model.questions(TEXTS), model.questions(TEXTS))


def test_passage_tower_is_a_copy_by_default():
    question = tiny.bert()
    model = DPREncoder(question, tokenizer=tiny.tokenizer())
    before = model.passages(PASSAGES)
    torch.testing.assert_close(model.questions(["text"]), model.passages([Passage("", "", "text")]))
    with torch.no_grad():
        for weight in question.parameters():
            weight.add_(1)
    assert torch.equal(before, model.passages(PASSAGES))


def test_shared_tower_is_one_and_frozen():
    model = DPREncoder(tiny.bert(), tokenizer=tiny.tokenizer(), shared=True).train()
    assert model.question_encoder is model.passage_encoder
    assert not model.questions(TEXTS).requires_grad


def test_learning_passages_lets_both_towers_learn_and_freezes_again():
    model = encoder(dtype="bfloat16")
    before = model.fingerprint
    with model.learning_passages():
        model.train()
        assert model.passage_encoder.training
        model.passages_with_gradient(PASSAGES).sum().backward()
        with torch.no_grad():
            for weight in model.passage_encoder.parameters():
                if weight.grad is not None:
                    weight.sub_(0.1 * weight.grad)
    assert not model.passage_encoder.training
    assert model.passage_encoder.dtype == torch.bfloat16
    assert all(not p.requires_grad for p in model.passage_encoder.parameters())
    assert model.fingerprint != before


@pytest.mark.parametrize("projection", [0, 8])
def test_dpr_checkpoints(projection, tmp_path):
    config = DPRConfig(**tiny.bert_config().to_dict(), projection_dim=projection)
    question, context = DPRQuestionEncoder(config).eval(), DPRContextEncoder(config).eval()
    question.save_pretrained(tmp_path / "question")
    context.save_pretrained(tmp_path / "context")
    model = DPREncoder(tmp_path / "question", tmp_path / "context", tiny.tokenizer())
    assert isinstance(model.passage_encoder, DPRContextEncoder)
    assert model.dimension == (projection or 16)
    tokens = torch.tensor(tiny.tokenizer()(["who"])["input_ids"])
    torch.testing.assert_close(model.questions(["who"]), question(input_ids=tokens).pooler_output)
    tokens = torch.tensor(tiny.tokenizer()(["T"], ["x"])["input_ids"])
    torch.testing.assert_close(
        model.passages([Passage("", "T", "x")]), context(input_ids=tokens).pooler_output
    )


def test_model_whose_positions_begin_after_the_padding():
    options = tiny.bert_config().to_dict() | {"type_vocab_size": 1, "model_type": "roberta"}
    config = RobertaConfig(**options)
    model = DPREncoder(RobertaModel(config).eval(), tokenizer=tiny.tokenizer(), max_passage=254)
    assert model.form.max_question == 254  # 256 positions less pad_token_id + 1
    assert model.passages([Passage("", "t", "x" * 400)]).isfinite().all()


def test_bfloat16_tower_goes_with_the_float32_one():
    full, half = encoder(), encoder(dtype="bfloat16")
    assert half.passage_encoder.dtype == torch.bfloat16
    assert half.question_encoder.dtype == torch.float32
    vectors = half.passages(PASSAGES)
    assert vectors.dtype == torch.float32
    assert torch.cosine_similarity(vectors, full.passages(PASSAGES)).min() > 0.99
    assert half.fingerprint == full.fingerprint


@pytest.mark.parametrize(
    "other",
    [
        lambda: DPREncoder(tiny.bert(), tiny.bert(seed=2), tiny.tokenizer()),
        lambda: encoder(pooling="mean"),
        lambda: encoder(normalize=True),
        lambda: encoder(max_passage=100),
        lambda: encoder(passage_form="text"),
        lambda: encoder(segments=True),
        lambda: encoder(passage_prefix="passage: "),
    ],
    ids=["weights", "pooling", "normalize", "max_passage", "form", "segments", "prefix"],
)
def test_fingerprint_differs_with_all_that_changes_a_passage(other):
    assert encoder().fingerprint != other().fingerprint


@pytest.mark.parametrize(
    "same",
    [
        lambda: DPREncoder(tiny.bert(seed=3), tiny.bert(seed=1), tiny.tokenizer()),
        lambda: encoder(max_question=100, cut_questions=True, question_prefix="query: "),
        lambda: encoder(batch_size=2),
    ],
    ids=["question tower", "question form", "batches"],
)
def test_fingerprint_is_of_the_passage_side_alone(same):
    assert encoder().fingerprint == same().fingerprint


def test_fingerprint_follows_loaded_weights():
    model = encoder()
    other = DPREncoder(tiny.bert(), tiny.bert(seed=2), tiny.tokenizer())
    assert model.fingerprint != other.fingerprint
    model.load_state_dict(copy.deepcopy(other.state_dict()))
    assert model.fingerprint == other.fingerprint


@pytest.mark.parametrize("shared", [False, True])
def test_save_and_load_from_a_moved_folder(shared, tmp_path):
    model = DPREncoder(
        tiny.bert(),
        None if shared else tiny.bert(seed=1),
        tiny.tokenizer(),
        pooling="mean",
        normalize=True,
        shared=shared,
        max_question=20,
        max_passage=30,
        passage_form="title text",
        segments=True,
    )
    (tmp_path / "one").mkdir()
    model.save(tmp_path / "one")
    (tmp_path / "one").rename(tmp_path / "two")
    again = DPREncoder.load(tmp_path / "two")
    assert again.fingerprint == model.fingerprint
    assert again.form == model.form
    assert again.shared == shared
    assert torch.equal(again.questions(["who", "what"]), model.questions(["who", "what"]))
    assert torch.equal(again.passages(PASSAGES), model.passages(PASSAGES))
    suffixes = {path.suffix for path in (tmp_path / "two").rglob("*") if path.is_file()}
    assert suffixes == {".json", ".safetensors"}
    assert str(tmp_path) not in (tmp_path / "two" / "encoder.json").read_text()
