"""RAG: a retriever, a generator and a marginalizer as one trainable model (section 2).

Joins the parts and nothing more: what is retrieved, read and mixed is the parts' own
affair. Options that change between calls (k, decoding) are arguments of calls.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

import torch
from huggingface_hub import ModelCard, ModelHubMixin
from torch import Tensor, nn
from transformers import GenerationConfig

from ragkit import persist, registry
from ragkit.answer import Answer, Candidate, ReadPassage
from ragkit.errors import ConfigError, DataError, nearest
from ragkit.protocols import (
    Evidence,
    Generator,
    Hypothesis,
    Marginalizer,
    Objective,
    Passage,
    Retrieved,
    Retriever,
    SupportsFilter,
    SupportsFusion,
    SupportsQuoting,
    SupportsSmoothing,
)

if TYPE_CHECKING:
    from ragkit.knowledge import KnowledgeBase
    from ragkit.weights.compact import Weights


class RAG(
    nn.Module,
    ModelHubMixin,
    library_name="ragkit",
    tags=["retrieval-augmented-generation"],
    pipeline_tag="question-answering",
):
    """Retrieval-augmented generation, end to end.

    Args:
        retriever: questions to scored passages.
        generator: p(y_i|x,z,y_<i).
        marginalizer: a name (``rag-sequence``, ``rag-token``) or an object.

    Raises:
        ConfigError: a generator that fuses passages, with a marginalizer that mixes them.

    Examples:
        >>> from ragkit import RAG, KnowledgeBase
        >>> from ragkit.generate.seq2seq import Seq2SeqGenerator
        >>> from ragkit.retrieve.dense import DenseRetriever
        >>> from ragkit.retrieve.dpr import DPREncoder
        >>> from ragkit.testing import tiny  # random weights: it says nothing sensible
        >>> encoder = DPREncoder(tiny.bert(), tokenizer=tiny.tokenizer())
        >>> texts = ("The ferry leaves at nine.", "Ada Holm keeps the lighthouse.")
        >>> passages = [{"id": str(n), "text": text} for n, text in enumerate(texts)]
        >>> base = KnowledgeBase.build(passages, encoder, directory="kb")
        >>> generator = Seq2SeqGenerator(tiny.bart(), tokenizer=tiny.tokenizer())
        >>> rag = RAG(DenseRetriever(encoder, base), generator, "rag-token")
        >>> answer = rag.answer("When does the ferry leave?", k=2, max_new_tokens=3)[0]
        >>> len(answer.passages), abs(sum(read.prior for read in answer.passages) - 1) < 1e-5
        (2, True)
        >>> rag.loss(["When?"], ["at nine"], k=2).item() > 0
        True
    """

    def __init__(
        self,
        retriever: Retriever,
        generator: Generator,
        marginalizer: str | Marginalizer = "rag-sequence",
    ) -> None:
        super().__init__()
        self.retriever = retriever
        self.generator = generator
        if isinstance(marginalizer, str):
            marginalizer = cast(Marginalizer, registry.make("marginalizer", marginalizer))
        _check_fusion(generator, marginalizer)
        self.marginalizer = marginalizer

    # ------------------------------------------------------------------ training

    def forward(
        self,
        questions: Sequence[str],
        targets: Sequence[str],
        k: int = 5,
        generator_gradient: bool = True,
        smoothing: float = 0.0,
    ) -> tuple[Evidence, Retrieved]:
        """Steps 1 to 6 of the way of the data: all that an objective may look at.

        Args:
            questions, targets: B texts each.
            k: passages retrieved for each question.
            generator_gradient: False where the objective needs none.
            smoothing: label smoothing ε in [0, 1).

        Raises:
            DataError: no questions, other numbers of targets, a text that is too long.
        """
        questions, targets = _texts(questions, "questions"), _texts(targets, "targets")
        if len(questions) != len(targets):
            raise DataError(f"{len(questions)} questions but {len(targets)} targets")
        found = self.retriever.retrieve(questions, k)
        wanted = self.generator.targets(targets)
        with torch.set_grad_enabled(generator_gradient and torch.is_grad_enabled()):
            reading = self.generator.read(questions, found)
            if not smoothing:
                token_logp = reading.score(wanted, reading.rows)  # (B,M,T)
            elif isinstance(reading, SupportsSmoothing):
                token_logp = reading.score_smoothed(wanted, reading.rows, smoothing)
            else:
                raise ConfigError(
                    f"label smoothing is {smoothing}, but {type(reading).__name__} of this "
                    "generator cannot smooth; set label_smoothing_factor=0"
                )
        device = token_logp.device
        evidence = Evidence(
            scores=found.scores.to(device),
            mask=found.mask.to(device),
            token_logp=token_logp,
            target_mask=wanted.mask.to(device),
            marginalizer=self.marginalizer,
            reading=reading,
        )
        return evidence, found

    def loss(
        self,
        questions: Sequence[str],
        targets: Sequence[str],
        k: int = 5,
        objective: str | Objective = "marginal",
        smoothing: float = 0.0,
    ) -> Tensor:
        """Mean over the questions of what the objective minimises: () with gradient.

        By default −log p(y|x) in nats (section 2.4).
        """
        if isinstance(objective, str):
            objective = cast(Objective, registry.make("objective", objective))
        evidence, _ = self(questions, targets, k, objective.needs_generator_gradient, smoothing)
        return objective(evidence)["loss"].mean()

    # ----------------------------------------------------------------- answering

    @torch.no_grad()
    def answer(
        self,
        questions: str | Sequence[str],
        k: int = 5,
        *,
        allowed: Collection[str] | None = None,
        batch_size: int = 8,
        **generation: Any,
    ) -> list[Answer]:
        """The best output to each question, with passages, prior and posterior.

        Args:
            questions: texts; a single string is one question.
            k: passages read for each.
            allowed: passage ids to keep to, for retrievers that can filter.
            batch_size: questions answered at once.
            generation: options of transformers' `GenerationConfig` (``num_beams``,
                ``max_new_tokens``, ``num_return_sequences``, ``do_sample`` …).

        Raises:
            ConfigError: an unknown or impossible generation option, or a filter where
                the retriever has none.
        """
        texts = _texts([questions] if isinstance(questions, str) else questions, "questions")
        options = self.generation_options(generation)
        modes = [(module, module.training) for module in self.modules()]
        self.eval()
        try:
            answers: list[Answer] = []
            for i in range(0, len(texts), batch_size):
                answers += self._answer(texts[i : i + batch_size], k, allowed, options)
            return answers
        finally:  # each as it was: a part may be in another mode than the whole
            for module, mode in modes:
                module.training = mode

    def _answer(
        self,
        questions: Sequence[str],
        k: int,
        allowed: Collection[str] | None,
        options: GenerationConfig,
    ) -> list[Answer]:
        if allowed is None:
            found = self.retriever.retrieve(questions, k)
        elif isinstance(self.retriever, SupportsFilter):
            found = self.retriever.retrieve_from(questions, k, allowed)
        else:
            raise ConfigError(f"{type(self.retriever).__name__} cannot filter: leave out allowed=")
        reading = self.generator.read(questions, found)
        prior = found.prior().to(reading.rows.device)  # (B,K)
        beams = self.marginalizer.decode(reading, prior, options)
        return [
            self._assemble(question, found, b, beams[b]) for b, question in enumerate(questions)
        ]

    def _assemble(
        self, question: str, found: Retrieved, b: int, beam: Sequence[Hypothesis]
    ) -> Answer:
        passages = found.passages[b]
        if not beam:
            return Answer(question, "", -torch.inf, (), (), ())
        best = beam[0]
        prior, posterior = best.prior.exp().tolist(), best.posterior.exp().tolist()
        texts = self._spelled(beam, passages)
        shown, pieces = self._pieces(best.tokens.tolist())
        by_token = None
        if best.token_posterior is not None:
            columns = best.token_posterior.exp().T.tolist()  # T × K
            by_token = tuple(tuple(columns[t]) for t in shown)
        return Answer(
            question=question,
            text=texts[0],
            log_likelihood=best.log_likelihood,
            passages=tuple(
                ReadPassage(passage, prior[i], posterior[i], _scores(found, b, i))
                for i, passage in enumerate(passages)
                if passage is not None
            ),
            n_best=tuple(
                Candidate(text, one.log_likelihood, one.score)
                for text, one in zip(texts, beam, strict=True)
            ),
            tokens=pieces,
            token_posterior=by_token,
        )

    def _spelled(self, beam: Sequence[Hypothesis], passages: Sequence[Passage | None]) -> list[str]:
        """What each hypothesis says, in the words of the passage it came from if need be."""
        texts = self.generator.text([one.tokens.tolist() for one in beam])
        if not isinstance(self.generator, SupportsQuoting):
            return texts
        for place, one in enumerate(beam):
            likely = one.posterior.argsort(descending=True, stable=True).tolist()
            held = [passage for i in likely if (passage := passages[i]) is not None]
            quoted = self.generator.quote(one.tokens.tolist(), held)
            texts[place] = texts[place] if quoted is None else quoted
        return texts

    def _pieces(self, tokens: list[int]) -> tuple[list[int], tuple[str, ...]]:
        """Which tokens show, and what each adds to the text."""
        prefixes = self.generator.text([tokens[: t + 1] for t in range(len(tokens))])
        shown, pieces, before = [], [], ""
        for t, text in enumerate(prefixes):
            # Half a character of a byte-level tokenizer shows with the token that ends it.
            if len(text) > len(before) and prefixes[-1].startswith(text):
                shown.append(t)
                pieces.append(text[len(before) :])
                before = text
        return shown, tuple(pieces)

    def generation_options(self, options: dict[str, Any]) -> GenerationConfig:
        """The generator's own options with these in their place.

        Raises `ConfigError` naming every option that transformers does not know.
        """
        config = deepcopy(self.generator.generation_config)
        known = [name for name in vars(config) if not name.startswith("_")]
        faults = [
            f"unknown generation option {name!r}{nearest(name, known)}"
            for name in options
            if name not in known
        ]
        if faults:
            raise ConfigError(faults)
        if "max_new_tokens" in options:
            config.max_length = None
        for name, value in options.items():
            setattr(config, name, value)
        return config

    # ------------------------------------------------------- knowledge and folders

    def swap(self, knowledge_base: KnowledgeBase) -> None:
        """Answer from another knowledge base from the next call on (section 4.5)."""
        swap = getattr(self.retriever, "swap", None)
        if swap is None:
            raise ConfigError(f"{type(self.retriever).__name__} has no knowledge base to swap")
        swap(knowledge_base)

    @property
    def device(self) -> torch.device:
        for parameter in self.parameters():
            return parameter.device
        return torch.device("cpu")

    def save_pretrained(
        self,
        save_directory: str | Path,
        *,
        copy_knowledge_base: bool = False,
        weights: Weights = "float32",
        push_to_hub: bool = False,
        repo_id: str | None = None,
        **hub: Any,
    ) -> str | None:
        """Write a folder that `from_pretrained` opens, also after it was moved.

        A save that is interrupted leaves the model that was there before.

        Args:
            save_directory: the folder; made if need be.
            copy_knowledge_base: put the knowledge base into the folder; otherwise the
                folder refers to it by relative path.
            weights: ``float32`` keeps every number; ``float16``, ``bfloat16`` and ``int8``
                (by row, with a scale each) round them and store what parts share once.
            push_to_hub, repo_id, hub: as `huggingface_hub.ModelHubMixin` has them.

        Raises:
            ConfigError: a part that no plugin has registered, or that cannot be saved.
        """
        persist.save(self, Path(save_directory), copy_knowledge_base, weights)
        if not push_to_hub:
            return None
        hub.pop("config", None)
        hub.pop("model_card_kwargs", None)
        return self.push_to_hub(repo_id or Path(save_directory).name, **hub)

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path,
        *,
        knowledge_base: KnowledgeBase | str | Path | None = None,
        **hub: Any,
    ) -> Self:
        """Open what `save_pretrained` wrote, wherever it is.

        Args:
            pretrained_model_name_or_path: a folder; or the name of a model that a package
                ships (``ragkit-tiny``); or a name on the hub (``owner/model``), downloaded.
            knowledge_base: used in place of the one that the folder refers to.
            hub: options of `huggingface_hub.snapshot_download` (``revision``, ``token`` …).
        """
        name = str(pretrained_model_name_or_path)
        return cast(Self, persist.load(cls, name, knowledge_base, **hub))

    def generate_model_card(self, *args: Any, **kwargs: Any) -> ModelCard:
        """The card that a saved folder carries."""
        return persist.card(self)


def _scores(found: Retrieved, b: int, i: int) -> dict[str, float]:
    """What each retriever that found passage i of question b gave it."""
    given = {name: table[b, i].item() for name, table in found.scores_by.items()}
    return {name: score for name, score in given.items() if score > -torch.inf}


def _texts(texts: Sequence[str], what: str) -> list[str]:
    if isinstance(texts, str):
        raise DataError(f"{what} is one string; give a list, as in [{texts[:30]!r}]")
    texts = list(texts)
    if not texts:
        raise DataError(f"no {what}: the list is empty")
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            raise DataError(f"{what}[{i}] is {type(text).__name__}, not a string: {text!r}")
    return texts


def _check_fusion(generator: Generator, marginalizer: Marginalizer) -> None:
    """Raises `ConfigError` where a mixture is asked for and there is nothing to mix."""
    fused, takes = (
        isinstance(part, SupportsFusion) and part.fuses for part in (generator, marginalizer)
    )
    if fused and not takes:
        mixing, reading = type(marginalizer).__name__, type(generator).__name__
        raise ConfigError(
            f"{mixing} mixes p(y|x,z) of each passage z, and {reading} reads all passages of a "
            "question at once: it has one p(y|x,z_1…z_K) and no p(y|x,z). Type "
            "marginalizer='none' (pip install ragkit-fid), or, to keep the mixture, a generator "
            "that reads each passage by itself, such as 'seq2seq'"
        )
