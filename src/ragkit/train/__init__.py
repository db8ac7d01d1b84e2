"""Training: the trainer, objectives, diagnostics, and DPR's contrastive warm-up."""

from ragkit.train.arguments import TrainingArguments
from ragkit.train.trainer import Trainer

__all__ = ["Trainer", "TrainingArguments"]
