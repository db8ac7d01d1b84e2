"""RAG-Token: a fresh passage for every token (section 2.1).

log p(y|x) = Σ_i log Σ_z p(z|x) p(y_i|x,z,y_<i), the prior the same at every step.
Knows nothing of where prior and log-probabilities come from.
"""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import GenerationConfig

from ragkit.marginalize.options import SearchOptions
from ragkit.marginalize.search import search
from ragkit.marginalize.writer import Writer, Written
from ragkit.protocols import Hypothesis, Reading


class RagToken:
    """The marginalizer ``rag-token``."""

    def log_likelihood(self, prior: Tensor, token_logp: Tensor, mask: Tensor) -> Tensor:
        """log p(y|x) (B,)."""
        mixed = (prior[:, :, None] + token_logp).logsumexp(1)  # (B,T)
        return mixed.masked_fill(~mask, 0.0).sum(-1)

    def posterior(self, prior: Tensor, token_logp: Tensor, mask: Tensor) -> Tensor:
        """log p(z|x,y_i,y_<i) (B,K,T), Figure 2; the prior itself at padding."""
        token_logp = token_logp.masked_fill(~mask[:, None, :], 0.0)
        return (prior[:, :, None] + token_logp).log_softmax(1)

    @torch.no_grad()
    def decode(
        self, reading: Reading, prior: Tensor, options: GenerationConfig
    ) -> list[list[Hypothesis]]:
        """p'(y_i|x,y_<i) in an ordinary decoder (section 2.5): greedy, sampled or beams.

        Ranked by the search's score: log p(y|x), divided by its length to the length
        penalty where there are beams.
        """
        chosen = SearchOptions.of(options, prior.device)
        n_questions = len(prior)
        alone = chosen.do_sample and chosen.num_beams == 1
        copies = chosen.n_best if alone else 1
        items = torch.arange(n_questions, device=prior.device).repeat_interleave(copies)
        start: int = options.decoder_start_token_id
        writer = Writer(reading.start(reading.rows[items]), prior.float(), items, start)
        found = search(writer, chosen, chosen.n_best)
        return [
            [self._hypothesis(one, prior[b].float().cpu(), chosen.forced) for one in beam]
            for b, beam in enumerate(found)
        ]

    def _hypothesis(self, one: Written, prior: Tensor, forced: int) -> Hypothesis:
        counted = torch.arange(len(one.tokens)) >= forced  # (T,)
        by_passage, mask = one.by_passage[None], counted[None]  # (1,K,T), (1,T)
        by_token = self.posterior(prior[None], by_passage, mask)[0]  # (K,T)
        likelihood = self.log_likelihood(prior[None], by_passage, mask)[0]
        # Of the output as a whole: the expected share of its tokens from each passage.
        shares = by_token[:, counted].exp().mean(-1) if counted.any() else prior.exp()
        return Hypothesis(
            tokens=one.tokens,
            log_likelihood=float(likelihood),
            score=one.score,
            prior=prior,
            posterior=shares.log(),
            token_posterior=by_token,
        )
