"""The laws of what a generator reads: scoring, decoding, and what it may declare besides.

The heart: `score` equals the chain of `next` and `append`, and each step is a distribution
over the vocabulary, so Σ_y p(y|x,z) = 1. Knows `ragkit.protocols.Reading` and `Decoding`;
no model.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ragkit.protocols import (
    Decoding,
    Passage,
    Reading,
    Retrieved,
    SupportsPassageScores,
    SupportsPassageTokens,
    SupportsSmoothing,
    Targets,
)
from ragkit.testing import samples
from ragkit.testing.asserting import attempt, must, same
from ragkit.testing.kit import Conformance

_TRIED = 6000
"""Vocabularies up to this size are summed over, token by token."""


class ReadingConformance(Conformance):
    """The laws of the readings of a generator; a part of `GeneratorConformance`."""

    role = "generator"
    questions: ClassVar[tuple[str, ...]] = samples.QUESTIONS
    target_texts: ClassVar[tuple[str, ...]] = ("a", "two words", "one longer target")

    def parts(self, component: Any) -> list[tuple[object, type]]:
        """The generator, a reading of its and a decoding of that."""
        reading = self._read(component, samples.retrieved(3, 3))
        with attempt("start(rows)", "it must return a ragkit.protocols.Decoding"):
            decoding = reading.start(reading.rows)
        return [*super().parts(component), (reading, Reading), (decoding, Decoding)]

    # ------------------------------------------------------------------------ scoring

    def test_scores(self) -> None:
        """score gives (N,M,T) log-probabilities, 0 at padding and at absent pairs exactly."""
        generator = self.made()
        reading, targets = self._read(generator, samples.retrieved(3, 3)), self._targets(generator)
        value = scored(reading, targets)
        must(value.isfinite().all(), "a log-probability of a target is not finite")
        must(
            (value <= 1e-6).all(),
            f"a log-probability is {float(value.max())}, above 0; take the log softmax",
        )
        counted = targets.mask[:, None, :].expand_as(value)
        must(
            (value[~counted] == 0).all(),
            "score is not exactly 0 where targets.mask is False; fill it with 0, so that sums need "
            "no mask",
        )
        absent = (reading.rows < 0).cpu()
        must(
            (value[absent] == 0).all(),
            "score is not exactly 0 at an absent pair (row -1); fill it with 0",
        )
        must(
            (value[~absent].sum(dim=-1) < 0).all(),
            "score is 0 for a pair that is there; score every row that is not -1",
        )

    def test_score_is_repeatable(self) -> None:
        """A reading may be scored again and gives the same."""
        generator = self.made()
        reading, targets = self._read(generator, samples.retrieved(3, 3)), self._targets(generator)
        first = scored(reading, targets)
        _chain(reading, targets.tokens, reading.rows)
        same(
            scored(reading, targets),
            first,
            self.tolerance,
            "the same reading scored twice gives other values; switch off dropout in evaluation, "
            "and keep caches of decoding out of the reading",
        )

    def test_rows_choose_the_pairs(self) -> None:
        """Any number of targets may be scored against any pairs, in any order."""
        generator = self.made()
        reading, targets = self._read(generator, samples.retrieved(3, 3)), self._targets(generator)
        pairs = reading.rows[reading.rows >= 0].flip(0)  # (P,)
        pairs = torch.cat([pairs, pairs[:2]])  # some twice
        which = torch.arange(len(pairs)) % len(targets.tokens)
        asked = Targets(targets.tokens[which], targets.mask[which])
        value = scored(reading, asked, pairs[:, None])  # (N,1,T)
        for n in range(len(pairs)):
            alone = scored(
                reading,
                Targets(asked.tokens[n : n + 1], asked.mask[n : n + 1]),
                pairs[n : n + 1, None],
            )
            same(
                value[n],
                alone[0],
                self.tolerance,
                f"target {n} against pair {int(pairs[n])} scores otherwise among others than "
                "alone; row n of rows says which pairs target n is read against",
            )

    def test_padding_of_targets(self) -> None:
        """A target beside a longer one scores what it scores alone."""
        generator = self.made()
        reading, targets = self._read(generator, samples.retrieved(3, 3)), self._targets(generator)
        value = scored(reading, targets)
        for n in range(len(targets.tokens)):
            length = int(targets.mask[n].nonzero().max()) + 1
            short = Targets(targets.tokens[n : n + 1, :length], targets.mask[n : n + 1, :length])
            same(
                scored(reading, short, reading.rows[n : n + 1])[0],
                value[n, :, :length],
                self.tolerance,
                f"target {n} scores otherwise without its padding; a token may look at those "
                "before it alone",
            )

    def test_scores_sum_to_one(self) -> None:
        """Σ p(y_i|x,z,y_<i) over the vocabulary is 1, at the first token and at the second."""
        generator = self.made()
        reading = self._read(generator, samples.retrieved(1, 2, absent=False))
        with torch.no_grad():
            size = reading.start(reading.rows).next().shape[-1]
        if size > _TRIED:
            self.skip(f"the vocabulary has {size} tokens, more than the {_TRIED} that are tried")
        first = int(self._targets(generator).tokens[-1, 0])
        every = torch.arange(size)  # (V,)
        tokens = torch.stack([torch.full_like(every, first), every], dim=1)  # (V,2)
        for width in (1, 2):
            asked = tokens[:, 2 - width :]
            value = scored(
                reading,
                Targets(asked, torch.ones_like(asked, dtype=torch.bool)),
                reading.rows[:, :1].expand(size, 1),
            )
            total = value[:, 0, -1].double().exp().sum()
            same(
                total,
                torch.ones(()),
                max(self.tolerance, 1e-3),
                f"the probabilities of all {size} tokens at place {width} sum to something else "
                "than 1; take the log softmax over the whole vocabulary, in float32",
            )

    # ----------------------------------------------------------------------- decoding

    def test_next_is_a_distribution(self) -> None:
        """next gives (N,M,V) float32 log-probabilities that sum to 1 over V; 0 at absent pairs."""
        reading = self._read(self.made(), samples.retrieved(3, 3))
        with torch.no_grad(), attempt("start(rows).next()", "it must return (N,M,V)"):
            found = reading.start(reading.rows).next()
        must(
            found.dim() == 3 and found.shape[:2] == reading.rows.shape,
            f"next gave the shape {tuple(found.shape)}; it must be (N,M,V) for rows "
            f"{tuple(reading.rows.shape)}",
        )
        must(
            found.device == reading.rows.device,
            f"next gave a tensor on {found.device} for rows on {reading.rows.device}; give it "
            "where the rows are, for the prior is taken there",
        )
        must(found.dtype == torch.float32, f"next gave {found.dtype}; it must be float32")
        absent = (reading.rows < 0).to(found.device)
        must((found[absent] == 0).all(), "next is not exactly 0 at an absent pair; fill it with 0")
        total = found[~absent].exp().sum(dim=-1)
        same(
            total,
            torch.ones_like(total),
            max(self.tolerance, 1e-3),
            "next does not sum to 1 over the vocabulary; take the log softmax",
        )

    def test_score_is_the_chain_of_next_and_append(self) -> None:
        """score equals what next says of each token after append of those before it."""
        generator = self.made()
        reading, targets = self._read(generator, samples.retrieved(3, 3)), self._targets(generator)
        value = scored(reading, targets)
        chain = _chain(reading, targets.tokens, reading.rows)
        counted = targets.mask[:, None, :] & (reading.rows >= 0).cpu()[:, :, None]
        same(
            chain.masked_fill(~counted, 0.0),
            value,
            self.tolerance,
            "score differs from the chain of next and append; both must begin with the start token "
            "and see the same tokens before each place",
        )

    def test_append_follows_parents(self) -> None:
        """append(tokens, parents) may drop, repeat and reorder hypotheses; caches follow."""
        generator = self.made()
        reading, targets = self._read(generator, samples.retrieved(3, 3)), self._targets(generator)
        pool = targets.tokens[-1][targets.mask[-1]].tolist()[:-1]  # text, without EOS
        rows = reading.rows
        written: list[list[int]] = [[], [], []]
        owner = [0, 1, 2]
        with torch.no_grad():
            decoding = reading.start(rows)
            decoding.next()
            for step, parents in enumerate(
                ([2, 0, 1], [0, 0, 1, 2], [3, 1, 0], [2, 2, 0, 1, 1], [4, 0])
            ):
                tokens = [pool[(step + 2 * n) % len(pool)] for n in range(len(parents))]
                written = [[*written[p], t] for p, t in zip(parents, tokens, strict=True)]
                owner = [owner[p] for p in parents]
                with attempt("append(tokens, parents)", "N′ may differ from N"):
                    decoding.append(
                        torch.tensor(tokens, device=rows.device),
                        torch.tensor(parents, device=rows.device),
                    )
                    found = decoding.next()
                fresh = reading.start(rows[owner])
                keep = torch.arange(len(owner), device=rows.device)
                for place in range(step + 1):
                    fresh.next()
                    fresh.append(
                        torch.tensor([one[place] for one in written], device=rows.device), keep
                    )
                same(
                    found,
                    fresh.next(),
                    self.tolerance,
                    f"after append with parents {parents} next differs from that of the same "
                    "tokens written from the start; reorder every cache by parents (rows too)",
                )

    def test_decodings_do_not_disturb_each_other(self) -> None:
        """Two decodings of one reading, turn by turn, say what each says alone."""
        generator = self.made()
        reading, targets = self._read(generator, samples.retrieved(3, 3)), self._targets(generator)
        alone = _chain(reading, targets.tokens, reading.rows)
        keep = torch.arange(3, device=reading.rows.device)
        tokens = targets.tokens.to(reading.rows.device)
        found = []
        with torch.no_grad():
            one, other = reading.start(reading.rows), reading.start(reading.rows.flip(0))
            for t in range(tokens.shape[1]):
                found.append(_gold(one.next(), tokens[:, t]))
                other.next()
                one.append(tokens[:, t], keep)
                other.append(tokens[:, t].flip(0), keep)
        same(
            torch.stack(found, dim=-1),
            alone,
            self.tolerance,
            "a decoding says something else while another is under way; each must own its caches",
        )

    # ---------------------------------------------------------------------- abilities

    def test_passage_tokens(self) -> None:
        """SupportsPassageTokens: ready tokens of its own tokenization give what the texts give."""
        generator = self.made()
        self.needs(generator, SupportsPassageTokens)
        found, targets = samples.retrieved(3, 3), self._targets(generator)
        with self.declared(generator, SupportsPassageTokens):
            name = generator.tokenization
            tokens = generator.passage_tokens(list(samples.PASSAGES))
        must(isinstance(name, str) and name, f"tokenization is {name!r}; give a fingerprint")
        must(
            generator.tokenization == name == self.made().tokenization,
            "tokenization changes from call to call; derive it from tokenizer and form alone",
        )
        must(
            len(tokens) == len(samples.PASSAGES),
            f"passage_tokens gave {len(tokens)} rows for {len(samples.PASSAGES)} passages",
        )
        value = scored(self._read(generator, found), targets)
        ready = _with_tokens(found, _Kept(name, tokens), hide=True)
        same(
            scored(self._read(generator, ready), targets),
            value,
            self.tolerance,
            "ready tokens of passages give other log-probabilities than their texts; keep the "
            "tokens uncut by any question, and join them as read does",
        )
        other = _with_tokens(found, _Kept("of another tokenizer", tokens[::-1]))
        same(
            scored(self._read(generator, other), targets),
            value,
            self.tolerance,
            "ready tokens of another tokenization were used; compare tokens.tokenization with your "
            "own, and read the texts where they differ",
        )

    def test_smoothing(self) -> None:
        """SupportsSmoothing: (1-ε)·log p(y_i) + ε·mean_v log p(v), 0 where score is 0."""
        generator = self.made()
        reading, targets = self._read(generator, samples.retrieved(3, 3)), self._targets(generator)
        self.needs(reading, SupportsSmoothing)
        mean = _chain(reading, targets.tokens, reading.rows, mean=True)
        value = scored(reading, targets)
        for epsilon in (0.0, 0.1):
            with self.declared(reading, SupportsSmoothing), torch.no_grad():
                found = reading.score_smoothed(targets, reading.rows, epsilon).cpu()  # type: ignore[attr-defined]
            want = (1 - epsilon) * value + epsilon * mean
            same(
                found,
                want.masked_fill(value == 0, 0.0),
                self.tolerance,
                f"score_smoothed with ε = {epsilon} is not (1-ε)·log p(y_i) + ε·mean_v log p(v)",
            )

    def test_passage_scores(self) -> None:
        """SupportsPassageScores: (B,K) float32 without gradient, -inf where absent, by question."""
        generator = self.made()
        found = samples.retrieved(3, 3)
        reading = self._read(generator, found)
        self.needs(reading, SupportsPassageScores)
        with self.declared(reading, SupportsPassageScores):
            scores = reading.passage_scores()  # type: ignore[attr-defined]
        must(
            tuple(scores.shape) == tuple(found.mask.shape) and scores.dtype == torch.float32,
            f"passage_scores gave {tuple(scores.shape)} {scores.dtype}; it must be (B,K) float32",
        )
        must(not scores.requires_grad, "passage_scores carry a gradient; a target is a constant")
        must(
            torch.equal(scores.isfinite().cpu(), found.mask)
            and torch.equal(torch.isneginf(scores).cpu(), ~found.mask),
            "passage_scores must be -inf where a passage is absent, and finite elsewhere",
        )
        for b in range(3):
            alone = self._read(generator, samples.take(found, [b]), [self.questions[b]])
            same(
                alone.passage_scores()[0],  # type: ignore[attr-defined]
                scores[b],
                self.tolerance,
                f"question {b} read alone gives other passage scores than in a batch",
            )

    # ------------------------------------------------------------------------ helpers

    def _read(self, generator: Any, found: Retrieved, questions: Any = None) -> Reading:
        texts = list(self.questions[: len(found.ids)] if questions is None else questions)
        with attempt("read(questions, retrieved)", "it must return a ragkit.protocols.Reading"):
            reading: Reading = generator.read(texts, found)
        must(
            isinstance(getattr(reading, "rows", None), Tensor),
            f"read returned {type(reading).__name__} without rows; give a ragkit.protocols.Reading",
        )
        return reading

    def _targets(self, generator: Any) -> Targets:
        with attempt("targets(texts)", "it must return ragkit.protocols.Targets"):
            found = generator.targets(list(self.target_texts))
        must(
            hasattr(found, "tokens") and hasattr(found, "mask"),
            f"targets returned {type(found).__name__}; return ragkit.protocols.Targets",
        )
        return Targets(found.tokens, found.mask)


def scored(reading: Reading, targets: Targets, rows: Tensor | None = None) -> Tensor:
    """Gold log-probabilities (N,M,T) without gradient, on the CPU."""
    rows = reading.rows if rows is None else rows
    with torch.no_grad(), attempt("score(targets, rows)", "it must return (N,M,T)"):
        found = reading.score(targets, rows)
    shape = (*rows.shape, targets.tokens.shape[1])
    must(
        isinstance(found, Tensor) and tuple(found.shape) == shape,
        f"score gave the shape {tuple(getattr(found, 'shape', ()))} for rows {tuple(rows.shape)} "
        f"and targets {tuple(targets.tokens.shape)}; it must be (N,M,T) = {shape}",
    )
    must(
        found.device == rows.device,
        f"score gave a tensor on {found.device} for rows on {rows.device}; give it where the rows "
        "are",
    )
    return found.cpu()


def distinct(numbers: Tensor) -> bool:
    """Whether no number comes twice."""
    return len(numbers.unique()) == numbers.numel()


def _chain(reading: Reading, tokens: Tensor, rows: Tensor, mean: bool = False) -> Tensor:
    """(N,M,T) what next says of tokens (N,T), one after the other; or its mean over V."""
    tokens = tokens.to(rows.device)
    keep = torch.arange(len(tokens), device=rows.device)
    found = []
    with torch.no_grad(), attempt("next() and append()", "see ragkit.protocols.Decoding"):
        decoding = reading.start(rows)
        for t in range(tokens.shape[1]):
            logp = decoding.next()  # (N,M,V)
            found.append(logp.mean(dim=-1).cpu() if mean else _gold(logp, tokens[:, t]))
            if t + 1 < tokens.shape[1]:
                decoding.append(tokens[:, t], keep)
    return torch.stack(found, dim=-1)


def _gold(logp: Tensor, tokens: Tensor) -> Tensor:
    """(N,M) of log-probabilities (N,M,V) at tokens (N,)."""
    index = tokens.to(logp.device)[:, None, None].expand(*logp.shape[:2], 1)
    return logp.gather(-1, index).squeeze(-1).cpu()


class _Kept:
    """`ragkit.protocols.PassageTokens` in memory."""

    def __init__(self, tokenization: str, tokens: list[list[int]]) -> None:
        self.tokenization = tokenization
        self.tokens = tokens

    def take(self, rows: NDArray[np.int64]) -> list[NDArray[np.int32]]:
        return [np.array(self.tokens[int(row)], dtype=np.int32) for row in rows]


def _with_tokens(found: Retrieved, tokens: _Kept, hide: bool = False) -> Retrieved:
    """The same with ready tokens; ``hide`` the texts, so that only the tokens can be read."""
    passages = [
        [Passage(one.id, "", "hidden") if one and hide else one for one in row]
        for row in found.passages
    ]
    return Retrieved(passages, found.ids, found.scores, found.mask, tokens)
