"""What training minimises. The paper's: −log p(y|x), marginal over the passages (2.4).

An objective sees `ragkit.protocols.Evidence` and nothing else: no text, no model, no
vocabulary. Losses that came after the paper (EMDR², PDist, LSR …) need no more than
its scores, mask and gathered token log-probabilities.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from ragkit.protocols import Evidence


class Marginal:
    """−log p(y|x) of each question, with the gradient into retriever and generator.

    The gradient of a question's loss by score k is prior_k − posterior_k.
    """

    needs_generator_gradient = True

    def __call__(self, evidence: Evidence) -> Mapping[str, Tensor]:
        """``loss`` (B,) in nats."""
        prior = evidence.scores.float().log_softmax(dim=-1)  # (B,K)
        likelihood = evidence.marginalizer.log_likelihood(
            prior, evidence.token_logp, evidence.target_mask
        )  # (B,)
        return {"loss": -likelihood}
