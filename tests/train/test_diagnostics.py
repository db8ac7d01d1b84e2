"""The signs of collapse by hand; the warnings come when they should, and only then."""

from __future__ import annotations

import math
import warnings
from pathlib import Path

import pytest
import torch

import toy_training as toy
from ragkit.marginalize.rag_sequence import RagSequence
from ragkit.marginalize.rag_token import RagToken
from ragkit.protocols import Evidence
from ragkit.train import Trainer, TrainingArguments, diagnostics
from ragkit.train.diagnostics import CollapseWarning, Meter, Watch


def evidence(marginalizer: object) -> Evidence:
    """Two questions, three passages, targets of two and of one token; one passage absent."""
    random = torch.Generator().manual_seed(0)
    mask = torch.tensor([[True, True, True], [True, True, False]])
    target_mask = torch.tensor([[True, True], [True, False]])
    scores = torch.randn(2, 3, generator=random).masked_fill(~mask, -torch.inf)
    counted = mask[:, :, None] & target_mask[:, None, :]
    logp = -torch.rand(2, 3, 2, generator=random) * 4
    return Evidence(scores, mask, logp.masked_fill(~counted, 0.0), target_mask, marginalizer)


def by_hand(found: Evidence, b: int, each_token: bool) -> tuple[float, float, float]:
    """Entropy in nats, its share of log K, and the rank by the posterior: plain floats."""
    present = [k for k in range(3) if found.mask[b, k]]
    length = int(found.target_mask[b].sum())
    weight = [math.exp(float(found.scores[b, k])) for k in present]
    prior = [w / sum(weight) for w in weight]
    likely = [[math.exp(float(found.token_logp[b, k, t])) for t in range(length)] for k in present]
    if each_token:
        posteriors = [
            [p * one[t] for p, one in zip(prior, likely, strict=True)] for t in range(length)
        ]
    else:
        posteriors = [[p * math.prod(one) for p, one in zip(prior, likely, strict=True)]]
    ranks = [
        sum(rank * j for rank, j in enumerate(joint, start=1)) / sum(joint) for joint in posteriors
    ]
    entropy = -sum(p * math.log(p) for p in prior)
    return entropy, entropy / math.log(len(present)), sum(ranks) / len(ranks)


@pytest.mark.parametrize(
    ("marginalizer", "each_token"), [(RagSequence(), False), (RagToken(), True)]
)
def test_signs_by_hand(marginalizer: object, each_token: bool) -> None:
    found = evidence(marginalizer)
    expected = torch.tensor([by_hand(found, b, each_token) for b in range(2)])
    torch.testing.assert_close(diagnostics.signs(found), expected, atol=1e-6, rtol=1e-5)


def test_a_single_passage_has_no_entropy() -> None:
    one = Evidence(
        torch.zeros(1, 1),
        torch.ones(1, 1, dtype=torch.bool),
        torch.zeros(1, 1, 1),
        torch.ones(1, 1, dtype=torch.bool),
        RagSequence(),
    )
    assert diagnostics.signs(one).tolist() == [[0.0, 0.0, 1.0]]


@pytest.mark.parametrize(
    "ids",
    [
        [[0, 1, 2], [3, 4, 5]],
        [[7, 7, 7], [7, 7, 7]],
        [[3, 1, -1], [1, -1, -1]],
        [[-1, -1]],
        [[0]],
    ],
)
def test_distinct_passages_are_a_set(ids: list[list[int]]) -> None:
    present = [i for row in ids for i in row if i >= 0]
    found = diagnostics.distinct(torch.tensor(ids))
    assert found.tolist() == [len(set(present)), len(present)]


def test_overlap_is_of_sets_and_by_question() -> None:
    before = [[1, 2, 3, 4], [5, 6, -1, -1], [-1, -1, -1, -1]]
    now = [[4, 3, 8, 9], [5, 7, -1, -1], [1, 2, 3, 4]]
    assert diagnostics.overlap(before, now) == pytest.approx((2 / 4 + 1 / 2) / 2)
    assert diagnostics.overlap(before, before) == 1.0


def test_meter_means_over_questions_and_leaves_out_what_fills_up() -> None:
    meter = Meter()
    random = torch.Generator().manual_seed(1)
    terms, measured = [], []
    for real in (3, 1):
        extra, signs = torch.rand(3, generator=random), torch.rand(3, 3, generator=random)
        meter.add({"loss": extra, "extra": extra}, signs, torch.tensor([2.0, 4.0]), real)
        terms += extra[:real].tolist()
        measured += signs[:real].tolist()
    found = meter.flush()
    assert found["extra"] == pytest.approx(sum(terms) / 4)
    for place, name in enumerate(diagnostics.SIGNS):
        assert found[name] == pytest.approx(sum(row[place] for row in measured) / 4)
    assert found["distinct_passages"] == 4 / 8
    assert meter.flush() == {}


# ----------------------------------------------------------------------- in the trainer


def trainer(directory: Path, rag: object, **options: object) -> Trainer:
    defaults: dict[str, object] = {
        "k": 3,
        "per_device_train_batch_size": 6,
        "max_steps": 3,
        "learning_rate": 1e-3,
        "save_strategy": "no",
        "lr_scheduler_type": "constant",
        "use_cpu": True,
        "probe_size": 6,
    }
    arguments = TrainingArguments(output_dir=str(directory / "run"), **{**defaults, **options})
    return Trainer(rag, arguments, toy.examples())


def steps(one: Trainer) -> list[dict[str, float]]:
    return [entry for entry in one.state.log_history if "loss" in entry]


def test_what_a_step_logs_is_of_what_it_retrieved(tmp_path: Path) -> None:
    rag = toy.model(tmp_path)
    questions = [e.question for e in toy.examples()]
    with torch.no_grad():
        found, retrieved = rag(questions, list(toy.LETTERS), 3)
    one = trainer(tmp_path, rag)
    one.train()
    logged = steps(one)[0]
    rows = [by_hand(found, b, each_token=False) for b in range(6)]
    for place, name in enumerate(diagnostics.SIGNS):
        assert logged[name] == pytest.approx(sum(row[place] for row in rows) / 6, rel=1e-4)
    ids = retrieved.ids.tolist()
    assert logged["distinct_passages"] == pytest.approx(len({i for r in ids for i in r}) / 18)
    with torch.no_grad():
        now = rag.retriever.retrieve(questions, 3).ids.tolist()
    assert steps(one)[-1]["probe_overlap"] == pytest.approx(
        sum(len(set(a) & set(b)) / 3 for a, b in zip(ids, now, strict=True)) / 6
    )
    assert logged["distinct_passages"] > 3 / 18  # the toy starts with some variety


def test_signs_are_logged_for_all_steps_between_two_logs(tmp_path: Path) -> None:
    each = trainer(tmp_path, toy.model(tmp_path), max_steps=4)
    each.train()
    every_second = trainer(tmp_path, toy.model(tmp_path), max_steps=4, logging_steps=2)
    every_second.train()
    names = ("loss", "prior_entropy", "posterior_rank", "distinct_passages")
    for i, logged in enumerate(steps(every_second)):
        pair = steps(each)[2 * i : 2 * i + 2]
        for name in names:
            assert logged[name] == pytest.approx(sum(e[name] for e in pair) / 2, rel=1e-5)


def test_the_probe_can_be_rarer_than_the_log(tmp_path: Path) -> None:
    one = trainer(tmp_path, toy.model(tmp_path), max_steps=4, probe_steps=2)
    one.train()
    assert ["probe_overlap" in entry for entry in steps(one)] == [False, True, False, True]


class Collapsing(torch.nn.Module):
    """After some questions, a retriever that returns the same passages whatever they are."""

    def __init__(self, inner: torch.nn.Module, healthy: int) -> None:
        super().__init__()
        self.inner = inner
        self.left = healthy

    def retrieve(self, questions: list[str], k: int):
        self.left -= 1
        return self.inner.retrieve(questions if self.left >= 0 else ["zzz"] * len(questions), k)


def test_a_collapsing_retriever_is_named_once(tmp_path: Path) -> None:
    rag = toy.model(tmp_path)
    rag.retriever = Collapsing(rag.retriever, healthy=9)
    one = trainer(tmp_path, rag, k=1, max_steps=20, collapse_window=4, learning_rate=1e-5)
    with pytest.warns(CollapseWarning, match="retrieval seems to have collapsed") as caught:
        one.train()
    assert len([w for w in caught if w.category is CollapseWarning]) == 1
    assert "passages were distinct, 50% at first" in str(caught[0].message)
    assert "question_encoder_learning_rate" in str(caught[0].message)
    assert steps(one)[-1]["distinct_passages"] == pytest.approx(1 / 6)


def test_a_flat_prior_is_named(tmp_path: Path) -> None:
    rag = toy.model(tmp_path, temperature=1000.0)
    one = trainer(tmp_path, rag, k=6, max_steps=6, collapse_window=3)
    with pytest.warns(CollapseWarning, match=r"prior over passages is flat.*temperature=0\.05"):
        one.train()


def test_healthy_training_warns_of_nothing(tmp_path: Path) -> None:
    rag = toy.model(tmp_path, blind=True)
    toy.teach_copying(rag.generator, 100)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one = trainer(tmp_path, rag, max_steps=40, collapse_window=5, learning_rate=2e-3)
        one.train()
    assert not one.watch.warned


@pytest.mark.parametrize(
    ("variety", "overlap", "warned"),
    [
        (0.1, 0.0, {"collapse"}),
        (0.1, 1.0, set()),  # little variety from the start is no collapse
        (0.8, 0.0, set()),  # other passages, but many
        (0.46, 0.0, set()),  # half of what it was at first is 0.45
        (0.44, 0.0, {"collapse"}),
    ],
)
def test_when_collapse_is_called_so(variety: float, overlap: float, warned: set[str]) -> None:
    watch = Watch(window=3, least_distinct=0.5, most_entropy=1.0)
    for _ in range(3):
        watch.see({"distinct_passages": 0.9, "prior_entropy_share": 0.5})
    watch.last_overlap = overlap
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(2):  # not yet: the window still holds a healthy step
            watch.see({"distinct_passages": variety, "prior_entropy_share": 0.5})
        watch.see({"distinct_passages": variety, "prior_entropy_share": 0.5})
    assert watch.warned == warned


def test_a_restored_watch_goes_on_as_it_would_have() -> None:
    logs = [{"distinct_passages": d, "prior_entropy_share": 0.4} for d in (0.9, 0.8, 0.1, 0.1, 0.1)]
    for stop in range(1, 5):
        first, second = (Watch(window=2, least_distinct=0.5, most_entropy=0.999) for _ in "ab")
        first.compare(torch.tensor([[0, 1]]))
        first.compare(torch.tensor([[2, 3]]))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for entry in logs[:stop]:
                first.see(entry)
            second.restore(first.state())
            for entry in logs[stop:]:
                first.see(entry)
                second.see(entry)
        assert first.state() == second.state()
        assert second.warned == {"collapse"}
