"""transformers' `GenerationConfig`, read for a search over a mixture.

Fills in transformers' defaults, builds transformers' own logits processors, and says
clearly which options a mixture cannot honour. Knows nothing of passages.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from transformers import (
    ForcedBOSTokenLogitsProcessor,
    ForcedEOSTokenLogitsProcessor,
    GenerationConfig,
    InfNanRemoveLogitsProcessor,
    LogitsProcessorList,
    MinLengthLogitsProcessor,
    MinNewTokensLengthLogitsProcessor,
    MinPLogitsWarper,
    NoBadWordsLogitsProcessor,
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    SequenceBiasLogitsProcessor,
    SuppressTokensAtBeginLogitsProcessor,
    SuppressTokensLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
    TypicalLogitsWarper,
)

from ragkit.errors import ConfigError

DEFAULT_MAX_LENGTH = 20  # transformers' default, the start token counted
_PROMPT = 1  # the decoder start token

_REFUSED = {
    "encoder_no_repeat_ngram_size": 0,
    "encoder_repetition_penalty": 1.0,
    "guidance_scale": 1.0,
    "num_beam_groups": 1,
    "penalty_alpha": None,
    "dola_layers": None,
    "constraints": None,
    "force_words_ids": None,
    "watermarking_config": None,
    "exponential_decay_length_penalty": None,
    "stop_strings": None,
    "max_time": None,
    "token_healing": False,
    "top_h": None,
    "epsilon_cutoff": 0.0,
    "eta_cutoff": 0.0,
}
"""Options that a search over several passages gives no meaning, and their idle value."""


@dataclass(frozen=True)
class SearchOptions:
    """What a search needs to know.

    max_new: greatest number of generated tokens, EOS counted.
    n_best: hypotheses wanted for each question.
    eos: ids that end a hypothesis.
    forced: generated tokens at the beginning that are forced (probability 1, not scored).
    """

    num_beams: int
    n_best: int
    max_new: int
    do_sample: bool
    early_stopping: bool | str
    length_penalty: float
    eos: tuple[int, ...]
    forced: int
    processors: LogitsProcessorList

    def process(self, sequences: Tensor, logp: Tensor) -> Tensor:
        """Scores (N,V) after transformers' processors, from what is written (N,t+1)."""
        processors: Any = self.processors
        return cast(Tensor, processors(sequences, logp))

    @classmethod
    def of(cls, config: GenerationConfig, device: torch.device) -> SearchOptions:
        """Raises `ConfigError` naming every option that cannot be honoured."""
        faults = [
            f"generation option {name}={getattr(config, name)!r} has no meaning for a mixture "
            f"over passages; leave it at {idle!r}"
            for name, idle in _REFUSED.items()
            if getattr(config, name, None) not in (None, idle)
        ]
        beams = 1 if config.num_beams is None else config.num_beams
        n_best = 1 if config.num_return_sequences is None else config.num_return_sequences
        max_new = config.max_new_tokens
        if max_new is None:
            max_new = (config.max_length or DEFAULT_MAX_LENGTH) - _PROMPT
        for name, value in (
            ("num_beams", beams),
            ("num_return_sequences", n_best),
            ("max_new_tokens", max_new),
        ):
            if value < 1:
                faults.append(f"generation option {name} is {value}; it must be at least 1")
        if faults:
            raise ConfigError(faults)
        eos = config.eos_token_id
        eos_ids = tuple(eos) if isinstance(eos, list) else () if eos is None else (eos,)
        return cls(
            num_beams=beams,
            n_best=n_best,
            max_new=max_new,
            do_sample=bool(config.do_sample),
            early_stopping=config.early_stopping or False,
            length_penalty=1.0 if config.length_penalty is None else config.length_penalty,
            eos=eos_ids,
            forced=0 if config.forced_bos_token_id is None else 1,
            processors=_processors(config, eos_ids, max_new, beams, device),
        )


def _processors(
    config: GenerationConfig,
    eos: tuple[int, ...],
    max_new: int,
    beams: int,
    device: torch.device,
) -> LogitsProcessorList:
    """transformers' processors, in transformers' order."""
    eos_tensor = torch.tensor(eos, device=device) if eos else None
    made: list[Any] = []
    if config.sequence_bias is not None:
        made.append(SequenceBiasLogitsProcessor(config.sequence_bias))
    if config.repetition_penalty not in (None, 1.0):
        made.append(RepetitionPenaltyLogitsProcessor(config.repetition_penalty))
    if config.no_repeat_ngram_size:
        made.append(NoRepeatNGramLogitsProcessor(config.no_repeat_ngram_size))
    if config.bad_words_ids is not None:
        made.append(NoBadWordsLogitsProcessor(config.bad_words_ids, eos_tensor))
    if config.min_length and eos_tensor is not None:
        made.append(MinLengthLogitsProcessor(config.min_length, eos_tensor, device=str(device)))
    if config.min_new_tokens and eos_tensor is not None:
        made.append(
            MinNewTokensLengthLogitsProcessor(
                _PROMPT, config.min_new_tokens, eos_tensor, device=str(device)
            )
        )
    if config.forced_bos_token_id is not None:
        made.append(ForcedBOSTokenLogitsProcessor(config.forced_bos_token_id))
    if config.forced_eos_token_id is not None:
        made.append(
            ForcedEOSTokenLogitsProcessor(
                max_new + _PROMPT, config.forced_eos_token_id, device=str(device)
            )
        )
    if config.remove_invalid_values:
        made.append(InfNanRemoveLogitsProcessor())
    if config.suppress_tokens is not None:
        made.append(SuppressTokensLogitsProcessor(config.suppress_tokens, device=str(device)))
    if config.begin_suppress_tokens is not None:
        begin = _PROMPT + (config.forced_bos_token_id is not None)
        made.append(
            SuppressTokensAtBeginLogitsProcessor(
                config.begin_suppress_tokens, begin, device=str(device)
            )
        )
    if config.do_sample:
        keep = len(eos) + 1 if beams > 1 else 1  # beams need one token that goes on
        if config.temperature not in (None, 1.0):
            made.append(TemperatureLogitsWarper(config.temperature))
        if config.top_k:
            made.append(TopKLogitsWarper(config.top_k, min_tokens_to_keep=keep))
        if config.top_p is not None and config.top_p < 1.0:
            made.append(TopPLogitsWarper(config.top_p, min_tokens_to_keep=keep))
        if config.min_p is not None:
            made.append(MinPLogitsWarper(config.min_p, min_tokens_to_keep=keep))
        if config.typical_p is not None and config.typical_p < 1.0:
            made.append(TypicalLogitsWarper(config.typical_p, min_tokens_to_keep=keep))
    return LogitsProcessorList(made)
