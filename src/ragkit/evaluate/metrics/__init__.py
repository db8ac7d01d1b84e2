"""ragkit's metrics: predictions and examples to one number for each.

One file for each kind of question that is put to a prediction:

| file | |
|---|---|
| answers | is the answer right: EM, F1, label accuracy |
| passages | were the right passages retrieved: recall, R-precision, reciprocal rank, nDCG |
| support | is a right answer held up by what was retrieved |
| bleu, rouge, q_bleu | how near a longer text comes to the golds |
| distinct | how varied the answers are |
| calibration | whether p(y|x) says how often the answer is right |
| mixture | what the prior and the posterior look like |

A number is NaN where the metric has no meaning: gold recall of an example whose gold
passage nobody knows. Metrics know nothing of models, files or averages; those whose figure
is no average are `ragkit.protocols.SupportsPooling`. ``label`` is the name that a table
shows, ``unit`` what the number counts where it is no share. docs/metrics.md defines each.
"""

from __future__ import annotations

from ragkit.evaluate.metrics.answers import F1, ExactMatch, LabelAccuracy
from ragkit.evaluate.metrics.bleu import Bleu, bleu_1
from ragkit.evaluate.metrics.calibration import Brier, CalibrationError
from ragkit.evaluate.metrics.distinct import Distinct
from ragkit.evaluate.metrics.mixture import PosteriorRank, PriorEntropy
from ragkit.evaluate.metrics.passages import (
    NDCG,
    AnswerRecall,
    GoldRecall,
    ReciprocalRank,
    RPrecision,
)
from ragkit.evaluate.metrics.q_bleu import QBleu1
from ragkit.evaluate.metrics.rouge import RougeL
from ragkit.evaluate.metrics.support import AnswerAbsent, Kilt, Unsupported

__all__ = [
    "F1",
    "NDCG",
    "AnswerAbsent",
    "AnswerRecall",
    "Bleu",
    "Brier",
    "CalibrationError",
    "Distinct",
    "ExactMatch",
    "GoldRecall",
    "Kilt",
    "LabelAccuracy",
    "PosteriorRank",
    "PriorEntropy",
    "QBleu1",
    "RPrecision",
    "ReciprocalRank",
    "RougeL",
    "Unsupported",
    "bleu_1",
]
