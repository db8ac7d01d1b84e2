"""The laws of a marginalizer: p(y|x) is a probability, the prior counts once, what decode
reports is what scoring gives.

Compared with sums in plain Python and with the enumeration of all outputs over a tiny
vocabulary (`ragkit.testing.tables`). Knows `ragkit.protocols.Marginalizer` (section 2.1 and
2.5); no model. The laws of decoding stand in `ragkit.testing.decode`.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from ragkit.testing import tables
from ragkit.testing.asserting import attempt, must, same, unchanged
from ragkit.testing.decode import DecodeConformance

Case = tuple[Tensor, Tensor, Tensor]
"""prior (B,K), token_logp (B,M,T), mask (B,T)."""


class MarginalizerConformance(DecodeConformance):
    """The laws of a `Marginalizer`.

    kind: what it computes, where it is one of these. ``sequence``: log Σ_z p(z|x) Π_i p(y_i|z).
        ``token``: Σ_i log Σ_z p(z|x) p(y_i|z). ``fused``: one pair a question (M = 1) that holds
        all passages, the prior aside. By default only laws that hold for any mixture.
    exact: whether decode reports log p(y|x) itself; False for one that leaves passages out, so
        that it reports less (Fast).
    """

    role = "marginalizer"
    kind: ClassVar[Literal["sequence", "token", "fused"] | None] = None

    # ------------------------------------------------------------------ the likelihood

    def test_shapes(self) -> None:
        """log_likelihood gives (B,) below 0, posterior (B,K), or (B,K,T) by token."""
        prior, logp, mask = self._case()
        marginalizer = self.made()
        value = self._likelihood(marginalizer, prior, logp, mask)
        must(
            value.isfinite().all() and (value <= 1e-6).all(),
            f"log_likelihood is {value.tolist()}; it must be log-probabilities, finite and not "
            "above 0",
        )
        self._posterior(marginalizer, prior, logp, mask)

    def test_fusion_is_declared(self) -> None:
        """SupportsFusion: fuses is True if, and only if, its kind is ``fused``."""
        fuses = bool(getattr(self.made(), "fuses", False))
        must(
            fuses == self._fused(),
            f"fuses is {fuses} and kind is {self.kind!r}; declare fuses = True where one pair a "
            "question holds all passages, for ragkit refuses such generators without it",
        )

    def test_formula(self) -> None:
        """log_likelihood is the formula of its kind, summed in plain Python."""
        if self.kind is None:
            self.skip(f"set kind in {type(self).__name__} where it is sequence, token or fused")
        for seed in range(3):
            prior, logp, mask = self._case(seed)
            got = self._likelihood(self.made(), prior, logp, mask)
            want = [
                _formula(self.kind, prior[b].tolist(), logp[b].tolist(), mask[b].tolist())
                for b in range(len(prior))
            ]
            same(
                got,
                torch.tensor(want),
                self.tolerance,
                f"log_likelihood is not that of kind = {self.kind!r}; the prior counts once for "
                + ("every token" if self.kind == "token" else "the whole output"),
            )

    def test_one_passage(self) -> None:
        """With one passage p(y|x) is the model's own: the sum of its tokens."""
        _, logp, mask = self._case()
        one = logp[:, :1]
        same(
            self._likelihood(self.made(), torch.zeros(len(one), 1), one, mask),
            (one[:, 0] * mask).sum(dim=-1),
            self.tolerance,
            "with one passage of prior 1 log_likelihood is not the sum of its token "
            "log-probabilities; do not divide by the length or count padding",
        )

    def test_equal_passages(self) -> None:
        """Where all passages say the same the prior does not matter: its mass counts once."""
        prior, logp, mask = self._case()
        alike = logp[:, :1].expand_as(logp)
        same(
            self._likelihood(self.made(), prior, alike, mask),
            (logp[:, 0] * mask).sum(dim=-1),
            self.tolerance,
            "where all passages give the same log-probabilities log_likelihood differs from them; "
            "the prior is applied twice, or not at all, or its mass does not sum to 1",
        )

    def test_prior_decides(self) -> None:
        """A passage of prior 1 speaks alone; those of prior 0 say nothing."""
        if self._fused():
            self.skip("a fused marginalizer does not look at the prior")
        _, logp, mask = self._case()
        for z in range(logp.shape[1]):
            prior = torch.full(logp.shape[:2], -torch.inf)
            prior[:, z] = 0.0
            same(
                self._likelihood(self.made(), prior, logp, mask),
                (logp[:, z] * mask).sum(dim=-1),
                self.tolerance,
                f"with prior 1 on passage {z} log_likelihood is not that of passage {z}; weigh "
                "passages by the prior, in log space",
            )

    def test_a_token_counts_once(self) -> None:
        """A token c nats likelier under every passage makes the output c nats likelier."""
        prior, logp, mask = self._case()
        marginalizer = self.made()
        before = self._likelihood(marginalizer, prior, logp, mask)
        for t in range(mask.shape[1]):
            likelier = logp.clone()
            likelier[:, :, t] += 0.25
            same(
                self._likelihood(marginalizer, prior, likelier, mask),
                before + 0.25 * mask[:, t],
                self.tolerance,
                f"token {t} does not count once; sum over the tokens whose mask is True, each "
                "once, the last (EOS) too",
            )

    def test_gradient_is_the_posterior(self) -> None:
        """∂ log p(y|x) / ∂ log p(z|x) is the posterior, summed over tokens where it is by token."""
        prior, logp, mask = self._case()
        marginalizer = self.made()
        posterior = self._posterior(marginalizer, prior, logp, mask)
        if self._fused():
            self.skip("a fused marginalizer does not look at the prior")
        free = prior.clone().requires_grad_()
        total = self._likelihood(marginalizer, free, logp, mask).sum()
        must(
            total.requires_grad,
            "log_likelihood carries no gradient into the prior, so retrieval cannot learn; compute "
            "it with torch from the prior as given",
        )
        (gradient,) = torch.autograd.grad(total, free)
        want = posterior.exp()
        if want.dim() == 3:
            want = (want * mask[:, None, :]).sum(dim=-1)
        same(
            gradient,
            want,
            self.tolerance,
            "the gradient of log_likelihood by log p(z|x) is not the posterior; the prior is "
            "applied twice, or posterior is of another formula than log_likelihood",
        )

    def test_gradient_of_tokens(self) -> None:
        """The gradient by token log-probabilities sums to 1 over passages, 0 at padding."""
        prior, logp, mask = self._case()
        free = logp.clone().requires_grad_()
        total = self._likelihood(self.made(), prior, free, mask).sum()
        must(total.requires_grad, "log_likelihood carries no gradient into the generator")
        (gradient,) = torch.autograd.grad(total, free)
        must(
            (gradient.masked_select(~mask[:, None, :].expand_as(gradient)) == 0).all(),
            "padding has a gradient; fill token_logp where mask is False before you sum",
        )
        same(
            gradient.sum(dim=1),
            mask.float(),
            self.tolerance,
            "the gradient by a token's log-probabilities does not sum to 1 over the passages; "
            "weigh passages by their posterior, which sums to 1",
        )

    # ------------------------------------------------------------------- the posterior

    def test_posterior_is_a_distribution(self) -> None:
        """The posterior sums to 1 over the passages, for each token where it is by token."""
        prior, logp, mask = self._case()
        found = self._posterior(self.made(), prior, logp, mask).exp().sum(dim=1)
        same(
            found,
            torch.ones_like(found),
            self.tolerance,
            "the posterior does not sum to 1 over the passages; take the log softmax over K",
        )

    def test_posterior_of_equal_passages(self) -> None:
        """Where all passages say the same the posterior is the prior."""
        prior, logp, mask = self._case()
        found = self._posterior(self.made(), prior, logp[:, :1].expand_as(logp), mask)
        want = prior if found.dim() == 2 else prior[:, :, None].expand_as(found)
        same(
            found.exp(),
            want.exp(),
            self.tolerance,
            "where all passages give the same log-probabilities the posterior is not the prior; "
            "the prior belongs into the posterior, once",
        )

    # -------------------------------------------------------------- what must not matter

    def test_padding(self) -> None:
        """What stands where mask is False does not matter."""
        prior, logp, mask = self._case()
        marginalizer = self.made()
        value = self._likelihood(marginalizer, prior, logp, mask)
        wide = torch.nn.functional.pad(mask, (0, 2))
        for rubbish in (-7.0, 0.0, 3.0):
            hidden = logp.masked_fill(~mask[:, None, :], rubbish)
            hidden = torch.nn.functional.pad(hidden, (0, 2), value=rubbish)
            same(
                self._likelihood(marginalizer, prior, hidden, wide),
                value,
                self.tolerance,
                f"the value {rubbish} at padding changes log_likelihood; count a token only where "
                "mask is True",
            )
            posterior = self._posterior(marginalizer, prior, hidden, wide)
            must(
                posterior.isfinite().all(),
                f"the value {rubbish} at padding makes the posterior infinite or NaN",
            )

    def test_absent_passages(self) -> None:
        """An absent passage (prior -inf, token log-probabilities 0) changes nothing."""
        if self._fused():
            self.skip("a fused marginalizer reads one pair, whatever was retrieved")
        prior, logp, mask = self._case()
        marginalizer = self.made()
        value = self._likelihood(marginalizer, prior, logp, mask)
        posterior = self._posterior(marginalizer, prior, logp, mask).exp()
        more = torch.nn.functional.pad(logp, (0, 0, 0, 1))
        wider = torch.nn.functional.pad(prior, (0, 1), value=-torch.inf)
        advice = "an absent passage changes {}; weigh it with its prior, which is 0"
        same(
            self._likelihood(marginalizer, wider, more, mask),
            value,
            self.tolerance,
            advice.format("log_likelihood"),
        )
        found = self._posterior(marginalizer, wider, more, mask).exp()
        same(found[:, :-1], posterior, self.tolerance, advice.format("the posterior"))
        must((found[:, -1] == 0).all(), "an absent passage has a posterior above 0")
        scores = wider.clone().requires_grad_()
        loss = -self._likelihood(marginalizer, scores.log_softmax(dim=1), more, mask).sum()
        (gradient,) = torch.autograd.grad(loss, scores)
        must(
            gradient.isfinite().all() and (gradient[:, -1] == 0).all(),
            "an absent passage makes the gradient NaN, or has one itself; never multiply with its "
            "log prior, which is -inf",
        )

    def test_order_of_passages(self) -> None:
        """Passages in another order give the same p(y|x), and their posteriors in that order."""
        if self._fused():
            self.skip("a fused marginalizer reads one pair, whatever was retrieved")
        prior, logp, mask = self._case()
        marginalizer, order = self.made(), [2, 0, 3, 1]
        message = "passages in another order give another {}; treat them all alike"
        same(
            self._likelihood(marginalizer, prior[:, order], logp[:, order], mask),
            self._likelihood(marginalizer, prior, logp, mask),
            self.tolerance,
            message.format("log_likelihood"),
        )
        same(
            self._posterior(marginalizer, prior[:, order], logp[:, order], mask),
            self._posterior(marginalizer, prior, logp, mask)[:, order],
            self.tolerance,
            message.format("posterior"),
        )

    def test_batch_of_one_is_a_row_of_the_batch(self) -> None:
        """A question alone has the likelihood and posterior that it has in a batch."""
        prior, logp, mask = self._case()
        marginalizer = self.made()
        value = self._likelihood(marginalizer, prior, logp, mask)
        posterior = self._posterior(marginalizer, prior, logp, mask)
        for b in range(len(prior)):
            one = (prior[b : b + 1], logp[b : b + 1], mask[b : b + 1])
            message = f"question {b} alone has another {{}} than in a batch; never sum over B"
            same(
                self._likelihood(marginalizer, *one)[0],
                value[b],
                self.tolerance,
                message.format("log_likelihood"),
            )
            same(
                self._posterior(marginalizer, *one)[0],
                posterior[b],
                self.tolerance,
                message.format("posterior"),
            )

    def test_long_outputs_underflow_nowhere(self) -> None:
        """p(y|x) of hundreds of tokens, and a prior of e^-10000, stay finite in log space."""
        width = 1 if self._fused() else 2
        prior = torch.tensor([[0.0, -1e4]]).log_softmax(dim=1)
        logp = torch.full((1, width, 500), -20.0)
        mask = torch.ones(1, 500, dtype=torch.bool)
        same(
            self._likelihood(self.made(), prior, logp, mask),
            torch.tensor([-1e4]),
            self.tolerance,
            "500 tokens of e^-20 do not have log p(y|x) = -10000; stay in log space (logsumexp)",
        )

    def test_inputs_are_not_changed(self) -> None:
        """Neither log_likelihood nor posterior changes what it is given."""
        prior, logp, mask = self._case()
        marginalizer = self.made()
        for name in ("log_likelihood", "posterior"):
            with unchanged(name, prior=prior, token_logp=logp, mask=mask):
                getattr(marginalizer, name)(prior, logp, mask)

    def test_all_outputs_sum_to_one(self) -> None:
        """Σ_y p(y|x) = 1 over all outputs of a tiny vocabulary."""
        marginalizer, (reading, prior) = self.made(), self._table()
        everything = tables.targets(tables.outputs())
        count = len(everything.tokens)
        for b in range(len(prior)):
            logp = reading.score(everything, reading.rows[b].expand(count, -1))  # (Y,M,T)
            value = self._likelihood(
                marginalizer, prior[b].expand(count, -1), logp, everything.mask
            )
            same(
                value.double().exp().sum(),
                torch.ones(()),
                max(self.tolerance, 1e-4),
                f"the probabilities of all {count} outputs sum to something else than 1; p(y|x) "
                "must be a mixture with the prior's weights",
            )

    # ------------------------------------------------------------------------ helpers

    def _case(self, seed: int = 0) -> Case:
        """B = 3 questions with K = 4 passages and outputs of T = 5 tokens, some shorter."""
        random = torch.Generator().manual_seed(seed)
        prior = (torch.randn(3, 4, generator=random) * 2).log_softmax(dim=1)
        width = 1 if self._fused() else 4
        logp = -torch.rand(3, width, 5, generator=random) * 3
        mask = torch.arange(5)[None, :] < torch.tensor([[5], [3], [1]])
        return prior, logp.masked_fill(~mask[:, None, :], 0.0), mask

    def _likelihood(self, marginalizer: Any, prior: Tensor, logp: Tensor, mask: Tensor) -> Tensor:
        with attempt("log_likelihood(prior, token_logp, mask)", "it must return (B,)"):
            found = marginalizer.log_likelihood(prior, logp, mask)
        must(
            isinstance(found, Tensor) and tuple(found.shape) == (len(prior),),
            f"log_likelihood gave the shape {tuple(getattr(found, 'shape', ()))}; it must be (B,) "
            f"= ({len(prior)},), one number a question",
        )
        tensor: Tensor = found
        return tensor


def _formula(kind: str, prior: list[float], logp: list[list[float]], mask: list[bool]) -> float:
    """One question's log p(y|x), from the definition (section 2.1)."""
    places = [t for t, counts in enumerate(mask) if counts]
    if kind == "fused":
        return sum(logp[0][t] for t in places)
    passages = range(len(prior))
    if kind == "token":
        return sum(
            math.log(sum(math.exp(prior[z]) * math.exp(logp[z][t]) for z in passages))
            for t in places
        )
    return math.log(
        sum(math.exp(prior[z]) * math.prod(math.exp(logp[z][t]) for t in places) for z in passages)
    )
