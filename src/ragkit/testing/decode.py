"""The laws of decoding with a marginalizer: hypotheses are right about themselves.

Each law is tried on a table of probabilities over five tokens, so that what a search reports
and misses can be known. Knows `ragkit.protocols.Marginalizer` (section 2.5) and transformers'
`GenerationConfig`; no model.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from transformers import GenerationConfig

from ragkit.errors import RagkitError
from ragkit.protocols import Hypothesis, Targets
from ragkit.testing import tables
from ragkit.testing.asserting import attempt, must, same, unchanged
from ragkit.testing.kit import Conformance
from ragkit.testing.tables import TableReading

BEAMS: dict[str, Any] = {"num_beams": 4, "num_return_sequences": 4}
EVERYTHING: dict[str, Any] = {
    "num_beams": 90,  # more than there are outputs
    "num_return_sequences": 1,
    "early_stopping": "never",
    "length_penalty": 0.0,
}


class DecodeConformance(Conformance):
    """The laws of ``decode``; a part of `MarginalizerConformance`."""

    role = "marginalizer"
    kind: ClassVar[Literal["sequence", "token", "fused"] | None] = None
    exact: ClassVar[bool] = True

    def test_decode_gives_hypotheses(self) -> None:
        """decode gives each question up to n hypotheses, best first, none twice."""
        reading, prior = self._table()
        early = {"num_beams": 2, "num_return_sequences": 2, "early_stopping": True}
        for options in ({}, BEAMS, early):
            wanted = options.get("num_return_sequences", 1)
            for beam in self._decode(self.made(), reading, prior, **options):
                must(
                    1 <= len(beam) <= wanted,
                    f"{len(beam)} hypotheses where num_return_sequences is {wanted}; give as many, "
                    "or fewer where no more exist, but one at least",
                )
                written = [tuple(one.tokens.tolist()) for one in beam]
                must(len(set(written)) == len(written), f"an output is given twice: {written}")
                scores = [one.score for one in beam]
                must(
                    scores == sorted(scores, reverse=True),
                    f"the scores {scores} of hypotheses rise; give the best first",
                )

    def test_decode_tokens(self) -> None:
        """Tokens are (T,) int64 without the start token; they end in EOS or at the limit."""
        reading, prior = self._table()
        for beam in self._decode(self.made(), reading, prior, **BEAMS):
            for one in beam:
                must(
                    isinstance(one.tokens, Tensor)
                    and one.tokens.dim() == 1
                    and one.tokens.dtype == torch.int64,
                    "tokens of a hypothesis must be a tensor (T,) of int64",
                )
                tokens = one.tokens.tolist()
                must(
                    len(tokens) <= tables.LONGEST,
                    f"{len(tokens)} tokens where max_new_tokens is {tables.LONGEST}; count those "
                    "behind the start token, EOS among them, and leave the start token out",
                )
                must(
                    tables.EOS not in tokens[:-1],
                    f"the output {tokens} goes on after EOS ({tables.EOS}); end it there",
                )
                must(
                    tokens and (tokens[-1] == tables.EOS or len(tokens) == tables.LONGEST),
                    f"the output {tokens} ends without EOS ({tables.EOS}) before max_new_tokens; "
                    "keep EOS where it was generated",
                )

    def test_decode_reports_the_prior(self) -> None:
        """prior (K,) of a hypothesis is what decode was given, posterior (K,) a distribution."""
        reading, prior = self._table()
        for b, beam in enumerate(self._decode(self.made(), reading, prior, **BEAMS)):
            for one in beam:
                same(
                    one.prior,
                    prior[b],
                    self.tolerance,
                    "the prior of a hypothesis is not that of its question; pass it on as given",
                )
                same(
                    one.posterior.exp().sum(),
                    torch.ones(()),
                    self.tolerance,
                    "the posterior of a hypothesis does not sum to 1; take the log softmax over K",
                )
                must(
                    (one.posterior.exp()[prior[b].isneginf()] == 0).all(),
                    "an absent passage (prior -inf) has a posterior above 0",
                )
                by_token = one.token_posterior
                if by_token is None:
                    continue
                must(
                    tuple(by_token.shape) == (prior.shape[1], len(one.tokens)),
                    f"token_posterior is {tuple(by_token.shape)}; it must be (K,T)",
                )
                total = by_token.exp().sum(dim=0)
                same(
                    total,
                    torch.ones_like(total),
                    self.tolerance,
                    "token_posterior does not sum to 1 over K at each token",
                )

    def test_decode_reports_the_likelihood(self) -> None:
        """log_likelihood of a hypothesis is what score and log_likelihood give of its tokens."""
        reading, prior = self._table()
        marginalizer = self.made()
        steered = {"length_penalty": 2.0, "repetition_penalty": 1.5, "early_stopping": True}
        for options in ({}, BEAMS, {**BEAMS, **steered}):
            for b, beam in enumerate(self._decode(marginalizer, reading, prior, **options)):
                self._check_likelihood(marginalizer, reading, prior, b, beam)

    def _check_likelihood(
        self,
        marginalizer: Any,
        reading: TableReading,
        prior: Tensor,
        b: int,
        beam: list[Hypothesis],
    ) -> None:
        for one in beam:
            logp, mask = _scored(reading, one.tokens, b)
            want = float(marginalizer.log_likelihood(prior[b : b + 1], logp, mask)[0])
            message = (
                f"a hypothesis reports log p(y|x) = {one.log_likelihood:.5f}, and scoring its "
                f"tokens gives {want:.5f}; report the pure log-probabilities, without length "
                "penalty or logits processors, with every token and every passage"
            )
            if self.exact:
                same(one.log_likelihood, want, self.tolerance, message)
            else:
                must(one.log_likelihood <= want + self.tolerance, message)

    def test_decode_reports_the_posterior(self) -> None:
        """posterior of a hypothesis, or token_posterior, is what posterior gives of its tokens."""
        if not self.exact:
            self.skip("exact is False: passages are left out")
        reading, prior = self._table()
        marginalizer = self.made()
        for b, beam in enumerate(self._decode(marginalizer, reading, prior, **BEAMS)):
            for one in beam:
                logp, mask = _scored(reading, one.tokens, b)
                want = self._posterior(marginalizer, prior[b : b + 1], logp, mask)[0].exp()
                got = one.posterior if want.dim() == 1 else one.token_posterior
                must(
                    got is not None,
                    "posterior gives (B,K,T), but a hypothesis has no token_posterior; keep it",
                )
                same(
                    got.exp() if got is not None else got,
                    want,
                    self.tolerance,
                    "the posterior of a hypothesis is not that of its tokens; take them from the "
                    "hypothesis' own beam, following its parents",
                )

    def test_decode_finds_the_best(self) -> None:
        """A beam wider than there are outputs finds the likeliest of all."""
        if not self.exact:
            self.skip("exact is False: passages are left out")
        self._check_best(*self._table())

    def test_decode_of_one_passage(self) -> None:
        """One question with one passage is decoded as well: its likeliest output is found."""
        reading = TableReading(torch.zeros(1, 1, dtype=torch.int64), seed=3)
        self._check_best(reading, torch.zeros(1, 1))

    def _check_best(self, reading: TableReading, prior: Tensor) -> None:
        marginalizer = self.made()
        everything = tables.targets(tables.outputs())
        count = len(everything.tokens)
        beams = self._decode(marginalizer, reading, prior, **EVERYTHING)
        for b, beam in enumerate(beams):
            must(beam, "a question was given no hypothesis; give one at least")
            logp = reading.score(everything, reading.rows[b].expand(count, -1))
            value = marginalizer.log_likelihood(
                prior[b].expand(count, -1), logp, everything.mask
            )  # (Y,)
            best = tables.outputs()[int(value.argmax())]
            must(
                tuple(beam[0].tokens.tolist()) == best,
                f"a beam wider than all {count} outputs gives {beam[0].tokens.tolist()} of log "
                f"p(y|x) {beam[0].log_likelihood:.4f}, and the likeliest is {list(best)} of "
                f"{float(value.max()):.4f}; rank by the marginal, and let caches follow parents",
            )

    def test_decode_honours_options(self) -> None:
        """Options of transformers are honoured or refused: suppressed tokens, least lengths."""
        reading, prior = self._table()
        banned = 2
        for options in ({"suppress_tokens": [banned]}, {"min_new_tokens": 2}):
            try:
                beams = self.made().decode(reading, prior, _options({**BEAMS, **options}))
            except RagkitError as error:
                must(len(str(error)) > 15, f"the refusal {str(error)!r} says too little")
                continue
            for tokens in (one.tokens.tolist() for beam in beams for one in beam):
                must(
                    "suppress_tokens" not in options or banned not in tokens,
                    f"the output {tokens} has token {banned} where suppress_tokens forbids it; "
                    "apply transformers' logits processors, or refuse the option",
                )
                must(
                    "min_new_tokens" not in options or tables.EOS not in tokens[:2],
                    f"the output {tokens} ends before min_new_tokens = 2; give processors what is "
                    "written with the start token, or refuse the option",
                )

    def test_decode_samples(self) -> None:
        """Sampled outputs report their own likelihood, and follow torch's seed; or are refused."""
        reading, prior = self._table()
        marginalizer = self.made()
        options = {"do_sample": True, "num_return_sequences": 3, "top_k": 0}

        def drawn(seed: int) -> list[list[Hypothesis]]:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                return self._decode(marginalizer, reading, prior, **options)

        try:
            marginalizer.decode(reading, prior, _options(options))
        except RagkitError as error:
            self.skip(f"sampling is refused: {error}")
        written = []
        for seed in (0, 0, 1, 2, 3):
            beams = drawn(seed)
            written.append([[one.tokens.tolist() for one in beam] for beam in beams])
            for b, beam in enumerate(beams):
                must(1 <= len(beam) <= 3, f"{len(beam)} sampled outputs where 3 were asked for")
                self._check_likelihood(marginalizer, reading, prior, b, beam)
        must(
            written[0] == written[1],
            "the same seed of torch draws other outputs; draw with torch, and nothing else",
        )
        must(
            any(other != written[0] for other in written[2:]),
            "four seeds draw the same outputs; do_sample must draw them",
        )

    def test_decode_batch_of_one(self) -> None:
        """A question decoded alone gives what it gives among others."""
        for options in ({}, BEAMS, {**BEAMS, "early_stopping": True}):
            self._check_alone(options)

    def _check_alone(self, options: dict[str, Any]) -> None:
        marginalizer, (reading, prior) = self.made(), self._table()
        together = self._decode(marginalizer, reading, prior, **options)
        for b in range(len(prior)):
            (alone,) = self._decode(marginalizer, reading.take([b]), prior[b : b + 1], **options)
            must(
                [one.tokens.tolist() for one in alone]
                == [one.tokens.tolist() for one in together[b]],
                f"question {b} decoded alone gives other outputs than in a batch; a question that "
                "has ended must not disturb the others",
            )
            same(
                [one.log_likelihood for one in alone],
                [one.log_likelihood for one in together[b]],
                self.tolerance,
                f"question {b} decoded alone reports another log p(y|x) than in a batch",
            )

    def test_decode_is_deterministic(self) -> None:
        """Decoding without sampling gives the same again."""
        marginalizer, (reading, prior) = self.made(), self._table()
        for options in ({}, BEAMS):
            found = [
                [[(one.tokens.tolist(), one.score) for one in beam] for beam in beams]
                for beams in (
                    self._decode(marginalizer, reading, prior, **options) for _ in range(2)
                )
            ]
            must(found[0] == found[1], "decoding twice gives two answers; draw nothing at random")

    def test_decode_more_than_exist(self) -> None:
        """More hypotheses asked for than exist is no fault: there are fewer then."""
        reading, prior = self._table()
        options = {"num_beams": 3, "num_return_sequences": 400}
        for beam in self._decode(self.made(), reading, prior, **options):
            must(
                1 <= len(beam) < 400,
                f"{len(beam)} hypotheses where no 400 outputs exist; give fewer, each once",
            )

    def test_decode_changes_no_input(self) -> None:
        """decode changes neither the reading's rows, nor the prior, nor the options."""
        marginalizer, (reading, prior) = self.made(), self._table()
        options = _options(BEAMS)
        with unchanged("decode", prior=prior, rows=reading.rows):
            marginalizer.decode(reading, prior, options)
        must(
            options.to_dict() == _options(BEAMS).to_dict(),
            "decode changed the options it was given; work on a copy",
        )

    def test_impossible_options_are_refused(self) -> None:
        """num_beams, num_return_sequences and max_new_tokens below 1 are refused."""
        marginalizer, (reading, prior) = self.made(), self._table()
        for name in ("num_beams", "num_return_sequences", "max_new_tokens"):
            try:
                marginalizer.decode(reading, prior, _options({name: 0}))
            except RagkitError as error:
                must(
                    name in str(error),
                    f"the refusal of {name} = 0 does not name it: {error}; say which option it is",
                )
            except Exception as error:
                raise AssertionError(
                    f"decode with {name} = 0 raised {type(error).__name__}: {error}; refuse it "
                    "with ragkit.errors.ConfigError that names the option"
                ) from error
            else:
                raise AssertionError(
                    f"decode with {name} = 0 was accepted; refuse it with ragkit.errors.ConfigError"
                )

    # ------------------------------------------------------------------------ helpers

    def _fused(self) -> bool:
        """Whether it takes one pair a question (M = 1): as kind says, or as it declares."""
        if self.kind is not None:
            return self.kind == "fused"
        return bool(getattr(self.made(), "fuses", False))

    def _table(self) -> tuple[TableReading, Tensor]:
        """Three questions with K = 3 passages, of which the last question lacks one."""
        random = torch.Generator().manual_seed(7)
        scores = torch.randn(3, 3, generator=random)
        scores[2, 2] = -torch.inf
        rows = torch.arange(9).view(3, 3).masked_fill(scores.isneginf(), -1)
        if self._fused():
            rows = torch.arange(3)[:, None]
        return TableReading(rows), scores.log_softmax(dim=1)

    def _decode(
        self, marginalizer: Any, reading: TableReading, prior: Tensor, **options: Any
    ) -> list[list[Hypothesis]]:
        shown = ", ".join(f"{name}={value!r}" for name, value in options.items()) or "no options"
        with attempt(f"decode with {shown}", "it must return a list of hypotheses a question"):
            found = marginalizer.decode(reading, prior, _options(options))
        must(
            len(found) == len(prior),
            f"decode gave {len(found)} lists for {len(prior)} questions; give one for each",
        )
        return [list(beam) for beam in found]

    def _posterior(self, marginalizer: Any, prior: Tensor, logp: Tensor, mask: Tensor) -> Tensor:
        with attempt("posterior(prior, token_logp, mask)", "it must return (B,K) or (B,K,T)"):
            found = marginalizer.posterior(prior, logp, mask)
        shape = tuple(getattr(found, "shape", ()))
        must(
            shape in (tuple(prior.shape), (*prior.shape, mask.shape[1])),
            f"posterior gave the shape {shape}; it must be (B,K) = {tuple(prior.shape)}, or "
            "(B,K,T) by token",
        )
        tensor: Tensor = found
        return tensor


def _options(options: dict[str, Any]) -> GenerationConfig:
    made = GenerationConfig(
        eos_token_id=tables.EOS,
        pad_token_id=tables.START,
        decoder_start_token_id=tables.START,
        max_new_tokens=tables.LONGEST,
    )
    for name, value in options.items():  # transformers itself allows no more than its beams
        setattr(made, name, value)
    return made


def _scored(reading: TableReading, tokens: Tensor, b: int) -> tuple[Tensor, Tensor]:
    """(1,M,T) of one output against the passages of question b, and its mask."""
    one = Targets(tokens[None], torch.ones(1, len(tokens), dtype=torch.bool))
    return reading.score(one, reading.rows[b : b + 1]), one.mask
