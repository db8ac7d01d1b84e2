"""The objective ``fid-distillation``: the reader learns from answers, the retriever from it.

−log p(y|x) + KL(a‖p(z|x)), where a is the softmax of the reader's passage scores, held
fixed: Izacard & Grave 2021, section 3.3. Under the marginalizer ``none`` the likelihood
has no gradient by the prior, so this is how a retriever learns beside a generator that
fuses. Knows `ragkit.protocols.Evidence` and what its reading declares.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from ragkit.errors import ConfigError
from ragkit.protocols import Evidence, SupportsPassageScores


class Distillation:
    """The objective ``fid-distillation``.

    Args:
        weight: of the retriever's term.

    Raises:
        ConfigError: a negative weight.
    """

    conformance = "ragkit_fid.conformance:DistillationConformance"

    needs_generator_gradient = True

    def __init__(self, weight: float = 1.0) -> None:
        if weight < 0:
            raise ConfigError(f"weight is {weight}; it must be 0 or more")
        self.weight = weight

    def __call__(self, evidence: Evidence) -> Mapping[str, Tensor]:
        """``loss``, and its parts ``nll`` and ``distillation``: (B,) each, in nats.

        Raises `ConfigError` where the generator does not say how it looked at passages.
        """
        reading = evidence.reading
        if not isinstance(reading, SupportsPassageScores):
            raise ConfigError(
                f"the objective 'fid-distillation' needs passage scores, and "
                f"{type(reading).__name__} has none; type generator='fid', or "
                "objective='marginal'"
            )
        prior = evidence.scores.float().log_softmax(-1)  # (B,K)
        looked = reading.passage_scores().to(prior.device).log_softmax(-1)  # (B,K)
        gap = looked.exp() * (looked - prior)  # (B,K), at absent passages 0·(-inf + inf)
        divergence = gap.masked_fill(~evidence.mask, 0.0).sum(-1)  # (B,)
        nll = -evidence.marginalizer.log_likelihood(
            prior, evidence.token_logp, evidence.target_mask
        )  # (B,)
        return {
            "loss": nll + self.weight * divergence,
            "nll": nll,
            "distillation": divergence,
        }
