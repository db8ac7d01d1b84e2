"""The roles of ragkit and the records that pass between them.

This page is the whole contract between components. It knows nothing of any
implementation and imports neither torch nor numpy at run time, so a plugin can
import it for nothing.

Letters in shapes, everywhere in ragkit: B questions, K passages of each, T target
tokens, V vocabulary, D vector dimensions, N hypotheses, M passages a hypothesis is
read against, P (question, passage) pairs, S source tokens.

A later ability is a new ``Supports…`` protocol, never a new method on an old role.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Self, runtime_checkable

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor
    from transformers import GenerationConfig

PROTOCOL_VERSION = 1
"""Version of this page. A component states the version that it was written for."""


# ------------------------------------------------------------------ records: text


class Passage(NamedTuple):
    """A passage z: one entry of a knowledge base.

    Examples:
        >>> from ragkit import Passage
        >>> Passage(id="7", title="Ferry", text="The ferry leaves at nine.").title
        'Ferry'
    """

    id: str
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Example:
    """A question x with what is known to be right about it.

    ``answers`` are the golds that a prediction is compared with, ``target`` the one
    text that training maximises (by default the first answer), ``passage_ids`` the
    passages known to hold the answer.

    Examples:
        >>> from ragkit import Example
        >>> one = Example("1", "When does the ferry leave?", answers=("at nine",))
        >>> one.answers[0], one.target
        ('at nine', None)
    """

    id: str
    question: str
    answers: tuple[str, ...] = ()
    passage_ids: tuple[str, ...] = ()
    target: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a model said to one question: plain Python, ready for a line of JSON.

    ``passages``, ``prior`` and ``posterior`` are of length K, best retrieved first;
    ``log_likelihood`` is log p(y|x) in nats. Where each token has a posterior of its own,
    ``tokens`` are T pieces of the text and ``token_posterior`` holds K shares for each.

    Examples:
        >>> from ragkit import Prediction
        >>> said = Prediction("1", "When does the ferry leave?", "at nine", log_likelihood=-0.25)
        >>> said.text, said.passages
        ('at nine', ())
    """

    id: str
    question: str
    text: str
    log_likelihood: float
    passages: tuple[Passage, ...] = ()
    prior: tuple[float, ...] = ()
    posterior: tuple[float, ...] = ()
    tokens: tuple[str, ...] = ()
    token_posterior: tuple[tuple[float, ...], ...] = ()


# --------------------------------------------------------------- records: tensors


class Hits(NamedTuple):
    """What an index found: numpy, best first.

    ids: (B,k) int64 row numbers, -1 where fewer than k exist.
    scores: (B,k) float32 inner products, -inf where absent.
    """

    ids: NDArray[np.int64]
    scores: NDArray[np.float32]


class PassageTokens(Protocol):
    """A generator's tokens of every passage, made when the knowledge base was built.

    ``tokenization`` is the fingerprint of the tokenizer and form that made them; a
    generator uses them only where it equals its own.
    """

    tokenization: str

    def take(self, rows: NDArray[np.int64]) -> list[NDArray[np.int32]]:
        """The tokens of these rows, each of its own length."""


@dataclass(frozen=True, slots=True)
class Retrieved:
    """The K best passages of each of B questions.

    passages: B × K, a nested sequence that may read from disk when asked; None where
        a question has fewer than K passages.
    ids: (B,K) int64, row numbers in the knowledge base, -1 where absent.
    scores: (B,K) float32, the logits of the prior p(z|x), best first, with gradient
        where the retriever has one; -inf where absent.
    mask: (B,K) bool, True where there is a passage.
    tokens: ready generator tokens by row number, if the knowledge base has them.
    scores_by: of a retriever that fuses others, the score (B,K) that each gave, by name;
        -inf where it did not give that passage.
    """

    passages: Sequence[Sequence[Passage | None]]
    ids: Tensor
    scores: Tensor
    mask: Tensor
    tokens: PassageTokens | None = None
    scores_by: Mapping[str, Tensor] = field(default_factory=dict)

    def prior(self) -> Tensor:
        """log p(z|x), (B,K): log softmax of the scores over the K (section 2.2)."""
        return self.scores.float().log_softmax(dim=-1)


class Targets(NamedTuple):
    """Tokenised targets y, each ending in EOS.

    tokens: (N,T) int64, padded on the right.
    mask: (N,T) bool, True at tokens that count.
    """

    tokens: Tensor
    mask: Tensor


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """One decoded output y with all that is known of it.

    tokens: (T,) int64, without the start token, with EOS if it was generated.
    log_likelihood: log p(y|x) in nats, of the pure probabilities.
    score: what the hypotheses were ranked by (a length penalty may be in it).
    prior: (K,) log p(z|x), -inf where absent.
    posterior: (K,) log p(z|x,y).
    token_posterior: (K,T) log p(z|x,y_i,y_<i), Figure 2 of the paper, for marginalizers
        with a passage per token; else None.
    """

    tokens: Tensor
    log_likelihood: float
    score: float
    prior: Tensor
    posterior: Tensor
    token_posterior: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that an objective may look at: the outcome of one forward pass.

    scores: (B,K) fresh scores s_k, -inf where absent, with gradient.
    mask: (B,K) bool.
    token_logp: (B,M,T) log p(y_i|x,z,y_<i) of the gold tokens, 0 where absent; M = K, or 1
        for a generator that fuses passages.
    target_mask: (B,T) bool.
    marginalizer: how the model combines them.
    reading: what was read, for objectives that ask more of it (`SupportsPassageScores`).
    """

    scores: Tensor
    mask: Tensor
    token_logp: Tensor
    target_mask: Tensor
    marginalizer: Marginalizer
    reading: Reading | None = None


# ------------------------------------------------------------------------- roles


class Encoder(Protocol):
    """Text to vectors whose inner product is the score of a passage (section 2.2).

    ``fingerprint`` names the passage side: a knowledge base built with one fingerprint
    is refused by an encoder with another.
    """

    @property
    def dimension(self) -> int: ...

    @property
    def fingerprint(self) -> str: ...

    def questions(self, texts: Sequence[str]) -> Tensor:
        """(B,D), with gradient to the question encoder unless grad is off."""

    def passages(self, passages: Sequence[Passage]) -> Tensor:
        """(N,D), without gradient."""


@runtime_checkable
class Index(Protocol):
    """A nearest-neighbour structure by inner product; knows row numbers, not text.

    Constructed from options alone, then either ``build`` or ``load`` makes it ready.
    """

    @property
    def dimension(self) -> int:
        """D."""

    def __len__(self) -> int:
        """Rows, removed ones among them: the number that the next one added is given."""

    def build(self, vectors: NDArray[Any]) -> None:
        """Index vectors (N,D), float16 or float32, possibly a memory map: row i is id i."""

    def search(self, queries: NDArray[np.float32], k: int) -> Hits:
        """The k best of each of queries (B,D); `DataError` where that cannot be searched."""

    def save(self, directory: Path) -> None:
        """Write all that ``load`` needs below an existing directory; no pickle."""

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Open what ``save`` wrote, mapping files where that is possible."""


class Retriever(Protocol):
    """Questions to scored passages."""

    def retrieve(self, questions: Sequence[str], k: int) -> Retrieved:
        """The K = k best of each question, best first."""


class Generator(Protocol):
    """Reads passages and writes targets: p(y_i|x,z,y_<i)."""

    @property
    def generation_config(self) -> GenerationConfig:
        """Special tokens and decoding defaults, as transformers means them."""

    def read(self, questions: Sequence[str], retrieved: Retrieved) -> Reading:
        """Encode every (question, passage) pair once."""

    def targets(self, texts: Sequence[str]) -> Targets:
        """Tokenise targets; raises where one is longer than the model allows."""

    def text(self, tokens: Sequence[Sequence[int]]) -> list[str]:
        """Tokens back to text, special tokens left out."""


class Reading(Protocol):
    """The encoded pairs of a batch of questions.

    The pairs are numbered 0…P-1; ``rows`` (B,M) int64 says which pairs belong to which
    question, -1 where absent. M = K, or 1 for a generator that fuses passages (FiD).
    """

    rows: Tensor

    def score(self, targets: Targets, rows: Tensor) -> Tensor:
        """Gold log-probabilities (N,M,T) of targets (N,T) read against rows (N,M).

        With gradient. Exactly 0 at padding and at absent pairs.
        """

    def start(self, rows: Tensor) -> Decoding:
        """Begin to decode N hypotheses against rows (N,M)."""


class Decoding(Protocol):
    """N hypotheses being written, each against M pairs; owns its caches."""

    def next(self) -> Tensor:
        """(N,M,V) float32 log p(·|x,z,y_<i) of the next token; 0 at absent pairs."""

    def append(self, tokens: Tensor, parents: Tensor) -> None:
        """Make hypotheses parents (N′,) longer by tokens (N′,).

        N′ may be smaller (finished ones leave), larger (beams open) or the same.
        """


class Marginalizer(Protocol):
    """p(y|x) from p(z|x) and p(y|x,z): section 2.1. Everything in log space."""

    def log_likelihood(self, prior: Tensor, token_logp: Tensor, mask: Tensor) -> Tensor:
        """log p(y|x) (B,) from prior (B,K), token_logp (B,K,T) and mask (B,T)."""

    def posterior(self, prior: Tensor, token_logp: Tensor, mask: Tensor) -> Tensor:
        """log p(z|x,y) (B,K), or log p(z|x,y_i,y_<i) (B,K,T)."""

    def decode(
        self, reading: Reading, prior: Tensor, options: GenerationConfig
    ) -> list[list[Hypothesis]]:
        """The n best outputs of each question, best first (section 2.5)."""


class Objective(Protocol):
    """What training minimises."""

    needs_generator_gradient: bool
    """False: token log-probabilities may be computed without gradient."""

    def __call__(self, evidence: Evidence) -> Mapping[str, Tensor]:
        """Named terms (B,) each; the one named ``loss`` is minimised (its mean)."""


class Task(Protocol):
    """Examples to train and to evaluate on."""

    def examples(self, split: str) -> Iterable[Example]:
        """Stream the examples of a split ("train", "dev", "test")."""

    @property
    def metrics(self) -> Sequence[str]:
        """The metrics by which this task is judged."""


class Metric(Protocol):
    """Predictions and examples to one number for each."""

    def __call__(
        self, predictions: Sequence[Prediction], examples: Sequence[Example]
    ) -> list[float]: ...


# --------------------------------------------------------------- further abilities


@runtime_checkable
class SupportsSave(Protocol):
    """Can be written to a folder and read back, also from a moved folder."""

    def save(self, directory: Path) -> None: ...

    @classmethod
    def load(cls, directory: Path) -> Self: ...


@runtime_checkable
class SupportsAdd(Protocol):
    """An index that grows: rows are numbered on from len(index)."""

    def add(self, vectors: NDArray[Any]) -> None:
        """Index vectors (M,D) beside those that there are, from ``build`` or ``load``."""


@runtime_checkable
class SupportsRemove(Protocol):
    """An index that forgets rows; the numbers of the others stay as they are."""

    def remove(self, rows: NDArray[np.int64]) -> None:
        """Never find these rows (m,) again. Raises `DataError` for one that never was."""


@runtime_checkable
class SupportsAllowed(Protocol):
    """An index that searches within a set of rows (m,) int64."""

    def search_allowed(
        self, queries: NDArray[np.float32], k: int, allowed: NDArray[np.int64]
    ) -> Hits:
        """As ``search``. Raises `DataError` for no rows, and for one that does not exist."""


@runtime_checkable
class SupportsFilter(Protocol):
    """A retriever that can be held to a set of passage ids."""

    def retrieve_from(
        self, questions: Sequence[str], k: int, allowed: Collection[str]
    ) -> Retrieved: ...


@runtime_checkable
class SupportsPassageTokens(Protocol):
    """A generator whose passage tokens can be made when a knowledge base is built."""

    @property
    def tokenization(self) -> str:
        """Fingerprint of tokenizer and form."""

    def passage_tokens(self, passages: Sequence[Passage]) -> list[list[int]]: ...


@runtime_checkable
class SupportsSmoothing(Protocol):
    """A reading that can score against label-smoothed targets.

    (N,M,T): (1-ε)·log p(y_i) + ε·mean_v log p(v), as the released training recipe
    smooths labels, with the smoothing inside the marginal.
    """

    def score_smoothed(self, targets: Targets, rows: Tensor, epsilon: float) -> Tensor: ...


@runtime_checkable
class SupportsPackedWeights(SupportsSave, Protocol):
    """One whose ``load`` reads weights by `ragkit.weights`, so that they may lie packed.

    Any other gets the safetensors files that it wrote, in a passing copy of its folder.
    """

    reads_packed_weights: bool


@runtime_checkable
class SupportsQuoting(Protocol):
    """A generator that can give an output as a passage spells it."""

    def quote(self, tokens: Sequence[int], passages: Sequence[Passage]) -> str | None:
        """The words of the first of the passages that holds these tokens.

        None where none does: then the text is what ``text`` makes of the tokens.
        """


@runtime_checkable
class SupportsFusion(Protocol):
    """A generator, or a marginalizer, to which all passages of a question are one pair (M = 1).

    A generator that fuses (FiD) has rows (B,1) and one p(y|x,z_1…z_K) in place of K p(y|x,z).
    A marginalizer that fuses takes token_logp (B,1,T) beside a prior (B,K). `RAG` refuses such
    a generator with a marginalizer that lacks this, since there is nothing to mix.
    """

    fuses: bool


@runtime_checkable
class SupportsPassageScores(Protocol):
    """A reading that knows how much each passage was looked at."""

    def passage_scores(self) -> Tensor:
        """(B,K) float32 without gradient, -inf where absent.

        Logits of a distribution over the passages, to which a retriever can be distilled
        (Izacard & Grave 2021).
        """


@runtime_checkable
class SupportsPooling(Protocol):
    """A metric whose figure for many questions is no mean of theirs (BLEU), but made of sums."""

    def statistics(
        self, predictions: Sequence[Prediction], examples: Sequence[Example]
    ) -> NDArray[np.float64]:
        """(N,S), of all questions at once, read once; a row is all NaN where a number is."""

    def pooled(self, totals: NDArray[np.float64]) -> NDArray[np.float64]:
        """Figures (R,) of R sets of questions, from the sums (R,S) of their rows."""


@runtime_checkable
class SupportsEnds(Protocol):
    """A pooling metric that knows better than percentiles where its interval ends."""

    def ends(
        self, totals: NDArray[np.float64], resampled: NDArray[np.float64], tail: float
    ) -> tuple[float, float]:
        """Ends, by sums (S,) and those (R,S) of resamples; ``tail`` is left out at either."""
