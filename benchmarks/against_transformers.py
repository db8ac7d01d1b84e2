"""ragkit against transformers' RAG: one training step, and answers, on the same weights.

    python benchmarks/against_transformers.py [--shape base|small] [--repeats 5] [--json FILE]

Both sides run in this process on the same random weights, passages and targets, turn by
turn; outputs are compared before the clock starts, and a difference ends the run. Times are
CPU seconds, medians, and their spread; the ratio is what counts.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import time
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import torch
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    BertConfig,
    DPRConfig,
    DPRQuestionEncoder,
    GenerationConfig,
    RagConfig,
    RagSequenceForGeneration,
    RagTokenForGeneration,
)

from ragkit.generate.reading import Seq2SeqReading
from ragkit.generate.seq2seq import _share_pairs
from ragkit.marginalize.rag_sequence import RagSequence
from ragkit.marginalize.rag_token import RagToken
from ragkit.protocols import Targets

START, EOS, PAD = 2, 2, 1
PADDED = 300  # what transformers' RAG pads every source to


def bart(shape: str) -> BartForConditionalGeneration:
    torch.manual_seed(0)
    if shape == "base":
        sizes = {"vocab_size": 50265, "d_model": 768, "encoder_layers": 6, "decoder_layers": 6}
        heads, feed = 12, 3072
    else:
        sizes = {"vocab_size": 8000, "d_model": 256, "encoder_layers": 3, "decoder_layers": 3}
        heads, feed = 4, 1024
    config = BartConfig(
        **sizes,
        encoder_attention_heads=heads,
        decoder_attention_heads=heads,
        encoder_ffn_dim=feed,
        decoder_ffn_dim=feed,
        dropout=0.0,
        init_std=0.06,  # peaked enough that beams differ
        forced_eos_token_id=None,
    )
    return BartForConditionalGeneration(config)


class Case:
    """B questions, K passages of SQuAD-like lengths (about 167 tokens, at most 189)."""

    def __init__(self, shape: str, n_questions: int, n_passages: int, length: int = 24) -> None:
        random.seed(0)
        self.n_passages = n_passages
        self.ours = bart(shape)
        vocabulary = self.ours.config.vocab_size
        self.theirs = {
            kind: self._rag(kind) for kind in (RagSequenceForGeneration, RagTokenForGeneration)
        }
        self.grouped = _share_pairs(self.ours)
        lengths = [random.randint(145, 189) for _ in range(n_questions * n_passages)]
        self.source = torch.full((len(lengths), PADDED), PAD)
        for row, size in zip(self.source, lengths, strict=True):
            row[:size] = torch.randint(5, vocabulary, (size,))
        self.mask = self.source != PAD
        self.longest = max(lengths)
        self.rows = torch.arange(len(lengths)).view(n_questions, n_passages)
        self.scores = torch.randn(n_questions, n_passages)
        tokens = torch.randint(5, vocabulary, (n_questions, length))
        tokens[:, -1] = EOS
        self.targets = Targets(tokens, torch.ones_like(tokens, dtype=torch.bool))

    def _rag(self, kind: type) -> torch.nn.Module:
        encoder = DPRQuestionEncoder(
            DPRConfig(
                **{
                    k: v
                    for k, v in BertConfig(
                        vocab_size=99,
                        hidden_size=16,
                        num_hidden_layers=1,
                        num_attention_heads=1,
                        intermediate_size=16,
                    )
                    .to_dict()
                    .items()
                    if k != "model_type"
                }
            )
        )
        config = RagConfig.from_question_encoder_generator_configs(
            encoder.config, self.ours.config, n_docs=self.n_passages
        )
        config.bos_token_id, config.eos_token_id, config.pad_token_id = 0, EOS, PAD
        return kind(config=config, question_encoder=encoder, generator=deepcopy(self.ours))

    def context(self, width: int) -> dict[str, torch.Tensor]:
        return {
            "context_input_ids": self.source[:, :width],
            "context_attention_mask": self.mask[:, :width].long(),
            "doc_scores": self.scores,
        }

    def read(self) -> Seq2SeqReading:
        tokens, mask = self.source[:, : self.longest], self.mask[:, : self.longest]
        states = self.ours.get_encoder()(input_ids=tokens, attention_mask=mask).last_hidden_state
        return Seq2SeqReading(self.ours, states, mask, self.rows, START, self.grouped)

    # ------------------------------------------------------------------- training

    def our_step(self, marginalizer: RagSequence | RagToken, bf16: bool) -> float:
        self.ours.train()
        self.ours.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            reading = self.read()
            token_logp = reading.score(self.targets, reading.rows)
        prior = self.scores.log_softmax(-1)
        loss = -marginalizer.log_likelihood(prior, token_logp, self.targets.mask).mean()
        loss.backward()
        return loss.item()

    def their_step(self, kind: type, width: int) -> float:
        model = self.theirs[kind].train()
        model.zero_grad()
        labels = torch.cat(
            [torch.full_like(self.targets.tokens[:, :1], START), self.targets.tokens], 1
        )
        loss = model(**self.context(width), labels=labels).loss.mean()
        loss.backward()
        return loss.item()

    # ------------------------------------------------------------------ answering

    def options(self, num_beams: int) -> GenerationConfig:
        return GenerationConfig(
            decoder_start_token_id=START,
            eos_token_id=EOS,
            pad_token_id=PAD,
            bos_token_id=0,
            num_beams=num_beams,
            max_length=21,
            early_stopping=False,
        )

    def our_answer(self, marginalizer: RagSequence | RagToken, beams: int) -> list[list[int]]:
        self.ours.eval()
        with torch.no_grad():
            found = marginalizer.decode(
                self.read(), self.scores.log_softmax(-1), self.options(beams)
            )
        return [beam[0].tokens.tolist() for beam in found]

    def their_answer(self, kind: type, width: int, beams: int) -> list[list[int]]:
        model = self.theirs[kind].eval()
        with torch.no_grad():
            if kind is RagTokenForGeneration:
                out = model.generate(
                    **self.context(width),
                    n_docs=self.n_passages,
                    generation_config=self.options(beams),
                )
            else:
                out = model.generate(
                    **self.context(width),
                    n_docs=self.n_passages,
                    num_beams=beams,
                    max_length=21,
                )
        return [self._trim(row.tolist()[1:]) for row in out]

    @staticmethod
    def _trim(tokens: list[int]) -> list[int]:
        return tokens[: tokens.index(EOS) + 1] if EOS in tokens else tokens


def compare(
    name: str, ours: Callable[[], object], theirs: Callable[[], object], repeats: int
) -> dict[str, object]:
    """Turn by turn; medians of CPU seconds."""
    took: dict[str, list[float]] = {"ragkit": [], "peer": []}
    for _ in range(repeats):
        for side, work in (("peer", theirs), ("ragkit", ours)):
            begin = time.process_time()
            work()
            took[side].append(time.process_time() - begin)
    mine, other = (statistics.median(took[side]) for side in ("ragkit", "peer"))
    ratios = sorted(b / a for a, b in zip(took["ragkit"], took["peer"], strict=True))
    row = {
        "work": name,
        "ratio": other / mine,
        "low": ratios[0],
        "high": ratios[-1],
        "ragkit_cpu_s": mine,
        "peer_cpu_s": other,
    }
    print(
        f"{name:58} {row['ratio']:5.2f}x  ({ratios[0]:.2f} to {ratios[-1]:.2f})  "
        f"{mine:.2f} s against {other:.2f} s",
        flush=True,
    )
    return row


def check(what: str, ours: object, theirs: object) -> None:
    same = (
        abs(ours - theirs) <= 1e-4 * abs(theirs)
        if isinstance(ours, float) and isinstance(theirs, float)
        else ours == theirs
    )
    if not same:
        sys.exit(f"{what}: outputs differ, so a speed would mean nothing: {ours} and {theirs}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", choices=["base", "small"], default="base")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", choices=["steps", "answers"])
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    n = arguments.repeats
    rows = []
    models = (
        ("RAG-Sequence", RagSequence("thorough"), RagSequenceForGeneration),
        ("RAG-Token", RagToken(), RagTokenForGeneration),
    )
    case = Case(arguments.shape, n_questions=4, n_passages=5)
    for name, marginalizer, kind in models if arguments.only != "answers" else ():
        for width, what in ((PADDED, "as shipped"), (case.longest, "padded to the longest")):

            def ours(m=marginalizer, bf16=False) -> float:
                return case.our_step(m, bf16)

            def theirs(k=kind, w=width) -> float:
                return case.their_step(k, w)

            check(f"{name} loss", ours(), theirs())
            rows.append(compare(f"{name} step, B=4 K=5, transformers {what}", ours, theirs, n))
        rows.append(
            compare(
                f"{name} step, bf16 autocast, transformers fp32 as shipped",
                lambda m=marginalizer: case.our_step(m, True),
                lambda k=kind: case.their_step(k, PADDED),
                n,
            )
        )
    if arguments.only != "steps":
        rows += answers(case, max(1, n // 2))
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")


def answers(case: Case, n: int) -> list[dict[str, object]]:
    """Decoding, both models."""
    rows = []
    for name, marginalizer, kind, beams in (
        ("RAG-Token beam 4", RagToken(), RagTokenForGeneration, 4),
        ("RAG-Token greedy", RagToken(), RagTokenForGeneration, 1),
        ("RAG-Sequence Thorough, beam 4", RagSequence("thorough"), RagSequenceForGeneration, 4),
    ):
        # transformers' Thorough lets the generator attend to padding: outputs can only be
        # compared, and are, where there is none; the time is measured on the real lengths.
        if kind is RagSequenceForGeneration:
            even = replace_source(case)
            check(
                name,
                even.our_answer(marginalizer, beams),
                even.their_answer(kind, even.longest, beams),
            )
        else:
            check(
                name, case.our_answer(marginalizer, beams), case.their_answer(kind, PADDED, beams)
            )
        rows.append(
            compare(
                f"{name}, B=4 K=5, transformers as shipped",
                lambda m=marginalizer, b=beams: case.our_answer(m, b),
                lambda k=kind, b=beams: case.their_answer(k, PADDED, b),
                n,
            )
        )
    fast = RagSequence("fast")
    rows.append(
        compare(
            "RAG-Sequence Fast, beam 4, against Thorough as shipped",
            lambda: case.our_answer(fast, 4),
            lambda: case.their_answer(RagSequenceForGeneration, PADDED, 4),
            n,
        )
    )
    return rows


def replace_source(case: Case) -> Case:
    """The same with every source cut to one length."""
    even = object.__new__(Case)
    even.__dict__ |= case.__dict__
    even.longest = 140
    even.source = case.source[:, :140]
    even.mask = torch.ones_like(even.source, dtype=torch.bool)
    return even


if __name__ == "__main__":
    main()
