"""Fused sources against transformers' model on encoder states laid end to end by hand."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import fid_models as tiny
import pytest
import torch
from ragkit_fid.marginalizer import NoMixture
from ragkit_fid.reading import FiDReading, fuse
from torch import Tensor
from transformers import GenerationConfig
from transformers.modeling_outputs import BaseModelOutput

from ragkit.generate.reading import Seq2SeqReading
from ragkit.generate.seq2seq import Seq2SeqGenerator
from ragkit.protocols import Retrieved, SupportsSmoothing, Targets

FAMILY = pytest.mark.parametrize("family", tiny.FAMILIES)


def plain(
    generator: Any, model: Any, questions: list[str], found: Retrieved, targets: Targets
) -> Tensor:
    """(B,1,T) question by question."""
    out = torch.zeros(len(questions), 1, targets.tokens.shape[1])
    start = generator.generation_config.decoder_start_token_id
    for b in range(len(questions)):
        states, _ = tiny.fused_by_hand(model, generator, questions, found, b)
        gold = targets.tokens[b][targets.mask[b]].tolist()
        logits = tiny.plain_logits(model, states, [start, *gold[:-1]]).logits[0]
        out[b, 0, : len(gold)] = logits.log_softmax(-1)[range(len(gold)), gold]
    return out


@FAMILY
def test_scores_and_gradients_equal_the_plain_models(family: str) -> None:
    generator = tiny.make(family)
    model = tiny.eager(generator.reader.model)
    found, questions = tiny.retrieved(3, 3, absent=1), tiny.QUESTIONS
    targets = generator.targets(["a", "two words", "longer target"])
    reading = generator.read(questions, found)
    assert reading.rows.tolist() == [[0], [1], [2]]
    got = reading.score(targets, reading.rows)
    want = plain(generator, model, questions, found, targets)
    torch.testing.assert_close(got, want, atol=1e-4, rtol=1e-4)
    assert (got[~targets.mask[:, None]] == 0).all()
    spread = torch.rand(got.shape, generator=torch.Generator().manual_seed(0))
    (got * spread).sum().backward()
    (want * spread).sum().backward()
    others = dict(model.named_parameters())
    compared = 0
    for name, weight in generator.reader.model.named_parameters():
        if weight.grad is None:
            assert others[name].grad is None or not others[name].grad.any()
            continue
        scale = others[name].grad.abs().max().clamp(min=1)
        torch.testing.assert_close(
            weight.grad / scale, others[name].grad / scale, atol=1e-4, rtol=1e-3, msg=name
        )
        compared += 1
    assert compared > 10


@FAMILY
@pytest.mark.parametrize("num_beams", [1, 3])
def test_answers_are_those_of_transformers_generate(family: str, num_beams: int) -> None:
    """The marginalizer decodes fused states as `generate` does."""
    generator = tiny.make(family)
    model = tiny.eager(generator.reader.model)
    found, questions = tiny.retrieved(3, 3, absent=1), tiny.QUESTIONS
    options = generator.generation_config
    options.max_new_tokens, options.num_beams, options.max_length = 7, num_beams, None
    with torch.no_grad():
        reading = generator.read(questions, found)
    beams = NoMixture().decode(reading, found.prior(), options)
    for b, beam in enumerate(beams):
        states, _ = tiny.fused_by_hand(model, generator, questions, found, b)
        with torch.no_grad():
            want = model.generate(
                encoder_outputs=BaseModelOutput(last_hidden_state=states),
                attention_mask=torch.ones(states.shape[:2], dtype=torch.long),
                generation_config=options,
            )[0, 1:]
        want = want.tolist()
        assert beam[0].tokens.tolist() == want
        start = options.decoder_start_token_id
        with torch.no_grad():
            logits = tiny.plain_logits(model, states, [start, *want[:-1]]).logits[0]
        total = float(logits.log_softmax(-1)[range(len(want)), want].sum())
        assert beam[0].log_likelihood == pytest.approx(total, abs=1e-4)
        torch.testing.assert_close(beam[0].posterior, found.prior()[b])
        assert beam[0].token_posterior is None


@FAMILY
def test_score_is_the_chain_of_next_and_append_in_any_order(family: str) -> None:
    generator = tiny.make(family)
    with torch.no_grad():
        reading = generator.read(tiny.QUESTIONS, tiny.retrieved(3, 3, absent=1))
        rows = reading.rows[[1, 0, 2, 1, 1]].clone()
        rows[3] = -1
        targets = generator.targets(["abc", "x", "yy", "zzz", "q"])
        whole = reading.score(targets, rows)
    order = torch.tensor([4, 2, 0, 3, 1])
    decoding = reading.start(rows)
    steps = []
    tokens, at = targets.tokens, torch.arange(5)
    for t in range(tokens.shape[1]):
        logp = decoding.next()
        gold = tokens[at, t][:, None, None]
        step = torch.zeros(5, 1)
        step[at] = logp.gather(-1, gold)[..., 0]
        steps.append(step)
        decoding.append(tokens[at[order], t], order)
        at = at[order]
    chain = torch.stack(steps, -1) * targets.mask[:, None]
    torch.testing.assert_close(chain, whole, atol=1e-4, rtol=1e-4)


@FAMILY
def test_a_question_alone_is_a_row_of_the_batch_and_absent_passages_add_nothing(
    family: str,
) -> None:
    generator = tiny.make(family)
    found, targets = tiny.retrieved(3, 3, absent=1), generator.targets(["ab", "c", "def"])
    with torch.no_grad():
        batch = generator.read(tiny.QUESTIONS, found)
        scores = batch.score(targets, batch.rows)
        looked = batch.passage_scores()
        for b in range(3):
            present = [k for k in range(3) if found.mask[b, k]]
            one = generator.read(tiny.QUESTIONS[b : b + 1], tiny.take(found, b, present))
            target = Targets(targets.tokens[b : b + 1], targets.mask[b : b + 1])
            torch.testing.assert_close(
                one.score(target, one.rows)[0], scores[b], atol=1e-4, rtol=1e-4
            )
            torch.testing.assert_close(
                one.passage_scores()[0], looked[b, present], atol=1e-4, rtol=1e-4
            )
    assert looked[2, 2] == -torch.inf


@FAMILY
def test_the_order_of_passages_does_not_matter_to_what_is_written(family: str) -> None:
    """The decoder sees a set: positions are given within a passage alone."""
    generator = tiny.make(family)
    found, targets = tiny.retrieved(1, 4), generator.targets(["abc"])
    with torch.no_grad():
        reading = generator.read(tiny.QUESTIONS[:1], found)
        order = [2, 0, 3, 1]
        other = generator.read(tiny.QUESTIONS[:1], tiny.take(found, 0, order))
        torch.testing.assert_close(
            other.score(targets, other.rows),
            reading.score(targets, reading.rows),
            atol=1e-4,
            rtol=1e-4,
        )
        torch.testing.assert_close(
            other.passage_scores(), reading.passage_scores()[:, order], atol=1e-4, rtol=1e-4
        )


@FAMILY
def test_with_one_passage_it_is_the_generator_that_reads_pairs(family: str) -> None:
    generator = tiny.make(family)
    model, _ = tiny.FAMILIES[family]
    other = Seq2SeqGenerator(
        model(), tiny.tokenizer(), generator.reader.form.template, max_source=250
    )
    found, targets = tiny.retrieved(2, 1), generator.targets(["ab", "c"])
    one, two = (g.read(tiny.QUESTIONS[:2], found) for g in (generator, other))
    torch.testing.assert_close(one.score(targets, one.rows), two.score(targets, two.rows))


def test_each_pair_is_encoded_once_and_beams_share_the_fused_keys() -> None:
    generator = tiny.make("bart")
    model, encoded, keyed = generator.reader.model, [], []
    hooks = [
        model.get_encoder().register_forward_hook(
            lambda m, a, k, out: encoded.append(len(k["input_ids"])), with_kwargs=True
        ),
        model.model.decoder.layers[0].encoder_attn.k_proj.register_forward_hook(
            lambda m, a, out: keyed.append(len(a[0]))
        ),
    ]
    found = tiny.retrieved(3, 4)
    options = generator.generation_config
    options.max_new_tokens, options.max_length, options.num_beams = 5, None, 4
    with torch.no_grad():
        NoMixture().decode(generator.read(tiny.QUESTIONS, found), found.prior(), options)
    for hook in hooks:
        hook.remove()
    assert encoded == [12]
    assert keyed == [3]


def test_smoothing_is_the_mean_over_the_vocabulary() -> None:
    generator = tiny.make("t5")
    model = tiny.eager(generator.reader.model)
    found, questions = tiny.retrieved(2, 2), tiny.QUESTIONS[:2]
    targets = generator.targets(["ab", "c"])
    with torch.no_grad():
        reading = generator.read(questions, found)
        assert isinstance(reading, SupportsSmoothing)
        got = reading.score_smoothed(targets, reading.rows, 0.1)
        for b in range(2):
            states, _ = tiny.fused_by_hand(model, generator, questions, found, b)
            gold = targets.tokens[b][targets.mask[b]].tolist()
            logp = tiny.plain_logits(model, states, [1, *gold[:-1]]).logits[0].log_softmax(-1)
            want = 0.9 * logp[range(len(gold)), gold] + 0.1 * logp.mean(-1)
            torch.testing.assert_close(got[b, 0, : len(gold)], want, atol=1e-4, rtol=1e-4)


def test_nothing_retrieved_is_no_row_no_hypothesis_and_no_score() -> None:
    generator = tiny.make("bart")
    some = tiny.retrieved(2, 2, absent=2)  # the second question has no passage
    targets = generator.targets(["ab", "c"])
    options = generator.generation_config
    options.max_new_tokens, options.max_length = 3, None
    nothing = Retrieved([[None, None]], some.ids[1:], some.scores[1:], some.mask[1:])
    for found, questions in ((some, tiny.QUESTIONS[:2]), (nothing, tiny.QUESTIONS[:1])):
        with torch.no_grad():
            reading = generator.read(questions, found)
            assert reading.rows[-1].tolist() == [-1]
            asked = Targets(targets.tokens[: len(questions)], targets.mask[: len(questions)])
            assert (reading.score(asked, reading.rows)[-1] == 0).all()
            assert reading.passage_scores()[-1].tolist() == [-torch.inf] * 2
        beams = NoMixture().decode(reading, found.prior(), options)
        assert beams[-1] == []
        assert len(questions) == 1 or beams[0]


def test_fusing_lays_real_tokens_end_to_end_with_gradient() -> None:
    states = torch.arange(24.0).view(4, 3, 2).requires_grad_()
    mask = torch.tensor([[1, 1, 0], [1, 0, 0], [1, 1, 1], [1, 1, 0]], dtype=torch.bool)
    rows = torch.tensor([[2, 0], [-1, -1], [1, -1], [-1, 3]])
    fused = fuse(states, mask, rows)
    assert fused.rows.tolist() == [[0], [-1], [1], [2]]
    assert fused.columns.tolist() == [[0, 0, 0, 1, 1], [0, -1, -1, -1, -1], [1, 1, -1, -1, -1]]
    assert torch.equal(fused.states[0], torch.cat([states[2], states[0, :2]]))
    assert torch.equal(fused.states[1, :1], states[1, :1])
    assert torch.equal(fused.states[2, :2], states[3, :2])
    fused.states.sum().backward()
    assert states.grad is not None
    assert torch.equal(states.grad[..., 0], mask.float())


V, EOS, LONGEST = 6, 2, 3


@pytest.mark.parametrize("seed", range(3))
def test_outputs_over_a_tiny_vocabulary_sum_to_one_and_a_wide_beam_finds_the_best(
    seed: int,
) -> None:
    model = tiny.bart(V, seed)
    model.set_attn_implementation("ragkit-fid")
    random = torch.Generator().manual_seed(seed)
    states = torch.randn(3, 4, 16, generator=random)
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 1, 0]], dtype=torch.bool)
    rows = torch.tensor([[0, 1], [2, -1]])
    reading = FiDReading(Seq2SeqReading(model, states, mask, rows, 2, grouped=True))
    others = [v for v in range(V) if v != EOS]
    outputs = [(*y, EOS) for n in range(LONGEST) for y in itertools.product(others, repeat=n)]
    outputs += list(itertools.product(others, repeat=LONGEST))
    options = GenerationConfig(
        eos_token_id=EOS,
        pad_token_id=1,
        decoder_start_token_id=2,
        max_new_tokens=LONGEST,
        num_beams=150,
        early_stopping="never",
        length_penalty=0.0,
    )
    prior = torch.tensor([[0.25, 0.75], [1.0, 0.0]]).log()
    beams = NoMixture().decode(reading, prior, options)
    for b, fused in enumerate((torch.cat([states[0], states[1, :2]]), states[2, :3])):
        exact = {}
        for y in outputs:
            with torch.no_grad():
                logits = tiny.plain_logits(model, fused[None], [2, *y[:-1]]).logits[0]
            exact[y] = float(logits.log_softmax(-1)[range(len(y)), y].sum())
        assert sum(map(math.exp, exact.values())) == pytest.approx(1, abs=1e-4)
        best = max(exact, key=exact.__getitem__)
        assert tuple(beams[b][0].tokens.tolist()) == best
        assert beams[b][0].log_likelihood == pytest.approx(exact[best], abs=1e-4)


def test_ready_tokens_give_the_same_as_texts() -> None:
    generator = tiny.make("bart")
    found, targets = tiny.retrieved(3, 3, absent=1), generator.targets(["ab", "c", "d"])
    ready = generator.passage_tokens(tiny.PASSAGES)

    class Tokens:
        tokenization = generator.tokenization

        def take(self, rows: Any) -> Any:
            return [torch.tensor(ready[row]).int().numpy() for row in rows]

    one, two = (generator.read(tiny.QUESTIONS, f) for f in (found, replace(found, tokens=Tokens())))
    assert torch.equal(one.score(targets, one.rows), two.score(targets, two.rows))
