"""What the model does, held against its own weights: no answer here is a stored string alone."""

from __future__ import annotations

import math
import random
from pathlib import Path

import pytest
import ragkit_tiny
import torch

from ragkit import RAG, KnowledgeBase
from ragkit.evaluate import GoldRetriever
from ragkit.protocols import Passage

pytestmark = pytest.mark.skipif(
    not (Path(ragkit_tiny.__file__).parent / "model").is_dir(),
    reason="the model is not in this tree yet",
)

TEXTS = {
    "lighthouse": "The lighthouse at Skarvik was built in 1874. Its last keeper was Ada Holm, who "
    "left the island in 1962 when the lamp was automated.",
    "bakery": "Corner Bakery opens at six in the morning. Its sourdough is made with rye from "
    "the Tollan valley and rests for eighteen hours.",
    "comet": "The comet was first seen by Ivo Marek, a schoolteacher from Brno, on 3 March 1907. "
    "It returns every 71 years.",
    "bridge": "The footbridge over the Lenn is 84 metres long. It was designed by Pia Castell "
    "and opened to the public in May 2011.",
    "orchard": "The orchard behind the school has forty apple trees, most of them of the variety "
    "Gravensteiner. Pupils sell the juice at the autumn fair.",
}
QUESTIONS = {
    "Who was the last keeper of the lighthouse?": ("lighthouse", "Ada Holm"),
    "When does the bakery open?": ("bakery", "six in the morning"),
    "Who first saw the comet?": ("comet", "Ivo Marek"),
    "Who designed the footbridge?": ("bridge", "Pia Castell"),
    "How many apple trees does the orchard have?": ("orchard", "forty"),
}


@pytest.fixture(scope="module")
def rag(tmp_path_factory: pytest.TempPathFactory) -> RAG:
    model = RAG.from_pretrained("ragkit-tiny").eval()
    passages = [Passage(key, "", text) for key, text in TEXTS.items()]
    folder = tmp_path_factory.mktemp("tiny") / "kb"
    model.swap(KnowledgeBase.build(passages, model.retriever.encoder, "exact", folder))
    return model


def test_answers_come_from_the_right_text_in_its_own_spelling(rag: RAG) -> None:
    answers = rag.answer(list(QUESTIONS), k=3)
    for answer, (source, gold) in zip(answers, QUESTIONS.values(), strict=True):
        assert answer.passages[0].passage.id == source
        assert answer.text in TEXTS[source]
        assert gold in answer.text or answer.text in gold


def test_likelihoods_are_those_of_the_plain_model(rag: RAG) -> None:
    """log p(y|x) = log Σ_z p(z|x) Π_i p(y_i|x,z,y_<i), each factor by transformers alone."""
    generator = rag.generator
    tokenizer, model = generator.tokenizer, generator.model
    for question in QUESTIONS:
        answer = rag.answer([question], k=3)[0]
        target = tokenizer(answer.text, add_special_tokens=False)["input_ids"]
        target = [*target, tokenizer.sep_token_id]
        total = 0.0
        for read in answer.passages:
            pair = tokenizer(question, read.passage.text, return_tensors="pt")
            inputs = torch.tensor([[tokenizer.cls_token_id, *target[:-1]]])
            with torch.no_grad():
                logits = model(**pair, decoder_input_ids=inputs).logits[0]
            steps = logits.log_softmax(-1)[torch.arange(len(target)), torch.tensor(target)]
            total += read.prior * math.exp(float(steps.sum()))
        assert answer.log_likelihood == pytest.approx(math.log(total), abs=1e-3)


def test_invented_names_are_copied(rag: RAG) -> None:
    """The law of copying: whatever name stands in the passage is the answer."""
    rng = random.Random(1)
    parts = ["ma", "lo", "ri", "ven", "tas", "ku", "bel", "dor", "shi", "pra", "nou", "gim"]
    right = 0
    for _ in range(20):
        name = " ".join("".join(rng.sample(parts, 3)).capitalize() for _ in range(2))
        passage = Passage("1", "", f"The garden of the old mill was laid out by {name} in 1931.")

        class Given:
            tokens = None

            def rows(self, ids, /):
                import numpy as np

                return np.zeros(len(ids), dtype=np.int64)

            def passages(self, rows, passage=passage, /):
                return [passage for _ in rows]

        question = "Who laid out the garden of the old mill?"
        model = RAG(GoldRetriever({question: ["1"]}, Given()), rag.generator, "rag-sequence")
        right += model.answer([question], k=1)[0].text == name
    assert right >= 18


def test_a_passage_without_the_answer_is_told_apart(rag: RAG) -> None:
    """The empty output is likelier where the answer is not: p(y|x,z) tells passages apart."""
    generator = rag.generator
    for question, (source, _) in QUESTIONS.items():
        found = rag.retriever.retrieve([question], len(TEXTS))
        with torch.no_grad():
            reading = generator.read([question], found)
            empty = reading.score(generator.targets([""]), reading.rows).sum(-1).exp()[0]
        by_id = {p.id: float(e) for p, e in zip(found.passages[0], empty, strict=True) if p}
        held = by_id.pop(source)
        assert held < 0.5
        assert sum(e > held for e in by_id.values()) >= len(by_id) - 1


@pytest.mark.parametrize("threads", [1, 2])
def test_answers_do_not_depend_on_threads_or_batches(rag: RAG, threads: int) -> None:
    before = torch.get_num_threads()
    together = rag.answer(list(QUESTIONS), k=3)
    torch.set_num_threads(threads)
    try:
        alone = [rag.answer([question], k=3)[0] for question in QUESTIONS]
    finally:
        torch.set_num_threads(before)
    for one, other in zip(together, alone, strict=True):
        assert one.text == other.text
        assert one.log_likelihood == pytest.approx(other.log_likelihood, abs=1e-3)
