"""A ragkit model to the layout of Hugging Face's RAG, for transformers to open.

What that layout cannot say is refused before anything is written; what it has no place for is
dropped and said. The passage encoder goes into a folder beside it, which transformers does
not look at and `from_hf_rag` finds.
"""

from __future__ import annotations

import re
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from transformers import (
    BertConfig,
    DPRConfig,
    DPRContextEncoder,
    DPRQuestionEncoder,
    GenerationConfig,
    PreTrainedModel,
    RagConfig,
    RagSequenceForGeneration,
    RagTokenForGeneration,
    RagTokenizer,
)

from ragkit.convert import hf_passages, models
from ragkit.convert.hf_config import GENERATION, MARGINALIZERS
from ragkit.convert.hf_rag import PASSAGE_ENCODER
from ragkit.convert.place import check_free, whole
from ragkit.convert.report import Report
from ragkit.errors import ConfigError
from ragkit.progress import quiet

if TYPE_CHECKING:
    from ragkit.generate.seq2seq import Seq2SeqGenerator
    from ragkit.knowledge import KnowledgeBase
    from ragkit.rag import RAG
    from ragkit.retrieve.dense import DenseRetriever
    from ragkit.retrieve.dpr import DPREncoder

_CLASSES: dict[str, Any] = {
    "rag-sequence": RagSequenceForGeneration,
    "rag-token": RagTokenForGeneration,
}
_SEPARATORS = re.compile(r"(?s)(.*)\{title\}(.*)\{text\}(.*)\{question\}")


class Parts(NamedTuple):
    """What transformers' RAG consists of, taken from a model that has nothing else."""

    retriever: DenseRetriever
    encoder: DPREncoder
    generator: Seq2SeqGenerator
    mixing: str
    separators: tuple[str, str, str]


def to_hf_rag(
    model: RAG | str | Path,
    out: str | Path,
    *,
    knowledge_base: KnowledgeBase | str | Path | None = None,
    passages: bool = True,
    k: int = 5,
    factory: str = "Flat",
    progress: bool | None = None,
) -> Report:
    """Write a model as `RagTokenForGeneration` or `RagSequenceForGeneration` reads it.

    Args:
        model: the model, or what `RAG.from_pretrained` opens.
        out: the new folder.
        knowledge_base: in place of the model's own.
        passages: write the knowledge base, too, as a `datasets` folder with a faiss index,
            which `RagRetriever` opens.
        k: n_docs, the passages that transformers reads for a question.
        factory: of the faiss index, by inner product; ``Flat`` is exact and holds all vectors
            in memory.
        progress: show a bar on stderr; by default only on a terminal.

    Raises:
        ConfigError: a part, or a setting of one, that this layout has no place for; all at
            once.
    """
    from ragkit.rag import RAG

    target = check_free(out)
    if k < 1:
        raise ConfigError(f"k is {k}; it is a number of passages, at least 1")
    rag = model if isinstance(model, RAG) else RAG.from_pretrained(model)
    parts = _parts(rag)
    base = _base(knowledge_base, parts, passages)
    report = Report(str(out))
    with whole(target) as making:
        config = _config(parts, k)
        if base is not None:
            hf_passages.write(base, making, factory, progress)
            config.passages_path = str(target / hf_passages.DATASET)
            config.index_path = str(target / hf_passages.INDEX)
        _write_model(parts, config, making, report)
        _write_passage_encoder(parts.encoder, making)
    kind = _CLASSES[parts.mixing].__name__
    report.made.append(f"a model for transformers, {target}: {kind}.from_pretrained({str(out)!r})")
    report.made.append(f"its passage encoder, {target / PASSAGE_ENCODER}: DPRContextEncoder")
    _said_of_passages(base, factory, report)
    _said_of_settings(parts, base, report)
    return report


# ------------------------------------------------------------------------- checks


def _parts(rag: RAG) -> Parts:
    """The parts; raises `ConfigError` with all that cannot be said in that layout."""
    from ragkit.generate.seq2seq import Seq2SeqGenerator
    from ragkit.retrieve.dense import DenseRetriever
    from ragkit.retrieve.dpr import DPREncoder

    faults = []
    encoder = getattr(rag.retriever, "encoder", None)
    if not isinstance(rag.retriever, DenseRetriever) or not isinstance(encoder, DPREncoder):
        faults.append(
            f"the retriever is {type(rag.retriever).__name__} with {type(encoder).__name__}; "
            "transformers' RAG has 'dense' with the encoder 'dpr' alone"
        )
    else:
        faults += _faults_of_encoder(encoder)
    if isinstance(rag.generator, Seq2SeqGenerator):
        faults += _faults_of_form(rag.generator.form.template)
    else:
        faults.append(f"the generator is {type(rag.generator).__name__}; there it is 'seq2seq'")
    mixing = _mixing(rag.marginalizer)
    if mixing is None:
        faults.append(
            f"the marginalizer is {type(rag.marginalizer).__name__}; transformers' RAG has "
            f"{' and '.join(MARGINALIZERS.values())} alone"
        )
    if faults:
        raise ConfigError(
            [f"this model is none that transformers' RAG can be: {f}" for f in faults]
        )
    retriever, generator = rag.retriever, rag.generator
    assert isinstance(retriever, DenseRetriever)
    assert isinstance(encoder, DPREncoder)
    assert isinstance(generator, Seq2SeqGenerator)
    assert mixing is not None
    found = _SEPARATORS.fullmatch(generator.form.template)
    assert found is not None
    return Parts(retriever, encoder, generator, mixing, (found[1], found[2], found[3]))


def _faults_of_encoder(encoder: DPREncoder) -> list[str]:
    faults = []
    kind = encoder.question_encoder.config.model_type
    if kind not in ("dpr", "bert"):
        faults.append(f"its question tower is {kind!r}; there it is a BERT")
    if encoder.pooling != "cls" and kind != "dpr":
        faults.append(f"its encoder pools by {encoder.pooling!r}; there it is 'cls'")
    if encoder.normalize:
        faults.append("its encoder scales vectors to length 1; there nothing does")
    if encoder.form.question_prefix:
        faults.append(
            f"questions get the prefix {encoder.form.question_prefix!r}; there is no place for one"
        )
    return faults


def _faults_of_form(template: str) -> list[str]:
    if "[SEP]" not in template and _SEPARATORS.fullmatch(template):
        return []
    return [
        f"the form of its sources is {template!r}; there it is "
        "'PREFIX{title}SEPARATOR{text}SEPARATOR{question}'"
    ]


def _mixing(marginalizer: object) -> str | None:
    from ragkit.marginalize.rag_sequence import RagSequence
    from ragkit.marginalize.rag_token import RagToken

    if isinstance(marginalizer, RagSequence):
        return "rag-sequence"
    return "rag-token" if isinstance(marginalizer, RagToken) else None


def _base(
    given: KnowledgeBase | str | Path | None, parts: Parts, passages: bool
) -> KnowledgeBase | None:
    from ragkit.knowledge import KnowledgeBase

    if not passages:
        return None
    if isinstance(given, (str, Path)):
        given = KnowledgeBase.open(given)
    if given is not None:
        given.check_encoder(parts.encoder)
    return parts.retriever.knowledge_base if given is None else given


# ------------------------------------------------------------------------ writing


def _config(parts: Parts, k: int) -> RagConfig:
    """All settings that have a place there."""
    prefix, title_sep, doc_sep = parts.separators
    generator, options = parts.generator, parts.generator.generation_config
    reader = deepcopy(generator.model.config)
    reader.prefix = prefix or None
    question = _as_dpr(parts.encoder.question_encoder).to_dict()
    return RagConfig(
        question_encoder=question,
        generator=reader.to_dict(),
        title_sep=title_sep,
        doc_sep=doc_sep,
        n_docs=k,
        max_combined_length=generator.max_source,
        retrieval_vector_size=parts.encoder.dimension,
        index_name="custom",
        bos_token_id=options.bos_token_id,
        eos_token_id=options.eos_token_id,
        pad_token_id=options.pad_token_id,
        decoder_start_token_id=options.decoder_start_token_id,
    )


def _write_model(parts: Parts, config: RagConfig, making: Path, report: Report) -> None:
    temperature = parts.retriever.temperature
    question = _tower(DPRQuestionEncoder, parts.encoder.question_encoder, 1 / temperature)
    if temperature != 1:
        report.notes.append(
            f"the temperature {temperature:g} is in the question encoder now: its vectors are "
            "divided by it, which gives the same scores"
        )
    kind = models.seq2seq_kind(config.generator)
    state = {name: one.detach().clone() for name, one in parts.generator.model.state_dict().items()}
    reader, _ = models.make(kind, config.generator, state, "the generator")
    made = _CLASSES[parts.mixing](config=config, question_encoder=question, generator=reader)
    options = deepcopy(parts.generator.generation_config)
    if parts.mixing == "rag-token":
        made.generation_config = options
    with quiet():
        made.save_pretrained(making)
    if parts.mixing == "rag-sequence":
        (making / GENERATION).write_text(options.to_json_string(use_diff=True), encoding="utf-8")
        _said_of_decoding(options, report)
    question_tokenizer = parts.encoder.tokenizer
    RagTokenizer(question_tokenizer, parts.generator.tokenizer).save_pretrained(making)


def _write_passage_encoder(encoder: DPREncoder, making: Path) -> None:
    tower = _tower(DPRContextEncoder, encoder.passage_encoder, 1.0)
    with quiet():
        tower.save_pretrained(making / PASSAGE_ENCODER)
    encoder.tokenizer.save_pretrained(making / PASSAGE_ENCODER)


def _as_dpr(tower: PreTrainedModel) -> DPRConfig:
    """The configuration of a tower as a DPR encoder's."""
    if isinstance(tower.config, DPRConfig):
        return deepcopy(tower.config)
    table = tower.config.to_dict()
    known = set(DPRConfig().to_dict()) & set(BertConfig().to_dict()) - {"model_type"}
    return DPRConfig(**{name: table[name] for name in known if name in table})


def _tower(kind: Any, tower: PreTrainedModel, scale: float) -> PreTrainedModel:
    """A BERT or DPR tower as DPR's question or context encoder, its vectors times ``scale``."""
    own = tower.state_dict()
    inner = {}
    for name, weight in own.items():
        short = re.sub(r"^(question_encoder|ctx_encoder)\.", "", name)
        if short == name and not isinstance(tower.config, DPRConfig):
            short = f"bert_model.{name}"
        if ".pooler." not in short and not short.endswith("position_ids"):
            inner[short] = weight.detach().clone().float()
    config = _as_dpr(tower)
    config.architectures = [kind.__name__]
    last = f"bert_model.encoder.layer.{config.num_hidden_layers - 1}.output.LayerNorm"
    last = "encode_proj" if config.projection_dim else last
    for part in ("weight", "bias"):
        inner[f"{last}.{part}"] *= scale
    state = {f"{kind.base_model_prefix}.{name}": weight for name, weight in inner.items()}
    made, idle = models.make(kind, config, state, "an encoder")
    assert not idle, idle
    return made


# ------------------------------------------------------------------------ wording


def _said_of_decoding(options: GenerationConfig, report: Report) -> None:
    set_here = options.to_diff_dict()
    names = [
        n
        for n in (
            "num_beams",
            "forced_bos_token_id",
            "max_length",
            "max_new_tokens",
            "no_repeat_ngram_size",
            "length_penalty",
            "early_stopping",
        )
        if set_here.get(n) is not None
    ]
    if names:
        report.notes.append(
            f"decoding defaults ({', '.join(f'{n}={set_here[n]}' for n in names)}) are in "
            f"{GENERATION}, which RagSequenceForGeneration does not read: give them to generate()"
        )


def _said_of_passages(base: KnowledgeBase | None, factory: str, report: Report) -> None:
    if base is None:
        report.notes.append(
            "no passages were written: give RagRetriever.from_pretrained(…, "
            "index_name='custom', passages_path=…, index_path=…)"
        )
        return
    report.made.append(
        f"{len(base):,} passages with embeddings and a faiss index ({factory}, inner product): "
        f"RagRetriever.from_pretrained({report.out!r})"
    )
    report.notes.append(
        "their paths in config.json are as you typed them, since transformers reads them from the "
        "working directory; elsewhere give passages_path= and index_path= to "
        "RagRetriever.from_pretrained"
    )
    if base.manifest.tokenization:
        report.dropped.append("the generator's tokens of the passages")
    report.dropped.append(f"the index {base.manifest.index['name']!r}")


def _said_of_settings(parts: Parts, base: KnowledgeBase | None, report: Report) -> None:
    if parts.generator.spelling == "passage":
        report.dropped.append("spelling='passage': answers are as the tokenizer decodes them")
    form = parts.encoder.form
    if base is not None and (form.passage != "title [SEP] text" or form.passage_prefix):
        report.dropped.append(
            f"the form of passages for the encoder ({form.passage_prefix}{form.passage}); vectors "
            "that are made later must be made of it"
        )
    report.notes.append(
        f"transformers reads no source longer than {parts.generator.max_source} tokens and cuts "
        "its end, where the question is; ragkit cuts the passage"
    )
