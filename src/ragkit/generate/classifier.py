"""The generator ``seq2seq-classifier``: a class in place of a text (appendix E).

Each passage is read with the claim, the claim is written again, and the class is read from the
decoder's final hidden state: p(c|x,z). Marginalizers then mix the passages as they do for any
target, p(c|x) = Σ_z p(z|x)·p(c|x,z), in which RAG-Sequence and RAG-Token are equal, for a class is
a target of length one (section 2.1). Knows nothing of priors, and of no task.

To those who search, a class is a token and EOS the one that follows it for certain, so that what
holds of every generator holds of this one: Σ_y p(y|x,z) = 1.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from ragkit.errors import ConfigError, CorruptError, DataError, nearest
from ragkit.generate.form import BART
from ragkit.generate.reading import Seq2SeqReading
from ragkit.generate.seq2seq import Seq2SeqGenerator
from ragkit.protocols import Passage, Retrieved, Targets

FEVER = ("SUPPORTS", "REFUTES", "NOT ENOUGH INFO")
NEVER = -1e4
"""Log-probability of what cannot be: finite, and exactly 0 when it is a probability."""
_FILE, _HEAD, _READER = "ragkit_classifier.json", "head.safetensors", "reader"


class Seq2SeqClassifier(nn.Module):
    """An encoder-decoder that reads passages and gives one of a few labels.

    Args:
        model: folder or hub name of an encoder-decoder, or the model itself.
        labels: the classes, each once.
        tokenizer: folder or hub name, or the tokenizer itself; by default the model's.
        form: template of a source, as of ``seq2seq``.
        max_source: tokens in a source at most. The passage is cut, never the claim.
        seed: of the first weights of the layers over the final state, which are new.

    Raises:
        ConfigError: labels that are not two or more different texts, and what ``seq2seq`` raises.
    """

    def __init__(
        self,
        model: str | Path | PreTrainedModel = "facebook/bart-large",
        labels: Sequence[str] = FEVER,
        tokenizer: str | Path | PreTrainedTokenizerBase | None = None,
        form: str = BART,
        max_source: int = 300,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self._join(Seq2SeqGenerator(model, tokenizer, form, max_source), labels, seed)

    def _join(self, reader: Seq2SeqGenerator, labels: Sequence[str], seed: int) -> None:
        names = [label.strip() for label in labels]
        if len(names) < 2 or len(set(names)) < len(names) or not all(names):
            raise ConfigError(
                f"labels are {list(labels)!r}; give two or more different texts, as in "
                f"labels=['SUPPORTS', 'REFUTES']"
            )
        self.reader = reader
        self.labels = tuple(names)
        width = int(reader.model.get_output_embeddings().weight.shape[1])  # D
        self.head = _Head(width, len(names), seed).to(reader.device)
        end = len(names)  # EOS, after the classes 0…C-1
        # A beam for each class: then no class is missed that no single passage puts first.
        self.generation_config = GenerationConfig(
            decoder_start_token_id=end,
            eos_token_id=end,
            pad_token_id=end,
            max_length=3,
            num_beams=len(names),
        )

    @property
    def device(self) -> torch.device:
        return self.reader.device

    @property
    def tokenization(self) -> str:
        """Fingerprint of the tokenizer and form that make a passage's tokens."""
        return self.reader.tokenization

    def passage_tokens(self, passages: Sequence[Passage]) -> list[list[int]]:
        """Tokens to keep in a knowledge base, long enough for any claim."""
        return self.reader.passage_tokens(passages)

    def read(self, questions: Sequence[str], retrieved: Retrieved) -> ClassReading:
        """Encode each present (claim, passage) pair once, and read its class.

        Raises `DataError` where a claim leaves no room in the window, or is too long to write.
        """
        reading = self.reader.read(questions, retrieved)
        claims = self.reader.targets(questions)
        present = reading.rows >= 0  # (B,K)
        owner = present.nonzero(as_tuple=True)[0]  # (P,) pairs are numbered in this order
        states = _final_states(reading, claims, owner)  # (P,D)
        logits = self.head(states)  # (P,C)
        return ClassReading(logits.float().log_softmax(-1), reading.rows)

    def targets(self, texts: Sequence[str]) -> Targets:
        """Class and EOS (N,2). Raises `DataError` for a text that is no label."""
        rows = []
        for text in texts:
            if text.strip() not in self.labels:
                raise DataError(
                    f"there is no label {text[:60]!r}{nearest(text, self.labels)}; "
                    f"there are: {', '.join(self.labels)}"
                )
            rows.append([self.labels.index(text.strip()), len(self.labels)])
        tokens = torch.tensor(rows, dtype=torch.int64).view(-1, 2)  # (N,2)
        return Targets(tokens, torch.ones_like(tokens, dtype=torch.bool))

    def text(self, tokens: Sequence[Sequence[int]]) -> list[str]:
        """The label of each row, EOS left out."""
        known = range(len(self.labels))
        return [" ".join(self.labels[one] for one in row if one in known) for row in tokens]

    def save(self, directory: Path) -> None:
        """The encoder-decoder in a folder of its own; beside it labels, and the head's weights."""
        inner = directory / _READER
        inner.mkdir(exist_ok=True)
        self.reader.save(inner)
        weights = {name: one.contiguous() for name, one in self.head.state_dict().items()}
        save_file(weights, directory / _HEAD)
        (directory / _FILE).write_text(json.dumps({"labels": self.labels}, indent=2) + "\n")

    @classmethod
    def load(cls, directory: Path) -> Self:
        """What `save` wrote, wherever the folder is now.

        Raises `CorruptError` where the labels or the head are missing, or are not its.
        """
        made = cls.__new__(cls)
        nn.Module.__init__(made)
        try:
            labels = json.loads((directory / _FILE).read_text())["labels"]
            weights = load_file(directory / _HEAD)
        except (OSError, ValueError, KeyError) as error:
            raise CorruptError(
                f"{directory} is no saved seq2seq-classifier: {str(error)[:120]}; save it again"
            ) from None
        made._join(Seq2SeqGenerator.load(directory / _READER), labels, 0)
        try:
            made.head.load_state_dict(weights)
        except RuntimeError as error:
            raise CorruptError(
                f"{directory / _HEAD} is not the head of its model: "
                f"{str(error).splitlines()[-1].strip()[:120]}; save it again"
            ) from None
        return made


class ClassReading:
    """p(c|x,z) of P pairs; satisfies `ragkit.protocols.Reading`.

    Args:
        logp: (P,C) log-probabilities of the classes, with gradient.
        rows: (B,K) int64, -1 where absent.
    """

    def __init__(self, logp: Tensor, rows: Tensor) -> None:
        self.logp = logp
        self.rows = rows

    def score(self, targets: Targets, rows: Tensor) -> Tensor:
        """Gold log-probabilities (N,M,T): the class's, then 0, for EOS follows for certain.

        Exactly 0 at padding and at absent pairs. A row that is no class and EOS has `NEVER`.
        """
        device = self.logp.device
        tokens, mask = targets.tokens.to(device), targets.mask.to(device)  # (N,T)
        rows = rows.to(device)  # (N,M)
        end = self.logp.shape[1]
        first = self._padded(rows, first=True)  # (N,M,C+1)
        later = self._padded(rows, first=False)
        columns = []
        for t in range(tokens.shape[1]):
            table = first if t == 0 else later
            index = tokens[:, t].clamp(max=end)[:, None, None].expand(*rows.shape, 1)
            columns.append(table.gather(-1, index).squeeze(-1))  # (N,M)
        if not columns:
            return self.logp.new_zeros(*rows.shape, 0)
        counted = mask[:, None, :] & (rows >= 0)[:, :, None]
        return torch.stack(columns, dim=-1).masked_fill(~counted, 0.0)  # (N,M,T)

    def start(self, rows: Tensor) -> ClassDecoding:
        """Begin N hypotheses against rows (N,M)."""
        return ClassDecoding(self, rows.to(self.logp.device))

    def _padded(self, rows: Tensor, first: bool) -> Tensor:
        """(N,M,C+1) log-probabilities of the first token, or of any later one."""
        classes = self.logp.shape[1]
        shape = (*rows.shape, classes)
        end = self.logp.new_full((*rows.shape, 1), NEVER if first else 0.0)
        if not first:
            return torch.cat([self.logp.new_full(shape, NEVER), end], dim=-1)
        if len(self.logp) == 0:
            return torch.cat([self.logp.new_zeros(shape), end], dim=-1)
        return torch.cat([self.logp[rows.clamp(min=0)], end], dim=-1)


class ClassDecoding:
    """N hypotheses over rows (N,M), each a class and EOS; there is nothing to cache."""

    def __init__(self, reading: ClassReading, rows: Tensor) -> None:
        self.reading = reading
        self.rows = rows
        self.begun = torch.zeros(len(rows), dtype=torch.bool, device=rows.device)  # (N,)

    @torch.no_grad()
    def next(self) -> Tensor:
        """(N,M,C+1) float32 log-probabilities of the next token; 0 at absent pairs."""
        first = self.reading._padded(self.rows, first=True)
        later = self.reading._padded(self.rows, first=False)
        out = torch.where(self.begun[:, None, None], later, first)
        return out.masked_fill((self.rows < 0)[:, :, None], 0.0)

    def append(self, tokens: Tensor, parents: Tensor) -> None:
        """Hypotheses parents (N′,) grow by tokens (N′,)."""
        self.rows = self.rows[parents]
        self.begun = torch.ones(len(tokens), dtype=torch.bool, device=self.rows.device)


class _Head(nn.Module):
    """States (P,D) to logits (P,C): two layers, as BART is fine-tuned for classification."""

    def __init__(self, width: int, classes: int, seed: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, width)
        self.out = nn.Linear(width, classes)
        chance = torch.Generator().manual_seed(seed)
        for layer in (self.dense, self.out):
            nn.init.normal_(layer.weight, std=width**-0.5, generator=chance)
            nn.init.zeros_(layer.bias)

    def forward(self, states: Tensor) -> Tensor:
        hidden = self.dense(states.to(self.dense.weight.dtype)).tanh()  # (P,D)
        logits: Tensor = self.out(hidden)
        return logits


def _final_states(reading: Seq2SeqReading, claims: Targets, owner: Tensor) -> Tensor:
    """(P,D): the decoder's last state when the claim of each pair has been written.

    The last input is the claim's last token: the state is the one from which EOS would follow.
    """
    device = reading.states.device
    tokens, mask = claims.tokens.to(device), claims.mask.to(device)  # (B,T)
    start = tokens.new_full((len(tokens), 1), reading.start_id)
    inputs = torch.cat([start, tokens[:, :-1]], dim=1)  # (B,T) shifted right
    place = torch.arange(tokens.shape[1], device=device)
    last = torch.where(mask, place, 0).amax(1)  # (B,) where EOS would be written
    model: Any = reading.model
    decoder = model.get_decoder()
    decoder = getattr(decoder, "base_model", decoder)  # without its output layer
    states = reading.states
    if hasattr(model, "enc_to_dec_proj"):  # two models of unequal widths
        states = model.enc_to_dec_proj(states)
    # Padding stands on the right, where no counted state can look.
    output = decoder(
        input_ids=inputs[owner],
        encoder_hidden_states=states,
        encoder_attention_mask=reading.mask,
        use_cache=False,
    )
    hidden: Tensor = output.last_hidden_state  # (P,T,D)
    return hidden[torch.arange(len(owner), device=device), last[owner]]
