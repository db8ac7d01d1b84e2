"""Wrong objectives, tasks and metrics."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import torch

from ragkit.protocols import Example
from ragkit.testing import MetricConformance, ObjectiveConformance, TaskConformance
from ragkit.train.objectives import Marginal
from testing.right import ListTask, SameText, WordShare
from testing.wrong.record import Wrong

# --------------------------------------------------------------------- objectives


class Mean(Marginal):
    def __call__(self, evidence):
        return {"loss": super().__call__(evidence)["loss"].mean()}


class AverageEverywhere(Marginal):
    def __call__(self, evidence):
        loss = super().__call__(evidence)["loss"]
        return {"loss": loss - loss.mean() + loss}


class Elsewhere(Marginal):
    def __call__(self, evidence):
        return {"loss": super().__call__(evidence)["loss"].to("meta")}


class OtherName(Marginal):
    def __call__(self, evidence):
        return {"nll": super().__call__(evidence)["loss"]}


class GeneratorDetached(Marginal):
    def __call__(self, evidence):
        return super().__call__(replace(evidence, token_logp=evidence.token_logp.detach()))


class Undeclared(Marginal):
    needs_generator_gradient = False


class DeclaresNothing(Marginal):
    needs_generator_gradient = None


class LooksForGradient(Marginal):
    """Weighs retrieval otherwise where the generator is not trained."""

    def __call__(self, evidence):
        if evidence.token_logp.requires_grad:
            return super().__call__(evidence)
        return super().__call__(replace(evidence, scores=2 * evidence.scores))


class WrongSign(Marginal):
    def __call__(self, evidence):
        return {"loss": -super().__call__(evidence)["loss"]}


class HalfDetached(Marginal):
    """A posterior that is taken for a constant, in a loss that it is not constant in."""

    def __call__(self, evidence):
        prior = evidence.scores.log_softmax(-1)
        posterior = evidence.marginalizer.posterior(
            prior, evidence.token_logp, evidence.target_mask
        )
        weights = posterior.exp().detach()
        weights = weights if weights.dim() == 2 else weights.mean(-1)
        logp = evidence.token_logp.sum(-1)
        return {"loss": -(weights * logp).sum(-1) + 0.0 * prior.exp().sum(-1)}


class AbsentIsCertain(Marginal):
    def __call__(self, evidence):
        scores = evidence.scores.clamp(min=-4.0)
        return super().__call__(replace(evidence, scores=scores))


class NaNGradient(Marginal):
    def __call__(self, evidence):
        prior = evidence.scores.softmax(-1)
        entropy = -(prior * torch.where(prior > 0, prior, prior).log())
        loss = super().__call__(evidence)["loss"]
        return {"loss": loss + 0.1 * torch.where(prior > 0, entropy, 0.0).sum(-1)}


class CountsPadding(Marginal):
    def __call__(self, evidence):
        loss = super().__call__(evidence)["loss"]
        return {"loss": loss - 0.01 * evidence.token_logp.sum((1, 2))}


class FirstIsRight(Marginal):
    """Takes the passage that stands first for the right one."""

    def __call__(self, evidence):
        loss = super().__call__(evidence)["loss"]
        return {"loss": loss - 0.1 * evidence.scores.log_softmax(-1)[:, 0]}


class Standardised(Marginal):
    def __call__(self, evidence):
        held = evidence.scores.masked_fill(~evidence.mask, 0.0)
        spread = held.std(-1, keepdim=True, correction=0)
        return super().__call__(replace(evidence, scores=evidence.scores / spread))


class WritesScores(Marginal):
    def __call__(self, evidence):
        with torch.no_grad():
            evidence.scores.mul_(0.9)
        return super().__call__(evidence)


class Noisy(Marginal):
    def __call__(self, evidence):
        loss = super().__call__(evidence)["loss"]
        return {"loss": loss + torch.rand_like(loss)}


# -------------------------------------------------------------------------- tasks


class OneShot(ListTask):
    def __init__(self):
        self.stream = {name: iter(found) for name, found in self.known.items()}

    def examples(self, split):
        return self.stream[split] if split in self.stream else super().examples(split)


class OneCursor(ListTask):
    place = 0

    def examples(self, split):
        found = list(super().examples(split))
        self.place = 0
        while self.place < len(found):
            self.place += 1
            yield found[self.place - 1]


class SameIds(ListTask):
    def examples(self, split):
        return (replace(one, id="q") for one in super().examples(split))


class NoSplits(ListTask):
    def examples(self, split):
        return iter(self.known.get(split, ()))


class KeyErrors(ListTask):
    def examples(self, split):
        return iter(self.known[split])


class Lists(ListTask):
    def examples(self, split):
        return (replace(one, answers=list(one.answers)) for one in super().examples(split))


class OneText(ListTask):
    def examples(self, split):
        return (replace(one, answers=one.answers[0]) for one in super().examples(split))


class Shuffled(ListTask):
    def examples(self, split):
        return iter(random.sample(list(super().examples(split)) * 50, 3))


class Dicts(ListTask):
    def examples(self, split):
        return ({"question": one.question} for one in super().examples(split))


class UnknownMetric(ListTask):
    metrics = ("em", "bleurt")


class NothingKnown(ListTask):
    def examples(self, split):
        yield from super().examples(split)
        yield Example("4", "unanswered")


# ------------------------------------------------------------------------ metrics


class Average(SameText):
    def __call__(self, predictions, examples):
        found = super().__call__(predictions, examples)
        return [sum(found) / max(1, len(found))]


class Array(SameText):
    def __call__(self, predictions, examples):
        return list(np.array(super().__call__(predictions, examples)))


class Cut(SameText):
    def __call__(self, predictions, examples):
        return [self.one(*pair) for pair in zip(predictions, examples, strict=False)]


class Relative(SameText):
    def __call__(self, predictions, examples):
        longest = max((len(one.text) for one in predictions), default=0) or 1
        found = super().__call__(predictions, examples)
        return [a * len(p.text) / longest for a, p in zip(found, predictions, strict=True)]


class Reversed(SameText):
    def one(self, prediction, example):
        return 1.0 - super().one(prediction, example)


class Stumbles(SameText):
    def one(self, prediction, example):
        return float(prediction.passages[0].text.count(example.answers[0]))


class NeedsOne(SameText):
    def __call__(self, predictions, examples):
        if not predictions:
            raise ValueError("nothing to measure")
        return super().__call__(predictions, examples)


class SortsInPlace(SameText):
    def __call__(self, predictions, examples):
        predictions.sort(key=lambda one: one.text)
        return super().__call__(predictions, examples)


class Drawn(SameText):
    def one(self, prediction, example):
        return super().one(prediction, example) + random.random()


class Infinite(SameText):
    def one(self, prediction, example):
        return float("inf") if not example.answers else super().one(prediction, example)


class Labelled(SameText):
    label = ("same", 1)


def objective(title, kind, check, fault, advice) -> Wrong:
    return Wrong(title, ObjectiveConformance, lambda kit: kind(), check, fault, advice)


def task(title, kind, check, fault, advice) -> Wrong:
    return Wrong(title, TaskConformance, lambda kit: kind(), check, fault, advice)


class ShortRows(WordShare):
    def statistics(self, predictions, examples):
        return super().statistics(predictions, examples)[1:]

    def __call__(self, predictions, examples):
        return [0.0 for _ in zip(predictions, examples, strict=True)]


class Flat(WordShare):
    def statistics(self, predictions, examples):
        return super().statistics(predictions, examples)[:, 0]


class OneColumnOfNone(WordShare):
    def statistics(self, predictions, examples):
        rows = super().statistics(predictions, examples)
        return rows if len(rows) else np.zeros((0, 1))


class ZeroWhereUnknown(WordShare):
    def statistics(self, predictions, examples):
        return np.nan_to_num(super().statistics(predictions, examples))

    def __call__(self, predictions, examples):
        return WordShare()(predictions, examples)


class ByPosition(WordShare):
    def statistics(self, predictions, examples):
        rows = super().statistics(predictions, examples)
        return rows + np.arange(len(rows))[:, None]


class OneFigure(WordShare):
    def pooled(self, totals):
        return np.mean(totals[:, 0] / totals[:, 1])


class Together(WordShare):
    """Sets of questions that are compared with one another."""

    def pooled(self, totals):
        return totals[:, 0] / totals[:, 1].max()


class Endless(WordShare):
    def pooled(self, totals):
        with np.errstate(divide="ignore", invalid="ignore"):
            return totals[:, 0] / (totals[:, 1] - totals[:, 1])


class Turned(WordShare):
    def ends(self, totals, resampled, tail):
        return super().ends(totals, resampled, tail)[::-1]


def metric(title, kind, check, fault, advice) -> Wrong:
    return Wrong(title, MetricConformance, lambda kit: kind(), check, fault, advice)


DECLARED = "test_gradient_is_where_it_is_declared"
AGAIN = "test_a_split_can_be_read_again"
ROW = "test_batch_of_one_is_a_row_of_the_batch"
WRONG = [
    objective("mean over the batch", Mean, "test_terms", "shape", "one number for each question"),
    objective("mean within each loss", AverageEverywhere, ROW, "alone has another loss", "no mean"),
    objective("no term named loss", OtherName, "test_terms", "nll", "'loss'"),
    objective(
        "declared and detached", GeneratorDetached, DECLARED, "is True, but", "do not detach"
    ),
    objective("undeclared gradient", Undeclared, DECLARED, "is False, but", "declare True"),
    objective(
        "declares nothing", DeclaresNothing, "test_needs_generator_gradient", "is None", "say True"
    ),
    objective(
        "loss on another device", Elsewhere, "test_terms", "is on meta", "where the evidence is"
    ),
    objective("wrong sign", WrongSign, "test_better_is_lower", "raises the loss", "turn its sign"),
    objective(
        "half detached",
        HalfDetached,
        "test_gradient_is_that_of_the_loss",
        "its gradient says",
        "do not detach",
    ),
    objective(
        "absent passages count",
        AbsentIsCertain,
        "test_absent_passages",
        "absent passage changes",
        "mask",
    ),
    objective("NaN gradient", NaNGradient, "test_absent_passages", "NaN|changes", "mask it before"),
    objective("counts padding", CountsPadding, "test_padding", "padding changes", "target_mask"),
    objective(
        "the first is right", FirstIsRight, "test_order_of_passages", "another order", "all alike"
    ),
    objective("standardised scores", Standardised, "test_one_passage", "K = 1", "do not divide"),
    objective(
        "writes to scores",
        WritesScores,
        "test_inputs_are_not_changed",
        "changed its input 'scores'",
        "copy",
    ),
    objective("noise", Noisy, "test_deterministic", "two losses", "at random"),
    task("a stream that is spent", OneShot, AGAIN, "second time", "afresh"),
    task("one cursor for all", OneCursor, AGAIN, "disturb each other", "in the iterator"),
    task("one id for all", SameIds, "test_ids_are_distinct", "have one id", "number them"),
    task(
        "unknown splits are empty",
        NoSplits,
        "test_unknown_split",
        "no example and no error",
        "names the splits",
    ),
    task("KeyError for a split", KeyErrors, "test_unknown_split", "raised KeyError", "DataError"),
    task("lists for tuples", Lists, "test_examples", "answers of example 0", "tuple of texts"),
    task("a text for a tuple", OneText, "test_examples", "answers of example 0", "tuple of texts"),
    task("drawn at random", Shuffled, "test_alike_however_made", "differ", "seed"),
    task("dicts", Dicts, "test_examples", "is dict", "ragkit.protocols.Example"),
    task(
        "unknown metric", UnknownMetric, "test_metrics", "raised UnknownName", "ragkit components"
    ),
    task(
        "nothing known",
        NothingKnown,
        "test_examples_are_judged_by_its_metrics",
        "neither answers",
        "leave it out",
    ),
    metric("one average", Average, "test_numbers", "list of 1", "one number for each"),
    metric("numpy numbers", Array, "test_numbers", "float64", "plain floats"),
    metric("infinite", Infinite, "test_numbers", "inf", "NaN where"),
    metric("cuts to the shorter", Cut, "test_unequal_numbers", "gave", "strict=True"),
    metric("relative to the batch", Relative, ROW, "one by one", "alone"),
    metric(
        "worse is better",
        Reversed,
        "test_right_is_better_than_wrong",
        "must be better",
        "set better",
    ),
    metric("stumbles", Stumbles, "test_odd_predictions", "raised IndexError", "NaN"),
    metric("needs one", NeedsOne, "test_no_predictions", "raised ValueError", "empty list"),
    metric(
        "sorts in place",
        SortsInPlace,
        "test_inputs_are_not_changed",
        "changed its input 'predictions'",
        "copy",
    ),
    metric("random", Drawn, "test_deterministic", "other numbers", "at random"),
    metric("label of two", Labelled, "test_label", "label is", "short text"),
    metric("a row is missing", ShortRows, "test_statistics", r"of shape \(", "a row for each"),
    metric("rows of one number", Flat, "test_statistics", r"of shape \(\d+,\)", r"\(N,S\)"),
    metric("none is narrow", OneColumnOfNone, "test_statistics", r"\(0, 1\)", r"give \(0,2\)"),
    metric("unknown is zero", ZeroWhereUnknown, "test_statistics", "NaN at", "all NaN where"),
    metric("by position", ByPosition, "test_statistics", "another order", "other statistics"),
    metric("one figure for all", OneFigure, "test_pooled", r"shape \(\)", "one figure for each"),
    metric("sets together", Together, "test_pooled", "sums alone", "another figure"),
    metric("infinite figure", Endless, "test_pooled", "inf|nan", "finite figure"),
    metric("turned ends", Turned, "test_ends", "the figure is", "hold the one within"),
    objective(
        "looks for a gradient",
        LooksForGradient,
        "test_without_generator_gradient",
        "depends on whether",
        "token_logp",
    ),
]
