"""Checkpoints of Facebook's DPR (``bert-base-encoder.cp``) to an encoder folder.

Such a file is a table: ``model_dict`` with both towers under ``question_model.`` and
``ctx_model.``, ``encoder_params``, and the states of optimizer and schedule. Tensors and plain
values alone are read from it; the settings that later versions keep as objects of omegaconf
become empty stand-ins that run nothing (Karpukhin et al. 2020; section 2.2 of the paper).
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoTokenizer,
    BertConfig,
    DPRConfig,
    DPRContextEncoder,
    DPRQuestionEncoder,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from ragkit.convert import models, weights
from ragkit.convert.place import check_free, whole
from ragkit.convert.report import Report
from ragkit.errors import ConfigError, DataError
from ragkit.progress import quiet

_SIDES = {"question": "question_model.", "passage": "ctx_model."}
_HEAD = 64
"""Dimensions of one attention head in every BERT that DPR was trained from."""
_REST = ("optimizer_dict", "scheduler_dict", "offset", "epoch")
_TRIES = 40
_CONTAINERS: dict[str, Any] = {
    "collections.defaultdict": defaultdict,
    **{f"builtins.{kind.__name__}": kind for kind in (dict, list, int, float, str, bool)},
}


def from_dpr(
    source: str | Path,
    out: str | Path,
    *,
    base: str | Path | None = None,
    tokenizer: str | Path | PreTrainedTokenizerBase | None = None,
) -> Report:
    """Convert a biencoder checkpoint of DPR to a folder for `DPREncoder.load`.

    Args:
        source: the ``.cp`` file.
        out: the new folder.
        base: folder or hub name of the BERT that it was trained from, for its tokenizer and
            the settings that a checkpoint lacks; by default as the checkpoint says.
        tokenizer: in place of the one of ``base``.

    Raises:
        DataError: no file of weights, one that would run code, towers that lack weights.
        ConfigError: no biencoder of BERTs, no tokenizer, a base of another shape.
    """
    from ragkit.retrieve.dpr import DPREncoder

    target = check_free(out)
    path = Path(source)
    table = read(path)
    report = Report(str(out))
    tensors = _model(path, table)
    params = plain(table.get("encoder_params")) or {}
    base, said = _base(path, base, params, report)
    found = tokenizer or base
    made = {side: _tower(path, side, tensors, said, report) for side in _SIDES}
    spare = [name for name in tensors if not name.startswith(tuple(_SIDES.values()))]
    if spare:
        report.dropped.append(f"weights that are of no tower: {', '.join(sorted(spare)[:3])}")
    words = found if isinstance(found, PreTrainedTokenizerBase) else _tokenizer(path, found)
    _check_vocabulary(words, made["question"], found)
    length = _length(params)
    encoder = DPREncoder(
        made["question"],
        made["passage"],
        tokenizer=words,
        max_question=length,
        max_passage=length,
    )
    with whole(target) as making, quiet():
        encoder.save(making)
    report.made.append(f"an encoder, {target}: DPREncoder.load({str(out)!r})")
    limits = f" -e max_question={length} -e max_passage={length}" if length else ""
    report.notes.append(
        f"on the command line: --encoder dpr -e model={out}/question_encoder "
        f"-e passage_model={out}/passage_encoder -e tokenizer={out}/tokenizer{limits}"
    )
    _said_of_rest(table, report)
    return report


# ------------------------------------------------------------------------ reading


class Inert:
    """What stands in for an object of omegaconf: it keeps what it is given and does nothing."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        self.kept = state


def read(path: Path) -> dict[str, Any]:
    """The table of a checkpoint. Raises `DataError` where it is none, or would run code."""
    allow: Any = getattr(torch.serialization, "safe_globals", None)
    stand_ins: dict[str, Any] = {}
    for _ in range(_TRIES):
        if allow is None:
            return weights.pytorch(path)
        try:
            with allow([(one, name) for name, one in stand_ins.items()]):
                return weights.pytorch(path)
        except weights.ForeignObject as error:
            if error.name in stand_ins or not _harmless(error.name):
                raise
            stand_ins[error.name] = _stand_in(error.name)
    raise DataError(f"{path.name} holds objects of too many kinds; save its tensors alone")


def _harmless(name: str) -> bool:
    return name in _CONTAINERS or name == "typing.Any" or name.startswith("omegaconf.")


def _stand_in(name: str) -> Any:
    """Containers are themselves; for all else a class of its own that keeps and does nothing."""
    return _CONTAINERS.get(name) or type(name.rpartition(".")[2], (Inert,), {})


def plain(value: Any) -> Any:
    """Settings out of stand-ins: omegaconf keeps tables in ``_content`` and values in ``_val``."""
    if isinstance(value, Inert):
        kept = getattr(value, "kept", None)
        kept = kept if isinstance(kept, dict) else vars(value)
        inner = kept.get("_content", kept.get("_val"))
        return plain(inner)
    if isinstance(value, dict):
        return {str(plain(name)): plain(one) for name, one in value.items()}
    if isinstance(value, list):
        return [plain(one) for one in value]
    return value if isinstance(value, (str, int, float, bool)) else None


def _model(path: Path, table: dict[str, Any]) -> dict[str, Tensor]:
    state = table.get("model_dict")
    if not isinstance(state, dict):
        raise ConfigError(
            f"{path.name} has no model_dict, so it is no checkpoint of DPR; there are: "
            f"{', '.join(map(str, list(table)[:6])) or 'nothing'}"
        )
    found = {str(name).removeprefix("module."): one for name, one in state.items()}
    found = {name: one for name, one in found.items() if isinstance(one, Tensor)}
    missing = [s for s, p in _SIDES.items() if not any(name.startswith(p) for name in found)]
    if len(missing) == len(_SIDES):
        if any(name.startswith(("encoder.", "qa_outputs.")) for name in found):
            raise ConfigError(
                f"{path.name} is DPR's reader, not a biencoder; ragkit reads with a generator"
            )
        raise ConfigError(
            f"{path.name} has neither question_model nor ctx_model in its model_dict; its weights "
            f"are named like {next(iter(sorted(found)), 'nothing')!r}"
        )
    if missing:
        raise ConfigError(
            f"{path.name} has no {missing[0]} tower ({_SIDES[missing[0]]}*); a biencoder has both"
        )
    return found


# ------------------------------------------------------------------------- making


def _base(
    path: Path, given: str | Path | None, params: dict[str, Any], report: Report
) -> tuple[str | Path, BertConfig | None]:
    """The BERT that a checkpoint was trained from, and its configuration where it is here."""
    inner = params.get("encoder")
    params = {**params, **inner} if isinstance(inner, dict) else params
    kind = params.get("encoder_model_type", "hf_bert")
    if kind != "hf_bert":
        raise ConfigError(
            f"{path.name} was made with the encoder {kind!r}; ragkit converts 'hf_bert'"
        )
    named = params.get("pretrained_model_cfg")
    base = given or named
    if base is None:
        raise ConfigError(
            f"{path.name} does not say from which BERT it was trained; give base= (--base) a "
            "folder or hub name, as in bert-base-uncased"
        )
    try:
        config = AutoConfig.from_pretrained(str(base), trust_remote_code=False)
    except Exception as error:
        if given is None or Path(given).is_dir():
            report.notes.append(
                f"{base} has no configuration here, so the checkpoint's shapes say it all: heads "
                f"of {_HEAD} dimensions, gelu, as in every BERT that DPR was trained from"
            )
            return base, None
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ConfigError(f"base={str(base)!r} could not be opened: {first[:200]}") from error
    if not isinstance(config, BertConfig):
        raise ConfigError(f"base={str(base)!r} is {config.model_type!r}; DPR's towers are BERTs")
    return base, config


def _tower(
    path: Path, side: str, tensors: dict[str, Tensor], base: BertConfig | None, report: Report
) -> PreTrainedModel:
    state = models.under(tensors, _SIDES[side])
    kind: Any = DPRQuestionEncoder if side == "question" else DPRContextEncoder
    config = _config(path, side, state, base)
    config.architectures = [kind.__name__]
    projection = {n: one for n, one in state.items() if n.startswith("encode_proj.")}
    inner = {f"bert_model.{n}": one for n, one in state.items() if n not in projection}
    idle = [n for n in inner if ".pooler." in n or n.endswith("position_ids")]
    pooler = [n for n in idle if ".pooler." in n]
    named = {n: one for n, one in {**inner, **projection}.items() if n not in idle}
    named = {f"{kind.base_model_prefix}.{n}": one for n, one in named.items()}
    model, others = models.make(kind, config, named, f"the {side} tower")
    if pooler:
        report.dropped.append(f"the pooler of the {side} tower, which DPR does not use")
    if others:
        report.dropped.append(f"weights of the {side} tower: {', '.join(others[:3])}")
    return model


def _config(path: Path, side: str, state: dict[str, Tensor], base: BertConfig | None) -> DPRConfig:
    """Sizes from the tensors, which cannot lie; the rest from the base."""
    try:
        vocabulary, hidden = state["embeddings.word_embeddings.weight"].shape
        sizes = {
            "vocab_size": vocabulary,
            "hidden_size": hidden,
            "max_position_embeddings": len(state["embeddings.position_embeddings.weight"]),
            "type_vocab_size": len(state["embeddings.token_type_embeddings.weight"]),
            "intermediate_size": len(state["encoder.layer.0.intermediate.dense.weight"]),
        }
    except (KeyError, ValueError) as error:
        raise DataError(
            f"the {side} tower of {path.name} is no whole BERT: {error} is missing; is the "
            "download complete?"
        ) from error
    layers = {int(name.split(".")[2]) for name in state if name.startswith("encoder.layer.")}
    sizes["num_hidden_layers"] = max(layers) + 1
    projected = state.get("encode_proj.weight")
    table = {} if base is None else base.to_dict()
    wrong = [
        f"{n} {table[n]} and {size}" for n, size in sizes.items() if table.get(n, size) != size
    ]
    if wrong:
        raise ConfigError(
            f"base is not the BERT that {path.name} was trained from: it and the {side} tower "
            f"have {', '.join(wrong)}"
        )
    known = set(DPRConfig().to_dict()) & set(BertConfig().to_dict()) - {"model_type"}
    kept = {name: table[name] for name in known if name in table}
    kept |= sizes
    kept["projection_dim"] = 0 if projected is None else len(projected)
    if base is None:
        if hidden % _HEAD:
            raise ConfigError(
                f"the {side} tower of {path.name} has {hidden} dimensions, which are not heads of "
                f"{_HEAD}; say how many heads it has by base= (--base), a folder with its config"
            )
        kept["num_attention_heads"] = hidden // _HEAD
    return DPRConfig(**kept)


def _tokenizer(path: Path, name: Any) -> PreTrainedTokenizerBase:
    try:
        with quiet():
            found: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
                str(name), trust_remote_code=False
            )
    except Exception as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ConfigError(
            f"{path.name} has no tokenizer in it, and none could be loaded from {str(name)!r}: "
            f"{first[:200]}\n  give base= (--base) a folder with the tokenizer of the BERT that it "
            "was trained from, or its hub name while online"
        ) from error
    return found


def _check_vocabulary(words: PreTrainedTokenizerBase, tower: PreTrainedModel, name: Any) -> None:
    size = tower.config.vocab_size
    if not size / 2 <= len(words) <= size:  # transformers makes an empty one of no file
        raise ConfigError(
            f"the tokenizer of {str(name)!r} has {len(words)} tokens and the towers {size}; give "
            "base= (--base) a folder with the one that the checkpoint was trained with"
        )


def _length(params: dict[str, Any]) -> int | None:
    inner = params.get("encoder")
    params = {**params, **inner} if isinstance(inner, dict) else params
    length = params.get("sequence_length")
    return length if isinstance(length, int) and length >= 4 else None


def _said_of_rest(table: dict[str, Any], report: Report) -> None:
    rest = [name for name in _REST if table.get(name) is not None]
    others = sorted(set(map(str, table)) - {*_REST, "model_dict", "encoder_params"})
    if rest or others:
        report.dropped.append(f"states of training: {', '.join([*rest, *others])}")
