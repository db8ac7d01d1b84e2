"""Targets scored as trees, against the plain model and against Python's own prefixes."""

from __future__ import annotations

import pytest
import torch

import tiny
from ragkit.generate import prefixes
from ragkit.generate.positions import COUNTING, can_be_given
from ragkit.generate.prefixes import Trees, Trie
from ragkit.generate.reading import Seq2SeqReading
from ragkit.generate.rows import Layout
from ragkit.generate.seq2seq import _share_pairs
from ragkit.protocols import Targets

FAMILIES = {"bart": tiny.bart, "bert2bert": tiny.bert2bert, "t5": tiny.t5}
P, S, N, T, START = 4, 7, 14, 6, 2


def make(family):
    return FAMILIES[family]() if family in FAMILIES else tiny.kin(family)


def alike(seed=0):
    """Targets (N,T) from an alphabet of three, so that many begin alike; ends differ."""
    random = torch.Generator().manual_seed(seed)
    tokens = torch.randint(5, 8, (N, T), generator=random)
    length = torch.randint(1, T + 1, (N,), generator=random)
    mask = torch.arange(T)[None] < length[:, None]
    tokens[torch.arange(N), length - 1] = 2
    return Targets(tokens.masked_fill(~mask, 1), mask)


def some_rows(seed=0):
    """(N,M) pairs to read, some absent, one target that reads nothing."""
    random = torch.Generator().manual_seed(seed)
    rows = torch.randint(-1, P, (N, 3), generator=random)
    rows[3] = -1
    return rows


def reading_of(model):
    random = torch.Generator().manual_seed(1)
    tokens = torch.randint(5, 261, (P, S), generator=random)
    mask = torch.ones_like(tokens, dtype=torch.bool)
    mask[1, 4:] = False
    with torch.no_grad():
        states = model.get_encoder()(input_ids=tokens, attention_mask=mask).last_hidden_state
    grouped = _share_pairs(model)
    return Seq2SeqReading(model, states, mask, torch.arange(P)[None], START, grouped)


def plain(reading, targets, rows):
    """(N,M,T), every target with every pair alone."""
    out = torch.zeros(*rows.shape, targets.tokens.shape[1])
    for n, m in (rows >= 0).nonzero().tolist():
        pair, counts = rows[n, m], targets.mask[n]
        gold = targets.tokens[n][None]
        inputs = torch.cat([torch.tensor([[START]]), gold[:, :-1]], 1)
        logits = reading.run(reading.states[pair][None], reading.mask[pair][None], inputs)
        out[n, m] = logits.log_softmax(-1).gather(-1, gold[..., None])[0, :, 0] * counts
    return out


@pytest.mark.parametrize("forced", [0, 1])
@pytest.mark.parametrize("family", [*FAMILIES, *tiny.KIN])
@pytest.mark.parametrize("nodes", [256, 3 * T])
@torch.no_grad()
def test_trees_give_what_plain_rows_give(family, forced, nodes, monkeypatch):
    monkeypatch.setattr(prefixes, "NODES", nodes)
    reading, targets, rows = reading_of(make(family)), alike(), some_rows()
    targets.mask[:, :forced] = False
    read = []
    run = Seq2SeqReading.run
    monkeypatch.setattr(
        Seq2SeqReading, "run", lambda *a, **o: read.append(a[3].numel()) or run(*a, **o)
    )
    got = reading.score(targets, rows)
    as_trees = family in COUNTING or family == "bert2bert"
    assert can_be_given(reading.model) is as_trees
    assert (sum(read) < int((rows >= 0).sum()) * T) is as_trees
    monkeypatch.undo()
    torch.testing.assert_close(got, plain(reading, targets, rows), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_in_parts_and_next_to_decoding():
    """Few logits at once; and the positions given to trees are gone afterwards."""
    from ragkit.generate import reading as module

    reading, targets, rows = reading_of(make("bart")), alike(), some_rows()
    whole = reading.score(targets, rows)
    decoding = reading.start(torch.arange(P)[:, None])
    first = decoding.next()  # (P,1,V)
    known = plain(reading, targets, rows)[:, :, 0]
    for n, m in ((rows >= 0) & targets.mask[:, :1]).nonzero().tolist():
        token = targets.tokens[n, 0]
        torch.testing.assert_close(first[rows[n, m], 0, token], known[n, m], atol=1e-5, rtol=1e-5)
    before = module.AT_ONCE
    try:
        module.AT_ONCE = 261 * 40
        torch.testing.assert_close(reading.score(targets, rows), whole)
    finally:
        module.AT_ONCE = before


def test_a_trie_has_each_beginning_once():
    inputs = torch.cat([torch.full((N, 1), START), alike(3).tokens[:, :-1]], 1)
    trie = Trie.of(inputs)
    beginnings = {tuple(row[: t + 1]) for row in inputs.tolist() for t in range(T)}
    assert len(trie.tokens) == len(beginnings)
    for n, row in enumerate(inputs.tolist()):
        for t in range(T):
            node = trie.node[n, t]
            assert trie.tokens[node] == row[t]
            assert trie.depth[node] == t
            assert trie.path[node].tolist() == trie.node[n, : t + 1].tolist() + [-1] * (T - t - 1)


def test_a_row_holds_what_its_targets_need_and_no_more():
    targets, rows = alike(4), some_rows(4)
    inputs = torch.cat([torch.full((N, 1), START), targets.tokens[:, :-1]], 1)
    trie = Trie.of(inputs)
    trees = Trees.of(Layout.of(rows), trie, targets.mask, rows.shape[1])
    wanted = {}
    for n, m in (rows >= 0).nonzero().tolist():
        length = int(targets.mask[n].sum())
        beginnings = {tuple(inputs[n, : t + 1].tolist()) for t in range(length)}
        wanted.setdefault(int(rows[n, m]), set()).update(beginnings)
    assert trees.pair.tolist() == sorted(wanted)
    for pair, nodes in zip(trees.pair.tolist(), trees.nodes.tolist(), strict=True):
        real = [node for node in nodes if node >= 0]
        found = {
            tuple(trie.tokens[trie.path[node][: trie.depth[node] + 1]].tolist()) for node in real
        }
        assert found == wanted[pair]
        assert len(real) == len(found)
