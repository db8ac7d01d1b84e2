"""Wrong marginalizers: mutants of RAG-Sequence and RAG-Token."""

from __future__ import annotations

import torch

from ragkit.marginalize.rag_sequence import RagSequence
from ragkit.marginalize.rag_token import RagToken
from ragkit.testing import MarginalizerConformance
from testing.wrong.record import Wrong


def joint(prior, token_logp, mask):
    return prior + (token_logp * mask[:, None]).sum(-1)


class PriorTwice(RagSequence):
    def log_likelihood(self, prior, token_logp, mask):
        return (prior + joint(prior, token_logp, mask)).logsumexp(-1)


class PriorTwicePosterior(RagToken):
    def posterior(self, prior, token_logp, mask):
        return super().posterior(2 * prior, token_logp, mask)


class NoPrior(RagSequence):
    def log_likelihood(self, prior, token_logp, mask):
        return super().log_likelihood(torch.zeros_like(prior), token_logp, mask)


class UniformPrior(RagSequence):
    def log_likelihood(self, prior, token_logp, mask):
        return super().log_likelihood(torch.zeros_like(prior).log_softmax(-1), token_logp, mask)


class PriorAtEveryToken(RagSequence):
    """RAG-Token's formula under the name of RAG-Sequence."""

    log_likelihood = RagToken.log_likelihood


class PriorAtTheFirstTokenAlone(RagToken):
    """As though passages were equally likely after the first token."""

    def log_likelihood(self, prior, token_logp, mask):
        flat = torch.zeros_like(prior).log_softmax(-1)
        first = (prior[:, :, None] + token_logp).logsumexp(1)[:, :1]
        others = (flat[:, :, None] + token_logp).logsumexp(1)[:, 1:]
        return (torch.cat([first, others], 1) * mask).sum(-1)


class Unnormalised(RagSequence):
    def posterior(self, prior, token_logp, mask):
        return joint(prior, token_logp, mask)


class IgnoresTheMask(RagToken):
    def log_likelihood(self, prior, token_logp, mask):
        return super().log_likelihood(prior, token_logp, torch.ones_like(mask))


class PerToken(RagSequence):
    def log_likelihood(self, prior, token_logp, mask):
        mean = (token_logp * mask[:, None]).sum(-1) / mask.sum(-1)[:, None]
        return (prior + mean).logsumexp(-1)


class WithoutEos(RagToken):
    def log_likelihood(self, prior, token_logp, mask):
        shorter = mask.clone()
        shorter[torch.arange(len(mask)), mask.sum(1) - 1] = False
        return super().log_likelihood(prior, token_logp, shorter)


class BestPassage(RagSequence):
    """The likeliest passage in place of the sum."""

    def log_likelihood(self, prior, token_logp, mask):
        return joint(prior, token_logp, mask).amax(-1)


class SumOfTheBatch(RagSequence):
    def log_likelihood(self, prior, token_logp, mask):
        return super().log_likelihood(prior, token_logp, mask).mean().expand(len(prior))


class Scalar(RagSequence):
    def log_likelihood(self, prior, token_logp, mask):
        return super().log_likelihood(prior, token_logp, mask).sum()


class LeavesLogSpace(RagSequence):
    def log_likelihood(self, prior, token_logp, mask):
        return joint(prior, token_logp, mask).exp().sum(-1).log()


class AbsentCounts(RagToken):
    """Takes an absent passage for one of small prior, and its 0 for certainty."""

    def log_likelihood(self, prior, token_logp, mask):
        return super().log_likelihood(prior.clamp(min=-5.0), token_logp, mask)


class NaNWhereAbsent(RagSequence):
    def log_likelihood(self, prior, token_logp, mask):
        whole = joint(prior, token_logp, mask)
        weights = whole.softmax(-1)
        return (weights * (whole - weights.log())).sum(-1)


class Detached(RagSequence):
    def log_likelihood(self, prior, token_logp, mask):
        return super().log_likelihood(prior.detach(), token_logp, mask)


class GeneratorDetached(RagSequence):
    def log_likelihood(self, prior, token_logp, mask):
        return super().log_likelihood(prior, token_logp.detach(), mask)


class FirstPassageFirst(RagSequence):
    """Half of the weight to the passage that was retrieved first."""

    def log_likelihood(self, prior, token_logp, mask):
        half = torch.full_like(prior, -torch.inf)
        half[:, 0] = 0.0
        mixed = torch.logaddexp(prior, half) - torch.tensor(2.0).log()
        return super().log_likelihood(mixed, token_logp, mask)


class FillsInPlace(RagToken):
    def log_likelihood(self, prior, token_logp, mask):
        token_logp -= 0.5
        return super().log_likelihood(prior, token_logp, mask)


class PosteriorWithoutPrior(RagSequence):
    def posterior(self, prior, token_logp, mask):
        return super().posterior(torch.where(prior.isneginf(), prior, 0.0), token_logp, mask)


class SaysItFuses(RagToken):
    fuses = True


def wrong(title, kind, check, fault, advice, /, **settings) -> Wrong:
    return Wrong(title, MarginalizerConformance, lambda kit: kind(), check, fault, advice, settings)


SEQUENCE, TOKEN = {"kind": "sequence"}, {"kind": "token"}
WRONG = [
    wrong("prior twice", PriorTwice, "test_equal_passages", "prior is applied twice", "sum to 1"),
    wrong(
        "prior twice in the posterior",
        PriorTwicePosterior,
        "test_gradient_is_the_posterior",
        "not the posterior",
        "prior is applied twice",
    ),
    wrong("prior not at all", NoPrior, "test_equal_passages", "not at all", "sum to 1"),
    wrong(
        "uniform prior",
        UniformPrior,
        "test_prior_decides",
        "not that of passage",
        "weigh passages by the prior",
    ),
    wrong(
        "prior at every token",
        PriorAtEveryToken,
        "test_formula",
        "not that of kind = 'sequence'",
        "once for the whole output",
        **SEQUENCE,
    ),
    wrong(
        "prior at the first token alone",
        PriorAtTheFirstTokenAlone,
        "test_formula",
        "not that of kind = 'token'",
        "once for every token",
        **TOKEN,
    ),
    wrong(
        "posterior not normalised",
        Unnormalised,
        "test_posterior_is_a_distribution",
        "does not sum to 1",
        "log softmax",
    ),
    wrong(
        "ignores the mask",
        IgnoresTheMask,
        "test_padding",
        "padding changes",
        "only where mask is True",
    ),
    wrong("mean over tokens", PerToken, "test_one_passage", "not the sum", "divide by the length"),
    wrong("EOS left out", WithoutEos, "test_a_token_counts_once", "does not count once", "EOS"),
    wrong(
        "the best passage for the sum",
        BestPassage,
        "test_all_outputs_sum_to_one",
        "something else than 1",
        "mixture",
    ),
    wrong(
        "mean over the batch",
        SumOfTheBatch,
        "test_batch_of_one_is_a_row_of_the_batch",
        "alone has another",
        "never sum over B",
    ),
    wrong("one number for all", Scalar, "test_shapes", "shape", "one number a question"),
    wrong(
        "leaves log space",
        LeavesLogSpace,
        "test_long_outputs_underflow_nowhere",
        "-10000",
        "logsumexp",
    ),
    wrong(
        "absent passages count",
        AbsentCounts,
        "test_absent_passages",
        "absent passage changes",
        "weigh it with its prior",
    ),
    wrong(
        "NaN where absent",
        NaNWhereAbsent,
        "test_absent_passages",
        "absent passage changes|NaN",
        "prior",
    ),
    wrong(
        "no gradient to retrieval",
        Detached,
        "test_gradient_is_the_posterior",
        "no gradient into the prior",
        "as given",
    ),
    wrong(
        "no gradient to the generator",
        GeneratorDetached,
        "test_gradient_of_tokens",
        "no gradient into the generator",
        "gradient",
    ),
    wrong(
        "prefers the first",
        FirstPassageFirst,
        "test_order_of_passages",
        "another order",
        "all alike",
    ),
    wrong(
        "fills in place",
        FillsInPlace,
        "test_inputs_are_not_changed",
        "changed its input 'token_logp'",
        "copy",
    ),
    wrong(
        "says that it fuses",
        SaysItFuses,
        "test_fusion_is_declared",
        "fuses is True",
        "refuses such generators",
        kind="token",
    ),
    wrong(
        "posterior without prior",
        PosteriorWithoutPrior,
        "test_posterior_of_equal_passages",
        "is not the prior",
        "once",
    ),
]
