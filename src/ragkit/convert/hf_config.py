"""What the ``config.json`` of a Hugging Face RAG says, checked, and where each setting goes.

transformers 5 no longer reads settings of generation from ``config.json``, where the released
checkpoints have them; so the file itself is read, too. Knows nothing of weights.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import GenerationConfig, PreTrainedConfig, RagConfig

from ragkit.convert.place import check_file
from ragkit.errors import ConfigError

CONFIG, GENERATION = "config.json", "generation_config.json"
MARGINALIZERS = {
    "RagSequenceForGeneration": "rag-sequence",
    "RagTokenForGeneration": "rag-token",
}
_BEAMS: dict[str, float] = {
    "early_stopping": False,
    "length_penalty": 1,
    "num_beam_groups": 1,
    "diversity_penalty": 0,
}
_SAMPLING: dict[str, float] = {
    "temperature": 1,
    "top_k": 50,
    "top_p": 1,
    "typical_p": 1,
    "epsilon_cutoff": 0,
    "eta_cutoff": 0,
}
"""What means nothing without beams, without sampling, and the values that mean nothing ever."""

_PLAIN = ("use_cache", "output_attentions", "output_hidden_states", "return_dict_in_generate")
_SPECIAL = (
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
    "decoder_start_token_id",
    "forced_bos_token_id",
    "forced_eos_token_id",
)


@dataclass(frozen=True)
class HfRagConfig:
    """A `RagConfig`, and the table of the file that it was read from."""

    folder: Path
    config: RagConfig
    table: dict[str, Any]

    @property
    def question_encoder(self) -> PreTrainedConfig:
        return self.config.question_encoder

    @property
    def generator(self) -> PreTrainedConfig:
        return self.config.generator

    @property
    def form(self) -> str:
        """How passage and question are joined, as a form of `Seq2SeqGenerator`."""
        prefix = self.table["generator"].get("prefix") or ""
        return f"{prefix}{{title}}{self.config.title_sep}{{text}}{self.config.doc_sep}{{question}}"

    @property
    def architecture(self) -> str:
        return str((self.table.get("architectures") or ["none"])[0])

    def marginalizer(self, asked: str | None) -> str:
        """The name that the checkpoint says, or the one that was asked for."""
        found = asked or MARGINALIZERS.get(self.architecture)
        if found is None:
            raise ConfigError(
                f"{self.folder / CONFIG} is of {self.architecture}, which leaves open how "
                "passages are mixed; choose marginalizer='rag-sequence' or 'rag-token' "
                "(--marginalizer)"
            )
        return found

    def generation(self, marginalizer: str) -> tuple[GenerationConfig, list[str], list[str]]:
        """Decoding defaults, how they came about, and which were dropped.

        `RagTokenForGeneration` has its own, on the top of the file; the Thorough decoding of
        `RagSequenceForGeneration` takes the generator's, but for ``num_beams``.
        """
        file = self.folder / GENERATION
        token = marginalizer == "rag-token"
        known = {n for n in GenerationConfig().to_dict() if not n.startswith(("_", "transf"))}
        inner, top = self.table["generator"], self.table
        if file.is_file():
            source, where = _json(file), GENERATION
        elif token:
            source, where = top, f"the top of {CONFIG}"
        else:
            source = {**inner, "num_beams": top.get("num_beams", 1)}
            where = f"the generator of {CONFIG}"
        found = {name: source[name] for name in known & set(source) if source[name] is not None}
        for name in _SPECIAL:  # the same in all places, where they are said at all
            value = found.get(name, inner.get(name, getattr(self.generator, name, None)))
            if value is not None:
                found[name] = value
        dropped = _idle(found)
        for name in dropped:
            del found[name]
        default = GenerationConfig()
        said = [
            f"{name}={found[name]}"
            for name in sorted(found)
            if name not in _SPECIAL
            and found[name] != getattr(default, name, None)
            and name not in _PLAIN
            and found[name] not in (False, 1)
        ]
        notes = [f"decoding defaults from {where}: {', '.join(said)}"] if said else []
        lost = [f"decoding defaults that do nothing with these: {', '.join(dropped)}"]
        return GenerationConfig(**found), notes, lost if dropped else []


def read(folder: Path) -> HfRagConfig:
    """Raises `ConfigError` where a folder is not of a RAG, or of one that cannot be converted."""
    file = folder / CONFIG
    if not folder.is_dir():
        raise ConfigError(f"there is no folder {str(folder)!r}; give one that transformers saved")
    if not file.is_file():
        raise ConfigError(
            f"{folder} holds no Hugging Face RAG: {CONFIG} is missing. Is the download complete?"
        )
    table = _json(check_file(file, "the configuration"))
    _check(folder, table)
    try:
        config = RagConfig.from_pretrained(folder)
    except Exception as error:  # transformers' own checks raise what they like
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ConfigError(f"{file} is no configuration that transformers reads: {first}") from error
    for name in ("title_sep", "doc_sep"):
        if "[SEP]" in getattr(config, name):
            raise ConfigError(
                f"{name} of {file} is {getattr(config, name)!r}; [SEP] stands for the tokenizer's "
                "separator in ragkit, so this text cannot be said"
            )
    return HfRagConfig(folder, config, table)


def _check(folder: Path, table: dict[str, Any]) -> None:
    kind = table.get("model_type")
    if kind == "ragkit":
        raise ConfigError(
            f"{folder} is a ragkit model already; `ragkit ask --model {folder}` opens it"
        )
    if kind != "rag":
        hint = ""
        if kind == "dpr":
            hint = "; a DPR encoder is opened as it is: DPREncoder(FOLDER)"
        elif table.get("is_encoder_decoder"):
            hint = "; a generator is opened as it is: Seq2SeqGenerator(FOLDER)"
        raise ConfigError(
            f"{folder / CONFIG} has model_type {kind!r}, and a Hugging Face RAG has 'rag'{hint}"
        )
    for part in ("question_encoder", "generator"):
        if not isinstance(table.get(part), dict):
            raise ConfigError(
                f"{folder / CONFIG} has no {part}, so it is no whole RAG; save the model with "
                "RagTokenForGeneration.save_pretrained or RagSequenceForGeneration's"
            )
    encoder = table["question_encoder"].get("model_type", "dpr")
    if encoder != "dpr":
        raise ConfigError(
            f"the question encoder of {folder} is {encoder!r}; transformers' RAG scores with the "
            "first output of its question encoder, which is a vector for 'dpr' alone"
        )


def _idle(found: dict[str, Any]) -> list[str]:
    """Names of settings that mean nothing without beams or sampling; saving would refuse them.

    Those that say nothing anyway are taken out.
    """
    without = dict(_BEAMS) if found.get("num_beams", 1) in (None, 1) else {}
    if not found.get("do_sample"):
        without |= _SAMPLING
    for name, nothing in without.items():
        if found.get(name) == nothing:
            del found[name]
    return [name for name in without if name in found]


def _json(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"{file} is no JSON ({error}). Is the download complete?") from error
    if not isinstance(found, dict):
        raise ConfigError(f"{file} holds {type(found).__name__}, not a table of settings")
    return found
