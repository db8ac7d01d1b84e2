"""Against brute force: all outputs over a vocabulary of six."""

from __future__ import annotations

import itertools
import math
from copy import deepcopy

import pytest
import torch
from transformers import GenerationConfig

import tiny
from ragkit.generate.reading import Seq2SeqReading
from ragkit.marginalize.rag_sequence import RagSequence
from ragkit.marginalize.rag_token import RagToken
from ragkit.protocols import Targets

V, EOS, LONGEST, B, K = 6, 2, 3, 2, 3


def reading(seed=0, absent=False):
    model = tiny.bart(vocabulary=V, seed=seed, scale=0.8)
    random = torch.Generator().manual_seed(seed)
    tokens = torch.randint(3, V, (B * K, 5), generator=random)
    mask = torch.ones_like(tokens, dtype=torch.bool)
    mask[1, 3:] = False
    states = model.get_encoder()(input_ids=tokens, attention_mask=mask).last_hidden_state.detach()
    rows = torch.arange(B * K).view(B, K)
    scores = torch.randn(B, K, generator=random)
    if absent:
        rows[1, 2], scores[1, 2] = -1, -torch.inf
    return Seq2SeqReading(model, states, mask, rows, 2, grouped=_shares(model)), scores.log_softmax(
        1
    )


def _shares(model):
    model.set_attn_implementation("ragkit")
    return True


def all_outputs():
    """Every y: with EOS at the end, or as long as allowed without."""
    others = [v for v in range(V) if v != EOS]
    outputs = []
    for length in range(LONGEST):
        outputs += [(*y, EOS) for y in itertools.product(others, repeat=length)]
    return outputs + list(itertools.product(others, repeat=LONGEST))


def as_targets(outputs):
    tokens = torch.full((len(outputs), LONGEST), 1)
    mask = torch.zeros_like(tokens, dtype=torch.bool)
    for i, y in enumerate(outputs):
        tokens[i, : len(y)], mask[i, : len(y)] = torch.tensor(y), True
    return Targets(tokens, mask)


def likelihoods(marginalizer, read, prior, b):
    outputs = all_outputs()
    targets = as_targets(outputs)
    n = len(outputs)
    with torch.no_grad():
        token_logp = read.score(targets, read.rows[b].expand(n, -1))
        values = marginalizer.log_likelihood(prior[b].expand(n, -1), token_logp, targets.mask)
    return dict(zip(outputs, values.tolist(), strict=True))


def config(**options):
    made = GenerationConfig(
        eos_token_id=EOS, pad_token_id=1, decoder_start_token_id=2, max_new_tokens=LONGEST
    )
    for name, value in options.items():  # transformers itself allows no more than its beams
        setattr(made, name, value)
    return made


EXHAUSTIVE = {"num_beams": 150, "early_stopping": "never", "length_penalty": 0.0}


@pytest.mark.parametrize("absent", [False, True])
@pytest.mark.parametrize("marginalizer", [RagSequence(), RagToken()])
def test_probabilities_of_all_outputs_sum_to_one(marginalizer, absent):
    read, prior = reading(absent=absent)
    for b in range(B):
        total = sum(math.exp(v) for v in likelihoods(marginalizer, read, prior, b).values())
        assert total == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("marginalizer", [RagSequence("thorough"), RagToken()])
@pytest.mark.parametrize("seed", range(4))
def test_a_wide_beam_finds_the_argmax(marginalizer, seed):
    read, prior = reading(seed, absent=seed == 3)
    got = marginalizer.decode(read, prior, config(**EXHAUSTIVE))
    for b in range(B):
        exact = likelihoods(marginalizer, read, prior, b)
        best = max(exact, key=exact.get)
        assert tuple(got[b][0].tokens.tolist()) == best
        assert got[b][0].log_likelihood == pytest.approx(exact[best], abs=1e-4)


@pytest.mark.parametrize("marginalizer", [RagSequence("thorough"), RagToken()])
@pytest.mark.parametrize("num_beams", [1, 2, 5])
def test_reported_likelihoods_are_exact(marginalizer, num_beams):
    read, prior = reading(5)
    options = config(num_beams=num_beams, num_return_sequences=num_beams, length_penalty=1.7)
    for b, beam in enumerate(marginalizer.decode(read, prior, options)):
        exact = likelihoods(marginalizer, read, prior, b)
        assert beam
        for hypothesis in beam:
            want = exact[tuple(hypothesis.tokens.tolist())]
            assert hypothesis.log_likelihood == pytest.approx(want, abs=1e-4)
            torch.testing.assert_close(hypothesis.posterior.exp().sum(), torch.tensor(1.0))
            if hypothesis.token_posterior is not None:
                sums = hypothesis.token_posterior.exp().sum(0)
                torch.testing.assert_close(sums, torch.ones_like(sums))


@pytest.mark.parametrize("num_beams", [1, 2, 4])
def test_fast_is_a_lower_bound_and_thorough_where_all_beams_agree(num_beams):
    read, prior = reading(2)
    options = config(num_beams=num_beams, num_return_sequences=60)
    fast = RagSequence("fast").decode(read, prior, options)
    thorough = RagSequence("thorough").decode(read, prior, options)
    for b in range(B):
        exact = {tuple(h.tokens.tolist()): h for h in thorough[b]}
        assert {tuple(h.tokens.tolist()) for h in fast[b]} == set(exact)
        for h in fast[b]:
            full = exact[tuple(h.tokens.tolist())]
            assert h.log_likelihood <= full.log_likelihood + 1e-5
            read_by = h.posterior > -torch.inf  # the passages whose beams held y
            assert read_by.any()
            if read_by.all():
                assert h.log_likelihood == pytest.approx(full.log_likelihood, abs=1e-4)


def test_fast_sums_duplicates():
    """With the same passage twice, both beams hold the same outputs: p(y|x) = p(y|x,z)."""
    read, _ = reading(1)
    read.rows = read.rows[:, :1].expand(B, 2).contiguous()
    prior = torch.tensor([[0.25, 0.75], [0.5, 0.5]]).log()
    for b, beam in enumerate(RagSequence("fast").decode(read, prior, config(num_beams=2))):
        alone = likelihoods(RagToken(), read, prior, b)  # the same for one passage
        assert beam[0].log_likelihood == pytest.approx(
            alone[tuple(beam[0].tokens.tolist())], abs=1e-4
        )
        torch.testing.assert_close(beam[0].posterior, prior[b])


def test_more_hypotheses_than_exist_is_no_error():
    read, prior = reading(0)
    for marginalizer in (RagSequence("thorough"), RagSequence("fast"), RagToken()):
        beams = marginalizer.decode(read, prior, config(num_beams=2, num_return_sequences=40))
        assert all(1 <= len(beam) < 40 for beam in beams)


@pytest.mark.parametrize("marginalizer", [RagSequence("thorough"), RagToken()])
def test_sampling_follows_the_distribution(marginalizer):
    """Temperature 1 and no truncation: how often an output is drawn is its probability
    (RAG-Token), and every draw is an output with its exact likelihood (both)."""
    read, prior = reading(3)
    torch.manual_seed(0)
    n = 3000
    options = config(do_sample=True, top_k=0, num_return_sequences=n)
    if isinstance(marginalizer, RagSequence):
        options.num_return_sequences = 20
    beams = marginalizer.decode(read, prior, options)
    for b, beam in enumerate(beams):
        exact = likelihoods(marginalizer, read, prior, b)
        drawn = [tuple(h.tokens.tolist()) for h in beam]
        assert all(
            h.log_likelihood == pytest.approx(exact[y], abs=1e-4)
            for h, y in zip(beam, drawn, strict=True)
        )
        if isinstance(marginalizer, RagToken):
            for y, logp in sorted(exact.items(), key=lambda item: -item[1])[:5]:
                p = math.exp(logp)
                error = math.sqrt(p * (1 - p) / n)
                assert drawn.count(y) / n == pytest.approx(p, abs=5 * error)


def test_batch_of_one_is_a_row_of_the_batch():
    read, prior = reading(4, absent=True)
    for marginalizer in (RagSequence("thorough"), RagSequence("fast"), RagToken()):
        together = marginalizer.decode(read, prior, config(num_beams=3, num_return_sequences=3))
        for b in range(B):
            alone = deepcopy(read)
            alone.rows = read.rows[b : b + 1]
            (beam,) = marginalizer.decode(
                alone, prior[b : b + 1], config(num_beams=3, num_return_sequences=3)
            )
            assert [h.tokens.tolist() for h in beam] == [h.tokens.tolist() for h in together[b]]
            for mine, other in zip(beam, together[b], strict=True):
                assert mine.log_likelihood == pytest.approx(other.log_likelihood, abs=1e-5)
