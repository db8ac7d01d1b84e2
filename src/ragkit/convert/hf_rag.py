"""Hugging Face RAG checkpoints, the layout of ``facebook/rag-token-nq``, to a ragkit model.

Question encoder, generator, their tokenizers, the form of sources, the mixture and the
decoding defaults come along; the passage encoder, which that layout lacks, is named or found
beside it, and passages with embeddings become the model's knowledge base.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import (
    AutoTokenizer,
    DPRContextEncoder,
    DPRQuestionEncoder,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from ragkit.convert import hf_config, models, weights
from ragkit.convert.hf_config import HfRagConfig
from ragkit.convert.place import check_free, whole
from ragkit.convert.report import Report
from ragkit.errors import ConfigError, nearest
from ragkit.progress import quiet

if TYPE_CHECKING:
    from ragkit.generate.seq2seq import Seq2SeqGenerator
    from ragkit.knowledge import KnowledgeBase
    from ragkit.retrieve.dpr import DPREncoder

PASSAGE_ENCODER = "passage_encoder"
KNOWLEDGE_BASE = "knowledge_base"
_TRAINING = {"label_smoothing": 0.0, "reduce_loss": False, "exclude_bos_score": False}
_SWITCHES = {"do_deduplication": True, "do_marginalize": False, "output_retrieved": False}


@dataclass(frozen=True)
class Passages:
    """Where a checkpoint's passages are, as far as it says so.

    dataset: a folder of `datasets.save_to_disk`; faiss: a file of its index.
    """

    dataset: Path | None
    faiss: Path | None


def from_hf_rag(
    source: str | Path,
    out: str | Path,
    *,
    passage_encoder: str | Path | PreTrainedModel | None = None,
    knowledge_base: KnowledgeBase | str | Path | None = None,
    passages: str | Path | None = None,
    faiss: str | Path | None = None,
    index: Any = "exact",
    dtype: str = "float32",
    marginalizer: str | None = None,
    generation: dict[str, Any] | None = None,
    progress: bool | None = None,
) -> Report:
    """Convert a checkpoint of transformers' RAG to a folder for `RAG.from_pretrained`.

    Args:
        source: a folder that `RagSequenceForGeneration.save_pretrained` or
            `RagTokenForGeneration`'s wrote, with both tokenizers; or its hub name.
        out: the new folder.
        passage_encoder: of the passages, a folder, hub name or model; by default the one in
            the checkpoint or beside it. The released ones have none.
        knowledge_base: a ragkit knowledge base to answer from.
        passages: passages with embeddings to make one of, as `to_knowledge_base` takes them;
            by default those that the checkpoint names, where they are on this disk.
        faiss: the faiss index of ``passages``; also by default as the checkpoint says.
        index, dtype: of the knowledge base that is made.
        marginalizer: ``rag-sequence`` or ``rag-token``; by default the checkpoint's.
        generation: decoding defaults in place of the checkpoint's.
        progress: show a bar on stderr; by default only on a terminal.

    Raises:
        ConfigError: no checkpoint of this kind, no passage encoder, a setting that cannot be.
        DataError: weights or passages that are damaged, incomplete or not plain tensors.
        EncoderMismatch: passages whose vectors are not the passage encoder's.
    """
    from ragkit.rag import RAG
    from ragkit.retrieve.dense import DenseRetriever

    target = check_free(out)
    config = hf_config.read(_folder(source))
    mixing = config.marginalizer(marginalizer)
    found = _passages(config, passages, faiss)
    report = Report(str(out))
    tensors = _tensors(config, report)
    encoder = _encoder(config, tensors, passage_encoder, report)
    generator = _generator(config, tensors, mixing, generation or {}, report)
    del tensors
    with whole(target) as making:
        base = knowledge_base
        if base is None and found.dataset is not None:
            base = _build(found, making, encoder, generator, index, dtype, progress, report)
        rag = RAG(DenseRetriever(encoder, base), generator, mixing)
        rag.save_pretrained(making)
        if base is None:
            _without_passages(config, report)
        del rag, base  # a mapped file would keep the folder from being moved on some systems
    report.made.insert(0, f"a {mixing} model, {target}: RAG.from_pretrained({str(out)!r})")
    _said_of_settings(config, report)
    return report


def _folder(source: str | Path) -> Path:
    """A folder as it is, or a checkpoint of the hub, downloaded without what is not read."""
    folder = Path(source)
    name = str(source)
    if folder.exists() or name.count("/") != 1 or name.startswith((".", "~", "/")):
        return folder
    from huggingface_hub import snapshot_download

    try:
        kept = ["*.json", "*.txt", "*.safetensors", "*.bin", "*.model"]
        return Path(snapshot_download(name, allow_patterns=kept))
    except Exception as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ConfigError(
            f"{name!r} is no folder here, and no checkpoint could be fetched from the hub under "
            f"that name: {first[:200]}"
        ) from error


# ------------------------------------------------------------------------ weights


def _tensors(config: HfRagConfig, report: Report) -> dict[str, Any]:
    """All weights, named from the parts of the model on."""
    tensors = weights.of_folder(config.folder)
    inner = models.under(tensors, "rag.")
    strangers = [name for name in tensors if inner and not name.startswith("rag.")]
    found = inner or tensors
    short = {str(one.dtype)[6:] for one in found.values() if one.is_floating_point()} - {"float32"}
    if short:
        report.notes.append(f"weights in {' and '.join(sorted(short))} became float32, all alike")
    known = ("question_encoder.", "generator.", "ctx_encoder.")
    strangers += [name for name in found if not name.startswith(known)]
    if strangers:
        report.dropped.append(_some("weights that are of no part of a RAG", strangers))
    return found


def _encoder(
    config: HfRagConfig, tensors: dict[str, Any], given: Any, report: Report
) -> DPREncoder:
    """Both towers: the question's from the checkpoint, the passages' from where it is."""
    from ragkit.retrieve.dpr import DPREncoder

    tokenizer = _tokenizer(config, "question_encoder")
    state = models.under(tensors, "question_encoder.")
    question, idle = models.make(
        DPRQuestionEncoder, config.question_encoder, state, "the question encoder"
    )
    _drop_weights("question encoder", idle, report)
    return DPREncoder(question, _passage_tower(config, tensors, given, report), tokenizer=tokenizer)


def _passage_tower(
    config: HfRagConfig, tensors: dict[str, Any], given: Any, report: Report
) -> PreTrainedModel:
    from ragkit.retrieve import towers

    if isinstance(given, PreTrainedModel):
        return given
    state = models.under(tensors, "ctx_encoder.")
    if given is None and state:  # of a model trained end to end
        own = deepcopy(config.question_encoder)
        tower, idle = models.make(DPRContextEncoder, own, state, "the passage encoder")
        _drop_weights("passage encoder", idle, report)
        report.notes.append("the passage encoder is the checkpoint's own (ctx_encoder)")
        return tower
    beside = config.folder / PASSAGE_ENCODER
    if given is None and beside.is_dir():
        report.notes.append(f"the passage encoder is {beside}")
        return towers.load_tower(beside)
    if given is None:
        raise ConfigError(
            f"{config.folder} holds no passage encoder (Hugging Face's layout has none), and a "
            "knowledge base is known by it. Name the one that its passages were encoded with: "
            "passage_encoder= (--passage-encoder), as in "
            "facebook/dpr-ctx_encoder-multiset-base or facebook/dpr-ctx_encoder-single-nq-base"
        )
    inside = Path(given) / PASSAGE_ENCODER  # as DPREncoder.save has it
    return towers.load_tower(inside if inside.is_dir() else given)


def _generator(
    config: HfRagConfig,
    tensors: dict[str, Any],
    mixing: str,
    asked: dict[str, Any],
    report: Report,
) -> Seq2SeqGenerator:
    from ragkit.generate.seq2seq import Seq2SeqGenerator

    kind = models.seq2seq_kind(config.generator)
    state = models.under(tensors, "generator.")
    model, idle = models.make(kind, config.generator, state, "the generator")
    _drop_weights("generator", idle, report)
    options, notes, dropped = config.generation(mixing)
    for name, value in asked.items():
        if not hasattr(options, name) or name.startswith("_"):
            raise ConfigError(f"no generation option {name!r}{nearest(name, vars(options))}")
        setattr(options, name, value)
    model.generation_config = options
    report.notes += notes
    report.dropped += dropped
    if config.generator.model_type == "bart" and options.forced_bos_token_id is None:
        report.notes.append(
            "BART was taught to write <s> first. To train a checkpoint whose targets had it, "
            "convert it with --option forced_bos_token_id=0 (generation=): <s> is then no part of "
            "the loss"
        )
    tokenizer = _tokenizer(config, "generator")
    length = config.config.max_combined_length
    return Seq2SeqGenerator(model, tokenizer, form=config.form, max_source=length)


def _tokenizer(config: HfRagConfig, part: str) -> PreTrainedTokenizerBase:
    folder = config.folder / f"{part}_tokenizer"
    if not folder.is_dir():
        raise ConfigError(
            f"{config.folder} lacks the folder {folder.name}; save both tokenizers there with "
            f"RagTokenizer(question_encoder, generator).save_pretrained({str(config.folder)!r})"
        )
    try:
        with quiet():
            found: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
                folder, config=getattr(config, part), trust_remote_code=False
            )
    except Exception as error:  # of transformers, of tokenizers, of JSON
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ConfigError(
            f"no tokenizer could be read from {folder}: {first[:200]}. Is the download complete?"
        ) from error
    models.check_words(found, getattr(config, part).vocab_size, folder)
    return found


# ----------------------------------------------------------------------- passages


def _passages(
    config: HfRagConfig, passages: str | Path | None, faiss: str | Path | None
) -> Passages:
    """What was given, or what the configuration names and is there."""
    if passages is not None:
        return Passages(Path(passages), None if faiss is None else Path(faiss))
    if faiss is not None:
        raise ConfigError("faiss= is the index of passages=; give both (--passages, --faiss)")
    if config.config.index_name != "custom":
        return Passages(None, None)
    return Passages(
        _there(config, config.config.passages_path), _there(config, config.config.index_path)
    )


def _there(config: HfRagConfig, path: str | None) -> Path | None:
    """A path of the configuration, also where the folder was moved with what is in it."""
    if path is None:
        return None
    found = [one for one in (Path(path), config.folder / Path(path).name) if one.exists()]
    return found[0] if found else None


def _build(
    found: Passages,
    making: Path,
    encoder: DPREncoder,
    generator: Seq2SeqGenerator,
    index: Any,
    dtype: str,
    progress: bool | None,
    report: Report,
) -> KnowledgeBase:
    from ragkit.convert.kb import to_knowledge_base
    from ragkit.knowledge import KnowledgeBase

    assert found.dataset is not None
    part = to_knowledge_base(
        found.dataset,
        making / KNOWLEDGE_BASE,
        encoder,
        faiss=found.faiss,
        index=index,
        generator=generator,
        dtype=dtype,
        progress=progress,
    )
    part.made = [line.replace(f"{making}/", f"{report.out}/") for line in part.made]
    report.add(part)
    return KnowledgeBase.open(making / KNOWLEDGE_BASE)


def _without_passages(config: HfRagConfig, report: Report) -> None:
    settings = config.config
    if settings.index_name == "custom":
        where = settings.passages_path
        what = f"its passages ({where}) are not on this disk" if where else "it names no passages"
    else:
        kind = "pickles, which are not opened" if settings.index_name == "legacy" else "on the hub"
        what = f"its passages ({settings.dataset}, index {settings.index_name!r}) are {kind}"
    report.notes.append(
        f"the model has no knowledge base, for {what}. Make one of passages with embeddings "
        f"(`ragkit convert kb FOLDER --model {report.out} --out KB`) or of texts "
        f"(`ragkit kb build FILES --model {report.out} --out KB`) and answer from it with --kb KB"
    )


# ------------------------------------------------------------------------ wording


def _said_of_settings(config: HfRagConfig, report: Report) -> None:
    settings = config.config
    report.notes.append(
        f"n_docs is {settings.n_docs}: in ragkit the number of passages is said with every "
        f"question, k={settings.n_docs} (-k {settings.n_docs})"
    )
    report.notes.append(
        "the generator reads the question as it was typed; transformers decodes it from the "
        "question encoder's tokens first, in lower case for the released models"
    )
    training = [
        f"{n}={getattr(settings, n)}" for n, v in _TRAINING.items() if getattr(settings, n) != v
    ]
    if training:
        report.dropped.append(
            f"{', '.join(training)}: settings of training, given to ragkit.TrainingArguments"
        )
    switches = [
        f"{n}={getattr(settings, n)}" for n, v in _SWITCHES.items() if getattr(settings, n) != v
    ]
    if switches:
        report.dropped.append(f"{', '.join(switches)}: ragkit has no such switch")


def _drop_weights(part: str, names: list[str], report: Report) -> None:
    if names:
        report.dropped.append(_some(f"weights that the {part} has no use for", names))


def _some(what: str, names: list[str]) -> str:
    more = f" and {len(names) - 2} more" if len(names) > 2 else ""
    return f"{what}: {', '.join(sorted(names)[:2])}{more}"
