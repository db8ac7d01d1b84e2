"""Against brute force: all outputs over a vocabulary of six, by the plain model alone."""

from __future__ import annotations

import itertools
import math
from typing import Any

import causal_models as tiny
import pytest
import torch
from ragkit_causal_lm import shared
from ragkit_causal_lm.reading import CausalReading
from transformers import GenerationConfig

from ragkit.marginalize.rag_sequence import RagSequence
from ragkit.marginalize.rag_token import RagToken
from ragkit.protocols import Targets

V, EOS, LONGEST, B, K = 6, 2, 3, 2, 3
PROMPTS = [[0, 3, 4], [5], [4, 4, 3, 5, 3], [3, 0], [5, 4, 3, 3], [0, 5, 5, 5, 5, 4]]
BOTH = pytest.mark.parametrize("marginalizer", [RagSequence("thorough"), RagToken()])
FAMILY = pytest.mark.parametrize("family", tiny.FAMILIES)


class Case:
    """A reading of six prompts, and p(y|x) of every output found without ragkit."""

    def __init__(self, family: str, seed: int = 0, absent: bool = False) -> None:
        self.model = tiny.FAMILIES[family](V, seed)
        shared.adopt(self.model)
        self.rows = torch.arange(B * K).view(B, K)
        scores = torch.randn(B, K, generator=torch.Generator().manual_seed(seed))
        if absent:
            self.rows[1, 2], scores[1, 2] = -1, -torch.inf
        self.prior = scores.log_softmax(1)
        with torch.no_grad():
            self.reading = CausalReading(self.model, tiny.prompts(PROMPTS, self.rows), None)

    def exact(self, sequence: bool, b: int) -> dict[tuple[int, ...], float]:
        """log p(y|x) of every y, by the formulas of section 2.1 in plain Python."""
        found = {}
        known = {
            k: tiny.plain_many(self.model, PROMPTS[pair], outputs())
            for k, pair in enumerate(self.rows[b].tolist())
            if pair >= 0
        }
        for y in outputs():
            lines = {k: by_output[y] for k, by_output in known.items()}
            prior = {k: math.exp(float(self.prior[b, k])) for k in lines}
            if sequence:
                total = sum(prior[k] * math.exp(sum(line)) for k, line in lines.items())
            else:
                total = math.prod(
                    sum(prior[k] * math.exp(line[t]) for k, line in lines.items())
                    for t in range(len(y))
                )
            found[y] = math.log(total)
        return found


def outputs() -> list[tuple[int, ...]]:
    """Every y: with EOS at the end, or as long as allowed without."""
    others = [v for v in range(V) if v != EOS]
    found = [(*y, EOS) for n in range(LONGEST) for y in itertools.product(others, repeat=n)]
    return found + list(itertools.product(others, repeat=LONGEST))


def config(**options: object) -> GenerationConfig:
    made = GenerationConfig(
        eos_token_id=EOS, pad_token_id=1, decoder_start_token_id=0, max_new_tokens=LONGEST
    )
    for name, value in options.items():
        setattr(made, name, value)
    return made


def is_sequence(marginalizer: object) -> bool:
    return isinstance(marginalizer, RagSequence)


@FAMILY
@BOTH
def test_likelihoods_are_the_plain_ones_and_sum_to_one(family: str, marginalizer: Any) -> None:
    case = Case(family, absent=True)
    everything = outputs()
    tokens = torch.full((len(everything), LONGEST), 1)
    mask = torch.zeros_like(tokens, dtype=torch.bool)
    for i, y in enumerate(everything):
        tokens[i, : len(y)], mask[i, : len(y)] = torch.tensor(y), True
    for b in range(B):
        n = len(everything)
        with torch.no_grad():
            token_logp = case.reading.score(Targets(tokens, mask), case.rows[b].expand(n, -1))
        got = marginalizer.log_likelihood(case.prior[b].expand(n, -1), token_logp, mask)
        want = case.exact(is_sequence(marginalizer), b)
        torch.testing.assert_close(got, torch.tensor(list(want.values())), atol=1e-4, rtol=1e-4)
        assert float(got.exp().sum()) == pytest.approx(1.0, abs=1e-4)


@BOTH
@pytest.mark.parametrize(("family", "seed"), [("gpt2", 1), ("gpt2", 2), ("llama", 3)])
def test_a_wide_beam_finds_the_argmax(family: str, seed: int, marginalizer: Any) -> None:
    case = Case(family, seed, absent=seed == 2)
    options = config(num_beams=150, early_stopping="never", length_penalty=0.0)
    for b, beam in enumerate(marginalizer.decode(case.reading, case.prior, options)):
        exact = case.exact(is_sequence(marginalizer), b)
        best = max(exact, key=exact.__getitem__)
        assert tuple(beam[0].tokens.tolist()) == best
        assert beam[0].log_likelihood == pytest.approx(exact[best], abs=1e-4)


@BOTH
@pytest.mark.parametrize("num_beams", [1, 2, 5])
def test_reported_likelihoods_and_posteriors_are_exact(marginalizer: Any, num_beams: int) -> None:
    case = Case("llama", 5)
    options = config(num_beams=num_beams, num_return_sequences=num_beams, length_penalty=1.7)
    for b, beam in enumerate(marginalizer.decode(case.reading, case.prior, options)):
        exact = case.exact(is_sequence(marginalizer), b)
        assert beam
        for one in beam:
            y = tuple(one.tokens.tolist())
            assert one.log_likelihood == pytest.approx(exact[y], abs=1e-4)
            if is_sequence(marginalizer):
                with torch.no_grad():
                    lines = [
                        tiny.plain(case.model, PROMPTS[int(pair)], list(y)).sum()
                        for pair in case.rows[b]
                    ]
                want = (case.prior[b] + torch.stack(lines)).log_softmax(0)
                torch.testing.assert_close(one.posterior, want, atol=1e-4, rtol=1e-4)


@FAMILY
def test_greedy_rag_token_is_the_plain_greedy_mixture(family: str) -> None:
    """RePlug's ensemble: at every step the likeliest token of the mixture."""
    case = Case(family, 7)
    got = RagToken().decode(case.reading, case.prior, config(num_beams=1))
    for b in range(B):
        written: list[int] = []
        while len(written) < LONGEST and EOS not in written:
            mixed = torch.zeros(V)
            for k in range(K):
                text = torch.tensor([PROMPTS[int(case.rows[b, k])] + written])
                with torch.no_grad():
                    step = case.model(input_ids=text, use_cache=False).logits[0, -1].softmax(-1)
                mixed += case.prior[b, k].exp() * step
            written.append(int(mixed.argmax()))
        assert got[b][0].tokens.tolist() == written


@pytest.mark.parametrize("num_beams", [1, 3])
def test_fast_is_a_lower_bound_that_thorough_completes(num_beams: int) -> None:
    case = Case("gpt2", 2)
    options = config(num_beams=num_beams, num_return_sequences=40)
    fast = RagSequence("fast").decode(case.reading, case.prior, options)
    for b in range(B):
        exact = case.exact(True, b)
        for one in fast[b]:
            y = tuple(one.tokens.tolist())
            assert one.log_likelihood <= exact[y] + 1e-4
            held = one.posterior > -torch.inf  # the passages whose beams held y
            with torch.no_grad():
                known = [
                    math.exp(float(case.prior[b, k]))
                    * math.exp(
                        float(tiny.plain(case.model, PROMPTS[int(case.rows[b, k])], list(y)).sum())
                    )
                    for k in range(K)
                    if held[k]
                ]
            assert one.log_likelihood == pytest.approx(math.log(sum(known)), abs=1e-4)


def test_a_question_alone_is_a_row_of_the_batch() -> None:
    """Also where the others' prompts are longer: padding on the left is not seen."""
    case = Case("gpt2", 4)
    for marginalizer in (RagSequence("thorough"), RagSequence("fast"), RagToken()):
        options = config(num_beams=3, num_return_sequences=3)
        together = marginalizer.decode(case.reading, case.prior, options)
        for b in range(B):
            own = [PROMPTS[int(pair)] for pair in case.rows[b]]
            with torch.no_grad():
                alone = CausalReading(case.model, tiny.prompts(own, torch.arange(K)[None]), None)
            (beam,) = marginalizer.decode(alone, case.prior[b : b + 1], options)
            assert [one.tokens.tolist() for one in beam] == [
                one.tokens.tolist() for one in together[b]
            ]
            for mine, other in zip(beam, together[b], strict=True):
                assert mine.log_likelihood == pytest.approx(other.log_likelihood, abs=1e-5)
