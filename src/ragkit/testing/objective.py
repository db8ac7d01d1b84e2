"""The laws of an objective: one loss a question, of what the evidence says and nothing else.

Tried with both of the paper's marginalizers (section 2.1 and 2.4). Knows
`ragkit.protocols.Evidence`; no model and no text.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from ragkit.marginalize.rag_sequence import RagSequence
from ragkit.marginalize.rag_token import RagToken
from ragkit.protocols import Evidence
from ragkit.testing.asserting import attempt, must, same, unchanged
from ragkit.testing.kit import Conformance


class ObjectiveConformance(Conformance):
    """The laws of an `Objective`.

    true_gradient: whether the gradient is that of the loss; False for one that takes a part
        of it for a constant on purpose (the posterior of EM, a target that is distilled).
    """

    role = "objective"
    true_gradient: ClassVar[bool] = True

    # ---------------------------------------------------------------------- the terms

    def test_terms(self) -> None:
        """It gives named terms (B,), finite, and one of them is ``loss``."""
        for evidence in self._evidences():
            with attempt("objective(evidence)", "it must return a mapping of terms"):
                terms = self.made()(evidence)
            must(
                isinstance(terms, Mapping) and "loss" in terms,
                f"the objective gave {_shown(terms)}; give a mapping with the term 'loss'",
            )
            for name, term in terms.items():
                must(
                    isinstance(term, Tensor) and tuple(term.shape) == (len(evidence.scores),),
                    f"the term {name!r} has the shape {tuple(getattr(term, 'shape', ()))}; give "
                    "one number for each question, (B,), for the mean is the trainer's to take",
                )
                must(
                    term.device == evidence.scores.device,
                    f"the term {name!r} is on {term.device} and the evidence on "
                    f"{evidence.scores.device}; compute it where the evidence is",
                )
                must(term.isfinite().all(), f"the term {name!r} is NaN or infinite")

    def test_needs_generator_gradient(self) -> None:
        """needs_generator_gradient is a truth value, known before the first step."""
        value = getattr(self.made(), "needs_generator_gradient", None)
        must(
            isinstance(value, bool),
            f"needs_generator_gradient is {value!r}; say True where the loss trains the generator, "
            "False where its log-probabilities are only looked at",
        )

    def test_deterministic(self) -> None:
        """The same evidence gives the same loss."""
        for evidence in self._evidences():
            objective = self.made()
            same(
                self._loss(objective, evidence),
                self._loss(objective, evidence),
                0.0,
                "the same evidence gives two losses; draw nothing at random, and keep nothing of a "
                "step",
            )

    # -------------------------------------------------------------- what must not matter

    def test_batch_of_one_is_a_row_of_the_batch(self) -> None:
        """A question alone has the loss that it has in a batch."""
        for evidence in self._evidences():
            loss = self._loss(self.made(), evidence)
            for b in range(len(loss)):
                alone = _map(evidence, lambda table, b=b: table[b : b + 1])
                same(
                    self._loss(self.made(), alone)[0],
                    loss[b],
                    self.tolerance,
                    f"question {b} alone has another loss than in a batch; take no mean or sum "
                    "over B, for accumulation and the last batch would change it",
                )

    def test_order_of_passages(self) -> None:
        """Passages in another order give the same loss."""
        for evidence in self._evidences():
            order = torch.tensor([2, 0, 3, 1])
            turned = replace(
                evidence,
                scores=evidence.scores[:, order],
                mask=evidence.mask[:, order],
                token_logp=evidence.token_logp[:, order],
            )
            same(
                self._loss(self.made(), turned),
                self._loss(self.made(), evidence),
                self.tolerance,
                "passages in another order give another loss; treat them all alike",
            )

    def test_absent_passages(self) -> None:
        """An absent passage (score -inf) changes neither loss nor gradient, and makes no NaN."""
        for evidence in self._evidences():
            pad = torch.nn.functional.pad
            wider = replace(
                evidence,
                scores=pad(evidence.scores, (0, 1), value=-torch.inf),
                mask=pad(evidence.mask, (0, 1)),
                token_logp=pad(evidence.token_logp, (0, 0, 0, 1)),
            )
            advice = "weigh it with its prior, which is 0, and mask it before you compute with it"
            same(
                self._loss(self.made(), wider),
                self._loss(self.made(), evidence),
                self.tolerance,
                f"an absent passage changes the loss; {advice}",
            )
            gradient = self._gradient(wider)[0]
            if gradient is not None:
                must(
                    gradient.isfinite().all() and (gradient[:, -1] == 0).all(),
                    f"an absent passage makes the gradient NaN, or has one itself; {advice}",
                )

    def test_padding(self) -> None:
        """What stands at the padding of targets does not matter."""
        for evidence in self._evidences():
            hidden = ~evidence.target_mask[:, None, :]
            rubbish = replace(evidence, token_logp=evidence.token_logp.masked_fill(hidden, -9.0))
            same(
                self._loss(self.made(), rubbish),
                self._loss(self.made(), evidence),
                self.tolerance,
                "a value at padding changes the loss; count tokens only where target_mask is True",
            )

    def test_one_passage(self) -> None:
        """One passage alone gives a finite loss and gradient."""
        for evidence in self._evidences():
            first = replace(
                evidence,
                scores=evidence.scores[:, :1],
                mask=evidence.mask[:, :1],
                token_logp=evidence.token_logp[:, :1],
            )
            must(
                self._loss(self.made(), first).isfinite().all(),
                "with K = 1 the loss is no number; do not divide by how scores differ",
            )
            for gradient in self._gradient(first):
                must(
                    gradient is None or gradient.isfinite().all(),
                    "with K = 1 the gradient is no number; do not divide by how scores differ",
                )

    def test_inputs_are_not_changed(self) -> None:
        """The evidence is left as it was."""
        for evidence in self._evidences():
            tables = {
                name: getattr(evidence, name)
                for name in ("scores", "mask", "token_logp", "target_mask")
            }
            with unchanged("the objective", **tables):
                self._loss(self.made(), evidence)

    # ----------------------------------------------------------------------- learning

    def test_gradient_is_where_it_is_declared(self) -> None:
        """Token log-probabilities have a gradient if, and only if, needs_generator_gradient."""
        for evidence in self._evidences():
            of_scores, of_tokens = self._gradient(evidence)
            declared = self.made().needs_generator_gradient
            reached = of_tokens is not None and bool((of_tokens != 0).any())
            must(
                reached or not declared,
                "needs_generator_gradient is True, but the loss has no gradient into token_logp; "
                "do not detach them, or declare False and save the memory",
            )
            must(
                not reached or declared,
                "needs_generator_gradient is False, but the loss has a gradient into token_logp, "
                "which training would then drop in silence; detach them, or declare True",
            )
            must(
                of_scores is not None or reached,
                "the loss has no gradient into scores nor token_logp, so nothing is trained",
            )

    def test_without_generator_gradient(self) -> None:
        """Token log-probabilities without gradient give the same loss, and the scores the same."""
        for evidence in self._evidences():
            attached, _ = self._gradient(evidence)
            if attached is None:
                self.skip("this objective trains the generator alone")
            scores = evidence.scores.clone().requires_grad_()
            loss = self._loss(self.made(), replace(evidence, scores=scores))
            must(
                loss.requires_grad,
                "with token_logp detached the loss has no gradient; compute it from scores",
            )
            (detached,) = torch.autograd.grad(loss.sum(), scores)
            same(
                detached,
                attached,
                self.tolerance,
                "the gradient into scores depends on whether token_logp carries one",
            )

    def test_better_is_lower(self) -> None:
        """A likelier target, and a higher score for its best passage, do not raise the loss."""
        for evidence in self._evidences():
            counted = evidence.target_mask[:, None, :] & evidence.mask[:, :, None]
            logp = evidence.token_logp.clone()
            logp[:, 0] = 0.2 * logp[:, 0]  # passage 0 is the best at every token
            logp[:, 1:] = (logp[:, 1:] - 0.7).masked_fill(~counted[:, 1:], 0.0)
            plain = replace(evidence, token_logp=logp)
            scores = evidence.scores.clone()
            scores[:, 0] += 0.5
            likelier = replace(plain, token_logp=(logp + 0.1 * counted).clamp(max=0.0))
            before = self._loss(self.made(), plain)
            rises = [
                (self._loss(self.made(), other) - before).detach()
                for other in (likelier, replace(plain, scores=scores))
            ]
            for rise, what in zip(
                rises,
                (
                    "a target that is likelier under every passage",
                    "a higher score for the passage under which the target is likeliest",
                ),
                strict=True,
            ):
                must(
                    (rise <= 1e-5).all(),
                    f"{what} raises the loss by {float(rise.max()):.4f}; the loss is minimised, so "
                    "turn its sign",
                )
            must(
                any(bool((rise < -1e-5).any()) for rise in rises),
                "neither a likelier target nor a higher score for its best passage lowers the "
                "loss, so nothing is learned; look at what it depends on",
            )

    def test_gradient_is_that_of_the_loss(self) -> None:
        """The loss changes by its gradient: what it depends on is not taken for a constant."""
        if not self.true_gradient:
            self.skip("true_gradient is False: something is taken for a constant on purpose")
        random, size = torch.Generator().manual_seed(5), 1e-2
        for evidence in self._evidences():
            gradients = self._gradient(evidence)
            for _ in range(4):
                way = [torch.randn(table.shape, generator=random) for table in _free(evidence)]
                way[1] = way[1] * (evidence.token_logp != 0)  # absent and padding stay 0
                ends = [
                    float(self._loss(self.made(), _moved(evidence, way, sign * size)).sum())
                    for sign in (1, -1)
                ]
                got = (ends[0] - ends[1]) / (2 * size)
                want = sum(
                    float((gradient * one)[gradient != 0].sum())
                    for gradient, one in zip(gradients, way, strict=True)
                    if gradient is not None
                )
                must(
                    abs(got - want) <= 2e-2 * (1 + abs(want)),
                    f"in one direction the loss changes by {got:.4f} and its gradient says "
                    f"{want:.4f}; do not detach what the loss depends on (or set true_gradient = "
                    "False where a posterior is taken for a constant on purpose)",
                )

    # ------------------------------------------------------------------------ helpers

    def _evidences(self) -> Iterator[Evidence]:
        random = torch.Generator().manual_seed(11)
        for marginalizer in (RagSequence(), RagToken()):
            mask = torch.ones(3, 4, dtype=torch.bool)
            mask[1, 3] = False
            scores = torch.randn(3, 4, generator=random).masked_fill(~mask, -torch.inf)
            target_mask = torch.arange(5)[None, :] < torch.tensor([[5], [3], [1]])
            logp = -torch.rand(3, 4, 5, generator=random) * 3
            present = target_mask[:, None, :] & mask[:, :, None]
            yield Evidence(scores, mask, logp.masked_fill(~present, 0.0), target_mask, marginalizer)

    def _loss(self, objective: Any, evidence: Evidence) -> Tensor:
        with attempt("objective(evidence)", "it must return a mapping of terms"):
            terms = objective(evidence)
        must(
            isinstance(terms, Mapping) and "loss" in terms,
            f"the objective gave {_shown(terms)}; give a mapping with the term 'loss'",
        )
        loss = terms["loss"]
        must(
            isinstance(loss, Tensor) and tuple(loss.shape) == (len(evidence.scores),),
            f"loss has the shape {tuple(getattr(loss, 'shape', ()))}; give one number for each "
            "question, (B,)",
        )
        tensor: Tensor = loss
        return tensor

    def _gradient(self, evidence: Evidence) -> tuple[Tensor | None, Tensor | None]:
        """Of the sum of losses, by scores (B,K) and by token_logp (B,K,T); None: there is none."""
        scores = evidence.scores.clone().requires_grad_()
        tokens = evidence.token_logp.clone().requires_grad_()
        loss = self._loss(self.made(), replace(evidence, scores=scores, token_logp=tokens)).sum()
        if not loss.requires_grad:
            return None, None
        found = torch.autograd.grad(loss, (scores, tokens), allow_unused=True)
        return found[0], found[1]


def _free(evidence: Evidence) -> tuple[Tensor, Tensor]:
    return evidence.scores, evidence.token_logp


def _moved(evidence: Evidence, way: list[Tensor], size: float) -> Evidence:
    """Scores and token log-probabilities, a step along a way."""
    scores, tokens = (one + size * step for one, step in zip(_free(evidence), way, strict=True))
    return replace(evidence, scores=scores, token_logp=tokens)


def _map(evidence: Evidence, change: Any) -> Evidence:
    names = ("scores", "mask", "token_logp", "target_mask")
    return replace(evidence, **{name: change(getattr(evidence, name)) for name in names})


def _shown(terms: Any) -> str:
    return f"the terms {list(terms)}" if isinstance(terms, Mapping) else type(terms).__name__
