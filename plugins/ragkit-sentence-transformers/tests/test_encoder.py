"""The encoder against SentenceTransformer's own encoding, on a model of straw."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import straw
import torch
from ragkit_sentence_transformers.encoder import SentenceTransformerEncoder
from sentence_transformers import SentenceTransformer

from ragkit import KnowledgeBase, Passage, build, make
from ragkit.errors import ConfigError, DataError, EncoderMismatch
from ragkit.protocols import SupportsSave
from ragkit.retrieve.dense import DenseRetriever

QUESTIONS = ["who keeps the lighthouse", "a tram", "is the sea green : the old red sea"]
PASSAGES = [
    Passage("1", "the lighthouse", "ada holm tends the lamp"),
    Passage("2", "", "rain"),
    Passage("3", "city", "the tram rides the old city night is new"),
    Passage("4", "gardens", "green gardens {title} rain"),
]
TEXTS = [f"{p.title} {p.text}" if p.title else p.text for p in PASSAGES]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, SentenceTransformer]:
    prompts = {"query": "query : ", "passage": "passage : "}
    return {
        "plain": straw.model(tmp_path_factory.mktemp("plain")),
        "prompted": straw.model(
            tmp_path_factory.mktemp("prompted"), seed=1, out=8, prompts=prompts, truncate_dim=6
        ),
    }


@pytest.fixture
def plain(made: dict[str, SentenceTransformer]) -> SentenceTransformer:
    return copy.deepcopy(made["plain"])


@pytest.fixture
def prompted(made: dict[str, SentenceTransformer]) -> SentenceTransformer:
    return copy.deepcopy(made["prompted"])


def close(found: torch.Tensor, expected: Any) -> None:
    np.testing.assert_allclose(found.detach().numpy(), expected, atol=1e-6)


# ------------------------------------------------------------------- what it gives


@pytest.mark.parametrize("which", ["plain", "prompted"])
def test_both_sides_give_what_the_model_gives(which: str, request: pytest.FixtureRequest) -> None:
    model = request.getfixturevalue(which)
    encoder = SentenceTransformerEncoder(model)
    close(encoder.questions(QUESTIONS), model.encode_query(QUESTIONS))
    close(encoder.passages(PASSAGES), model.encode_document(TEXTS))
    assert encoder.dimension == model.get_embedding_dimension()


def test_prompts_that_are_given_take_the_place_of_the_models_own(
    prompted: SentenceTransformer,
) -> None:
    encoder = SentenceTransformerEncoder(prompted, query_prompt="the ", passage_prompt="")
    close(encoder.questions(QUESTIONS), prompted.encode([f"the {q}" for q in QUESTIONS], prompt=""))
    close(encoder.passages(PASSAGES), prompted.encode(TEXTS, prompt=""))
    own = SentenceTransformerEncoder(prompted).questions(QUESTIONS)
    assert not torch.allclose(own, encoder.questions(QUESTIONS), atol=1e-3)


@pytest.mark.parametrize("normalize", [False, True])
def test_vectors_are_truncated_and_then_scaled(plain: SentenceTransformer, normalize: bool) -> None:
    encoder = SentenceTransformerEncoder(plain, truncate_dim=5, normalize=normalize)
    options: Any = {"truncate_dim": 5, "normalize_embeddings": normalize}
    close(encoder.questions(QUESTIONS), plain.encode_query(QUESTIONS, **options))
    close(encoder.passages(PASSAGES), plain.encode_document(TEXTS, **options))
    assert (encoder.dimension, encoder.passages(PASSAGES).shape) == (5, (4, 5))
    whole = plain.encode_query(QUESTIONS)[:, :5]
    if normalize:
        whole = whole / np.linalg.norm(whole, axis=1, keepdims=True)
    close(encoder.questions(QUESTIONS), whole)


@pytest.mark.parametrize(
    ("form", "first", "second"),
    [
        ("{title} : {text}", "the lighthouse : ada holm tends the lamp", "rain"),
        ("{text}", "ada holm tends the lamp", "rain"),
        ("the {text} {title}", "the ada holm tends the lamp the lighthouse", "rain"),
    ],
)
def test_the_form_says_what_of_a_passage_is_encoded(
    plain: SentenceTransformer, form: str, first: str, second: str
) -> None:
    encoder = SentenceTransformerEncoder(plain, passage_form=form)
    close(encoder.passages(PASSAGES[:2]), plain.encode([first, second]))


def test_neither_batch_nor_order_nor_neighbours_matter(plain: SentenceTransformer) -> None:
    encoder = SentenceTransformerEncoder(plain, batch_size=2)
    whole = encoder.passages(PASSAGES)
    close(encoder.passages(PASSAGES[::-1]), whole.flip(0).numpy())
    close(encoder.passages(PASSAGES[2:3]), whole[2:3].numpy())
    close(encoder.questions(QUESTIONS[1:2]), encoder.questions(QUESTIONS)[1:2].detach().numpy())
    assert encoder.passages([]).shape == encoder.questions([]).shape == (0, 12)


def test_long_questions_are_refused_or_cut_and_long_passages_cut(
    plain: SentenceTransformer,
) -> None:
    long = "the " * 15  # 17 tokens with the special ones, and the model reads 16
    encoder = SentenceTransformerEncoder(plain)
    with pytest.raises(DataError, match="has 17 tokens and the encoder reads at most 16"):
        encoder.questions(["a", long])
    encoder.questions(["the " * 14])
    cut = SentenceTransformerEncoder(plain, cut_questions=True)
    close(cut.questions([long]), plain.encode_query(["the " * 14]))
    close(encoder.passages([Passage("1", "", long)]), plain.encode(["the " * 14]))
    prompted = SentenceTransformerEncoder(plain, query_prompt="query : ")
    with pytest.raises(DataError, match="17 tokens"):  # the prompt counts
        prompted.questions(["the " * 13])


# ------------------------------------------------------------------------ learning


def test_the_gradient_reaches_every_weight_of_the_question_side_and_no_other(
    prompted: SentenceTransformer,
) -> None:
    encoder = SentenceTransformerEncoder(prompted).eval()
    found = encoder.questions(QUESTIONS)
    (found * torch.arange(6.0)).sum().backward()
    for name, weight in encoder.question_model.named_parameters():
        if "pooler." in name:
            assert not weight.requires_grad
        else:
            assert weight.grad is not None, name
            assert torch.isfinite(weight.grad).all()
    assert not any(w.requires_grad for w in encoder.passage_model.parameters())
    passages = encoder.passages(PASSAGES)
    assert not passages.requires_grad
    assert not passages.is_inference()  # so that a loss may hold on to it
    with torch.no_grad():
        assert not encoder.questions(QUESTIONS).requires_grad


def test_the_gradient_is_the_slope(plain: SentenceTransformer) -> None:
    encoder = SentenceTransformerEncoder(plain).eval()
    direction = torch.linspace(-1, 1, 12)
    weight = dict(encoder.question_model.named_parameters())["0.model.embeddings.LayerNorm.weight"]
    loss = (encoder.questions(QUESTIONS[:1]) @ direction).sum()
    (slope,) = torch.autograd.grad(loss, weight)
    step = 1e-2
    values = []
    for sign in (1, -1):
        with torch.no_grad():
            weight[3] += sign * step
            values.append((encoder.questions(QUESTIONS[:1]) @ direction).item())
            weight[3] -= sign * step
    assert slope[3].item() == pytest.approx((values[0] - values[1]) / (2 * step), rel=0.05)


def test_training_leaves_the_passage_side_and_the_fingerprint_alone(
    plain: SentenceTransformer,
) -> None:
    encoder = SentenceTransformerEncoder(plain)
    before, vectors = encoder.fingerprint, encoder.passages(PASSAGES)
    encoder.train()
    assert encoder.question_model.training
    assert not any(module.training for module in encoder.passage_model.modules())
    optimizer = torch.optim.SGD([p for p in encoder.parameters() if p.requires_grad], lr=0.5)
    encoder.questions(QUESTIONS)[:, 0].sum().backward()
    optimizer.step()
    assert copy.deepcopy(encoder).fingerprint == before
    assert torch.equal(encoder.passages(PASSAGES), vectors)
    # The question side is the model that was given, and that has learned.
    assert SentenceTransformerEncoder(encoder.question_model).fingerprint != before


def test_dropout_is_on_while_the_question_side_trains(plain: SentenceTransformer) -> None:
    encoder = SentenceTransformerEncoder(plain).train()
    assert not torch.equal(encoder.questions(QUESTIONS), encoder.questions(QUESTIONS))
    assert torch.equal(encoder.passages(PASSAGES), encoder.passages(PASSAGES))
    encoder.eval()
    assert torch.equal(encoder.questions(QUESTIONS), encoder.questions(QUESTIONS))


# ----------------------------------------------------------- fingerprint, on disk


def test_the_fingerprint_names_all_that_a_passage_depends_on(
    plain: SentenceTransformer, prompted: SentenceTransformer, tmp_path: Path
) -> None:
    def of(model: SentenceTransformer = plain, **options: Any) -> str:
        return SentenceTransformerEncoder(model, **options).fingerprint

    pooled = straw.model(tmp_path, seed=0)
    assert of(pooled) == of() == of(query_prompt="query : ", cut_questions=True, batch_size=1)
    pooled[1].pooling_mode = "max"
    shorter = copy.deepcopy(plain)
    shorter.max_seq_length = 9
    others = [
        of(prompted),
        of(pooled),
        of(shorter),
        of(passage_prompt="passage : "),
        of(truncate_dim=5),
        of(normalize=True),
        of(passage_form="{text}"),
        of(passage_model=straw.model(tmp_path, seed=3)),
    ]
    assert len({of(), *others}) == 9


@pytest.mark.parametrize("shared", [False, True])
def test_what_was_saved_comes_back_from_a_moved_folder(
    prompted: SentenceTransformer, tmp_path: Path, shared: bool
) -> None:
    encoder = SentenceTransformerEncoder(
        prompted, query_prompt="the ", passage_form="{title} : {text}", shared=shared, batch_size=3
    )
    if not shared:
        with torch.no_grad():  # the question side has learned
            next(iter(encoder.question_model.parameters())).add_(0.5)
    assert isinstance(encoder, SupportsSave)
    (tmp_path / "a").mkdir()
    encoder.save(tmp_path / "a")
    shutil.move(tmp_path / "a", tmp_path / "b")
    loaded = SentenceTransformerEncoder.load(tmp_path / "b")
    assert loaded.fingerprint == encoder.fingerprint
    assert torch.equal(loaded.questions(QUESTIONS), encoder.eval().questions(QUESTIONS))
    assert torch.equal(loaded.passages(PASSAGES), encoder.passages(PASSAGES))
    assert (loaded.shared, loaded.batch_size) == (shared, 3)
    learns = any(p.requires_grad for p in loaded.question_model.parameters())
    assert learns is not shared
    files = {file.suffix for file in (tmp_path / "b").rglob("*") if file.is_file()}
    assert files <= {".json", ".safetensors", ".md", ".txt"}


def test_a_window_that_was_set_is_kept(plain: SentenceTransformer, tmp_path: Path) -> None:
    plain.max_seq_length = 9
    SentenceTransformerEncoder(plain, cut_questions=True).save(tmp_path)
    loaded = SentenceTransformerEncoder.load(tmp_path)
    assert loaded.question_model.max_seq_length == 9
    close(loaded.questions(["the " * 14]), plain.encode_query(["the " * 7]))


def test_bad_options_and_folders_are_answered_in_words(
    plain: SentenceTransformer, prompted: SentenceTransformer, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as caught:
        SentenceTransformerEncoder(
            plain, plain, passage_form="{name}", batch_size=0, shared=True, devices=[]
        )
    assert len(caught.value.faults) == 4
    with pytest.raises(ConfigError, match="vectors of 12 numbers and the passage model of 6"):
        SentenceTransformerEncoder(plain, straw.model(tmp_path, out=6))
    with pytest.raises(ConfigError, match=r"truncate_dim is 13 .* have 12 dimensions"):
        SentenceTransformerEncoder(plain, truncate_dim=13)
    with pytest.raises(ConfigError, match="no SentenceTransformer could be loaded"):
        SentenceTransformerEncoder(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match=r"encoder\.json is missing"):
        SentenceTransformerEncoder.load(tmp_path)
    with pytest.raises(DataError, match="one string"):
        SentenceTransformerEncoder(plain).questions("who")


# ------------------------------------------------------------------- in its place


def test_it_is_built_from_a_table_and_serves_a_knowledge_base(
    made: dict[str, SentenceTransformer], tmp_path: Path
) -> None:
    made["plain"].save(str(tmp_path / "model"), create_model_card=False)
    table = {"name": "sentence-transformers", "model": str(tmp_path / "model"), "normalize": True}
    encoder = build("encoder", table)
    base = KnowledgeBase.build(PASSAGES, encoder, "exact", tmp_path / "kb", dtype="float32")
    retriever = DenseRetriever(encoder, base, temperature=0.05)
    found = retriever.retrieve(QUESTIONS, 3)
    scores = encoder.questions(QUESTIONS) @ encoder.passages(PASSAGES).T / 0.05
    expected, rows = scores.sort(dim=1, descending=True)
    close(found.scores, expected[:, :3].detach().numpy().round(6))
    assert torch.equal(found.ids, rows[:, :3])
    found.prior()[:, 0].sum().backward()
    assert any(p.grad is not None for p in encoder.question_model.parameters())
    (tmp_path / "saved").mkdir()
    retriever.save(tmp_path / "saved")
    again = DenseRetriever.load(tmp_path / "saved").retrieve(QUESTIONS, 3)
    assert torch.equal(again.ids, found.ids)
    other = make("encoder", "sentence-transformers", model=str(tmp_path / "model"))
    with pytest.raises(EncoderMismatch):
        DenseRetriever(other, base)
