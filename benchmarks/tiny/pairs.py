"""Training pairs: a question, a passage or a window of one, and the target's tokens.

A pair of one kind (`settings.Stage`) is made from an example by a random generator that
depends on seed and place alone, so a resumed run sees the same pairs. Where the answer
stands in the source is noted for the two losses that show it. Knows nothing of models.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import names
import numpy as np
import torch
from settings import CROP_TOKENS, TARGET_WIDTH, TOKENS_PER_STEP, WIDTHS, Stage
from sources import Corpus
from torch import Tensor
from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Pair:
    """source: ids with special tokens; cut: where the passage's segment begins.

    target: ids with EOS (EOS alone: no answer here); found: places in the source where
    the answer's tokens begin.
    """

    source: list[int]
    cut: int
    target: list[int]
    found: list[int]


@dataclass(frozen=True)
class Batch:
    """tokens, segments, mask: (P,S); targets: (P,T), -100 at padding.

    spans: (P,S,2) bool, first and last token of the answer, or [CLS] where there is none;
    guide: (P,T,S) bool, where the token to be written stands.
    """

    tokens: Tensor
    segments: Tensor
    mask: Tensor
    targets: Tensor
    spans: Tensor
    guide: Tensor


class Pairs:
    """All examples in tokens.

    Args:
        corpus: passages and questions.
        tokenizer: MiniLM's.
        others: for each example the ids of paragraphs that retrieval ranks high.
    """

    def __init__(
        self,
        corpus: Corpus,
        tokenizer: PreTrainedTokenizerBase,
        others: dict[str, list[str]] | None = None,
    ) -> None:
        self.tokenizer = tokenizer
        self.cls, self.sep, self.pad = (
            tokenizer.cls_token_id,
            tokenizer.sep_token_id,
            tokenizer.pad_token_id,
        )
        self.examples = corpus.examples
        self.others = others or {}
        used = list(corpus.passages.values())
        self.titles = dict(
            zip(corpus.passages, self._ids([one.title for one in used]), strict=True)
        )
        self.texts = dict(zip(corpus.passages, self._ids([one.text for one in used]), strict=True))
        self.questions = self._ids([one.question for one in self.examples])
        self.answers = self._ids([one.answers[0] for one in self.examples])

    def _ids(self, texts: list[str]) -> list[list[int]]:
        found: list[list[int]] = self.tokenizer(texts, add_special_tokens=False, verbose=False)[
            "input_ids"
        ]
        return found

    def make(self, place: int, stage: Stage, rng: random.Random) -> Pair:
        """One pair of a kind that the stage's shares decide."""
        kinds = ("full", "crop", "invented", "other", "none")
        kind = rng.choices(kinds, [getattr(stage, kind) for kind in kinds])[0]
        example = self.examples[place]
        gold = example.passage_ids[0]
        question, answer = self.questions[place], self.answers[place]
        title, text = self.titles[gold], self.texts[gold]
        where = find(text, answer)
        if len(answer) + 1 > TARGET_WIDTH:
            kind = "other"
        if kind == "none":
            return self.pair(question, [], [], [])
        if kind == "other":
            apart = self._apart(example.id, answer, gold, rng)
            if apart is None:
                return self.pair(question, [], [], [])
            text = self.texts[apart]
            if rng.random() < 0.3:
                text = window(text, [], 0, rng)
            return self.pair(question, self.titles[apart], text, [])
        if kind == "invented" and where and len(answer) <= 6:
            made = self._ids([names.name(rng)])[0]
            text, title = replace(text, answer, made), replace(title, answer, made)
            answer, where = made, find(text, made)
            kind = rng.choice(("full", "crop"))
        if kind == "crop" and where:
            text = window(text, where, len(answer), rng)
        return self.pair(question, title, text, answer)

    def gold(self, place: int) -> Pair:
        """An example with its whole gold paragraph."""
        gold = self.examples[place].passage_ids[0]
        return self.pair(
            self.questions[place], self.titles[gold], self.texts[gold], self.answers[place]
        )

    def pair(
        self, question: list[int], title: list[int], text: list[int], answer: list[int]
    ) -> Pair:
        """[CLS] question [SEP] title text [SEP], the passage cut to the widest shape."""
        question = question[:64]
        head = [self.cls, *question, self.sep]
        body = [*title, *text][: WIDTHS[-1] - len(head) - 1]
        found = [len(head) + at for at in find(body, answer)] if answer else []
        return Pair([*head, *body, self.sep], len(head), [*answer, self.sep], found)

    def _apart(self, example: str, answer: list[int], gold: str, rng: random.Random) -> str | None:
        """A paragraph that looks right and lacks the answer."""
        ranked = [one for one in self.others.get(example, ()) if one != gold]
        rng.shuffle(ranked)
        for one in ranked:
            if not find(self.texts[one], answer) and not find(self.titles[one], answer):
                return one
        return None

    def batch(self, pairs: Sequence[Pair], width: int) -> Batch:
        """Pairs padded to a width."""
        n, t = len(pairs), TARGET_WIDTH
        tokens = np.full((n, width), self.pad, dtype=np.int64)
        mask = np.zeros((n, width), dtype=np.int64)
        segments = np.zeros((n, width), dtype=np.int64)
        targets = np.full((n, t), -100, dtype=np.int64)
        spans = np.zeros((n, width, 2), dtype=bool)
        guide = np.zeros((n, t, width), dtype=bool)
        for i, pair in enumerate(pairs):
            tokens[i, : len(pair.source)] = pair.source
            mask[i, : len(pair.source)] = 1
            segments[i, pair.cut : len(pair.source)] = 1
            targets[i, : len(pair.target)] = pair.target[:t]  # a probe's answer may be longer
            length = len(pair.target) - 1
            if length == 0:
                spans[i, 0] = True
            for at in pair.found:
                spans[i, at, 0] = spans[i, at + length - 1, 1] = True
                shown = np.arange(min(length, t))
                guide[i, shown, at + shown] = True
        made = (tokens, segments, mask, targets, spans, guide)
        return Batch(*(torch.from_numpy(array) for array in made))


def rounds(pairs: Pairs, stage: Stage, seed: int, number: int, size: int) -> list[Batch]:
    """The batches of one round: `size` examples drawn in a shuffled order without end."""
    count = len(pairs.examples)
    made = []
    for i in range(number * size, (number + 1) * size):
        epoch, place = divmod(i, count)
        order = _order(count, seed, stage.name, epoch)
        rng = random.Random(f"{seed} {stage.name} {i}")
        made.append(pairs.make(int(order[place]), stage, rng))
    rng = random.Random(f"{seed} {stage.name} round {number}")
    rng.shuffle(made)
    by_width: dict[int, list[Pair]] = {width: [] for width in WIDTHS}
    batches = []
    for pair in made:
        width = next(width for width in WIDTHS if len(pair.source) <= width)
        by_width[width].append(pair)
    left: list[Pair] = []
    for width in WIDTHS:  # what does not fill a batch goes on to the next width
        waiting = left + by_width[width]
        at_once = max(8, TOKENS_PER_STEP // width // 4 * 4)
        while len(waiting) >= at_once or (waiting and width == WIDTHS[-1]):
            batches.append((waiting[:at_once], width))
            waiting = waiting[at_once:]
        left = waiting
    rng.shuffle(batches)
    return [pairs.batch(chosen, width) for chosen, width in batches]


_orders: dict[tuple[int, int, str, int], np.ndarray] = {}


def _order(count: int, seed: int, stage: str, epoch: int) -> np.ndarray:
    key = (count, seed, stage, epoch)
    if key not in _orders:
        _orders.clear()
        rng = np.random.default_rng([seed, epoch, *stage.encode()])
        _orders[key] = rng.permutation(count)
    return _orders[key]


def find(text: Sequence[int], piece: Sequence[int]) -> list[int]:
    """Where a piece begins in a text."""
    if not piece:
        return []
    first, n = piece[0], len(piece)
    piece = list(piece)
    return [i for i in range(len(text) - n + 1) if text[i] == first and text[i : i + n] == piece]


def replace(text: list[int], old: list[int], new: list[int]) -> list[int]:
    """Every occurrence of old becomes new."""
    out, at = [], 0
    for place in find(text, old):
        if place < at:
            continue
        out += text[at:place] + new
        at = place + len(old)
    return out + text[at:]


def window(text: list[int], where: list[int], length: int, rng: random.Random) -> list[int]:
    """A window of the text that holds one of the places, or any window."""
    size = max(length, rng.randint(*CROP_TOKENS))
    if len(text) <= size:
        return text
    low, high = 0, len(text) - size
    if where:
        at = rng.choice(where)
        low, high = max(0, at + length - size), min(high, at)
    start = rng.randint(low, max(low, high))
    return text[start : start + size]
