"""What a model says to one question, with everything that is known of it.

Plain Python, no tensors: ready to print, to serialise, to draw. Knows nothing of how
it was found.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from ragkit.protocols import Passage, Prediction


@dataclass(frozen=True, slots=True)
class ReadPassage:
    """A passage that was read: prior p(z|x) and posterior p(z|x,y), as probabilities.

    scores: of a retriever that fuses others, what each that found it gave, by name.

    Examples:
        >>> from ragkit import Passage, ReadPassage
        >>> read = ReadPassage(Passage("7", "Ferry", "It leaves at nine."), 0.4, 0.9)
        >>> print(f"{read.title}: {read.prior} → {read.posterior}")
        Ferry: 0.4 → 0.9
    """

    passage: Passage
    prior: float
    posterior: float
    scores: Mapping[str, float] = field(default_factory=dict, hash=False)

    @property
    def id(self) -> str:
        return self.passage.id

    @property
    def title(self) -> str:
        return self.passage.title

    @property
    def text(self) -> str:
        return self.passage.text


@dataclass(frozen=True, slots=True)
class Candidate:
    """One of the n best outputs: its text, log p(y|x) in nats, and the search's score."""

    text: str
    log_likelihood: float
    score: float


@dataclass(frozen=True, slots=True)
class Answer:
    """The best output to a question.

    text: the output y.
    log_likelihood: log p(y|x) in nats; -inf where nothing was found.
    passages: the K passages read, best retrieved first.
    n_best: all outputs asked for, best first; the first is this one.
    tokens: the pieces of ``text``, one for each token that shows; of the text as the
        generator wrote it, where ``text`` has the spelling of a passage.
    token_posterior: for each piece, p(z|x,y_i,y_<i) over the K passages (Figure 2 of the
        paper); None for marginalizers with one passage for the whole output.

    Examples:
        >>> from ragkit import Answer, Passage, ReadPassage
        >>> read = ReadPassage(Passage("7", "Ferry", "It leaves at nine."), 0.4, 1.0)
        >>> answer = Answer("When does it leave?", "at nine", -0.5, (read,), (), ("at", " nine"))
        >>> round(answer.probability, 3), answer.prediction("1").passages[0].title
        (0.607, 'Ferry')
    """

    question: str
    text: str
    log_likelihood: float
    passages: tuple[ReadPassage, ...]
    n_best: tuple[Candidate, ...]
    tokens: tuple[str, ...]
    token_posterior: tuple[tuple[float, ...], ...] | None = None

    @property
    def probability(self) -> float:
        """p(y|x)."""
        return math.exp(self.log_likelihood)

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        from ragkit import answer_html  # for those who look

        return answer_html.render(self)

    def prediction(self, id: str) -> Prediction:
        """The same as a line of a run."""
        return Prediction(
            id=id,
            question=self.question,
            text=self.text,
            log_likelihood=self.log_likelihood,
            passages=tuple(read.passage for read in self.passages),
            prior=tuple(read.prior for read in self.passages),
            posterior=tuple(read.posterior for read in self.passages),
            tokens=self.tokens if self.token_posterior else (),
            token_posterior=self.token_posterior or (),
        )
