"""Wrong generators: mutants of `Seq2SeqGenerator` around a tiny BART."""

from __future__ import annotations

from copy import copy, deepcopy
from dataclasses import replace

import torch
from torch import nn

from ragkit.generate.reading import Seq2SeqReading
from ragkit.generate.seq2seq import Seq2SeqGenerator
from ragkit.protocols import Targets
from ragkit.testing import GeneratorConformance, tiny
from testing.wrong.record import Wrong


class WithReading(Seq2SeqGenerator):
    """Reads as it should, and gives another kind of reading."""

    reading: type[Seq2SeqReading]

    def read(self, questions, retrieved):
        found = super().read(questions, retrieved)
        return self.reading(
            found.model, found.states, found.mask, found.rows, found.start_id, found.grouped
        )


def reading_as(kind: type[Seq2SeqReading]) -> type[Seq2SeqGenerator]:
    return type(kind.__name__, (WithReading,), {"reading": kind})


# ------------------------------------------------------------------------- tokens


class NoEos(Seq2SeqGenerator):
    def targets(self, texts):
        found = super().targets(texts)
        eos = found.tokens == 2
        return Targets(found.tokens.masked_fill(eos, 1), found.mask & ~eos)


class LeftPadded(Seq2SeqGenerator):
    def targets(self, texts):
        found = super().targets(texts)
        return Targets(found.tokens.flip(1), found.mask.flip(1))


class CutsTargets(Seq2SeqGenerator):
    def targets(self, texts):
        return super().targets([text[:100] for text in texts])


class ShowsSpecials(Seq2SeqGenerator):
    def text(self, tokens):
        return self.tokenizer.batch_decode([list(row) for row in tokens])


class NoStart(Seq2SeqGenerator):
    def __init__(self, *given, **options):
        super().__init__(*given, **options)
        self.generation_config = deepcopy(self.generation_config)
        self.generation_config.decoder_start_token_id = None


# ------------------------------------------------------------------------ reading


class NoMask(Seq2SeqReading):
    """Attends to the padding of sources."""

    def __init__(self, model, states, mask, rows, start_id, grouped):
        super().__init__(model, states, torch.ones_like(mask), rows, start_id, grouped)


class ReadsAbsent(Seq2SeqGenerator):
    """Reads the first passage in place of one that is absent."""

    def read(self, questions, retrieved):
        ids = retrieved.ids.clamp(min=0)
        first = retrieved.passages[0][0]
        passages = [[one or first for one in row] for row in retrieved.passages]
        mask = torch.ones_like(retrieved.mask)
        return super().read(questions, replace(retrieved, passages=passages, ids=ids, mask=mask))


class FirstPassageAlone(Seq2SeqGenerator):
    def read(self, questions, retrieved):
        first = retrieved.passages[0][0]
        passages = [[one and first for one in row] for row in retrieved.passages]
        return super().read(questions, replace(retrieved, passages=passages))


class NoQuestion(Seq2SeqGenerator):
    def read(self, questions, retrieved):
        return super().read(["?" for _ in questions], retrieved)


class CutsTheQuestion(Seq2SeqGenerator):
    def read(self, questions, retrieved):
        full = any(one and len(one.text) > 1000 for row in retrieved.passages for one in row)
        return super().read([""] * len(questions) if full else questions, retrieved)


class StumblesOverBraces(Seq2SeqGenerator):
    def read(self, questions, retrieved):
        for row in retrieved.passages:
            for one in row:
                one and one.text.format(question="")
        return super().read(questions, retrieved)


class ScalesScores(Seq2SeqGenerator):
    def read(self, questions, retrieved):
        retrieved.scores.mul_(0.5)
        return super().read(questions, retrieved)


class SameNumbers(Seq2SeqReading):
    def __init__(self, model, states, mask, rows, start_id, grouped):
        super().__init__(model, states, mask, rows.clamp(max=3), start_id, grouped)


class LooksAtTheFirst(Seq2SeqGenerator):
    """Each passage is read with the title of the first one of its question."""

    def read(self, questions, retrieved):
        passages = [
            [one and one._replace(title=row[0].title) for one in row] for row in retrieved.passages
        ]
        return super().read(questions, replace(retrieved, passages=passages))


# ---------------------------------------------------------------------- abilities


class TokensWithoutTitle(Seq2SeqGenerator):
    def passage_tokens(self, passages):
        return super().passage_tokens([one._replace(title="") for one in passages])


class TakesAnyTokens(Seq2SeqGenerator):
    def read(self, questions, retrieved):
        ready = retrieved.tokens
        if ready is not None:
            ready = copy(ready)
            ready.tokenization = self.tokenization
        return super().read(questions, replace(retrieved, tokens=ready))


class QuotesItself(Seq2SeqGenerator):
    def quote(self, tokens, passages):
        return self.text([tokens])[0]


class LooksEverywhere(Seq2SeqReading):
    def passage_scores(self):
        return torch.zeros(self.rows.shape)


class SaysItFuses(Seq2SeqGenerator):
    fuses = True


class ForgetsItsForm(Seq2SeqGenerator):
    @classmethod
    def load(cls, directory):
        return cls(str(directory))


class OutOfNowhere(Seq2SeqGenerator):
    def parameters(self, recurse=True):
        return iter(())


class Dropout(Seq2SeqReading):
    def score(self, targets, rows):
        return nn.functional.dropout(super().score(targets, rows), 0.1)


def wrong(title, kind, check, fault, advice, /, **options) -> Wrong:
    def make(kit):
        return kind(tiny.bart(), tiny.tokenizer(), **options)

    return Wrong(title, GeneratorConformance, make, check, fault, advice)


ALONE = "test_batch_of_one_is_a_row_of_the_batch"
WRONG = [
    wrong("targets without EOS", NoEos, "test_targets", "not in EOS", "teaches no end"),
    wrong("targets padded on the left", LeftPadded, "test_targets", "not in EOS", "no end"),
    wrong("targets cut", CutsTargets, "test_long_targets_are_not_cut", "900 times", "DataError"),
    wrong(
        "special tokens shown", ShowsSpecials, "test_text", "instead of", "leave special tokens out"
    ),
    wrong(
        "no start token", NoStart, "test_generation_config", "decoder_start_token_id is None", "BOS"
    ),
    wrong(
        "ignores the mask of sources", reading_as(NoMask), ALONE, "read alone gives other", "mask"
    ),
    wrong(
        "reads absent passages", ReadsAbsent, "test_read", "-1 elsewhere", "follow retrieved.mask"
    ),
    wrong("numbers twice", reading_as(SameNumbers), "test_read", "numbers", "each once"),
    wrong(
        "reads one passage",
        FirstPassageAlone,
        "test_score_depends_on_passage_and_question",
        "two passages give one",
        "read",
    ),
    wrong(
        "reads no question",
        NoQuestion,
        "test_score_depends_on_passage_and_question",
        "two questions give one",
        "read",
    ),
    wrong(
        "cuts the question",
        CutsTheQuestion,
        "test_long_passage_leaves_the_question",
        "question was cut",
        "cut the passage",
    ),
    wrong(
        "stumbles over braces",
        StumblesOverBraces,
        "test_any_text",
        "raised KeyError",
        "whatever a file may hold",
    ),
    wrong(
        "scales scores in place",
        ScalesScores,
        "test_inputs_are_not_changed",
        "changed its input 'scores'",
        "copy",
    ),
    wrong("undeclared gradient", OutOfNowhere, "test_gradient_of_scores", "no parameter", "detach"),
    wrong("dropout", reading_as(Dropout), "test_score_is_repeatable", "scored twice", "dropout"),
    wrong(
        "tokens without titles",
        TokensWithoutTitle,
        "test_passage_tokens",
        "other log-probabilities than their texts",
        "keep the tokens",
    ),
    wrong(
        "takes any ready tokens",
        TakesAnyTokens,
        "test_passage_tokens",
        "of another tokenization were used",
        "compare",
    ),
    wrong(
        "forgets its form",
        ForgetsItsForm,
        "test_saved_and_loaded",
        "loaded generator gives other",
        "form",
        form="{text} | {question}",
    ),
    wrong("quotes nobody", QuotesItself, "test_quote", "stands in no passage", "own characters"),
    wrong(
        "looks at what is absent",
        reading_as(LooksEverywhere),
        "test_passage_scores",
        "where a passage is absent",
        "-inf",
    ),
    wrong(
        "fuses nothing", SaysItFuses, "test_fusion_is_declared", "fuses is True", "any other M = K"
    ),
    wrong(
        "reads the first with each",
        LooksAtTheFirst,
        "test_order_of_passages",
        "another order",
        "by itself",
    ),
]
