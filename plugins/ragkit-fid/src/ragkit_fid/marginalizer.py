"""The marginalizer ``none``: log p(y|x) = Σ_i log p(y_i|x,z_1…z_K,y_<i), nothing is mixed.

For generators that fuse a question's passages into one pair (M = 1). There is no latent
passage, so the prior has no part in the likelihood, and by Bayes' rule an output tells
nothing of it: p(z|x,y) = p(z|x). That is the posterior given here; how much the reader
looked at each passage is another thing, and `SupportsPassageScores` gives it. Knows
nothing of models.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from transformers import GenerationConfig

from ragkit.errors import ConfigError
from ragkit.marginalize.rag_token import RagToken
from ragkit.protocols import Decoding, Hypothesis, Reading, Targets


class NoMixture:
    """The marginalizer ``none``; satisfies `ragkit.protocols.Marginalizer`, and fuses."""

    conformance = "ragkit_fid.conformance:NoMixtureConformance"

    fuses = True

    def log_likelihood(self, prior: Tensor, token_logp: Tensor, mask: Tensor) -> Tensor:
        """log p(y|x) (B,) of token_logp (B,1,T); the prior (B,K) is not looked at.

        Raises `ConfigError` where there is a likelihood for each passage.
        """
        _check_one(token_logp.shape[1])
        return token_logp[:, 0].masked_fill(~mask, 0.0).sum(-1)

    def posterior(self, prior: Tensor, token_logp: Tensor, mask: Tensor) -> Tensor:
        """log p(z|x,y) (B,K): the prior, for the output depends on no single passage.

        Raises `ConfigError` where there is a likelihood for each passage.
        """
        _check_one(token_logp.shape[1])
        return prior.log_softmax(-1)

    @torch.no_grad()
    def decode(
        self, reading: Reading, prior: Tensor, options: GenerationConfig
    ) -> list[list[Hypothesis]]:
        """Greedy, sampled or by beams, as transformers means the options; no hypotheses
        where a question has no passages.

        Raises `ConfigError` for a reading of one pair for each passage, and for options
        that cannot be honoured.
        """
        _check_one(reading.rows.shape[1])
        # A mixture over one pair is that pair, so RAG-Token's search is an ordinary one.
        with_passages = (reading.rows[:, 0] >= 0).nonzero().squeeze(-1)  # (A,)
        beams: list[list[Hypothesis]] = [[] for _ in range(len(prior))]
        if not len(with_passages):
            return beams
        alone = prior.new_zeros(len(with_passages), 1)  # (A,1) log 1
        found = RagToken().decode(_Part(reading, with_passages), alone, options)
        for b, beam in zip(with_passages.tolist(), found, strict=True):
            own = prior[b].float().cpu()  # (K,)
            beams[b] = [
                replace(one, prior=own, posterior=own, token_posterior=None) for one in beam
            ]
        return beams


class _Part:
    """A reading as some of its questions (A,) see it."""

    def __init__(self, reading: Reading, questions: Tensor) -> None:
        self.reading = reading
        self.rows = reading.rows[questions]  # (A,1)

    def score(self, targets: Targets, rows: Tensor) -> Tensor:
        return self.reading.score(targets, rows)

    def start(self, rows: Tensor) -> Decoding:
        return self.reading.start(rows)


def _check_one(n_read: int) -> None:
    if n_read != 1:
        raise ConfigError(
            f"the marginalizer 'none' mixes nothing, and this generator reads {n_read} passages "
            "one by one; type marginalizer='rag-sequence' or 'rag-token', or take a generator "
            "that fuses, such as 'fid'"
        )
