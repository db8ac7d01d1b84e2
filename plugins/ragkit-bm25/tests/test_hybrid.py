"""The retriever ``hybrid`` against reciprocal ranks and sums written out."""

from __future__ import annotations

import copy
import shutil
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shore
import torch
from ragkit_bm25.hybrid import HybridRetriever
from ragkit_bm25.retriever import BM25Retriever
from shore import PASSAGES, QUESTIONS, Letters
from torch import nn

from ragkit import KnowledgeBase, Passage
from ragkit.errors import ConfigError, DataError, EncoderMismatch
from ragkit.protocols import Retrieved, SupportsFilter, SupportsSave
from ragkit.retrieve.dense import DenseRetriever

N = len(PASSAGES)


class Fixed(nn.Module):
    """A retriever that gives each question the list that it was told, cut at k."""

    def __init__(self, *lists: dict[int, float]) -> None:
        super().__init__()
        self.lists = lists

    def retrieve(self, questions: Sequence[str], k: int) -> Retrieved:
        ids = torch.full((len(questions), k), -1)
        scores = torch.full((len(questions), k), -torch.inf)
        passages: list[list[Passage | None]] = []
        for b, held in enumerate(self.lists):
            order = sorted(held, key=lambda row: (-held[row], row))[:k]
            ids[b, : len(order)] = torch.tensor(order, dtype=torch.int64)
            scores[b, : len(order)] = torch.tensor([held[row] for row in order])
            passages.append([PASSAGES[r] for r in order] + [None] * (k - len(order)))
        return Retrieved(passages, ids, scores, ids >= 0)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> KnowledgeBase:
    return shore.base(tmp_path_factory.mktemp("shore") / "kb")


def both(base: KnowledgeBase, **options: Any) -> HybridRetriever:
    dense = DenseRetriever(Letters(), base, temperature=0.01)
    return HybridRetriever(dense, BM25Retriever(base), **options)


FIRST = ({3: 9.0, 1: 5.0, 7: 4.0}, {0: 1.0, 2: 1.0})
SECOND = ({1: 0.5, 4: 0.25, 3: 0.2, 6: -3.0}, {5: 8.0})


# ------------------------------------------------------------------------ the fusion


def test_ranks_are_fused_as_the_formula_says() -> None:
    weights, c = (2.0, 1.0), 10.0
    hybrid = HybridRetriever(Fixed(*FIRST), Fixed(*SECOND), "rank", weights, c, temperature=0.5)
    found = hybrid.retrieve(["a", "b"], 4)
    for b in range(2):
        fused: dict[int, float] = {}
        for weight, held in zip(weights, (FIRST[b], SECOND[b]), strict=True):
            for rank, row in enumerate(sorted(held, key=lambda r: (-held[r], r)), start=1):
                fused[row] = fused.get(row, 0) + weight / (c + rank)
        order = sorted(fused, key=lambda row: (-fused[row], row))[:4]
        assert found.ids[b].tolist() == order + [-1] * (4 - len(order))
        # Reciprocal ranks, scaled so that first in both lists is 1, over the temperature.
        scores = [fused[row] * (c + 1) / 3.0 / 0.5 for row in order]
        np.testing.assert_allclose(found.scores[b, : len(order)], scores, rtol=1e-5)
        assert [p.id for p in found.passages[b] if p] == [PASSAGES[row].id for row in order]
        assert len(found.passages[b]) == 4
    assert found.mask.tolist() == [[True] * 4, [True] * 3 + [False]]


def test_sums_are_fused_as_the_formula_says() -> None:
    hybrid = HybridRetriever(Fixed(*FIRST), Fixed(*SECOND), "sum", (1.0, 3.0), temperature=0.2)
    found = hybrid.retrieve(["a", "b"], 5)
    first = {3: 1.0, 1: 0.2, 7: 0.0}  # (s - 4) / 5
    second = {1: 1.0, 4: 3.25 / 3.5, 3: 3.2 / 3.5, 6: 0.0}  # (s + 3) / 3.5
    for b, (one, two) in enumerate([(first, second), ({0: 1.0, 2: 1.0}, {5: 1.0})]):
        fused = {row: (one.get(row, 0) + 3 * two.get(row, 0)) / 4 for row in {*one, *two}}
        order = sorted(fused, key=lambda row: (-fused[row], row))
        assert found.ids[b].tolist() == order + [-1] * (5 - len(order))
        scores = [fused[row] / 0.2 for row in order]
        np.testing.assert_allclose(found.scores[b, : len(order)], scores, rtol=1e-5)


@pytest.mark.parametrize("fusion", ["rank", "sum"])
def test_each_ones_scores_are_kept(base: KnowledgeBase, fusion: Any) -> None:
    hybrid = both(base, fusion=fusion)
    found = hybrid.retrieve(QUESTIONS, 3)
    assert list(found.scores_by) == ["dense", "bm25"]
    for name, part in zip(found.scores_by, hybrid.parts, strict=True):
        alone = part.retrieve(QUESTIONS, N)
        for b in range(len(QUESTIONS)):
            given = dict(zip(alone.ids[b].tolist(), alone.scores[b].tolist(), strict=True))
            for row, score in zip(found.ids[b].tolist(), found.scores_by[name][b], strict=True):
                assert score.item() == pytest.approx(given[row], rel=1e-6)
    assert not any(table.requires_grad for table in found.scores_by.values())


def test_what_one_did_not_find_has_no_score_of_its(base: KnowledgeBase) -> None:
    found = HybridRetriever(Fixed({3: 9.0}), Fixed({1: 0.5})).retrieve(["a"], 3)
    assert list(found.scores_by) == ["Fixed", "Fixed-2"]
    assert found.ids.tolist() == [[1, 3, -1]]
    assert found.scores_by["Fixed"].tolist() == [[-torch.inf, 9.0, -torch.inf]]
    assert found.scores_by["Fixed-2"].tolist() == [[0.5, -torch.inf, -torch.inf]]


@pytest.mark.parametrize("fusion", ["rank", "sum"])
def test_passages_that_share_no_word_earn_nothing_by_filling_a_list(
    base: KnowledgeBase, fusion: Any
) -> None:
    dense = DenseRetriever(Letters(), base)
    # BM25 has no word of this: the order is that of the letters alone.
    found = HybridRetriever(dense, BM25Retriever(base), fusion).retrieve(["Zzyzx?"], 5)
    assert torch.equal(found.ids, dense.retrieve(["Zzyzx?"], 5).ids)
    assert found.scores.max() <= 0.5 / 0.1 + 1e-5  # of 1, one half is BM25's, and it says nothing
    # Alone, BM25 still gives every question its passages.
    lone = HybridRetriever(BM25Retriever(base), BM25Retriever(base), fusion)
    found = lone.retrieve(["Zzyzx?", "rye"], 4)
    assert found.mask.all()
    assert found.ids[0].tolist() == [0, 1, 2, 3]
    assert found.scores[0].eq(0).all()
    assert found.ids[1, 0] == 2


def test_a_weight_of_zero_leaves_the_other_alone(base: KnowledgeBase) -> None:
    hybrid = both(base, weights=(0.0, 1.0))
    words = BM25Retriever(base).retrieve(QUESTIONS[:3], 1)
    assert torch.equal(hybrid.retrieve(QUESTIONS[:3], 1).ids, words.ids)


# ------------------------------------------------------------------------ gradient


def test_the_gradient_of_a_sum_reaches_the_encoder_and_is_the_slope(base: KnowledgeBase) -> None:
    encoder = Letters()
    dense = DenseRetriever(encoder, base, temperature=0.01)
    hybrid = HybridRetriever(dense, BM25Retriever(base), "sum")

    def loss() -> torch.Tensor:
        found = hybrid.retrieve(QUESTIONS, N)
        return (found.scores * torch.sin(found.ids.float())).sum()

    loss().backward()
    slope = encoder.scale.grad
    assert slope is not None
    assert slope.isfinite().all()
    for letter in slope.abs().topk(3).indices:
        values = []
        for step in (1e-2, -1e-2):
            with torch.no_grad():
                encoder.scale[letter] += step
                values.append(loss().item())
                encoder.scale[letter] -= step
        assert slope[letter].item() == pytest.approx((values[0] - values[1]) / 2e-2, rel=0.02)


def test_gradients_are_finite_where_lists_are_flat_absent_or_short() -> None:
    class Learned(Fixed):
        def __init__(self, *lists: dict[int, float]) -> None:
            super().__init__(*lists)
            self.weight = nn.Parameter(torch.ones(()))

        def retrieve(self, questions: Sequence[str], k: int) -> Retrieved:
            found = super().retrieve(questions, k)
            held = found.scores.masked_fill(~found.mask, 0.0) * self.weight
            scores = held.masked_fill(~found.mask, -torch.inf)
            return Retrieved(found.passages, found.ids, scores, found.mask)

    learned = Learned({0: 2.0, 1: 2.0}, {}, {3: 1.0}, {1: 4.0, 2: 1.0, 5: 3.0})
    hybrid = HybridRetriever(learned, Fixed({}, {4: 1.0}, {3: 2.0}, {5: 1.0}), "sum")
    found = hybrid.retrieve(["a", "b", "c", "d"], 3)
    found.scores[found.mask].sum().backward()
    assert learned.weight.grad is not None
    assert learned.weight.grad.isfinite()
    assert found.scores[found.mask].isfinite().all()


# ------------------------------------------------------------------ filter, k, options


def test_k_above_the_count_is_padded_and_allowed_passages_are_kept_to(base: KnowledgeBase) -> None:
    hybrid = both(base)
    wide = hybrid.retrieve(QUESTIONS, N + 2)
    assert wide.mask.sum(1).tolist() == [N] * 4
    assert wide.scores[:, N:].eq(-torch.inf).all()
    assert isinstance(hybrid, SupportsFilter)
    found = hybrid.retrieve_from(QUESTIONS, 5, {"storm", "moss"})
    assert set(found.ids.flatten().tolist()) == {-1, base.row("storm"), base.row("moss")}
    with pytest.raises(ConfigError, match="Fixed cannot filter"):
        HybridRetriever(Fixed({}), BM25Retriever(base)).retrieve_from(["a"], 1, ["moss"])
    with pytest.raises(DataError, match="allowed is empty"):
        hybrid.retrieve_from(QUESTIONS, 1, [])


def test_bad_options_come_all_at_once(base: KnowledgeBase) -> None:
    with pytest.raises(ConfigError) as caught:
        both(base, fusion="max", weights=(0, 0), constant=-1, temperature=0, oversample=0)
    assert len(caught.value.faults) == 5
    for k in (0, True, 2.0):
        with pytest.raises(DataError, match="k is"):
            both(base).retrieve(QUESTIONS, k)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="one string"):
        both(base).retrieve("who", 1)


# ------------------------------------------------------------------ knowledge bases


def test_one_knowledge_base_is_opened_for_both_and_two_are_refused(
    base: KnowledgeBase, tmp_path: Path
) -> None:
    twin = KnowledgeBase.open(base.directory)
    hybrid = HybridRetriever(DenseRetriever(Letters(), base), BM25Retriever(twin))
    assert hybrid.second.knowledge_base is hybrid.first.knowledge_base is hybrid.knowledge_base  # type: ignore[attr-defined]
    other = shore.base(tmp_path / "kb", PASSAGES[:4])
    with pytest.raises(ConfigError, match="different knowledge bases"):
        HybridRetriever(DenseRetriever(Letters(), base), BM25Retriever(other))
    assert not hasattr(HybridRetriever(Fixed({}), Fixed({})), "knowledge_base")


def test_a_swap_is_of_both_or_of_neither(tmp_path: Path) -> None:
    old, new = shore.base(tmp_path / "a"), shore.base(tmp_path / "b", PASSAGES[::-1])

    class Strangers(Letters):
        fingerprint = "others"

    strange = KnowledgeBase.build(PASSAGES, Strangers(), "exact", tmp_path / "c", progress=False)
    dense, words = DenseRetriever(Letters(), old), BM25Retriever(old)
    for hybrid in (HybridRetriever(dense, words), HybridRetriever(words, dense)):
        hybrid.swap(old)
        before = hybrid.retrieve(["rye bread"], 2)
        hybrid.swap(new)
        assert hybrid.knowledge_base is dense.knowledge_base is words.knowledge_base is new
        after = hybrid.retrieve(["rye bread"], 2)
        assert before.ids[0, 0] == 2
        assert after.ids[0, 0] == N - 3
        assert before.passages[0][0] == after.passages[0][0] == PASSAGES[2]
        with pytest.raises(EncoderMismatch):
            hybrid.swap(strange)
        assert dense.knowledge_base is words.knowledge_base is new
    with pytest.raises(ConfigError, match="Fixed has no knowledge base to swap"):
        HybridRetriever(words, Fixed({})).swap(old)


def test_no_answer_is_of_two_knowledge_bases_while_they_are_swapped(tmp_path: Path) -> None:
    bases = [shore.base(tmp_path / "a"), shore.base(tmp_path / "b", PASSAGES[::-1])]
    hybrid = HybridRetriever(
        DenseRetriever(Letters(), bases[0]), BM25Retriever(bases[0], directory=tmp_path / "terms")
    )
    hybrid.swap(bases[1])
    right = {}
    for base in bases:
        hybrid.swap(base)
        found = hybrid.retrieve(QUESTIONS, 4)
        right[tuple(found.ids.flatten().tolist())] = [list(row) for row in found.passages]
    stop, seen, wrong = threading.Event(), set(), []

    def ask() -> None:
        while not stop.is_set():
            found = hybrid.retrieve(QUESTIONS, 4)
            key = tuple(found.ids.flatten().tolist())
            seen.add(key)
            if right.get(key) != [list(row) for row in found.passages]:
                wrong.append(key)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for i in range(200):
        hybrid.swap(bases[i % 2])
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong
    assert seen == set(right)


# ------------------------------------------------------------------------ on disk


@pytest.mark.parametrize("copied", [False, True])
def test_what_was_saved_comes_back_from_a_moved_folder(
    saved_encoder: type, tmp_path: Path, copied: bool
) -> None:
    kb = shore.base(tmp_path / "here" / "kb")
    dense = DenseRetriever(saved_encoder(), kb, temperature=0.02)
    hybrid = HybridRetriever(dense, BM25Retriever(kb), "sum", (1.0, 2.0), 30.0, 0.3, 3)
    assert isinstance(hybrid, SupportsSave)
    hybrid.save(tmp_path / "here" / "model", copy_knowledge_base=copied)
    shutil.move(tmp_path / "here", tmp_path / "there")
    if copied:
        shutil.rmtree(tmp_path / "there" / "kb")
    loaded = HybridRetriever.load(tmp_path / "there" / "model")
    assert (loaded.fusion, loaded.weights, loaded.constant) == ("sum", (1.0, 2.0), 30.0)
    assert (loaded.temperature, loaded.oversample, loaded.names) == (0.3, 3, ("dense", "bm25"))
    assert loaded.parts[0].knowledge_base is loaded.parts[1].knowledge_base  # type: ignore[attr-defined]
    found, again = hybrid.retrieve(QUESTIONS, 5), loaded.retrieve(QUESTIONS, 5)
    assert torch.equal(again.scores, found.scores)
    assert [list(row) for row in again.passages] == [list(row) for row in found.passages]
    other = shore.base(tmp_path / "other", PASSAGES[:3])
    few = HybridRetriever.load(tmp_path / "there" / "model", knowledge_base=other)
    assert few.retrieve(QUESTIONS, 5).mask.sum(1).tolist() == [3] * 4


@pytest.fixture
def saved_encoder(monkeypatch: pytest.MonkeyPatch) -> type:
    """The encoder of letters as an installed component that can be saved."""
    from ragkit import Component, registry

    class Savable(Letters):
        def save(self, directory: Path) -> None:
            (directory / "scale").write_text("1")

        @classmethod
        def load(cls, directory: Path) -> Any:
            assert (directory / "scale").read_text() == "1"
            return cls()

    shore.Savable = Savable  # type: ignore[attr-defined]
    Savable.__module__, Savable.__qualname__ = "shore", "Savable"
    listing = registry.Listing("encoder", Component("savable", "shore:Savable"), "x", "1", "ready")
    real, lookup = registry.components, registry.lookup
    monkeypatch.setattr(registry, "components", lambda: [*real(), listing])
    monkeypatch.setattr(
        registry, "lookup", lambda r, n: listing if n == "savable" else lookup(r, n)
    )
    return Savable


def test_what_cannot_be_saved_says_why(base: KnowledgeBase, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Fixed cannot be saved: it has no save"):
        HybridRetriever(BM25Retriever(base), Fixed({})).save(tmp_path)
    assert not any(tmp_path.iterdir())
    with pytest.raises(ConfigError, match=r"hybrid\.json is missing"):
        HybridRetriever.load(tmp_path)


def test_a_copied_one_goes_its_own_way(base: KnowledgeBase, tmp_path: Path) -> None:
    hybrid = both(base)
    twin = copy.deepcopy(hybrid)
    twin.swap(shore.base(tmp_path / "kb", PASSAGES[:4]))
    assert hybrid.knowledge_base is base
    assert hybrid.retrieve(QUESTIONS, N).mask.all()
    assert twin.retrieve(QUESTIONS, N).mask.sum(1).tolist() == [4] * 4
