"""Wrong retrievers."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import torch
from torch import nn

from ragkit.protocols import Passage, Retrieved
from ragkit.testing import RetrieverConformance
from testing.right import WordRetriever
from testing.wrong.record import Wrong


class OffByOne(WordRetriever):
    def record(self, scores, ids):
        found = super().record(scores, ids)
        return replace(found, ids=torch.where(ids >= 0, ids + 1, ids))


class AbsentIsZero(WordRetriever):
    def record(self, scores, ids):
        return super().record(scores.masked_fill(ids < 0, 0.0), ids)


class Narrow(WordRetriever):
    def cut(self, scores, ids, k):
        return self.record(scores[:, :k], ids[:, :k])


class WorstFirst(WordRetriever):
    def among(self, questions, k, rows):
        found = super().among(questions, k, rows)
        if k > len(rows):
            return found
        return self.record(found.scores.flip(1), found.ids.flip(1))


class NormalisedOverK(WordRetriever):
    def record(self, scores, ids):
        return super().record(scores.log_softmax(1), ids)


class NormalisedOverB(WordRetriever):
    def record(self, scores, ids):
        return super().record(scores - scores.max(), ids)


class WithoutGradient(WordRetriever):
    def record(self, scores, ids):
        return super().record(scores.detach(), ids)


class NaNGradient(WordRetriever):
    """Scales what is absent too: 0 · -inf in the backward pass."""

    def __init__(self, passages):
        super().__init__(passages)
        self.log_temperature = nn.Parameter(torch.zeros(()))

    def record(self, scores, ids):
        return super().record(scores * self.log_temperature.exp(), ids)


class FiltersAfterwards(WordRetriever):
    def retrieve_from(self, questions, k, allowed):
        super().retrieve_from(questions, 1, allowed)
        found = self.retrieve(questions, k)
        rows = torch.tensor([row for row, one in enumerate(self.held) if one.id in allowed])
        keep = torch.isin(found.ids, rows)
        order = keep.float().argsort(dim=1, descending=True, stable=True)
        ids = found.ids.masked_fill(~keep, -1).gather(1, order)
        return self.record(found.scores.masked_fill(~keep, -torch.inf).gather(1, order), ids)


class IgnoresTheFilter(WordRetriever):
    def retrieve_from(self, questions, k, allowed):
        super().retrieve_from(questions, k, allowed)
        return self.retrieve(questions, k)


class TakesAnyFilter(WordRetriever):
    def retrieve_from(self, questions, k, allowed):
        known = {one.id for one in self.held}
        return super().retrieve_from(questions, k, (set(allowed) & known) or known)


class CannotFilter(WordRetriever):
    def retrieve_from(self, questions, k, allowed):
        raise NotImplementedError("filters come in the next version")


class KeepsQuestions(WordRetriever):
    def retrieve(self, questions, k):
        self.asked = list(questions)
        time.sleep(0.001)
        return super().retrieve(self.asked, k)


class TakesAnyK(WordRetriever):
    def among(self, questions, k, rows):
        return super().among(questions, max(1, k), rows)


class Stumbles(WordRetriever):
    def retrieve(self, questions, k):
        assert all(ord(letter) < 256 for text in questions for letter in text), "latin only"
        return super().retrieve([text.split()[0] for text in questions], k)


class MaskIsWrong(WordRetriever):
    def record(self, scores, ids):
        return replace(super().record(scores, ids), mask=torch.ones_like(ids, dtype=torch.bool))


class Twice(WordRetriever):
    def record(self, scores, ids):
        found = super().record(scores, ids)
        ids = ids.clone()
        ids[:, 1:2] = ids[:, :1]
        return Retrieved(found.passages, ids, scores, ids >= 0)


class GivesEverything(WordRetriever):
    """Says what each of two gave to passages that are absent as well."""

    def record(self, scores, ids):
        found = super().record(scores, ids)
        return replace(found, scores_by={"words": torch.zeros_like(scores)})


class Lists(WordRetriever):
    def record(self, scores, ids):
        return replace(super().record(scores, ids), mask=ids)


class StripsInPlace(WordRetriever):
    def retrieve(self, questions, k):
        questions.sort()
        return super().retrieve(questions, k)


class NothingFound(WordRetriever):
    """Leaves out what has no word in common, so that a question may have no passage at all."""

    def record(self, scores, ids):
        none = ids.clone()
        none[-1] = -1
        return super().record(scores.masked_fill(none < 0, -torch.inf), none)


class Noisy(WordRetriever):
    def record(self, scores, ids):
        return super().record(scores + torch.rand(()), ids)


class ForgetsAWeight(WordRetriever):
    def save(self, directory):
        (directory / "held.json").write_text(json.dumps([tuple(one) for one in self.held]))

    @classmethod
    def load(cls, directory):
        held = json.loads((directory / "held.json").read_text())
        return cls([Passage(*one) for one in held])


def trained(kit):
    retriever = ForgetsAWeight(kit.passages)
    retriever.encoder.weight.data += torch.linspace(0, 1, 12)
    return retriever


def wrong(title, kind, check, fault, advice, /, **settings) -> Wrong:
    def make(kit):
        return kind(kit.passages)

    return Wrong(title, RetrieverConformance, make, check, fault, advice, settings)


MANY = "test_k_above_the_number_of_passages"
WRONG = [
    wrong("ids off by one", OffByOne, "test_passages_are_those_of_the_ids", "is another", "from 0"),
    wrong(
        "an absent score of 0", AbsentIsZero, MANY, "another score than -inf", "0 would be above"
    ),
    wrong("no padding", Narrow, MANY, "must be a tensor", "pad with -1"),
    wrong("mask always True", MaskIsWrong, MANY, "passages for k", "mark the rest as absent"),
    wrong("worst first", WorstFirst, "test_best_first", "rise", "greatest first"),
    wrong("a passage twice", Twice, "test_best_first", "comes twice", "once"),
    wrong(
        "normalised over k",
        NormalisedOverK,
        "test_k_best_begin_the_more_best",
        "another score",
        "not be normalised",
    ),
    wrong(
        "depends on the batch",
        NormalisedOverB,
        "test_batch_of_one_is_a_row_of_the_batch",
        "other scores",
        "that question alone",
    ),
    wrong("no gradient", WithoutGradient, "test_gradient_of_scores", "carry no gradient", "detach"),
    wrong(
        "NaN gradient", NaNGradient, "test_gradient_of_scores", "NaN", "mask what is absent before"
    ),
    wrong(
        "filters the k best", FiltersAfterwards, "test_retrieve_from", "passages for k", "give 2"
    ),
    wrong("ignores the filter", IgnoresTheFilter, "test_retrieve_from", "not allowed", "keep"),
    wrong(
        "takes any filter",
        TakesAnyFilter,
        "test_bad_filters_are_refused",
        "no ids was accepted",
        "refuse it",
    ),
    wrong(
        "declares a filter without it",
        CannotFilter,
        "test_retrieve_from",
        "raised NotImplementedError",
        "take the methods away",
    ),
    wrong(
        "keeps questions in itself",
        KeepsQuestions,
        "test_thread_safety",
        "several threads",
        "other",
    ),
    wrong("any k", TakesAnyK, "test_k_below_one_is_refused", "k = 0 was accepted", "refuse it"),
    wrong(
        "stumbles over odd questions",
        Stumbles,
        "test_any_question",
        "raised|latin only",
        "retrieve something|latin only",
    ),
    wrong("mask of numbers", Lists, "test_shapes_and_dtypes", "mask is torch.int64", "torch.bool"),
    wrong(
        "sorts questions in place",
        StripsInPlace,
        "test_inputs_are_not_changed",
        "changed its input",
        "copy",
    ),
    wrong(
        "scores of absent passages",
        GivesEverything,
        "test_scores_by_retriever",
        "where a passage is absent",
        "-inf",
    ),
    wrong(
        "no passage at all",
        NothingFound,
        "test_prior_is_a_distribution",
        "does not sum to 1",
        "no passage at all",
    ),
    wrong("noise", Noisy, "test_deterministic", "other scores", "that question alone"),
    Wrong(
        "forgets a weight",
        RetrieverConformance,
        trained,
        "test_saved_and_loaded",
        "the loaded retriever .*: other scores",
        "save all",
    ),
]
