"""Wrong decoding: mutants of how RAG-Sequence and RAG-Token find and report outputs."""

from __future__ import annotations

from dataclasses import replace

import torch

from ragkit.marginalize.rag_sequence import RagSequence
from ragkit.marginalize.rag_token import RagToken
from testing.wrong.marginalizer import wrong


class NeedsTwoPassages(RagSequence):
    """Begins with the second: the first pair of a batch is taken for absent."""

    def decode(self, reading, prior, options):
        if prior.numel() == 1:
            return [[] for _ in prior]
        return super().decode(reading, prior, options)


class FillsUp(RagSequence):
    """Repeats the best where fewer exist than were asked for."""

    def decode(self, reading, prior, options):
        wanted = options.num_return_sequences or 1
        beams = super().decode(reading, prior, options)
        return [beam + beam[:1] * (wanted - len(beam)) for beam in beams]


class Changed(RagSequence):
    """A base for mutants of what decode returns."""

    def decode(self, reading, prior, options):
        return [self.changed(beam) for beam in super().decode(reading, prior, options)]


class ReportsTheScore(RagToken):
    def decode(self, reading, prior, options):
        beams = super().decode(reading, prior, options)
        return [[replace(one, log_likelihood=one.score) for one in beam] for beam in beams]


class DropsEos(Changed):
    def changed(self, beam):
        return [replace(one, tokens=one.tokens[one.tokens != 1]) for one in beam]


class WithStart(Changed):
    def changed(self, beam):
        start = torch.zeros(1, dtype=torch.int64)
        return [replace(one, tokens=torch.cat([start, one.tokens])) for one in beam]


class WorstFirst(Changed):
    def changed(self, beam):
        return beam[::-1]


class Twice(Changed):
    def changed(self, beam):
        return [beam[0], *beam][: len(beam)]


class UniformPriorTold(Changed):
    def changed(self, beam):
        return [replace(one, prior=torch.zeros_like(one.prior).log_softmax(0)) for one in beam]


class PriorForPosterior(Changed):
    def changed(self, beam):
        return [replace(one, posterior=one.prior) for one in beam]


class PosteriorOfNothing(Changed):
    def changed(self, beam):
        return [replace(one, posterior=one.posterior - 1.0) for one in beam]


class FastForThorough(RagSequence):
    def __init__(self):
        super().__init__("fast")


class GreedyAlways(RagToken):
    def decode(self, reading, prior, options):
        options = type(options)(**{**options.to_diff_dict(), "num_beams": 1})
        options.num_return_sequences = 1
        return super().decode(reading, prior, options)


class ChangesOptions(RagToken):
    def decode(self, reading, prior, options):
        options.max_new_tokens += 1
        return super().decode(reading, prior, options)


class ChangesRows(RagToken):
    def decode(self, reading, prior, options):
        found = super().decode(reading, prior, options)
        reading.rows.clamp_(min=0)
        return found


class Samples(RagToken):
    def decode(self, reading, prior, options):
        options = type(options)(**{**options.to_diff_dict(), "do_sample": True})
        return super().decode(reading, prior, options)


class FirstOfTheBatch(RagToken):
    """Every question of a batch is given the first one's prior."""

    def decode(self, reading, prior, options):
        return super().decode(reading, prior[:1].expand_as(prior), options)


class NoProcessors(RagToken):
    def decode(self, reading, prior, options):
        for name in ("suppress_tokens", "min_new_tokens"):
            setattr(options, name, None)
        return super().decode(reading, prior, options)


class NeverSamples(RagToken):
    def decode(self, reading, prior, options):
        options.do_sample, options.num_return_sequences = False, 1
        return super().decode(reading, prior, options)


class OtherDice(RagToken):
    """Draws from a generator of its own."""

    def decode(self, reading, prior, options):
        if options.do_sample:
            torch.seed()
        return super().decode(reading, prior, options)


class Impossible(RagToken):
    def decode(self, reading, prior, options):
        for name in ("num_beams", "num_return_sequences", "max_new_tokens"):
            setattr(options, name, max(1, getattr(options, name) or 1))
        return super().decode(reading, prior, options)


WRONG = [
    wrong(
        "reports the search's score",
        ReportsTheScore,
        "test_decode_reports_the_likelihood",
        "reports log p",
        "without length penalty",
    ),
    wrong("drops EOS", DropsEos, "test_decode_tokens", "ends without EOS", "keep EOS"),
    wrong(
        "keeps the start token",
        WithStart,
        "test_decode_tokens",
        "max_new_tokens is 3",
        "leave the start token out",
    ),
    wrong("worst first", WorstFirst, "test_decode_gives_hypotheses", "rise", "best first"),
    wrong("an output twice", Twice, "test_decode_gives_hypotheses", "given twice", "output"),
    wrong(
        "another prior reported",
        UniformPriorTold,
        "test_decode_reports_the_prior",
        "not that of its question",
        "as given",
    ),
    wrong(
        "prior for posterior",
        PriorForPosterior,
        "test_decode_reports_the_posterior",
        "not that of its tokens",
        "parents",
    ),
    wrong(
        "posterior not normalised in decode",
        PosteriorOfNothing,
        "test_decode_reports_the_prior",
        "does not sum to 1",
        "log softmax",
    ),
    wrong(
        "Fast under the name of Thorough",
        FastForThorough,
        "test_decode_reports_the_likelihood",
        "scoring its tokens gives",
        "every passage",
    ),
    wrong(
        "greedy always",
        GreedyAlways,
        "test_decode_finds_the_best",
        "the likeliest is",
        "rank by the marginal",
    ),
    wrong(
        "changes options",
        ChangesOptions,
        "test_decode_changes_no_input",
        "changed the options",
        "copy",
    ),
    wrong(
        "changes rows",
        ChangesRows,
        "test_decode_changes_no_input",
        "changed its input 'rows'",
        "copy",
    ),
    wrong("samples", Samples, "test_decode_is_deterministic", "two answers", "at random"),
    wrong("first question's prior", FirstOfTheBatch, "test_decode_batch_of_one", "alone", "batch"),
    wrong(
        "takes impossible options",
        Impossible,
        "test_impossible_options_are_refused",
        "was accepted",
        "ConfigError",
    ),
    wrong(
        "no processors",
        NoProcessors,
        "test_decode_honours_options",
        "suppress_tokens forbids",
        "processors",
    ),
    wrong("never samples", NeverSamples, "test_decode_samples", "draw the same", "must draw"),
    wrong("dice of its own", OtherDice, "test_decode_samples", "same seed", "draw with torch"),
    wrong(
        "nothing for one passage",
        NeedsTwoPassages,
        "test_decode_of_one_passage",
        "no hypothesis",
        "one at least",
    ),
    wrong(
        "fills up", FillsUp, "test_decode_more_than_exist", "where no 400 outputs exist", "fewer"
    ),
]
