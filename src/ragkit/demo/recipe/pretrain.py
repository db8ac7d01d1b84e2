"""Pre-trains the demo's starting checkpoint: a reader that copies, an encoder that finds.

    python -m ragkit.demo.recipe.pretrain --work build/demo --out build/demo/checkpoint

One command, resumable: each part keeps its state in the work folder, written every minute by an
atomic rename, and goes on from there after a kill. The parts run side by side, a thread each. Batch `i` depends on the seed and `i` alone. Nothing of the held-out
countries is in the stream: what would name them is drawn again.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn
from transformers import PreTrainedTokenizerFast

from ragkit.demo.recipe.models import new_encoder, new_reader, save, train_tokenizer
from ragkit.demo.recipe.stream import DEMO, Example, Stream

READER = {"width": 128, "encoder_layers": 2, "decoder_layers": 2, "heads": 4, "ffn": 512}
ENCODER = {"width": 128, "layers": 2, "heads": 4, "ffn": 256}
VOCABULARY = 4_000
TEMPERATURE = 0.05  # of the cosine in pre-training
POOL = 8  # batches made together, so that each holds passages of like length


def tokenizer_of(work: Path, stream: Stream) -> PreTrainedTokenizerFast:
    folder = work / "tokenizer"
    if not (folder / "tokenizer.json").exists():
        rng = random.Random(17)

        def texts() -> Iterator[str]:
            for _ in range(30_000):
                e = stream.reading(rng)
                names = " ".join(stream.names.person(rng) for _ in range(3))
                yield f"{e.title} {e.text} {e.question} {e.target} {names}"

        train_tokenizer(texts(), VOCABULARY).save_pretrained(folder)
    return PreTrainedTokenizerFast.from_pretrained(folder)


Row = tuple[list[int], list[int]]  # source and target ids


def padded(rows: list[list[int]], multiple: int, filler: int) -> torch.Tensor:
    width = math.ceil(max(map(len, rows)) / multiple) * multiple
    return torch.tensor([row + [filler] * (width - len(row)) for row in rows])


def reader_rows(examples: list[Example], tokenizer: PreTrainedTokenizerFast) -> list[Row]:
    def ids(texts: list[str]) -> list[list[int]]:
        found: list[list[int]] = tokenizer(texts, add_special_tokens=False).input_ids
        return found

    passages = ids([f"{e.title} / {e.text}" for e in examples])
    questions = ids([f" // {e.question}" for e in examples])
    targets = ids([e.target for e in examples])
    return [
        ([0, *p, *q, 2], [*t[:23], 2]) for p, q, t in zip(passages, questions, targets, strict=True)
    ]


def tensors(rows: list[Row]) -> dict[str, torch.Tensor]:
    source = padded([row[0] for row in rows], 8, 1)  # (B,S)
    target = padded([row[1] for row in rows], 4, -100)  # (B,T)
    shifted = target.roll(1, 1).masked_fill(target.roll(1, 1) == -100, 1)
    shifted[:, 0] = 2
    return {
        "input_ids": source,
        "attention_mask": (source != 1).long(),
        "decoder_input_ids": shifted,
        "labels": target,
    }


class State:
    """Where a part of the training stands on disk."""

    def __init__(self, file: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self.file, self.model, self.optimizer = file, model, optimizer
        self.saved = time.monotonic()

    def load(self) -> int:
        if not self.file.exists():
            return 0
        state = torch.load(self.file, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        return int(state["step"])

    def save(self, step: int, every: float = 60.0) -> None:
        if time.monotonic() - self.saved < every:
            return
        part = self.file.with_suffix(".part")
        state = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}
        torch.save(state | {"step": step}, part)
        os.replace(part, self.file)
        self.saved = time.monotonic()


def rate(step: int, steps: int, warm: int = 100) -> float:
    return min((step + 1) / warm, max(0.0, (steps - step) / max(1, steps - warm)))


def optimizer_of(model: nn.Module, lr: float) -> torch.optim.AdamW:
    decayed = [p for p in model.parameters() if p.ndim > 1]
    rest = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": decayed, "weight_decay": 0.01}, {"params": rest, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.98), fused=True)


def reader_pool(stream: Stream, seed: int, pool: int, size: int, second: float, wrong: float,
                tokenizer: PreTrainedTokenizerFast) -> list[list[Row]]:  # fmt: skip
    rng = random.Random(f"reader {seed} {pool}")
    examples = [stream.reading(rng, second, wrong) for _ in range(size * POOL)]
    rows = sorted(reader_rows(examples, tokenizer), key=lambda row: len(row[0]))
    batches = [rows[i : i + size] for i in range(0, len(rows), size)]
    rng.shuffle(batches)
    return batches


def exact(model: nn.Module, batch: dict[str, torch.Tensor]) -> float:
    """Share of targets of which every token is foretold."""
    with torch.no_grad():
        labels = batch["labels"]
        logits = model(**{k: v for k, v in batch.items() if k != "labels"}).logits
        right = (logits.argmax(-1) == labels) | (labels == -100)
    return float(right.all(1).float().mean())


def train_reader(arguments: argparse.Namespace, stream: Stream) -> None:
    tokenizer = tokenizer_of(arguments.work, stream)
    torch.manual_seed(arguments.seed)
    model = new_reader(len(tokenizer), READER).train()
    model.set_attn_implementation("eager")  # bf16: the fused one's backward is slow on CPU
    optimizer = optimizer_of(model, arguments.reader_lr)
    state = State(arguments.work / "reader.pt", model, optimizer)
    step, steps, size = state.load(), arguments.reader_steps, arguments.reader_batch
    probe_rng = random.Random("probe")
    probe = tensors(reader_rows([stream.reading(probe_rng) for _ in range(256)], tokenizer))
    began, total, seen, batches, made = time.monotonic(), 0.0, 0, [], -1
    while step < steps:
        if made != step // POOL:
            made = step // POOL
            done = made * POOL / steps
            second = 0.0 if done < 0.15 else 0.35
            wrong = 0.0 if done < 0.6 else 0.15
            batches = reader_pool(stream, arguments.seed, made, size, second, wrong, tokenizer)
        for group in optimizer.param_groups:
            group["lr"] = arguments.reader_lr * rate(step, steps)
        batch = tensors(batches[step % POOL])
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(**{k: v for k, v in batch.items() if k != "labels"}).logits.float()
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), batch["labels"].flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        step, total, seen = step + 1, total + loss.item(), seen + 1
        if step % 100 == 0:
            spent = time.monotonic() - began
            print(f"reader {step}/{steps} loss {total / seen:.3f} exact {exact(model, probe):.3f} "
                  f"{spent:.0f}s", flush=True)  # fmt: skip
            total = seen = 0
        state.save(step)
    state.save(step, every=0)
    save(model, tokenizer, arguments.out / "generator")


def pooled(model: nn.Module, rows: list[list[int]]) -> torch.Tensor:
    ids = padded(rows, 8, 1)
    mask = (ids != 1).long()
    hidden = model(input_ids=ids, attention_mask=mask).last_hidden_state  # (B,S,D)
    pooled: torch.Tensor = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
    return pooled  # (B,D)


def train_encoder(arguments: argparse.Namespace, stream: Stream) -> None:
    tokenizer = tokenizer_of(arguments.work, stream)
    torch.manual_seed(arguments.seed)
    model = new_encoder(len(tokenizer), ENCODER).train()
    model.set_attn_implementation("eager")
    optimizer = optimizer_of(model, arguments.encoder_lr)
    state = State(arguments.work / "encoder.pt", model, optimizer)
    step, steps = state.load(), arguments.encoder_steps
    began, total, right, seen = time.monotonic(), 0.0, 0.0, 0
    while step < steps:
        rng = random.Random(f"encoder {arguments.seed} {step}")
        alike = step % 2 == 1
        each = 2 if alike else 8
        examples = stream.retrieval(rng, arguments.encoder_batch // each, each, alike)
        for group in optimizer.param_groups:
            group["lr"] = arguments.encoder_lr * rate(step, steps)
        titles, texts = [e.title for e in examples], [e.text for e in examples]
        with torch.autocast("cpu", torch.bfloat16):
            q = pooled(model, tokenizer([e.question for e in examples]).input_ids).float()
            p = pooled(model, tokenizer(titles, texts).input_ids).float()
        q, p = nn.functional.normalize(q, dim=-1), nn.functional.normalize(p, dim=-1)
        scores = q @ p.T / TEMPERATURE  # (B,B)
        gold = torch.arange(len(examples))
        loss = nn.functional.cross_entropy(scores, gold)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        right += float((scores.argmax(1) == gold).float().mean())
        step, total, seen = step + 1, total + loss.item(), seen + 1
        if step % 100 == 0:
            print(f"encoder {step}/{steps} loss {total / seen:.3f} first {right / seen:.3f} "
                  f"{time.monotonic() - began:.0f}s", flush=True)  # fmt: skip
            total = right = seen = 0
        state.save(step)
    state.save(step, every=0)
    save(model, tokenizer, arguments.out / "encoder")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="where the training state is kept")
    parser.add_argument("--out", type=Path, default=DEMO / "checkpoint")
    parser.add_argument("--part", choices=("all", "reader", "encoder"), default="all")
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--reader-steps", type=int, default=12_000)
    parser.add_argument("--reader-batch", type=int, default=64)
    parser.add_argument("--reader-lr", type=float, default=3e-3)
    parser.add_argument("--encoder-steps", type=int, default=650)
    parser.add_argument("--encoder-batch", type=int, default=192)
    parser.add_argument("--encoder-lr", type=float, default=2e-3)
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    stream = Stream.open()
    if arguments.part == "reader":
        return train_reader(arguments, stream)
    if arguments.part == "encoder":
        return train_encoder(arguments, stream)
    tokenizer_of(arguments.work, stream)
    command = [sys.executable, "-m", "ragkit.demo.recipe.pretrain", *sys.argv[1:]]
    parts = [subprocess.Popen([*command, "--part", part]) for part in ("encoder", "reader")]
    try:
        failed = [part for part in parts if part.wait() != 0]
    finally:
        for part in parts:
            if part.poll() is None:
                part.terminate()
    if failed:
        raise SystemExit(1)
    return None


if __name__ == "__main__":
    main()
