"""The parts of new packages do what ragkit's own do: answer, learn, are saved, are measured.

What is wrong with a component that cannot be saved is said as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from neighbours import Plugin, install, offers, on_the_path
from ragkit import (
    RAG,
    KnowledgeBase,
    Passage,
    Trainer,
    TrainingArguments,
    evaluate,
    make,
    persist,
    scaffold,
)
from ragkit.errors import ConfigError
from ragkit.hookspecs import ROLES

PASSAGES = [
    Passage("light", "Lighthouse", "Ada Holm has kept the lighthouse on the northern cliff."),
    Passage("ferry", "Ferry", "The ferry leaves the harbour at nine."),
    Passage("bread", "Bread", "Dark bread is baked on sundays."),
    Passage("river", "River", "The long river runs north."),
]
QUESTIONS = ["who keeps the lighthouse", "when does the ferry leave"]


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A site with a new package of every role."""
    site = tmp_path_factory.mktemp("site")
    for name, text in scaffold.render("all-new", list(ROLES)).items():
        if name.startswith("src/"):
            file = site / name.removeprefix("src/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
    info = site / "all_new-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: all-new\nVersion: 0.1.0\n")
    (info / "entry_points.txt").write_text("[ragkit]\nall-new = all_new\n")
    with on_the_path(site):
        yield site


@pytest.mark.usefixtures("parts")
@pytest.mark.parametrize("retriever", ["all-new", "dense"])
def test_a_model_of_new_parts(retriever: str, tmp_path: Path) -> None:
    encoder = make("encoder", "all-new", dimension=16, buckets=256)
    base = KnowledgeBase.build(PASSAGES, encoder, "all-new", tmp_path / "base")
    assert base.recall["recall@1"] == 1.0
    options: dict[str, Any] = {"encoder": encoder} if retriever == "dense" else {}
    rag = RAG(
        make("retriever", retriever, knowledge_base=base, **options),
        make("generator", "all-new"),
        make("marginalizer", "all-new"),
    )
    (answer, _) = rag.answer(QUESTIONS, k=3, num_beams=2)
    assert answer.text
    assert len(answer.passages) == 3
    assert sum(one.posterior for one in answer.passages) == pytest.approx(1.0, abs=1e-5)

    before = {name: one.clone() for name, one in rag.named_parameters()}
    Trainer(
        rag,
        TrainingArguments(str(tmp_path / "run"), max_steps=2, k=3, learning_rate=0.1),
        train_dataset=[{"question": one, "answers": ["Ada Holm"]} for one in QUESTIONS],
        objective=make("objective", "all-new"),
    ).train()
    moved = {n for n, one in rag.named_parameters() if not torch.equal(one, before[n])}
    assert "generator.shares" in moved
    assert ("retriever.encoder.question_table" in moved) is (retriever == "dense")

    rag.save_pretrained(tmp_path / "model", copy_knowledge_base=True)
    moved_to = (tmp_path / "model").rename(tmp_path / "elsewhere")
    again = RAG.from_pretrained(moved_to)
    theirs, ours = again.answer(QUESTIONS, k=3), rag.answer(QUESTIONS, k=3)
    assert [one.text for one in theirs] == [one.text for one in ours]
    for one, other in zip(theirs, ours, strict=True):
        assert one.log_likelihood == pytest.approx(other.log_likelihood, abs=1e-5)

    new = KnowledgeBase.build(PASSAGES[1:], encoder, "all-new", tmp_path / "new")
    again.swap(new)
    assert {one.title for one in again.answer(QUESTIONS, k=3)[0].passages} == {
        one.title for one in PASSAGES[1:]
    }
    result = evaluate(rag, make("task", "all-new", count=3), metrics=["em", "all-new"], k=2)
    assert len(result.scores) == 2


def test_what_cannot_be_saved_says_what_it_lacks(tmp_path: Path) -> None:
    kept = "class Kept:\n    def __init__(self, model):\n        self.model = model\n"
    lost = "class Lost:\n    def __init__(self, model='x'):\n        pass\n"
    records = [f"Component('{one.lower()}', 'holding:{one}')" for one in ("Kept", "Lost")]
    install(tmp_path, "holding", Plugin(offers("ragkit_marginalizers", *records) + kept + lost))
    with on_the_path(tmp_path):
        for name, options in (("kept", {"model": object()}), ("lost", {})):
            part = make("marginalizer", name, **options)
            with pytest.raises(ConfigError, match=f"'{name}' cannot be saved: .*SupportsSave"):
                persist._save_part(part, "marginalizer", tmp_path, copy=False)
