"""Measures the starting checkpoint, before any joint training, on the demo's own passages.

    python benchmarks/demo/bars.py [CHECKPOINT_FOLDER]

Exact match on the gold passage (greedy) and recall of the gold passage; held-out countries unless
another split is named. Plain transformers; knows nothing of the rest of ragkit but the facts.
"""

from __future__ import annotations

import argparse
import json
import re
import string
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForSeq2SeqLM, BertModel, PreTrainedTokenizerFast

from ragkit.demo import world


def normal(text: str) -> str:
    """SQuAD's normalisation."""
    text = "".join(c for c in text.lower() if c not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def padded(rows: list[list[int]]) -> torch.Tensor:
    width = max(map(len, rows))
    return torch.tensor([row + [1] * (width - len(row)) for row in rows])


class Reader:
    def __init__(self, folder: Path) -> None:
        self.tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
        self.model = AutoModelForSeq2SeqLM.from_pretrained(folder, dtype=torch.float32).eval()

    def rows(self, passages: list[dict[str, str]], questions: list[str]) -> torch.Tensor:
        def ids(texts: list[str]) -> list[list[int]]:
            return self.tokenizer(texts, add_special_tokens=False).input_ids

        left = ids([f"{p['title']} / {p['text']}" for p in passages])
        right = ids([f" // {q}" for q in questions])
        return padded([[0, *p, *q, 2] for p, q in zip(left, right, strict=True)])

    @torch.no_grad()
    def answers(self, passages: list[dict[str, str]], questions: list[str]) -> list[str]:
        made: list[str] = []
        for i in range(0, len(questions), 128):
            source = self.rows(passages[i : i + 128], questions[i : i + 128])
            out = self.model.generate(
                input_ids=source, attention_mask=(source != 1).long(),
                max_new_tokens=24, max_length=None, num_beams=1, do_sample=False,
            )  # fmt: skip
            made += self.tokenizer.batch_decode(out, skip_special_tokens=True)
        return made

    @torch.no_grad()
    def log_likelihood(
        self, passages: list[dict[str, str]], questions: list[str], targets: list[str]
    ) -> torch.Tensor:
        """log p(target, </s> | passage, question), (N,)."""
        source = self.rows(passages, questions)
        target = padded(
            [[*t, 2] for t in self.tokenizer(targets, add_special_tokens=False).input_ids]
        )
        shifted = target.roll(1, 1)
        shifted[:, 0] = 2
        logits = self.model(
            input_ids=source, attention_mask=(source != 1).long(), decoder_input_ids=shifted
        ).logits  # (N,T,V)
        gold = logits.log_softmax(-1).gather(-1, target[..., None])[..., 0]
        return gold.masked_fill(target == 1, 0.0).sum(1)


@torch.no_grad()
def vectors(folder: Path, questions: list[str], passages: list[dict[str, str]]) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
    """Mean-pooled vectors as they are, not normalised: (Q,D) and (N,D)."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    model = BertModel.from_pretrained(folder, add_pooling_layer=False, dtype=torch.float32).eval()

    def encode(rows: list[list[int]]) -> torch.Tensor:
        found = []
        for i in range(0, len(rows), 256):
            ids = padded(rows[i : i + 256])
            mask = (ids != 1).long()
            hidden = model(input_ids=ids, attention_mask=mask).last_hidden_state
            found.append((hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True))
        return torch.cat(found)

    titles, texts = [p["title"] for p in passages], [p["text"] for p in passages]
    return encode(tokenizer(questions).input_ids), encode(tokenizer(titles, texts).input_ids)


def measure(folder: Path, split: str = "test", normalise: bool = True) -> dict[str, Any]:
    """Every bar of an edition pair, on the changed facts of people in a split."""
    report: dict[str, Any] = {"split": split}
    for edition in world.EDITIONS:
        asked = world.questions(edition, split, changed=True)
        every = world.passages(edition)
        position = {p["id"]: i for i, p in enumerate(every)}
        texts = [q["question"] for q in asked]
        golds = torch.tensor([position[q["passage_id"]] for q in asked])
        figures: dict[str, Any] = {"questions": len(asked), "passages": len(every)}
        if (folder / "generator").exists():
            reader = Reader(folder / "generator")
            said = reader.answers([every[i] for i in golds], texts)
            right = [normal(s) == normal(q["answers"][0]) for s, q in zip(said, asked, strict=True)]
            figures["gold_passage_em"] = round(100 * sum(right) / len(right), 1)
            figures["missed"] = [
                f"{q['answers'][0]} -> {s}"
                for s, q, ok in zip(said, asked, right, strict=True) if not ok
            ][:12]  # fmt: skip
        if (folder / "encoder").exists():
            q, p = vectors(folder / "encoder", texts, every)
            if normalise:
                q, p = (torch.nn.functional.normalize(v, dim=-1) for v in (q, p))
            scores = q @ p.T  # (Q,N)
            ranks = (scores > scores.gather(1, golds[:, None])).sum(1)
            for k in (1, 5, 20):
                figures[f"recall@{k}"] = round(100 * float((ranks < k).float().mean()), 1)
            figures["norms"] = [round(float(v.norm(dim=-1).mean()), 3) for v in (q, p)]
        report[edition] = figures
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path, nargs="?", default=world.CHECKPOINT)
    parser.add_argument("--split", default="test", choices=world.SPLITS)
    parser.add_argument("--plain", action="store_true", help="inner product instead of cosine")
    arguments = parser.parse_args()
    print(json.dumps(measure(arguments.checkpoint, arguments.split, not arguments.plain), indent=2))


if __name__ == "__main__":
    main()
