"""RAG-Sequence: one passage for the whole output (section 2.1).

log p(y|x) = log Σ_z p(z|x) Π_i p(y_i|x,z,y_<i); decoding "thorough" and "fast" as in
section 2.5. Knows nothing of where prior and log-probabilities come from.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor
from transformers import GenerationConfig

from ragkit.errors import ConfigError
from ragkit.marginalize.options import SearchOptions
from ragkit.marginalize.search import search
from ragkit.marginalize.writer import Writer, Written
from ragkit.protocols import Decoding, Hypothesis, Reading, Targets

_ROUNDING = 1e-3
"""Nats by which a bound may be off: two ways to compute one probability differ that much."""


class _Opening:
    """A decoding that remembers what each pair gave to the first token that counts.

    p(y|x,z) is at most p(y_1|x,z): a bound that costs nothing, known for every pair and
    every y. Tokens that are forced before it (BOS) do not count.
    """

    def __init__(self, decoding: Decoding, forced: int, n_items: int) -> None:
        self.decoding = decoding
        self.left = forced
        self.n_items = n_items
        self.logp: Tensor | None = None  # (I,V)

    def next(self) -> Tensor:
        found = self.decoding.next()  # (N,1,V)
        if self.left == 0 and len(found) % self.n_items == 0:
            # Of an item's rows the first is the likeliest: after a forced token, that one.
            self.logp = found[:: len(found) // self.n_items, 0]
        self.left -= 1
        return found

    def append(self, tokens: Tensor, parents: Tensor) -> None:
        self.decoding.append(tokens, parents)


class _Candidates(NamedTuple):
    """The union Y of one question's beams: tokens, and (K,) log p(y|x,z), NaN unknown."""

    tokens: list[Tensor]
    known: list[Tensor]


class RagSequence:
    """The marginalizer ``rag-sequence``.

    Args:
        decoding: ``thorough`` reads every candidate against every passage;
            ``fast`` takes p(y|x,z) for 0 where y was not in the beam of z.
    """

    def __init__(self, decoding: Literal["thorough", "fast"] = "thorough") -> None:
        if decoding not in ("thorough", "fast"):
            raise ConfigError(f"decoding={decoding!r}; choose 'thorough' or 'fast'")
        self.decoding = decoding

    def log_likelihood(self, prior: Tensor, token_logp: Tensor, mask: Tensor) -> Tensor:
        """log p(y|x) (B,): the prior belongs to the sequence, also to one of one token."""
        return self._joint(prior, token_logp, mask).logsumexp(-1)

    def posterior(self, prior: Tensor, token_logp: Tensor, mask: Tensor) -> Tensor:
        """log p(z|x,y) (B,K)."""
        return self._joint(prior, token_logp, mask).log_softmax(-1)

    def _joint(self, prior: Tensor, token_logp: Tensor, mask: Tensor) -> Tensor:
        sequence = token_logp.masked_fill(~mask[:, None, :], 0.0).sum(-1)  # (B,K)
        return prior + sequence

    @torch.no_grad()
    def decode(
        self, reading: Reading, prior: Tensor, options: GenerationConfig
    ) -> list[list[Hypothesis]]:
        """A beam for each passage, their union, its marginal; the n best by log p(y|x).

        A length penalty steers the beams; the marginal is of the pure probabilities.
        Fewer than ``num_return_sequences`` come back where the union is smaller.
        """
        chosen = SearchOptions.of(options, prior.device)
        unions, first = self._unions(reading, chosen, options.decoder_start_token_id)
        if self.decoding == "thorough":
            self._complete(reading, unions, chosen, prior.float().cpu(), first)
        return [_rank(union, prior[b], chosen.n_best) for b, union in enumerate(unions)]

    def _unions(
        self, reading: Reading, options: SearchOptions, start: int
    ) -> tuple[list[_Candidates], list[Tensor]]:
        """Step one: every pair is searched alone, all pairs of all questions at once.

        Returns the unions, and for each question bounds (Y,K) of log p(y|x,z).
        """
        rows = reading.rows  # (B,K)
        question, column = (rows >= 0).nonzero(as_tuple=True)  # (I,), (I,)
        n_items = len(question)
        each = max(options.num_beams, options.n_best if options.do_sample else 1)
        copies = each if options.do_sample and options.num_beams == 1 else 1
        items = torch.arange(n_items, device=rows.device).repeat_interleave(copies)
        pairs = rows[question, column][items][:, None]  # (N,1)
        opening = _Opening(reading.start(pairs), options.forced, max(n_items, 1))
        found = search(Writer(opening, None, items, start), options, each)
        places: list[dict[tuple[int, ...], int]] = [{} for _ in range(len(rows))]
        unions = [_Candidates([], []) for _ in range(len(rows))]
        for b, k, beam in zip(question.tolist(), column.tolist(), found, strict=True):
            for one in beam:
                self._add(unions[b], places[b], k, rows.shape[1], one, options.forced)
        place = torch.full(rows.shape, -1, dtype=torch.int64)  # (B,K) item of each pair
        place[question.cpu(), column.cpu()] = torch.arange(n_items)
        bounds = [
            _bounds(union.tokens, place[b], opening.logp, options.forced)
            for b, union in enumerate(unions)
        ]
        return unions, bounds

    def _add(
        self,
        union: _Candidates,
        places: dict[tuple[int, ...], int],
        column: int,
        n_passages: int,
        one: Written,
        forced: int,
    ) -> None:
        key = tuple(one.tokens.tolist())
        if key not in places:
            places[key] = len(union.tokens)
            union.tokens.append(one.tokens)
            union.known.append(torch.full((n_passages,), torch.nan))
        # The beam has already paid for p(y|x,z): no second pass for it.
        union.known[places[key]][column] = one.by_passage[0, forced:].sum()

    def _complete(
        self,
        reading: Reading,
        unions: list[_Candidates],
        options: SearchOptions,
        prior: Tensor,
        bounds: list[Tensor],
    ) -> None:
        """Step two of Thorough: score y against the passages whose beams lacked it.

        A candidate that cannot be among the n best any more, whatever those passages give
        it, is left as it is: the outcome is the same.
        """
        rows = reading.rows  # (B,K)
        wanted: list[tuple[int, int]] = []  # (question, candidate)
        asked: list[Tensor] = []  # (K,) pairs to read, -1 where known
        for b, union in enumerate(unions):
            pairs = rows[b].cpu()
            may_win = _may_win(union.known, prior[b], bounds[b], options.n_best)
            for i, known in enumerate(union.known):
                if not may_win[i]:
                    continue
                ask = pairs.masked_fill(~known.isnan(), -1)
                if (ask >= 0).any():
                    wanted.append((b, i))
                    asked.append(ask)
        if not wanted:
            return
        targets = _stack([unions[b].tokens[i] for b, i in wanted], options.forced)
        scored = reading.score(targets, torch.stack(asked).to(rows.device))  # (N,K,T)
        for (b, i), ask, total in zip(wanted, asked, scored.sum(-1).cpu(), strict=True):
            known = unions[b].known[i]
            known[ask >= 0] = total[ask >= 0]


def _bounds(tokens: list[Tensor], place: Tensor, logp: Tensor | None, forced: int) -> Tensor:
    """(Y,K): log p(y_1|x,z) of candidates y under the passages at place (K,); 0 unknown."""
    bounds = torch.zeros(len(tokens), len(place))
    counted = [i for i, one in enumerate(tokens) if len(one) > forced]
    if logp is None or not counted:
        return bounds
    first = torch.stack([tokens[i][forced] for i in counted]).to(logp.device)  # (C,)
    rows = place.clamp(min=0).to(logp.device)  # (K,)
    bounds[counted] = logp[rows[None, :], first[:, None]].cpu()
    return bounds


def _may_win(known: list[Tensor], prior: Tensor, bounds: Tensor, n_best: int) -> list[bool]:
    """Which candidates may still be among the n best by log p(y|x)."""
    if len(known) <= n_best:
        return [True] * len(known)
    sequence = torch.stack(known)  # (Y,K), NaN where unknown
    least = (prior + sequence.nan_to_num(nan=-torch.inf)).logsumexp(-1)  # (Y,)
    most = (prior + torch.where(sequence.isnan(), bounds, sequence)).logsumexp(-1)  # (Y,)
    reached = least.topk(n_best).values[-1]
    kept: list[bool] = (most >= reached - _ROUNDING).tolist()
    return kept


def _stack(tokens: list[Tensor], forced: int) -> Targets:
    """Candidates (N,T); forced tokens do not count."""
    padded = torch.nn.utils.rnn.pad_sequence(tokens, batch_first=True)
    lengths = torch.tensor([len(one) for one in tokens])[:, None]
    place = torch.arange(padded.shape[1])[None, :]
    return Targets(padded, (place < lengths) & (place >= forced))


def _rank(union: _Candidates, prior: Tensor, n_best: int) -> list[Hypothesis]:
    prior = prior.float().cpu()  # (K,)
    if not union.tokens:
        return []
    # Unknown is probability 0: an absent passage, or Fast's approximation.
    sequence = torch.stack(union.known).nan_to_num(nan=-torch.inf)  # (Y,K)
    joint = prior[None, :] + sequence
    total = joint.logsumexp(-1)  # (Y,) log p(y|x)
    order = torch.argsort(total, descending=True, stable=True)[:n_best].tolist()
    return [
        Hypothesis(
            tokens=union.tokens[y],
            log_likelihood=float(total[y]),
            score=float(total[y]),
            prior=prior,
            posterior=joint[y].log_softmax(-1),
        )
        for y in order
    ]
