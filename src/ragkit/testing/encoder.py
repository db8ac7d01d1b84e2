"""The laws of an encoder: texts to vectors, one by one, whatever stands beside them.

Knows `ragkit.protocols.Encoder` (section 2.2: a score is q·d); no tokenizer, no model, no
knowledge base.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from ragkit.protocols import Passage, SupportsSave
from ragkit.testing import files, samples
from ragkit.testing.asserting import attempt, difference, must, same, unchanged
from ragkit.testing.kit import Conformance
from ragkit.testing.learning import check_gradient, numbers, step


class EncoderConformance(Conformance):
    """The laws of an `Encoder`; ``make()`` returns one, always with the same weights.

    learns: whether ``questions`` carries a gradient; by default, whether it has parameters
        that require one.
    """

    role = "encoder"
    learns: ClassVar[bool | None] = None
    question_texts: ClassVar[tuple[str, ...]] = samples.QUESTIONS
    passage_records: ClassVar[tuple[Passage, ...]] = samples.PASSAGES

    # -------------------------------------------------------------------- the answer

    def test_shapes_and_dtypes(self) -> None:
        """Questions give (B,D) and passages (N,D): finite floating point, D the dimension."""
        encoder = self.made()
        size = encoder.dimension
        must(
            isinstance(size, int) and size > 0,
            f"dimension is {size!r}; give D, a whole number above 0",
        )
        q, p = self._questions(encoder), self._passages(encoder)
        numbers(q, (len(self.question_texts), size), "the result of questions(texts)")
        numbers(p, (len(self.passage_records), size), "the result of passages(passages)")
        for what, found in (("a question", q), ("a passage", p)):
            must(found.isfinite().all(), f"the vector of {what} is NaN or infinite")

    def test_vectors_differ(self) -> None:
        """Different texts have different vectors."""
        encoder = self.made()
        for what, found in (
            ("questions", self._questions(encoder)),
            ("passages", self._passages(encoder)),
        ):
            spread = (found - found[:1]).abs().amax(dim=1)[1:]  # (B-1,)
            must(
                (spread > 0).all(),
                f"two {what} of different text have one vector; is the text read at all, with its "
                "mask?",
            )

    def test_title_and_text_count(self) -> None:
        """The vector of a passage depends on its text, and not on its id."""
        encoder = self.made()
        one = Passage("1", "Title", "the text of one passage")
        found = self._passages(encoder, [one, one._replace(id="2"), one._replace(text="another")])
        same(found[1], found[0], self.tolerance, "the vector depends on the id; encode the text")
        must(
            difference(found[2], found[0], self.tolerance),
            "the vector does not depend on the text of a passage; encode it",
        )

    def test_any_text(self) -> None:
        """Empty texts, other scripts and line breaks are encoded; a missing title is no fault."""
        encoder = self.made()
        texts = ["", "Łódź 北京 🙂", "two\nlines\tand a tab", "'“quoted”'"]
        with attempt("questions of odd texts", "encode whatever a user may type"):
            must(encoder.questions(texts).isfinite().all(), "an odd question has no finite vector")
        odd = [Passage(str(i), title, text) for i, text in enumerate(texts) for title in ("", "A")]
        with attempt("passages of odd texts", "encode whatever a file may hold"):
            must(encoder.passages(odd).isfinite().all(), "an odd passage has no finite vector")

    # -------------------------------------------------------------- what must not matter

    def test_deterministic(self) -> None:
        """The same text has the same vector, in one encoder and in another made alike."""
        encoder = self.made()
        q, p = self._questions(encoder), self._passages(encoder)
        other = self.made()
        for what, one in (("again", encoder), ("by another encoder that make() gave", other)):
            same(
                self._questions(one),
                q,
                self.tolerance,
                f"questions encoded {what} have other vectors; switch off dropout and fix seeds",
            )
            same(
                self._passages(one),
                p,
                self.tolerance,
                f"passages encoded {what} have other vectors; switch off dropout and fix seeds",
            )

    def test_batch_of_one_is_a_row_of_the_batch(self) -> None:
        """A text alone has the vector that it has in a batch: padding does not matter."""
        encoder = self.made()
        q, p = self._questions(encoder), self._passages(encoder)
        advice = "has another vector than in a batch; do not let padding be attended to or pooled"
        for b, text in enumerate(self.question_texts):
            alone = self._questions(encoder, [text])
            same(alone[0], q[b], self.tolerance, f"question {b} alone {advice}")
        for i, passage in enumerate(self.passage_records):
            alone = self._passages(encoder, [passage])
            same(alone[0], p[i], self.tolerance, f"passage {i} alone {advice}")

    def test_order_of_texts(self) -> None:
        """Texts in another order give the same vectors in that order, however many they are."""
        encoder = self.made()
        q, p = self._questions(encoder), self._passages(encoder)
        back = self._questions(encoder, self.question_texts[::-1])
        advice = "in another order have other vectors; row i must be that of text i"
        same(back.flip(0), q, self.tolerance, f"questions {advice}")
        many = [self.passage_records[i % len(p)] for i in range(131)]  # more than a batch
        found = self._passages(encoder, many)
        must(found.shape[0] == len(many), f"{len(many)} passages gave {found.shape[0]} vectors")
        want = p[torch.arange(len(many)) % len(p)]
        same(found, want, self.tolerance, f"passages {advice}, also where you sort them by length")

    def test_inputs_are_not_changed(self) -> None:
        """The lists of texts and passages are left as they were."""
        encoder = self.made()
        texts, passages = list(self.question_texts), list(self.passage_records)
        with unchanged("questions", texts=texts):
            encoder.questions(texts)
        with unchanged("passages", passages=passages):
            encoder.passages(passages)

    def test_passages_do_not_depend_on_training_mode(self) -> None:
        """Passages have the same vectors while the encoder is in training mode."""
        encoder = self.made()
        if not callable(getattr(encoder, "train", None)):
            self.skip(f"{type(encoder).__name__} has no train()")
        before = self._passages(encoder)
        encoder.train()
        same(
            self._passages(encoder),
            before,
            self.tolerance,
            "passages have other vectors after train(); keep the passage side in evaluation mode, "
            "for a knowledge base holds its vectors",
        )

    # ----------------------------------------------------------------------- learning

    def test_gradient_of_questions(self) -> None:
        """Questions carry a gradient if the encoder learns, else none; none under no_grad."""
        encoder = self.made()
        check_gradient(
            encoder,
            lambda: self._questions(encoder),
            "the vectors of questions",
            self.learns,
        )

    def test_passages_carry_no_gradient(self) -> None:
        """Passages carry no gradient: their side is frozen (section 2.4)."""
        encoder = self.made()
        with torch.enable_grad():
            found = self._passages(encoder)
        must(
            not found.requires_grad,
            "the vectors of passages carry a gradient, and memory grows with every passage; "
            "compute them within torch.no_grad()",
        )

    def test_fingerprint(self) -> None:
        """The fingerprint is a text that is the same for every encoder made alike."""
        encoder = self.made()
        first = encoder.fingerprint
        must(
            isinstance(first, str) and first.strip(),
            f"fingerprint is {first!r}; give a text that names weights, tokenizer and form",
        )
        self._passages(encoder)
        must(
            encoder.fingerprint == first and self.made().fingerprint == first,
            "fingerprint changes from call to call or from one encoder to another made alike, so "
            "each knowledge base would be refused; derive it from weights, tokenizer and form "
            "alone (make() must give the same weights each time)",
        )

    def test_fingerprint_names_the_passage_side(self) -> None:
        """A training step on questions leaves passages as they are, or changes the fingerprint."""
        encoder = self.made()
        with torch.enable_grad():
            q = self._questions(encoder)
        if not q.requires_grad:
            self.skip(f"{type(encoder).__name__} does not learn")
        before, name = self._passages(encoder), encoder.fingerprint
        weights = torch.linspace(-1, 1, q.numel(), device=q.device).view_as(q)
        with torch.enable_grad():
            step(encoder, (q * weights).sum())
        changed = difference(self._passages(encoder), before, self.tolerance)
        must(
            not changed or encoder.fingerprint != name,
            "training on questions changed the vectors of passages, but not the fingerprint, so "
            "vectors of another model would be searched; freeze the passage side (a copy of the "
            "weights), or let the fingerprint follow them",
        )

    # ----------------------------------------------------------------------- on disk

    def test_saved_and_loaded(self) -> None:
        """SupportsSave: the loaded encoder, also from a moved folder, gives the same vectors."""
        encoder = self.made()
        self.needs(encoder, SupportsSave)
        q, p = self._questions(encoder), self._passages(encoder)
        with self.declared(encoder, SupportsSave):
            directory = files.saved(encoder, self.folder())
        files.check_no_path(directory)
        again = files.loaded(encoder, files.moved(directory))
        advice = "have other vectors after load; save weights, tokenizer and every option"
        same(self._questions(again), q, self.tolerance, f"questions {advice}")
        same(self._passages(again), p, self.tolerance, f"passages {advice}")
        must(
            again.fingerprint == encoder.fingerprint,
            "the loaded encoder has another fingerprint, so its knowledge base would be refused; "
            "derive it from what is saved, never from a path or a time",
        )

    def test_no_pickle(self) -> None:
        """SupportsSave: saved files hold no pickle."""
        encoder = self.made()
        self.needs(encoder, SupportsSave)
        with self.declared(encoder, SupportsSave):
            directory = files.saved(encoder, self.folder())
        files.check_no_pickle(directory)

    # ----------------------------------------------------------------------- helpers

    def _questions(self, encoder: Any, texts: Any = None) -> Tensor:
        texts = list(self.question_texts if texts is None else texts)
        with attempt("questions(texts)", "it must return a tensor (B,D)"):
            found = encoder.questions(texts)
        return _table(found, len(texts), "questions")

    def _passages(self, encoder: Any, passages: Any = None) -> Tensor:
        passages = list(self.passage_records if passages is None else passages)
        with attempt("passages(passages)", "it must return a tensor (N,D)"):
            found = encoder.passages(passages)
        return _table(found, len(passages), "passages")


def _table(found: Any, count: int, what: str) -> Tensor:
    must(
        isinstance(found, Tensor),
        f"{what} gave {type(found).__name__}; give a torch tensor ({count}, D)",
    )
    must(
        found.dim() == 2 and len(found) == count,
        f"{count} {what} gave a tensor of shape {tuple(found.shape)}; it must be ({count}, D)",
    )
    tensor: Tensor = found
    return tensor
