"""Every number of the recipe, on one page. Knows nothing of how they are used."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

DATA = Path(os.environ.get("RAGKIT_DATA", "../shared/data"))

SEED = 2026
HELD_OUT_ARTICLES = 22
"""Articles of SQuAD's training part kept for choices (k, stopping); never trained on."""


@dataclass(frozen=True)
class Stage:
    """Part of the reader's training: how many examples, and shares of each kind.

    full: the gold paragraph; crop: a window of it around the answer; invented: the
    answer replaced by an invented name everywhere; other: a paragraph that retrieval
    ranks high and that lacks the answer; none: no passage. For the last two the target
    is empty: p(y|x,z) must tell passages apart.
    """

    name: str
    examples: int
    full: float = 0.0
    crop: float = 0.0
    invented: float = 0.0
    other: float = 0.0
    none: float = 0.0


STAGES = (
    Stage("copy", 60_000, crop=0.85, invented=0.15),
    Stage("tell-apart", 90_000, full=0.50, crop=0.10, invented=0.08, other=0.28, none=0.04),
)
CROP_TOKENS = (40, 100)
"""Passage tokens in a window, least and most."""

DECODER_LAYERS = (1, 5)
"""The layers of MiniLM that the decoder's layers begin as."""
WIDTHS = (64, 96, 128, 160, 192, 224, 256, 320)
"""Source lengths to which pairs are padded: few shapes, for each is compiled once."""
TOKENS_PER_STEP = 5_632
TARGET_WIDTH = 26
LR_ENCODER = 3e-4
LR_DECODER = 4e-4
LR_NEW = 1e-3
WARM_UP = 0.02
BETAS = (0.9, 0.98)
WEIGHT_DECAY = 0.01
CLIP = 1.0
GUIDE = 0.3
"""Weight of the loss that shows cross-attention where the answer stands."""
SPAN = 0.3
"""Weight of the loss that lets the encoder mark first and last token of the answer."""
CHECKPOINT_SECONDS = 240
PROBE_SECONDS = 300
PROBE_QUESTIONS = 256

FORM = "{question} [SEP] {title} {text}"


@dataclass(frozen=True)
class Joint:
    """Part of the joint training over the knowledge base, without passage labels.

    k: passages of each question. towers: question and passage encoder learn as one model,
    and the generator only says which passage explains the answer (no gradient into it);
    otherwise question encoder and generator learn, and the passage encoder stays.
    """

    name: str
    questions: int
    k: int
    towers: bool
    lr_question: float
    lr_generator: float = 0.0


JOINT = (
    Joint("towers", 8_000, k=6, towers=True, lr_question=5e-5),
    Joint("joint", 4_000, k=5, towers=False, lr_question=3e-5, lr_generator=2e-5),
)
JOINT_BATCH = 16
JOINT_SOURCE = 224
"""Tokens of a source in joint training; answers may use more (`MAX_SOURCE`)."""
MAX_SOURCE = 320
MAX_TARGET = 32
FROZEN_LAYERS = 2
"""Layers of the question encoder that stay as the passage encoder's, and are stored once."""
GENERATION = {"num_beams": 3, "min_new_tokens": 1, "max_new_tokens": 26, "length_penalty": 0.0}
