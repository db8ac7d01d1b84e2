"""Wrong readings: mutants of how `Seq2SeqGenerator` scores and decodes."""

from __future__ import annotations

import torch

from ragkit.generate.decoding import Seq2SeqDecoding
from ragkit.generate.reading import Seq2SeqReading
from ragkit.generate.seq2seq import Seq2SeqGenerator
from ragkit.protocols import Targets
from testing.wrong.generator import reading_as, wrong

# ------------------------------------------------------------------------ scoring


class PaddingCounts(Seq2SeqReading):
    def score(self, targets, rows):
        return super().score(Targets(targets.tokens, torch.ones_like(targets.mask)), rows)


class AbsentIsLikely(Seq2SeqReading):
    def score(self, targets, rows):
        found = super().score(targets, rows)
        return found.masked_fill((rows < 0)[:, :, None], -1e9)


class Shifted(Seq2SeqReading):
    """Forgets the start token: each token is scored a place too late."""

    def score(self, targets, rows):
        again = Targets(targets.tokens.roll(1, 1), targets.mask)
        return super().score(again, rows)


class NoGradient(Seq2SeqReading):
    def score(self, targets, rows):
        with torch.no_grad():
            return super().score(targets, rows)


class Warm(Seq2SeqReading):
    """Probabilities at a temperature of 2, never normalised again."""

    def score(self, targets, rows):
        return super().score(targets, rows) / 2


class RowsInOrder(Seq2SeqReading):
    def score(self, targets, rows):
        return super().score(targets, rows.sort(dim=0).values)


class SeesTheFuture(Seq2SeqReading):
    """The padding behind a target reaches the tokens before it."""

    def score(self, targets, rows):
        found = super().score(targets, rows)
        return found * (1 + 0.01 * (~targets.mask).sum(1)[:, None, None])


class SmoothsUniformly(Seq2SeqReading):
    def score_smoothed(self, targets, rows, epsilon):
        found = super().score_smoothed(targets, rows, 0.0)
        return (1 - epsilon) * found


class Elsewhere(Seq2SeqReading):
    """Scores on a device of its own."""

    def score(self, targets, rows):
        return super().score(targets, rows).to("meta")


class ScoresOne(Seq2SeqReading):
    """Scores targets against the rows of the reading alone."""

    def score(self, targets):
        return super().score(targets, self.rows)


# ----------------------------------------------------------------------- decoding


def decoding_as(kind: type[Seq2SeqDecoding]) -> type[Seq2SeqGenerator]:
    def start(self, rows):
        return kind(self, rows)

    return reading_as(type(kind.__name__, (Seq2SeqReading,), {"start": start}))


class Logits(Seq2SeqDecoding):
    def next(self):
        return super().next() - 1.0 * (self.rows >= 0)[:, :, None]


class NextElsewhere(Seq2SeqDecoding):
    def next(self):
        return super().next().to("meta")


class AbsentSpeaks(Seq2SeqDecoding):
    def next(self):
        found = super().next()
        return found.masked_fill((self.rows < 0)[:, :, None], -torch.inf)


class CacheStays(Seq2SeqDecoding):
    """Rows follow their parents, the cache does not."""

    def append(self, tokens, parents):
        super().append(tokens, torch.arange(len(parents)) % len(self.rows))


class RowsStay(Seq2SeqDecoding):
    def append(self, tokens, parents):
        rows = self.rows
        super().append(tokens, parents)
        if len(parents) == len(rows):
            self.rows = rows


class SharedCache(Seq2SeqReading):
    """One cache for all decodings of a reading."""

    def start(self, rows):
        decoding = super().start(rows)
        if hasattr(self, "cache"):
            decoding.cache = self.cache
        self.cache = decoding.cache
        return decoding


CHAIN = "test_score_is_the_chain_of_next_and_append"
WRONG = [
    wrong(
        "padding counts",
        reading_as(PaddingCounts),
        "test_scores",
        "targets.mask is False",
        "fill it with 0",
    ),
    wrong(
        "absent pairs count",
        reading_as(AbsentIsLikely),
        "test_scores",
        "absent pair",
        "fill it with 0",
    ),
    wrong("a place too late", reading_as(Shifted), CHAIN, "differs from the chain", "start token"),
    wrong(
        "no gradient",
        reading_as(NoGradient),
        "test_gradient_of_scores",
        "carry no gradient",
        "no_grad",
    ),
    wrong(
        "not normalised",
        reading_as(Warm),
        "test_scores_sum_to_one",
        "something else than 1",
        "log softmax",
    ),
    wrong(
        "rows sorted",
        reading_as(RowsInOrder),
        "test_rows_choose_the_pairs",
        "scores otherwise",
        "row n of rows",
    ),
    wrong(
        "padding reaches tokens",
        reading_as(SeesTheFuture),
        "test_padding_of_targets",
        "without its padding",
        "before it alone",
    ),
    wrong(
        "smooths without the mean",
        reading_as(SmoothsUniformly),
        "test_smoothing",
        "is not .1-ε",
        "mean",
    ),
    wrong(
        "next not normalised",
        decoding_as(Logits),
        "test_next_is_a_distribution",
        "does not sum to 1",
        "log softmax",
    ),
    wrong(
        "absent pairs speak",
        decoding_as(AbsentSpeaks),
        "test_next_is_a_distribution",
        "absent pair",
        "fill it with 0",
    ),
    wrong(
        "cache not reordered",
        decoding_as(CacheStays),
        "test_append_follows_parents",
        "differs",
        "reorder every cache",
    ),
    wrong(
        "rows not reordered",
        decoding_as(RowsStay),
        "test_append_follows_parents",
        "differs|raised",
        "rows too|may differ",
    ),
    wrong(
        "one cache for all",
        reading_as(SharedCache),
        "test_decodings_do_not_disturb_each_other",
        "another is under way",
        "own its caches",
    ),
    wrong(
        "scores on another device",
        reading_as(Elsewhere),
        "test_scores",
        "on meta for rows on cpu",
        "where the rows are",
    ),
    wrong(
        "next on another device",
        decoding_as(NextElsewhere),
        "test_next_is_a_distribution",
        "on meta for rows on cpu",
        "where the rows are",
    ),
    wrong(
        "scores without rows",
        reading_as(ScoresOne),
        "test_signatures",
        "cannot be called as score.targets, rows",
        "take these",
    ),
]
