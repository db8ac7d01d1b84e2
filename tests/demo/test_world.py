"""The demo's facts, phrasings and starting checkpoint hold what the issue asks of them."""

from __future__ import annotations

import re

import pytest

from ragkit.demo import world


def normal(text: str) -> str:
    return " ".join(re.sub(r"[^a-z0-9 ]", "", text.lower()).split())


@pytest.mark.parametrize("edition", world.EDITIONS)
def test_an_edition_is_large_and_its_ids_are_unique(edition: str) -> None:
    passages = world.passages(edition)
    assert len(passages) >= 1_500
    assert len({p["id"] for p in passages}) == len(passages)
    assert not any("{" in p["text"] for p in passages)
    assert passages == world.passages(edition)
    assert passages != world.passages(edition, seed=1)


def test_a_passage_holds_its_fact() -> None:
    for edition in world.EDITIONS:
        for fact, passage in zip(world.facts(), world.passages(edition), strict=True):
            assert fact.answers[edition] in passage["text"]
            assert fact.country in passage["text"]


def test_the_held_out_answers_changed_and_cannot_be_taken_for_each_other() -> None:
    asked = world.questions("2016", "test", changed=True)
    assert len(asked) >= 164
    assert {q["relation"] for q in asked} == set(world.PEOPLE)
    for q in asked:
        old, new = normal(q["answers"][0]), normal(q["other_answers"][0])
        assert old
        assert new
        assert old not in new
        assert new not in old


def test_no_country_and_no_tested_person_is_in_two_splits() -> None:
    split: dict[str, str] = {}
    for fact in world.facts():
        assert split.setdefault(fact.code, fact.split) == fact.split
    people = [f for f in world.facts() if f.relation in world.PEOPLE]
    tested = {a for f in people if f.split == "test" for a in f.answers.values()}
    others = {a for f in people if f.split != "test" for a in f.answers.values()}
    assert not tested & others


def test_both_editions_are_asked_in_the_same_words() -> None:
    one, other = (world.questions(e, "test", forms=None) for e in world.EDITIONS)
    assert [q["question"] for q in one] == [q["question"] for q in other]
    assert [q["answers"] for q in one] == [q["other_answers"] for q in other]


def test_every_relation_has_phrasings_enough() -> None:
    known = world.phrasings()
    for relation in {fact.relation for fact in world.facts()}:
        assert len(set(known[relation]["passages"])) >= 6
        assert len(set(known[relation]["questions"])) >= 5


def test_the_wheel_stays_small() -> None:
    folder = world.CHECKPOINT
    assert sum(f.stat().st_size for f in folder.rglob("*.safetensors")) <= 6_000_000
    texts = [folder.parent / "facts.tsv", folder.parent / "phrasings.json"]
    assert sum(f.stat().st_size for f in texts) < 1_000_000


def test_the_pretraining_stream_names_nothing_held_out() -> None:
    import random

    from ragkit.demo.recipe.stream import Stream

    stream = Stream.open()
    rng = random.Random(5)
    examples = [stream.reading(rng, 0.35, 0.15) for _ in range(2_000)]
    examples += stream.retrieval(rng, 100, 8)
    held = {f.country for f in world.facts() if f.split != "train"}
    held |= {
        answer
        for f in world.facts()
        if f.split != "train" and f.relation in world.PEOPLE
        for answer in f.answers.values()
    }
    forbidden = re.compile(r"\b(?:" + "|".join(map(re.escape, sorted(held))) + r")\b")
    for e in examples:
        assert not forbidden.search(f"{e.title} {e.text} {e.question} {e.target}")
