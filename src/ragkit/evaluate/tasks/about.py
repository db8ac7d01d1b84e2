"""What there is to know of a task before any file is opened: `About`.

Which files it is handed out in and where they come from, how many questions each split has,
what a model is asked, what it learns, how it is judged, and how the paper decodes. A task
says it in an attribute ``about``, a plugin's task as well as ragkit's own; ``ragkit tasks``
shows it. Imports nothing but the standard library.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

Factory = TypeVar("Factory", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Layout:
    """One form in which the files of a task are handed out.

    name: what to call it.
    files: of each split the files that make it, in order; ``"a|b"`` is a file that is known
        by two names. Each may also end in ``.gz``, and lie in a folder of the folder given.
    sizes: of each split the number of questions; several where editions differ. Splits that
        are not named have an unknown number.
    source: where the files come from.
    """

    name: str
    files: Mapping[str, tuple[str, ...]]
    sizes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    source: str = ""

    def known(self, split: str) -> tuple[int, ...]:
        """The numbers of questions that are right for a split; () where nobody knows."""
        return self.sizes.get(split, ())


@dataclass(frozen=True, slots=True)
class Decoding:
    """How the paper answers a task (appendix A).

    k: passages.
    options: of transformers' `GenerationConfig`.
    search: how RAG-Sequence adds up hypotheses, ``thorough`` or ``fast``; None for others.
    """

    k: int
    options: Mapping[str, Any] = field(default_factory=dict)
    search: str | None = None


@dataclass(frozen=True, slots=True)
class About:
    """All that is known of a task without its files.

    name: what it is called in configurations.
    title: what it is, in a line.
    layouts: the forms of its files, the first that is found is taken.
    asked: what the model is given as question.
    target: what training maximises.
    golds: what answers are compared with.
    metrics: names of metrics; what they give is set beside the paper's tables.
    decoding: of each marginalizer, as the paper decodes.
    each_answer: whether the paper trains on each (question, answer) pair by itself.
    notes: what else to know.
    """

    name: str
    title: str
    layouts: tuple[Layout, ...]
    asked: str
    target: str
    golds: str
    metrics: tuple[str, ...]
    decoding: Mapping[str, Decoding] = field(default_factory=dict)
    each_answer: bool = False
    notes: tuple[str, ...] = ()


QA = {
    "rag-token": Decoding(k=15, options={"num_beams": 1}),
    "rag-sequence": Decoding(k=50, options={"num_beams": 1}, search="thorough"),
}
"""Open-domain question answering (appendix A): greedy."""
GENERATION = {
    "rag-token": Decoding(k=10, options={"num_beams": 4}),
    "rag-sequence": Decoding(k=10, options={"num_beams": 4}, search="fast"),
}
"""MS MARCO and Jeopardy (appendix A): four beams."""


def described(about: About) -> Callable[[Factory], Factory]:
    """Attach what is known of a task to the factory that makes it."""

    def mark(factory: Factory) -> Factory:
        factory.__dict__["about"] = about
        return factory

    return mark


def about_of(task: object) -> About | None:
    """What a task, or the class or factory of one, says of itself; None where nothing."""
    found = getattr(task, "about", None)
    return found if isinstance(found, About) else None
