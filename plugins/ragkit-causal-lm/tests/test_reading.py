"""Scores, gradients and caches against the plain model, one pair at a time."""

from __future__ import annotations

from typing import Any, cast

import causal_models as tiny
import pytest
import torch
from ragkit_causal_lm import reading as reading_module
from ragkit_causal_lm.generator import CausalLMGenerator
from ragkit_causal_lm.reading import CausalReading
from torch import Tensor

from ragkit.errors import ConfigError, DataError
from ragkit.marginalize.rag_sequence import RagSequence
from ragkit.marginalize.rag_token import RagToken
from ragkit.protocols import Retrieved, SupportsSmoothing, Targets

TOKENIZER = tiny.tokenizer()
FAMILY = pytest.mark.parametrize("family", tiny.FAMILIES)


def make(family: str = "gpt2", **options: Any) -> CausalLMGenerator:
    return CausalLMGenerator(tiny.FAMILIES[family](), TOKENIZER, **options)


def plain(
    generator: Any, questions: list[str], found: Retrieved, targets: Targets, rows: Tensor
) -> Tensor:
    """(N,M,T) from the model alone, pair by pair."""
    prompts = generator.prompts.of_pairs(questions, found)
    out = torch.zeros(*rows.shape, targets.tokens.shape[1])
    for n, m in (rows >= 0).nonzero().tolist():
        prompt = tiny.unpadded(prompts, int(rows[n, m]))
        gold = targets.tokens[n][targets.mask[n]].tolist()
        out[n, m, : len(gold)] = tiny.plain(generator.model, prompt, gold)
    return out


def gradients(generator: Any, total: Tensor) -> dict[str, Tensor]:
    generator.zero_grad()
    total.backward()
    return {n: p.grad.clone() for n, p in generator.named_parameters() if p.grad is not None}


def assert_same_gradients(mine: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert mine.keys() == other.keys()
    assert mine
    for name, grad in mine.items():
        scale = other[name].abs().max().clamp(min=1)
        torch.testing.assert_close(
            grad / scale, other[name] / scale, atol=1e-4, rtol=1e-3, msg=name
        )


@FAMILY
def test_score_and_gradient_equal_the_plain_model(family: str) -> None:
    generator = make(family)
    found = tiny.retrieved(3, 3, absent=1)
    targets = generator.targets(["a", "two words", "longer target"])
    reading = generator.read(tiny.QUESTIONS, found)
    got = reading.score(targets, reading.rows)
    want = plain(generator, tiny.QUESTIONS, found, targets, reading.rows)
    torch.testing.assert_close(got, want, atol=1e-4, rtol=1e-4)
    assert (got[~targets.mask[:, None].expand_as(got)] == 0).all()
    assert (got[-1, -1] == 0).all()  # the absent passage
    # Weights, so that the sum over tokens hides nothing.
    spread = torch.rand(got.shape, generator=torch.Generator().manual_seed(0))
    assert_same_gradients(
        gradients(generator, (got * spread).sum()), gradients(generator, (want * spread).sum())
    )


@pytest.mark.parametrize("marginalizer", [RagSequence(), RagToken()])
def test_the_marginals_gradient_by_finite_differences(marginalizer: Any) -> None:
    """Of −log p(y|x), into the prior's scores and along a random direction of all weights."""
    generator = make("gpt2")  # Llama computes its norms in float32, also in float64
    generator.model.double()
    found, questions = tiny.retrieved(2, 2), tiny.QUESTIONS[:2]
    targets = generator.targets(["ab", "c"])
    scores = found.scores.double().requires_grad_()
    weights = list(generator.parameters())

    def loss() -> Tensor:
        reading = generator.read(questions, found)
        token_logp = reading.score(targets, reading.rows)
        prior = scores.log_softmax(-1)
        value: Tensor = -marginalizer.log_likelihood(prior, token_logp, targets.mask).sum()
        return value

    loss().backward()
    random = torch.Generator().manual_seed(0)
    for leaves in ([scores], weights):
        way = [torch.randn(p.shape, generator=random, dtype=torch.float64) for p in leaves]
        along: float = sum(
            float((cast(Tensor, p.grad) * d).sum()) for p, d in zip(leaves, way, strict=True)
        )
        ends = []
        for step in (1e-5, -1e-5):
            with torch.no_grad():
                for p, d in zip(leaves, way, strict=True):
                    p += step * d
                ends.append(float(loss()))
                for p, d in zip(leaves, way, strict=True):
                    p -= step * d
        assert along == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-5)


@FAMILY
def test_any_targets_may_read_any_pairs_with_gradient_and_in_parts(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = make(family)
    found = tiny.retrieved(2, 3)
    reading = generator.read(tiny.QUESTIONS[:2], found)
    rows = reading.rows[[1, 0, 1, 1]].clone()
    rows[1, 0] = rows[3, 2] = -1
    targets = generator.targets(["abc", "x", "yy", "zzz"])
    want = plain(generator, tiny.QUESTIONS[:2], found, targets, rows)
    torch.testing.assert_close(reading.score(targets, rows), want, atol=1e-4, rtol=1e-4)
    monkeypatch.setattr(reading_module, "AT_ONCE", 1)  # without gradient, row by row
    with torch.no_grad():
        torch.testing.assert_close(reading.score(targets, rows), want, atol=1e-4, rtol=1e-4)


@FAMILY
@pytest.mark.parametrize("seed", range(2))
def test_hypotheses_may_multiply_leave_and_change_places(family: str, seed: int) -> None:
    """A random life of hypotheses: every next() against the plain model on the whole text."""
    generator = make(family)
    found = tiny.retrieved(3, 3, absent=1)
    with torch.no_grad():
        reading = generator.read(tiny.QUESTIONS, found)
    prompts = generator.prompts.of_pairs(tiny.QUESTIONS, found)
    random = torch.Generator().manual_seed(seed)
    decoding, rows = reading.start(reading.rows), reading.rows
    texts: list[list[int]] = [[], [], []]
    for size in (3, 7, 12, 5, 2, 4, 1):
        logp = decoding.next()
        assert logp.dtype == torch.float32
        assert torch.equal(decoding.next(), logp)  # asking twice reads nothing twice
        assert (logp[rows < 0] == 0).all()
        for n, m in (rows >= 0).nonzero().tolist():
            whole = torch.tensor([tiny.unpadded(prompts, int(rows[n, m])) + texts[n]])
            with torch.no_grad():
                want = generator.model(input_ids=whole, use_cache=False).logits[0, -1]
            torch.testing.assert_close(logp[n, m], want.log_softmax(-1), atol=1e-4, rtol=1e-4)
        parents = torch.randint(0, len(rows), (size,), generator=random)
        tokens = torch.randint(7, 263, (size,), generator=random)
        decoding.append(tokens, parents)
        texts = [texts[p] + [t] for p, t in zip(parents.tolist(), tokens.tolist(), strict=True)]
        rows = rows[parents]


def test_each_prompt_is_read_once() -> None:
    generator = make("llama")
    tokens_read = []
    hook = generator.model.model.embed_tokens.register_forward_hook(
        lambda m, a, out: tokens_read.append(tuple(a[0].shape))
    )
    found = tiny.retrieved(3, 4)
    with torch.no_grad():
        reading = generator.read(tiny.QUESTIONS, found)
    length = reading.prompts.tokens.shape[1]
    decoding = reading.start(reading.rows.repeat_interleave(4, dim=0))  # four beams each
    for _ in range(3):
        decoding.next()
        decoding.append(torch.full((12,), 50), torch.arange(12).flip(0))
    with torch.no_grad():
        reading.score(generator.targets(["ab"] * 9), reading.rows.repeat_interleave(3, dim=0))
    hook.remove()
    # " ab" and EOS are four tokens; the last is never read, the prompt's last is.
    assert tokens_read == [(12, length - 1), (48, 1), (48, 1), (48, 1), (36, 4)]


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_hypotheses_share_the_keys_of_prompts_and_copies_say_the_same(family: str) -> None:
    generator = make(family)
    found, questions = tiny.retrieved(3, 3, absent=1), tiny.QUESTIONS
    targets = generator.targets(["abc", "x", "yy", "zzz", "q", "w"])
    parents = [torch.tensor(p) for p in ([0, 0, 2, 1, 2, 2, 0], [6, 5, 4, 0], [0, 0], [1, 0])]
    told = {}
    for way in ("sdpa", "ragkit-causal-lm"):
        generator.model.set_attn_implementation(way)
        with torch.no_grad():
            reading = generator.read(questions, found)
            score = reading.score(targets, reading.rows[[0, 2, 1, 2, 2, 0]])
            decoding = reading.start(reading.rows)
            steps = [decoding.next()]
            held = reading.prefix.cache.layers
            if way != "sdpa":
                for mine, prompt in zip(decoding.following.cache.layers, held, strict=True):
                    assert mine.prompt_keys is prompt.keys  # no copy, whatever the beams
                    assert mine.keys.shape[2] == 1
            for step, chosen in enumerate(parents):
                decoding.append(torch.arange(len(chosen)) + 40 + step, chosen)
                steps.append(decoding.next())
        told[way] = (score, steps)
        if way != "sdpa":  # the last two hypotheses are of one question, whose three remain
            assert len(decoding.following.cache.layers[0].prompt_keys) == 3
    for mine, other in zip(told["sdpa"][1], told["ragkit-causal-lm"][1], strict=True):
        torch.testing.assert_close(mine, other, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(*(told[way][0] for way in told), atol=1e-4, rtol=1e-4)


def test_a_model_with_another_attention_keeps_it() -> None:
    model = tiny.llama()
    model.set_attn_implementation("eager")
    generator = CausalLMGenerator(model, TOKENIZER)
    assert model.config._attn_implementation == "eager"
    with torch.no_grad():
        reading = generator.read(tiny.QUESTIONS[:1], tiny.retrieved(1, 2))
        other = make("llama").read(tiny.QUESTIONS[:1], tiny.retrieved(1, 2))
        targets = generator.targets(["abc"])
        torch.testing.assert_close(
            reading.score(targets, reading.rows),
            other.score(targets, other.rows),
            atol=1e-4,
            rtol=1e-4,
        )


def test_two_decodings_and_a_score_share_a_reading_without_harm() -> None:
    generator = make("mistral")
    with torch.no_grad():
        reading = generator.read(tiny.QUESTIONS[:2], tiny.retrieved(2, 2))
        targets = generator.targets(["abcdefgh", "ijklmnop"])
        before = reading.score(targets, reading.rows)
        one, other = reading.start(reading.rows), reading.start(reading.rows)
        first = one.next()
        one.append(torch.tensor([9, 10]), torch.tensor([1, 0]))
        one.next()
        assert torch.equal(other.next(), first)
        assert torch.equal(reading.score(targets, reading.rows), before)


@FAMILY
def test_padding_on_the_left_is_not_seen(family: str) -> None:
    """A pair beside a much longer one is scored as it is alone, and so is its gradient."""
    generator = make(family)
    found = tiny.retrieved(3, 3)
    targets = generator.targets(["ab", "c", "def"])
    together = generator.read(tiny.QUESTIONS, found)
    scores = together.score(targets, together.rows)
    for b in range(3):
        alone_found = type(found)(
            found.passages[b : b + 1],
            found.ids[b : b + 1],
            found.scores[b : b + 1],
            found.mask[b : b + 1],
        )
        alone = generator.read(tiny.QUESTIONS[b : b + 1], alone_found)
        one = Targets(targets.tokens[b : b + 1], targets.mask[b : b + 1])
        got = alone.score(one, alone.rows)
        torch.testing.assert_close(got[0], scores[b], atol=1e-5, rtol=1e-5)
    padded = generator.read(tiny.QUESTIONS, found)
    mine = gradients(generator, padded.score(targets, padded.rows)[0].sum())
    alone = generator.read(
        tiny.QUESTIONS[:1],
        type(found)(found.passages[:1], found.ids[:1], found.scores[:1], found.mask[:1]),
    )
    one = Targets(targets.tokens[:1], targets.mask[:1])
    assert_same_gradients(mine, gradients(generator, alone.score(one, alone.rows).sum()))
    assert all(torch.isfinite(grad).all() for grad in mine.values())


@FAMILY
def test_gradient_checkpointing_changes_no_score_and_no_gradient(family: str) -> None:
    generator = make(family).train()
    found = tiny.retrieved(2, 3, absent=1)
    targets = generator.targets(["ab", "cde"])

    def outcome() -> tuple[Tensor, dict[str, Tensor]]:
        reading = generator.read(tiny.QUESTIONS[:2], found)
        total = reading.score(targets, reading.rows).sum()
        return total.detach(), gradients(generator, total)

    value, before = outcome()
    generator.model.activation_checkpointing_enable()
    again, after = outcome()
    torch.testing.assert_close(again, value)
    assert_same_gradients(after, before)
    with torch.no_grad():
        reading = generator.read(tiny.QUESTIONS[:2], found)
        torch.testing.assert_close(reading.score(targets, reading.rows).sum(), value)
        with pytest.raises(ConfigError, match=r"eval\(\)"):
            reading.start(reading.rows)
    generator.eval()
    reading.start(reading.rows).next()


def test_smoothing_is_the_mean_over_the_vocabulary() -> None:
    generator = make("gpt2")
    found, questions = tiny.retrieved(2, 2), tiny.QUESTIONS[:2]
    targets = generator.targets(["ab", "c"])
    with torch.no_grad():
        reading = generator.read(questions, found)
    assert isinstance(reading, SupportsSmoothing)
    got = reading.score_smoothed(targets, reading.rows, 0.1)
    prompts = generator.prompts.of_pairs(questions, found)
    for b in range(2):
        gold = targets.tokens[b][targets.mask[b]].tolist()
        for k in range(2):
            prompt = tiny.unpadded(prompts, int(reading.rows[b, k]))
            logits = generator.model(input_ids=torch.tensor([prompt + gold])).logits[0]
            logp = logits[len(prompt) - 1 : -1].log_softmax(-1)  # (T,V)
            want = 0.9 * logp[range(len(gold)), gold] + 0.1 * logp.mean(-1)
            torch.testing.assert_close(got[b, k, : len(gold)], want, atol=1e-4, rtol=1e-4)


def test_nothing_retrieved_gives_zeros_and_reads_nothing() -> None:
    generator = make("gpt2")
    found = tiny.retrieved(1, 2, absent=2)
    reading = generator.read(tiny.QUESTIONS[:1], found)
    assert reading.rows.tolist() == [[-1, -1]]
    targets = generator.targets(["ab"])
    assert (reading.score(targets, reading.rows) == 0).all()
    decoding = reading.start(reading.rows)
    assert decoding.next().shape == (1, 2, 263)
    decoding.append(torch.tensor([5, 6]), torch.tensor([0, 0]))
    assert (decoding.next() == 0).all()


def test_prompts_of_one_token_have_nothing_to_keep() -> None:
    model = tiny.gpt2(6)
    prompts = tiny.prompts([[3], [4]], torch.tensor([[0], [1]]))
    reading = CausalReading(model, prompts, None)
    targets = Targets(torch.tensor([[4, 2], [5, 2]]), torch.ones(2, 2, dtype=torch.bool))
    got = reading.score(targets, reading.rows)
    for n, (prompt, gold) in enumerate((([3], [4, 2]), ([4], [5, 2]))):
        torch.testing.assert_close(got[n, 0], tiny.plain(model, prompt, gold))
    decoding = reading.start(reading.rows[[1, 0]])
    decoding.append(torch.tensor([5]), torch.tensor([0]))
    want = model(input_ids=torch.tensor([[4, 5]])).logits[0, -1].log_softmax(-1)
    torch.testing.assert_close(decoding.next()[0, 0], want.detach())


def test_past_the_models_positions_is_an_error_that_says_what_to_lower() -> None:
    generator = CausalLMGenerator(tiny.gpt2(positions=64), TOKENIZER, max_target=8)
    assert generator.max_source == 56
    with torch.no_grad():
        reading = generator.read(tiny.QUESTIONS[1:2], tiny.retrieved(1, 2))
    longest = int(reading.prompts.mask.sum(1).max())
    room = 64 - longest + 1  # the last token that is written is not read
    decoding = reading.start(reading.rows)
    for _ in range(room - 1):
        decoding.append(torch.tensor([50]), torch.tensor([0]))
    decoding.next()
    decoding.append(torch.tensor([50]), torch.tensor([0]))
    with pytest.raises(DataError, match="lower max_source or max_new_tokens"):
        decoding.next()
    long = Targets(torch.full((1, room + 1), 9), torch.ones(1, room + 1, dtype=torch.bool))
    with pytest.raises(DataError, match="positions"):
        reading.score(long, reading.rows)


def test_bfloat16_stays_near() -> None:
    """bf16 has 8 bits: log-probabilities within a few tenths of float32's."""
    exact, rough = make("llama"), make("llama")
    rough.model.to(torch.bfloat16)
    found, targets = tiny.retrieved(2, 3), exact.targets(["ab", "c"])
    one, other = (g.read(tiny.QUESTIONS[:2], found) for g in (exact, rough))
    got = other.score(targets, other.rows)
    assert got.dtype == torch.float32
    assert (got - one.score(targets, one.rows)).abs().max() < 0.5
    assert other.start(other.rows).next().dtype == torch.float32
