"""The laws of a retriever: the K best passages of each question, with the prior's logits.

Knows `ragkit.protocols.Retriever` and what a `Retrieved` must be (section 2.2); no index,
no encoder, no knowledge base.
"""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from ragkit.protocols import Passage, Retrieved, SupportsFilter, SupportsSave
from ragkit.testing import files, samples
from ragkit.testing.asserting import attempt, must, refused, same, unchanged
from ragkit.testing.kit import Conformance
from ragkit.testing.learning import check_gradient, numbers
from ragkit.testing.threads import together


class RetrieverConformance(Conformance):
    """The laws of a `Retriever`; ``make()`` returns one over exactly ``self.passages``.

    Row i of what it retrieves from is ``self.passages[i]``; write what it needs below
    ``self.folder()``.

    learns: whether scores carry a gradient; by default, whether it has parameters that
        require one.
    steady: whether the score of a passage is the same whatever k and whatever is allowed;
        False for ranks that are fused.
    """

    role = "retriever"
    learns: ClassVar[bool | None] = None
    steady: ClassVar[bool] = True
    passages: ClassVar[tuple[Passage, ...]] = samples.PASSAGES
    questions: ClassVar[tuple[str, ...]] = samples.QUESTIONS

    # -------------------------------------------------------------------- the answer

    def test_shapes_and_dtypes(self) -> None:
        """What is retrieved: B × K passages, ids int64, scores floating point, mask bool (B,K)."""
        for questions, k in ((self.questions, 3), (self.questions[:1], 1)):
            found = self._retrieve(self.made(), questions, k)
            shape = (len(questions), k)
            numbers(found.scores, shape, "scores of what was retrieved")
            for name, dtype in (("ids", torch.int64), ("mask", torch.bool)):
                table = getattr(found, name)
                must(
                    isinstance(table, Tensor) and tuple(table.shape) == shape,
                    f"{name} of what was retrieved must be a tensor {shape}",
                )
                must(table.dtype == dtype, f"{name} is {table.dtype}; it must be {dtype}")
                must(
                    table.device == found.scores.device,
                    f"{name} is on {table.device} and scores on {found.scores.device}; put both on "
                    "one device",
                )
            must(
                len(found.passages) == shape[0] and all(len(row) == k for row in found.passages),
                f"passages of what was retrieved must be {shape[0]} × {k}, None where absent",
            )

    def test_best_first(self) -> None:
        """Passages come best first, and none comes twice."""
        found = self._retrieve(self.made(), self.questions, len(self.passages))
        scores = found.scores.detach()
        must(
            (scores[:, 1:] <= scores[:, :-1]).all(),
            "scores rise along a row; sort passages, ids and scores together, greatest first",
        )
        for row in found.ids.tolist():
            held = [one for one in row if one >= 0]
            must(len(set(held)) == len(held), f"a passage comes twice in {row}; give it once")

    def test_passages_are_those_of_the_ids(self) -> None:
        """Passage, id and mask say the same: id i is row i of what is retrieved from."""
        found = self._retrieve(self.made(), self.questions, 5)
        for row, ids, mask in zip(
            found.passages, found.ids.tolist(), found.mask.tolist(), strict=True
        ):
            for passage, number, present in zip(row, ids, mask, strict=True):
                must(
                    present == (number >= 0) == (passage is not None),
                    f"mask {present}, id {number} and passage {passage!r:.60} disagree; absent is "
                    "False, -1 and None",
                )
                must(
                    passage is None
                    or (number < len(self.passages) and passage == self.passages[number]),
                    f"id {number} came with the passage {getattr(passage, 'id', None)!r}, and row "
                    f"{number} is another; ids are row numbers, from 0, in the order of "
                    "self.passages",
                )

    def test_prior_is_a_distribution(self) -> None:
        """Scores are the logits of p(z|x): their softmax over K sums to 1, absent passages 0."""
        found = self._retrieve(self.made(), self.questions, len(self.passages) + 2)
        present = found.scores.detach()[found.mask]
        must(present.isfinite().all(), "a passage that is there has a score that is not finite")
        prior = found.prior().detach().exp()
        same(
            prior.sum(dim=1),
            torch.ones(len(prior)),
            self.tolerance,
            "the prior of a question does not sum to 1; is there no passage at all for it?",
        )
        must(
            (prior[~found.mask] == 0).all(),
            "an absent passage has a share of the prior; its score must be -inf",
        )

    def test_scores_by_retriever(self) -> None:
        """scores_by, where it fuses others, holds (B,K) of each, -inf where that found nothing."""
        found = self._retrieve(self.made(), self.questions, len(self.passages) + 2)
        if not found.scores_by:
            self.skip("it fuses no other retrievers: scores_by is empty")
        given = torch.zeros_like(found.mask)
        for name, table in found.scores_by.items():
            must(
                isinstance(name, str) and tuple(table.shape) == tuple(found.scores.shape),
                f"scores_by[{name!r}] must be (B,K), as scores are",
            )
            must(
                torch.isneginf(table.detach()[~found.mask]).all(),
                f"scores_by[{name!r}] has a score where a passage is absent; put -inf",
            )
            given |= table.detach().isfinite().to(given.device)
        must(
            given[found.mask].all(),
            "a passage was found that no retriever in scores_by gave a score",
        )

    def test_k_above_the_number_of_passages(self) -> None:
        """Where fewer than k exist the rest is absent: None, id -1, score -inf, mask False."""
        k = len(self.passages) + 4
        found = self._retrieve(self.made(), self.questions, k)
        self._padded(found, len(self.passages), k)

    def test_k_best_begin_the_more_best(self) -> None:
        """The k best are the first of the k + 3 best, with the same scores."""
        if not self.steady:
            self.skip("steady is False: scores depend on what else is retrieved")
        retriever = self.made()
        few = self._retrieve(retriever, self.questions, 2)
        more = self._retrieve(retriever, self.questions, 5)
        same(
            few.ids, more.ids[:, :2], 0, "a smaller k retrieves other passages; rank all, then cut"
        )
        same(
            few.scores,
            more.scores[:, :2],
            self.tolerance,
            "a passage has another score with a smaller k; scores are logits of the prior and must "
            "not be normalised over the k (or set steady = False and say why)",
        )

    # -------------------------------------------------------------- what must not matter

    def test_deterministic(self) -> None:
        """The same question retrieves the same."""
        retriever = self.made()
        first = self._retrieve(retriever, self.questions, 4)
        self._same(self._retrieve(retriever, self.questions, 4), first, "the same questions again")

    def test_batch_of_one_is_a_row_of_the_batch(self) -> None:
        """A question alone, or among others in another order, retrieves the same."""
        retriever = self.made()
        batch = self._retrieve(retriever, self.questions, 4)
        for b, question in enumerate(self.questions):
            alone = self._retrieve(retriever, [question], 4)
            self._same(alone, _rows(batch, [b]), f"question {b} alone")
        order = list(range(len(self.questions)))[::-1]
        back = self._retrieve(retriever, [self.questions[b] for b in order], 4)
        self._same(back, _rows(batch, order), "questions in another order")

    def test_inputs_are_not_changed(self) -> None:
        """The list of questions is left as it was."""
        retriever, questions = self.made(), list(self.questions)
        with unchanged("retrieve", questions=questions):
            retriever.retrieve(questions, 3)

    def test_thread_safety(self) -> None:
        """Retrieving from several threads gives what it gives alone."""
        retriever = self.made()
        several = [[q, q] for q in self.questions]
        with torch.no_grad():
            alone = [self._retrieve(retriever, questions, 3) for questions in several]

        def work(i: int) -> Retrieved:
            with torch.no_grad():
                return self._retrieve(retriever, several[i], 3)

        for i, answers in enumerate(together(work, len(several), 6)):
            for found in answers:
                self._same(found, alone[i], "questions of several threads at once")

    # --------------------------------------------------------------------- bad input

    def test_k_below_one_is_refused(self) -> None:
        """k must be a whole number of at least 1."""
        retriever = self.made()
        for k in (0, -2):
            refused(
                f"retrieve with k = {k}",
                partial(retriever.retrieve, list(self.questions), k),
                "refuse it",
            )

    def test_any_question(self) -> None:
        """Empty questions, other scripts and unknown words still have a prior."""
        odd = ["", "北京 Łódź", "zzzqqq xxyyzz", "?!"]
        with attempt("retrieve with odd questions", "retrieve something for whatever is asked"):
            found = self.made().retrieve(odd, 3)
        must(
            found.mask[:, 0].all() and found.prior().detach()[:, 0].isfinite().all(),
            "an odd question has no passage with a finite score, so its prior is NaN; give it some "
            "passages, all with one score if need be",
        )

    # ----------------------------------------------------------------------- learning

    def test_gradient_of_scores(self) -> None:
        """Scores carry a gradient if the retriever learns, else none; none under no_grad."""
        retriever = self.made()
        k = len(self.passages) + 2  # absent passages too: they must not make it NaN
        check_gradient(
            retriever,
            lambda: self._retrieve(retriever, self.questions, k).scores,
            "the scores of what was retrieved",
            self.learns,
        )

    # --------------------------------------------------------------------- abilities

    def test_retrieve_from(self) -> None:
        """SupportsFilter: only allowed passages, the best of them, absent beyond."""
        retriever = self.made()
        self.needs(retriever, SupportsFilter)
        chosen = [5, 1, 8]
        allowed = {self.passages[row].id for row in chosen}
        with self.declared(retriever, SupportsFilter), unchanged("retrieve_from", allowed=allowed):
            found = retriever.retrieve_from(list(self.questions), 2, allowed)
        held = found.ids[found.mask].tolist()
        must(
            set(held) <= set(chosen),
            f"retrieve_from found row {sorted(set(held) - set(chosen))} that is not allowed; keep "
            "to the ids that are",
        )
        self._padded(found, len(chosen), 2)
        wide = retriever.retrieve_from(list(self.questions), 5, allowed)
        self._padded(wide, len(chosen), 5)
        if not self.steady:
            return
        everything = self._retrieve(retriever, self.questions, len(self.passages))
        for b, row in enumerate(everything.ids.tolist()):
            best = [number for number in row if number in chosen]
            got = [number for number in wide.ids[b].tolist() if number in best]
            must(
                got == best,
                f"retrieve_from ranks the allowed passages {got}, and retrieve ranks them {best}; "
                "rank among the allowed, do not filter the k best",
            )

    def test_bad_filters_are_refused(self) -> None:
        """SupportsFilter: an empty set of ids, and ids that nobody knows, are refused."""
        retriever = self.made()
        self.needs(retriever, SupportsFilter)
        with self.declared(retriever, SupportsFilter):
            retriever.retrieve_from(list(self.questions), 1, {self.passages[0].id})
        for what, allowed in (("no ids", set()), ("an unknown id", {"no such id"})):
            refused(
                f"retrieve_from with {what}",
                partial(retriever.retrieve_from, list(self.questions), 1, allowed),
                "refuse it",
            )

    def test_saved_and_loaded(self) -> None:
        """SupportsSave: what was saved retrieves the same when it is loaded."""
        retriever = self.made()
        self.needs(retriever, SupportsSave)
        before = self._retrieve(retriever, self.questions, 4)
        with self.declared(retriever, SupportsSave):
            directory = files.saved(retriever, self.folder())
        files.check_no_pickle(directory)
        again = files.loaded(retriever, directory)
        self._same(
            self._retrieve(again, self.questions, 4),
            before,
            "the loaded retriever (save all that scores depend on)",
        )

    # ----------------------------------------------------------------------- helpers

    def _retrieve(self, retriever: Any, questions: Any, k: int) -> Retrieved:
        with attempt(f"retrieve(questions, {k})", "it must return a ragkit.protocols.Retrieved"):
            found = retriever.retrieve(list(questions), k)
        for name in ("passages", "ids", "scores", "mask"):
            must(
                hasattr(found, name),
                f"retrieve returned {type(found).__name__} without {name}; return a "
                "ragkit.protocols.Retrieved",
            )
        for name in ("ids", "scores", "mask"):
            table = getattr(found, name)
            must(
                isinstance(table, Tensor) and tuple(table.shape) == (len(questions), k),
                f"{name} of what was retrieved must be a tensor ({len(questions)}, {k}); pad with "
                "-1, -inf and False where there are fewer passages",
            )
        answer: Retrieved = found
        return answer

    def _same(self, got: Retrieved, want: Retrieved, what: str) -> None:
        same(
            got.scores,
            want.scores,
            self.tolerance,
            f"{what}: other scores; the answer to a question must depend on that question alone",
        )
        same(got.ids, want.ids, 0, f"{what}: other passages; break ties by row number")
        must(
            [list(row) for row in got.passages] == [list(row) for row in want.passages],
            f"{what}: other passages",
        )

    def _padded(self, found: Retrieved, exist: int, k: int) -> None:
        mask = found.mask.cpu()
        must(
            mask.sum(dim=1).eq(min(exist, k)).all(),
            f"{mask.sum(dim=1).tolist()} passages for k = {k} where {exist} exist; give "
            f"{min(exist, k)}, and mark the rest as absent",
        )
        must(
            (found.ids.cpu()[~mask] == -1).all()
            and torch.isneginf(found.scores.detach().cpu()[~mask]).all(),
            "an absent passage has another id than -1 or another score than -inf; 0 would be above "
            "real scores",
        )
        must(
            (mask[:, 1:] <= mask[:, :-1]).all(),
            "an absent passage stands before a present one; put those at the end",
        )
        for row, present in zip(found.passages, mask.tolist(), strict=True):
            must(
                [one is not None for one in row] == present,
                "passages of what was retrieved do not agree with mask; put None where absent",
            )


def _rows(found: Retrieved, rows: list[int]) -> Retrieved:
    passages = [found.passages[b] for b in rows]
    return Retrieved(passages, found.ids[rows], found.scores[rows], found.mask[rows])
