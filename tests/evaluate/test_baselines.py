"""Closed book and gold passage: the same model with nothing and with the right passage."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch

import tiny
from ragkit.errors import ConfigError, DataError
from ragkit.evaluate.baselines import EMPTY, GoldRetriever, NoPassage, closed_book, gold_passage
from ragkit.evaluate.harness import evaluate
from ragkit.evaluate.metrics import ExactMatch, GoldRecall
from ragkit.generate.seq2seq import Seq2SeqGenerator
from ragkit.protocols import Example, Passage, Retrieved
from ragkit.rag import RAG

PASSAGES = [Passage(f"p{i}", f"title {i}", f"text number {i}") for i in range(6)]
EXAMPLES = [
    Example("1", "first?", ("x",), ("p3",)),
    Example("2", "second?", ("y",), ("p1", "p5")),
]


class Shelf:
    """A knowledge base as far as the gold retriever looks at one."""

    tokens = None

    def rows(self, ids: Sequence[str]) -> np.ndarray:
        return np.array([int(id[1:]) for id in ids], dtype=np.int64)

    def passages(self, rows: np.ndarray) -> list[Passage]:
        return [PASSAGES[row] for row in rows]


class First:
    """A retriever that always finds the first k passages."""

    def __init__(self, knowledge_base: Shelf | None = None) -> None:
        self.knowledge_base = knowledge_base

    def retrieve(self, questions: Sequence[str], k: int) -> Retrieved:
        ids = torch.arange(k).expand(len(questions), k)
        scores = -ids.float()
        mask = torch.ones_like(ids, dtype=torch.bool)
        return Retrieved([PASSAGES[:k]] * len(questions), ids, scores, mask)


def generator() -> Seq2SeqGenerator:
    return Seq2SeqGenerator(tiny.bart(), tiny.tokenizer())


def _greedy(source: str, n: int = 6) -> str:
    """What transformers itself writes after this source."""
    model, tokenizer = tiny.bart(), tiny.tokenizer()
    tokens = model.generate(**tokenizer(source, return_tensors="pt"), max_new_tokens=n)
    return tokenizer.decode(tokens[0], skip_special_tokens=True).strip()


def test_no_passage() -> None:
    found = NoPassage().retrieve(["a", "b"], k=7)
    assert [list(row) for row in found.passages] == [[EMPTY], [EMPTY]]
    assert found.prior().tolist() == [[0.0], [0.0]]
    assert found.mask.all()


def test_closed_book_is_the_generator_reading_the_question_alone() -> None:
    (answer,) = closed_book(generator()).answer(["who?"], k=5, max_new_tokens=6)
    assert answer.text == _greedy(" // who?")
    assert [one.passage for one in answer.passages] == [EMPTY]
    assert answer.passages[0].prior == answer.passages[0].posterior == 1


def test_gold_passages_are_looked_up() -> None:
    found = GoldRetriever.of(EXAMPLES, Shelf()).retrieve(["second?", "first?"], k=5)
    assert found.ids.tolist() == [[1, 5], [3, -1]]
    assert list(found.passages[0]) == [PASSAGES[1], PASSAGES[5]]
    assert list(found.passages[1]) == [PASSAGES[3], None]
    assert found.mask.tolist() == [[True, True], [True, False]]
    assert found.prior().exp().tolist() == [pytest.approx([0.5, 0.5]), [1.0, 0.0]]
    assert GoldRetriever.of(EXAMPLES, Shelf()).retrieve(["second?"], k=1).ids.tolist() == [[1]]


def test_a_question_asked_twice_has_the_golds_of_both() -> None:
    twice = [*EXAMPLES, Example("3", "first?", ("z",), ("p2", "p3"))]
    assert GoldRetriever.of(twice, Shelf()).retrieve(["first?"], k=5).ids.tolist() == [[3, 2]]


def test_gold_passage_reads_the_gold_passage() -> None:
    model = gold_passage(RAG(First(Shelf()), generator(), "rag-token"), EXAMPLES)
    (answer,) = model.answer(["first?"], k=5, max_new_tokens=6)
    assert answer.text == _greedy("title 3 / text number 3 // first?")
    assert [one.id for one in answer.passages] == ["p3"]
    assert answer.passages[0].prior == 1


def test_all_through_one_harness() -> None:
    class Two:
        metrics = ("em", "gold-recall")

        def examples(self, split: str) -> list[Example]:
            return EXAMPLES

    rag = RAG(First(Shelf()), generator())
    metrics = [ExactMatch(), GoldRecall()]
    recalls = {
        name: evaluate(model, Two(), k=2, metrics=metrics, max_new_tokens=4)["gold R"].mean
        for name, model in {
            "rag": rag,
            "closed": closed_book(rag.generator, rag.marginalizer),
            "gold": gold_passage(rag, EXAMPLES),
        }.items()
    }
    # The first two passages hold one of the two golds of the second question.
    assert recalls == {"rag": 0.25, "closed": 0.0, "gold": 1.0}


def test_what_is_refused() -> None:
    retriever = GoldRetriever.of([*EXAMPLES, Example("3", "third?", ("x",))], Shelf())
    with pytest.raises(DataError, match="no gold passage is known for 'frist\\?'; did you mean"):
        retriever.retrieve(["frist?"], k=1)
    with pytest.raises(DataError, match="known for 'third\\?'; give passage_id in the task"):
        retriever.retrieve(["third?"], k=1)
    for one in (retriever, NoPassage()):
        with pytest.raises(DataError, match=r"k is 0.*type k=1 or more"):
            one.retrieve(["first?"], k=0)
    with pytest.raises(ConfigError, match="First has none; type knowledge_base="):
        gold_passage(RAG(First(), generator()), EXAMPLES)
