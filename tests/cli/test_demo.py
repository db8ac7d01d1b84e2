"""``ragkit demo`` from beginning to end in a few steps, its figures found again by hand."""

from __future__ import annotations

import json
import re
import string
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import typer
from typer.testing import CliRunner

from ragkit.cli import demo
from ragkit.demo import live, talk, world
from ragkit.demo.prepare import Parts, examples
from ragkit.knowledge import KnowledgeBase
from ragkit.rag import RAG

ASKED = 12


class Done(NamedTuple):
    out: Path
    figures: dict[str, Any]
    said: str
    trained: list[Any]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Done:
    """The demo itself, over fewer passages: those asked about and every fourth other."""
    out = tmp_path_factory.mktemp("demo")
    gold = {one.passage_ids[0] for one in examples("2016", "test", changed=True)[:ASKED]}
    whole, trainer = world.passages, live.Trainer
    handed: list[Any] = []

    def fewer(edition: str, seed: int = 0) -> list[dict[str, str]]:
        found = enumerate(whole(edition, seed))
        return [one for i, one in found if i % 4 == 0 or one["id"] in gold]

    def recording(*given: Any, train_dataset: Any, **named: Any) -> Any:
        handed.extend(train_dataset)
        return trainer(*given, train_dataset=train_dataset, **named)

    app = typer.Typer()
    demo.register(app)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(world, "passages", fewer)
        patch.setattr(live, "Trainer", recording)
        arguments = ["--quick", "--json", "--no-ask", "--seed", "1", "--out", str(out)]
        found = CliRunner().invoke(app, arguments)
    assert found.exit_code == 0, found.output
    return Done(out, json.loads(found.stdout), found.stderr, handed)


def bases(done: Done) -> dict[str, KnowledgeBase]:
    return {e: KnowledgeBase.open(done.out / f"facts-{e}") for e in world.EDITIONS}


def plain(text: str) -> str:
    """SQuAD's normal form, written out here."""
    text = "".join(c for c in text.lower() if c not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def test_stdout_is_the_figures_and_all_else_is_on_stderr(done: Done) -> None:
    assert json.loads((done.out / "figures.json").read_text()) == done.figures
    assert done.figures["questions"] == ASKED
    assert done.figures["settings"]["seed"] == 1
    for heading in ("1  ", "2  ", "3  "):
        assert f"\n{heading}" in done.said
    page = (done.out / "demo.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert f"{ASKED} questions about countries never trained on" in page


def test_every_figure_is_there(done: Done) -> None:
    figures = done.figures
    assert set(figures["em"]) == {"rag-sequence", "rag-token"}
    cells = {f"facts {a}, answers {b}" for a in world.EDITIONS for b in world.EDITIONS}
    entries = list(figures["closed book"].values())
    for table in figures["em"].values():
        assert set(table) == cells
        entries += table.values()
    for when in ("recall before", "recall after"):
        for found in figures[when].values():
            assert list(found) == ["recall@1", "recall@5", "recall@20"]
            entries += found.values()
            means = [one["mean"] for one in found.values()]
            assert means == sorted(means)
    for one in entries:
        assert 0 <= one["low"] <= one["mean"] <= one["high"] <= 100
        assert one["n"] == ASKED


def test_no_country_of_the_test_or_validation_is_trained_on(done: Done) -> None:
    trained = {fact.id for fact in world.facts() if fact.split == "train"}
    seen = {fact.country for fact in world.facts() if fact.split == "train"}
    held = {fact.country for fact in world.facts()} - seen
    tested = {
        answer
        for fact in world.facts()
        if fact.split != "train" and fact.relation in world.PEOPLE
        for answer in fact.answers.values()
    }
    assert len(done.trained) > 1_000
    for one in done.trained:
        assert one.passage_ids[0] in trained
        assert one.answers[0] not in tested
        question = one.question
        for country in sorted(seen, key=len, reverse=True):  # American Samoa is not Samoa
            question = question.replace(country, "")
        assert not any(re.search(rf"\b{re.escape(country)}\b", question) for country in held)


def test_recall_is_what_plain_inner_products_give(done: Done) -> None:
    rag = RAG.from_pretrained(done.out / "model", knowledge_base=done.out / "facts-2016")
    rag.eval()
    asked = examples("2016", "test", changed=True)[:ASKED]
    with torch.no_grad():
        vectors = rag.retriever.encoder.questions([one.question for one in asked]).numpy()
    for edition, base in bases(done).items():
        stored = base.vectors(np.arange(len(base))).astype(np.float32)
        scores = vectors @ stored.T  # (B,N)
        gold = base.rows([one.passage_ids[0] for one in asked])
        rank = (scores > scores[np.arange(ASKED), gold][:, None]).sum(1)
        for k in (1, 5, 20):
            found = done.figures["recall after"][edition][f"recall@{k}"]["mean"]
            assert found == pytest.approx(100 * (rank < k).mean(), abs=0.05)


def test_exact_match_is_what_the_saved_model_says(done: Done) -> None:
    saved = RAG.from_pretrained(done.out / "model", knowledge_base=done.out / "facts-2016")
    asked = examples("2016", "test", changed=True)[:ASKED]
    right = {e: examples(e, "test", changed=True)[:ASKED] for e in world.EDITIONS}
    for edition, base in bases(done).items():
        saved.swap(base)
        k = done.figures["settings"]["read"]
        said = saved.answer([one.question for one in asked], k=k, max_new_tokens=24)
        for gold in world.EDITIONS:
            hits = [
                plain(a.text) == plain(one.answers[0])
                for a, one in zip(said, right[gold], strict=True)
            ]
            found = done.figures["em"]["rag-sequence"][f"facts {edition}, answers {gold}"]
            assert found["mean"] == pytest.approx(100 * np.mean(hits), abs=0.05)


def test_the_dialogue_answers_and_swaps(
    done: Done, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = RAG.from_pretrained(done.out / "model", knowledge_base=done.out / "facts-2016")
    parts = Parts(saved, bases(done))
    (one,) = examples("2016", "test", changed=True)[:1]
    typed = iter([one.question, ":swap", one.question, ""])
    prompts: list[str] = []

    def given(prompt: str = "") -> str:
        prompts.append(prompt)
        return next(typed)

    monkeypatch.setattr("builtins.input", given)
    talk.talk(parts, k=3)
    said = capsys.readouterr().out
    assert said.count("p(y|x)") == 2
    assert "posterior" in said
    assert ["2016" in p for p in prompts] == [True, True, False, False]


def test_the_dialogue_ends_with_the_input(
    done: Done, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = RAG.from_pretrained(done.out / "model", knowledge_base=done.out / "facts-2016")

    def ended(prompt: str = "") -> str:
        raise EOFError

    monkeypatch.setattr("builtins.input", ended)
    talk.talk(Parts(saved, bases(done)), k=3)
    assert "Your questions" in capsys.readouterr().out
