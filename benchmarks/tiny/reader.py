"""Trains the reader: bfloat16 weights for the work, float32 masters for the steps.

Three losses: the target's tokens (which ragkit's generator is trained on as well), a
guide that shows the last layer's cross-attention where the token to be written stands,
and two marks, first and last token of the answer, read off the encoder. The last two
are aids of training; nothing of them is kept. Resumable at any moment: the folder
``reader`` holds the last whole state, written aside and then renamed.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import settings
import start
import torch
from safetensors.torch import load_file, save_file
from settings import STAGES, Stage
from torch import Tensor, nn
from transformers import EncoderDecoderModel
from transformers.modeling_outputs import BaseModelOutput

from pairs import Batch, Pairs, rounds

ROUND = 2_000
"""Examples that are put in order of length together."""


class Learner:
    """A model in bfloat16 with float32 masters of what is trained."""

    def __init__(self) -> None:
        torch.manual_seed(settings.SEED)
        self.model: Any = start.reader(settings.DECODER_LAYERS, settings.SEED)
        for module in self.model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        self.model.encoder.set_attn_implementation("eager")
        self.model.decoder.set_attn_implementation("eager")
        width = self.model.config.encoder.hidden_size
        self.marks = nn.Linear(width, 2)
        named = [
            *((name, p) for name, p in self.model.named_parameters() if p.requires_grad),
            *((f"marks.{name}", p) for name, p in self.marks.named_parameters()),
        ]
        self.masters = {name: p.detach().float().clone() for name, p in named}
        self.model.to(torch.bfloat16)
        self.marks.to(torch.bfloat16)
        self.working = dict(named)
        groups: dict[float, list[Tensor]] = {}
        for name, master in self.masters.items():
            groups.setdefault(_rate(name), []).append(master)
        self.optimizer = torch.optim.AdamW(
            [{"params": tensors, "lr": rate, "rate": rate} for rate, tensors in groups.items()],
            betas=settings.BETAS,
            weight_decay=settings.WEIGHT_DECAY,
            fused=True,
        )

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """The three losses, each a mean."""
        model = self.model
        states = model.encoder(
            input_ids=batch.tokens, attention_mask=batch.mask, token_type_ids=batch.segments
        ).last_hidden_state  # (P,S,·)
        gold = batch.targets  # (P,T)
        inputs = gold.clamp(min=0).roll(1, dims=1)
        inputs[:, 0] = model.config.decoder_start_token_id
        longest = int((gold >= 0).sum(1).max())
        longest = min(-(-longest // 8) * 8, gold.shape[1])  # few shapes
        gold, inputs = gold[:, :longest], inputs[:, :longest]
        out = model.decoder.bert(
            input_ids=inputs,
            encoder_hidden_states=states,
            encoder_attention_mask=batch.mask,
            output_attentions=True,
            use_cache=False,
        )
        counts = gold >= 0
        logits = model.decoder.cls(out.last_hidden_state[counts]).float()  # (tokens,V)
        write = nn.functional.cross_entropy(logits, gold[counts])
        looks = out.cross_attentions[-1].float().mean(1)  # (P,T,S)
        guide = batch.guide[:, :longest]
        shown = guide.any(-1)
        there = (looks * guide).sum(-1)[shown]
        guided = -(there + 1e-4).log().mean() if shown.any() else write * 0
        marks = self.marks(states).float()  # (P,S,2)
        marks = marks.masked_fill(batch.mask[..., None] == 0, -1e4).log_softmax(1)
        held = batch.spans.any(1)  # (P,2)
        found = marks.masked_fill(~batch.spans, -1e4).logsumexp(1)[held]
        return {"write": write, "guide": guided, "marks": -found.mean()}

    def step(self, batch: Batch, share: float) -> dict[str, float]:
        """One step; share is how far the training is, 0 to 1."""
        losses = self.losses(batch)
        total = losses["write"] + settings.GUIDE * losses["guide"] + settings.SPAN * losses["marks"]
        total.backward()
        for name, master in self.masters.items():
            grad = self.working[name].grad
            master.grad = None if grad is None else grad.float()
            self.working[name].grad = None
        norm = nn.utils.clip_grad_norm_(list(self.masters.values()), settings.CLIP)
        scale = min(share / settings.WARM_UP, (1 - share) / (1 - settings.WARM_UP))
        for group in self.optimizer.param_groups:
            group["lr"] = group["rate"] * max(scale, 1e-3)
        self.optimizer.step()
        with torch.no_grad():
            for name, master in self.masters.items():
                self.working[name].copy_(master)
        return {**{name: float(loss) for name, loss in losses.items()}, "norm": float(norm)}

    def export(self, file: Path) -> None:
        """The trained weights alone, for `loaded`."""
        kept = {name: t for name, t in self.masters.items() if not name.startswith("marks.")}
        aside = file.with_suffix(".new")
        save_file(kept, aside)
        aside.replace(file)

    def save(self, folder: Path, position: dict[str, Any]) -> None:
        """Masters, moments and position; the state before is replaced by a rename."""
        aside = folder.with_name(folder.name + ".new")
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        tensors = {f"master.{name}": t.detach() for name, t in self.masters.items()}
        for name, master in self.masters.items():
            for key, value in self.optimizer.state.get(master, {}).items():
                tensors[f"{key}.{name}"] = value
        save_file(tensors, aside / "state.safetensors")
        (aside / "position.json").write_text(json.dumps(position))
        before = folder.with_name(folder.name + ".old")
        shutil.rmtree(before, ignore_errors=True)
        if folder.exists():
            os.replace(folder, before)
        os.replace(aside, folder)
        shutil.rmtree(before, ignore_errors=True)

    def load(self, folder: Path) -> dict[str, Any]:
        """What `save` wrote; returns the position."""
        tensors = load_file(folder / "state.safetensors")
        with torch.no_grad():
            for name, master in self.masters.items():
                master.copy_(tensors[f"master.{name}"])
                self.working[name].copy_(master)
                self.optimizer.state[master] = {
                    key: tensors[f"{key}.{name}"]
                    for key in ("step", "exp_avg", "exp_avg_sq")
                    if f"{key}.{name}" in tensors
                }
        position: dict[str, Any] = json.loads((folder / "position.json").read_text())
        return position


def loaded(file: Path) -> EncoderDecoderModel:
    """A reader in float32, of the weights that `Learner.export` wrote."""
    model = start.reader(settings.DECODER_LAYERS, settings.SEED)
    model.load_state_dict(load_file(file), strict=False)
    return model.eval()


def _rate(name: str) -> float:
    if "crossattention" in name or "cls." in name or name.startswith("marks."):
        return settings.LR_NEW
    return settings.LR_DECODER if name.startswith("decoder.") else settings.LR_ENCODER


@torch.no_grad()
def write(model: Any, pairs: Pairs, places: list[int], steps: int = 20) -> list[list[int]]:
    """Greedy outputs with the gold paragraph given; the probe of the training."""
    written = []
    sep = pairs.sep
    for i in range(0, len(places), 32):
        made = [pairs.gold(place) for place in places[i : i + 32]]
        batch = pairs.batch(made, settings.WIDTHS[-1])
        states = model.encoder(
            input_ids=batch.tokens, attention_mask=batch.mask, token_type_ids=batch.segments
        ).last_hidden_state
        ids = torch.full((len(made), 1), model.config.decoder_start_token_id)
        for _ in range(steps):
            out = model(
                encoder_outputs=BaseModelOutput(last_hidden_state=states),
                attention_mask=batch.mask,
                decoder_input_ids=ids,
                use_cache=False,
            )
            ids = torch.cat([ids, out.logits[:, -1].argmax(-1, keepdim=True)], 1)
        for row in ids[:, 1:].tolist():
            written.append(row[: row.index(sep)] if sep in row else row)
    return written


def batches(pairs: Pairs, stage: Stage, position: dict[str, Any]) -> Iterator[Batch]:
    """From a position on; the position moves along."""
    while position["round"] * ROUND < stage.examples:
        made = rounds(pairs, stage, settings.SEED, position["round"], ROUND)
        while position["batch"] < len(made):
            batch = made[position["batch"]]
            position["batch"] += 1
            yield batch
        position["round"] += 1
        position["batch"] = 0


def train(work: Path, pairs: Pairs, probe: Pairs, stage_number: int) -> Learner:
    """One stage, from where it was left; ends with a saved state."""
    learner, folder = Learner(), work / "reader"
    position = {"stage": 0, "round": 0, "batch": 0, "seen": 0, "step": 0, "seconds": 0.0}
    if folder.exists():
        position = learner.load(folder)
    if position["stage"] > stage_number:
        return learner
    whole = sum(stage.examples for stage in STAGES)
    log = (work / "reader.jsonl").open("a")
    places = list(range(0, len(probe.examples), max(1, len(probe.examples) // 256)))[
        : settings.PROBE_QUESTIONS
    ]
    last_save = last_probe = began = time.monotonic()
    spent = position["seconds"]
    sums: dict[str, float] = {}
    for n, batch in enumerate(batches(pairs, STAGES[stage_number], position), 1):
        found = learner.step(batch, min(position["seen"] / whole, 1.0))
        position["seen"] += len(batch.tokens)
        position["step"] += 1
        for key, value in found.items():
            sums[key] = sums.get(key, 0.0) * 0.98 + 0.02 * value if key in sums else value
        now = time.monotonic()
        position["seconds"] = spent + now - began
        if n % 20 == 0:
            line = {k: round(v, 4) for k, v in sums.items()}
            print(json.dumps({**position, **line}), file=log, flush=True)
        if now - last_probe > settings.PROBE_SECONDS:
            written = write(learner.model, probe, places)
            right = [w == probe.answers[p] for w, p in zip(written, places, strict=True)]
            line = {"seen": position["seen"], "probe": sum(right) / len(right)}
            print(json.dumps(line), file=log, flush=True)
            print(json.dumps({**position, **line, **sums}), flush=True)
            last_probe = time.monotonic()
        if now - last_save > settings.CHECKPOINT_SECONDS:
            learner.save(folder, position)
            last_save = time.monotonic()
    learner.export(work / f"after-{STAGES[stage_number].name}.safetensors")
    position.update(stage=stage_number + 1, round=0, batch=0)
    learner.save(folder, position)
    return learner
