"""The classifier of appendix E: against transformers' own forward pass and brute force."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import ragkit
import tiny
from ragkit import RAG
from ragkit.errors import ConfigError, CorruptError, DataError
from ragkit.generate.classifier import Seq2SeqClassifier
from ragkit.generate.form import BART, BERT
from ragkit.knowledge import KnowledgeBase
from ragkit.protocols import Passage, Retrieved
from ragkit.retrieve.dense import DenseRetriever
from ragkit.retrieve.dpr import DPREncoder

LABELS = ("SUPPORTS", "REFUTES", "NOT ENOUGH INFO")


def retrieved(seed: int = 0, absent: bool = True) -> Retrieved:
    """Three passages to each of two claims, the last of the second absent."""
    chance = torch.Generator().manual_seed(seed)
    texts = ["The ferry leaves at nine.", "Ada Holm keeps the light.", "Nothing of it."]
    passages: list[list[Passage | None]] = [
        [Passage(str(i), "Title", text) for i, text in enumerate(texts)] for _ in range(2)
    ]
    scores = torch.randn(2, 3, generator=chance).sort(descending=True).values
    mask = torch.ones(2, 3, dtype=torch.bool)
    ids = torch.arange(3).repeat(2, 1)
    if absent:
        passages[1][2], mask[1, 2], ids[1, 2] = None, False, -1
        scores[1, 2] = -torch.inf
    return Retrieved(passages, ids, scores, mask)


CLAIMS = ["The ferry leaves at nine in the morning.", "Ada sings."]


@pytest.mark.parametrize("kind", ["bart", "bart, forced", "t5", "bert2bert"])
def test_classes_are_read_from_the_final_state(kind: str) -> None:
    """One pair after another, without any batch, through the whole model of transformers."""
    form = BERT if kind == "bert2bert" else BART
    model = {"t5": tiny.t5, "bert2bert": tiny.bert2bert}.get(kind, tiny.bart)()
    forced = kind == "bart, forced"
    if forced:
        model.generation_config.forced_bos_token_id = 0
    generator = Seq2SeqClassifier(model, tokenizer=tiny.tokenizer(), form=form).eval()
    found = retrieved()
    reading = generator.read(CLAIMS, found)
    value = reading.score(generator.targets(["REFUTES", "NOT ENOUGH INFO"]), reading.rows)
    model, head, tokenizer = generator.reader.model, generator.head, generator.reader.tokenizer
    taken = ["input_ids", *(["token_type_ids"] if kind == "bert2bert" else [])]
    for b, claim in enumerate(CLAIMS):
        for k, passage in enumerate(found.passages[b]):
            if passage is None:
                assert (value[b, k] == 0).all()
                continue
            if kind == "bert2bert":
                source = tokenizer(claim, f"{passage.title} {passage.text}")
                first = len(tokenizer(claim)["input_ids"])  # the tiny tokenizer knows no types
                source["token_type_ids"] = [int(i >= first) for i in range(len(source.input_ids))]
            else:
                source = tokenizer(f"{passage.title} / {passage.text} // {claim}")
            written = tokenizer(claim, add_special_tokens=False)["input_ids"]
            begin = [generator.reader.generation_config.decoder_start_token_id]
            begin += [0] if forced else []
            out = model(
                **{name: torch.tensor([source[name]]) for name in taken if name in source},
                decoder_input_ids=torch.tensor([begin + written]),
                output_hidden_states=True,
            )
            state = out.decoder_hidden_states[-1][0, -1]
            logits = torch.tanh(state @ head.dense.weight.T + head.dense.bias)
            logits = logits @ head.out.weight.T + head.out.bias
            expected = logits.log_softmax(-1)[1 + b]
            torch.testing.assert_close(value[b, k], torch.stack([expected, expected * 0]))


class Told:
    """A retriever of these passages, whatever is asked."""

    def __init__(self, found: Retrieved) -> None:
        self.found = found

    def retrieve(self, questions: Any, k: int) -> Retrieved:
        return self.found


@pytest.mark.parametrize("marginalizer", ["rag-sequence", "rag-token"])
def test_classes_are_marginalised_over_passages(marginalizer: str) -> None:
    for seed in range(6):
        found = retrieved(seed)
        generator = Seq2SeqClassifier(tiny.bart(), tokenizer=tiny.tokenizer(), seed=seed)
        rag = RAG(Told(found), generator, marginalizer).eval()
        with torch.no_grad():
            reading = generator.read(CLAIMS, found)
            table = torch.stack(  # (B,K,C)
                [
                    reading.score(generator.targets([label] * 2), reading.rows).sum(-1)
                    for label in LABELS
                ],
                dim=-1,
            )
            prior = found.scores.softmax(-1)  # (B,K), 0 where absent
            marginal = (prior[:, :, None] * table.exp()).sum(1).log()  # (B,C)
        torch.testing.assert_close(marginal.exp().sum(-1), torch.ones(2))
        for c, label in enumerate(LABELS):
            loss = rag.loss(CLAIMS, [label, label], k=3)
            torch.testing.assert_close(loss, -marginal[:, c].mean())
        for b, answer in enumerate(rag.answer(CLAIMS, k=3, num_return_sequences=3)):
            order = marginal[b].argsort(descending=True).tolist()
            assert [one.text for one in answer.n_best] == [LABELS[c] for c in order]
            for one, c in zip(answer.n_best, order, strict=True):
                assert one.log_likelihood == pytest.approx(float(marginal[b, c]), abs=1e-5)
            best = prior[b] * table[b, :, order[0]].exp()
            posterior = best / best.sum()
            # Under RAG-Token EOS, which says nothing of passages, is half of the answer's.
            found_posterior = [read.posterior for read in answer.passages]
            if answer.token_posterior is not None:
                found_posterior = list(answer.token_posterior[0])
            for one, expected in zip(found_posterior, posterior, strict=False):
                assert one == pytest.approx(float(expected), abs=1e-5)


def test_a_class_that_no_passage_puts_first() -> None:
    """Two passages that disagree: the class that is second to both is the likeliest."""
    from ragkit.generate.classifier import ClassReading

    p = torch.tensor([[0.55, 0.02, 0.43], [0.02, 0.55, 0.43]])
    reading = ClassReading(p.log(), torch.tensor([[0, 1]]))
    prior = torch.tensor([[0.5, 0.5]]).log()
    config = Seq2SeqClassifier(tiny.bart(), tokenizer=tiny.tokenizer()).generation_config
    for name in ("rag-sequence", "rag-token"):
        marginalizer = ragkit.make("marginalizer", name)
        (best,) = marginalizer.decode(reading, prior, config)[0]
        assert best.tokens.tolist() == [2, 3]
        assert best.log_likelihood == pytest.approx(float(torch.tensor(0.43).log()), abs=1e-6)


def test_it_learns_what_passages_say() -> None:
    """The label stands in the passage; retriever's prior is flat, so it must be read."""
    claims = [f"claim {i}" for i in range(6)]
    says = {"SUPPORTS": "yes yes yes", "REFUTES": "no no no"}
    wanted = ["SUPPORTS", "REFUTES"] * 3
    passages = [[Passage("x", "", f"{says[label]} {i}")] for i, label in enumerate(wanted)]
    found = Retrieved(
        passages,
        torch.arange(6)[:, None],
        torch.zeros(6, 1),
        torch.ones(6, 1, dtype=torch.bool),
    )
    generator = Seq2SeqClassifier(tiny.bart(), ["SUPPORTS", "REFUTES"], tokenizer=tiny.tokenizer())
    rag = RAG(Told(found), generator)
    optimiser = torch.optim.AdamW(rag.parameters(), lr=3e-3)
    first = rag.loss(claims, wanted, k=1)
    for _ in range(30):
        loss = rag.loss(claims, wanted, k=1)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss < 0.2 * first
    assert [one.text for one in rag.answer(claims, k=1)] == wanted
    assert all(p.grad is not None for p in generator.head.parameters())


def test_saved_with_the_whole_model(tmp_path: Path) -> None:
    encoder = DPREncoder(tiny.bert(), tokenizer=tiny.tokenizer())
    notes = [{"id": str(i), "text": text} for i, text in enumerate(("The ferry.", "The light."))]
    base = KnowledgeBase.build(notes, encoder, "exact", tmp_path / "kb")
    generator = Seq2SeqClassifier(tiny.bart(), LABELS[:2], tokenizer=tiny.tokenizer(), seed=3)
    rag = RAG(DenseRetriever(encoder, base), generator, "rag-token")
    rag.save_pretrained(tmp_path / "model", copy_knowledge_base=True)
    (tmp_path / "model").rename(tmp_path / "moved")
    again = RAG.from_pretrained(tmp_path / "moved")
    assert isinstance(again.generator, Seq2SeqClassifier)
    assert again.generator.labels == LABELS[:2]
    for one, other in zip(rag.answer(CLAIMS, k=2), again.answer(CLAIMS, k=2), strict=True):
        assert one.text == other.text
        assert one.log_likelihood == pytest.approx(other.log_likelihood, abs=1e-6)


def test_bad_input(tmp_path: Path) -> None:
    for labels in (["one"], ["a", "a"], ["a", " "], []):
        with pytest.raises(ConfigError, match="give two or more different texts"):
            Seq2SeqClassifier(tiny.bart(), labels, tokenizer=tiny.tokenizer())
    generator = Seq2SeqClassifier(tiny.bart(), tokenizer=tiny.tokenizer())
    with pytest.raises(DataError, match=r"no label 'SUPPORT'; did you mean 'SUPPORTS'.*REFUTES"):
        generator.targets(["SUPPORTS", "SUPPORT"])
    with pytest.raises(CorruptError, match="is no saved seq2seq-classifier"):
        Seq2SeqClassifier.load(tmp_path)
    generator.save(tmp_path)
    (tmp_path / "ragkit_classifier.json").write_text('{"labels": ["a", "b"]}')
    with pytest.raises(CorruptError, match="is not the head of its model"):
        Seq2SeqClassifier.load(tmp_path)
