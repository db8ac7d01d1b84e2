"""Everything that ragkit brings passes the kit, and so do the small right implementations.

Written as an author writes it: classes that pytest collects.
"""

from __future__ import annotations

import pytest

import tiny
from ragkit import registry
from ragkit.evaluate.metrics import (
    F1,
    NDCG,
    AnswerAbsent,
    AnswerRecall,
    Bleu,
    Brier,
    CalibrationError,
    Distinct,
    ExactMatch,
    GoldRecall,
    Kilt,
    LabelAccuracy,
    PosteriorRank,
    PriorEntropy,
    QBleu1,
    ReciprocalRank,
    RougeL,
    RPrecision,
    Unsupported,
    bleu_1,
)
from ragkit.evaluate.tasks import JsonlTask
from ragkit.generate.classifier import Seq2SeqClassifier
from ragkit.generate.form import BERT
from ragkit.generate.seq2seq import Seq2SeqGenerator
from ragkit.index.exact import ExactIndex
from ragkit.index.faiss import FaissIndex
from ragkit.knowledge import KnowledgeBase
from ragkit.marginalize.rag_sequence import RagSequence
from ragkit.marginalize.rag_token import RagToken
from ragkit.retrieve.dense import DenseRetriever
from ragkit.retrieve.dpr import DPREncoder
from ragkit.testing import (
    CONFORMANCE,
    Conformance,
    EncoderConformance,
    GeneratorConformance,
    IndexConformance,
    MarginalizerConformance,
    MetricConformance,
    ObjectiveConformance,
    RetrieverConformance,
    TaskConformance,
)
from ragkit.train.objectives import Marginal
from testing import test_tasks
from testing.right import (
    BruteIndex,
    ListTask,
    SameText,
    WordEncoder,
    WordRetriever,
    WordShare,
)

# ---------------------------------------------------------------------- encoders


class TestDpr(EncoderConformance):
    component = "dpr"

    def make(self):
        return DPREncoder(tiny.bert(), tiny.bert(seed=1), tiny.tokenizer())


class TestDprShared(EncoderConformance):
    learns = False

    def make(self):
        return DPREncoder(
            tiny.bert(), tokenizer=tiny.tokenizer(), shared=True, pooling="mean", normalize=True
        )


class TestWordEncoder(EncoderConformance):
    learns = True

    def make(self):
        return WordEncoder()


# ----------------------------------------------------------------------- indexes


class TestExact(IndexConformance):
    component = "exact"
    recall = 1.0

    def make(self):
        return ExactIndex(block=64)


class TestFaiss(IndexConformance):
    component = "faiss"

    def make(self):
        return FaissIndex()


class TestFaissCells(IndexConformance):
    recall = 0.9

    def make(self):
        return FaissIndex("IVF8,Flat", search={"nprobe": 6})


class TestFaissCodes(IndexConformance):
    """Eight bits a number: scores are rough, and the vectors come back only roughly."""

    score_tolerance = 0.1

    def make(self):
        return FaissIndex("SQ8")


class TestBruteIndex(IndexConformance):
    recall = 1.0

    def make(self):
        return BruteIndex()


# -------------------------------------------------------------------- retrievers


class TestDense(RetrieverConformance):
    component = "dense"
    learns = True

    def make(self):
        encoder = DPREncoder(tiny.bert(), tiny.bert(seed=1), tiny.tokenizer())
        base = KnowledgeBase.build(self.passages, encoder, "exact", self.folder() / "base")
        return DenseRetriever(encoder, base, temperature=2.0, learn_temperature=True)


class TestWordRetriever(RetrieverConformance):
    def make(self):
        return WordRetriever(self.passages)


# -------------------------------------------------------------------- generators


class TestBart(GeneratorConformance):
    component = "seq2seq"
    learns = True

    def make(self):
        return Seq2SeqGenerator(tiny.bart(), tiny.tokenizer())


class TestBartWithForcedStart(GeneratorConformance):
    """As the released models: the first token is forced and does not count."""

    def make(self):
        model = tiny.bart()
        model.generation_config.forced_bos_token_id = 0
        return Seq2SeqGenerator(model, tiny.tokenizer())


class TestT5(GeneratorConformance):
    def make(self):
        form = "question: {question} context: {title} {text}"
        return Seq2SeqGenerator(tiny.t5(), tiny.tokenizer(), form=form)


class TestBert2Bert(GeneratorConformance):
    def make(self):
        return Seq2SeqGenerator(tiny.bert2bert(), tiny.tokenizer(), form=BERT)


class TestClassifier(GeneratorConformance):
    component = "seq2seq-classifier"
    learns = True
    target_texts = ("SUPPORTS", "REFUTES", "NOT ENOUGH INFO")

    def make(self):
        return Seq2SeqClassifier(tiny.bart(), tokenizer=tiny.tokenizer())


# ------------------------------------------------------------------ marginalizers


class TestRagSequence(MarginalizerConformance):
    component = "rag-sequence"
    kind = "sequence"

    def make(self):
        return RagSequence()


class TestRagSequenceFast(MarginalizerConformance):
    kind = "sequence"
    exact = False

    def make(self):
        return RagSequence("fast")


class TestRagToken(MarginalizerConformance):
    component = "rag-token"
    kind = "token"

    def make(self):
        return RagToken()


# -------------------------------------------------------- objectives, tasks, metrics


class TestMarginal(ObjectiveConformance):
    component = "marginal"

    def make(self):
        return Marginal()


class TestJsonl(TaskConformance):
    component = "jsonl"
    splits = ("train", "dev")

    def make(self):
        folder = self.folder()
        for split in self.splits:
            lines = [f'{{"question": "{split} {i}", "answers": ["{i}"]}}' for i in range(5)]
            (folder / f"{split}.jsonl").write_text("\n".join(lines))
        return JsonlTask(str(folder))


class TestListTask(TaskConformance):
    def make(self):
        return ListTask()


class TestExactMatch(MetricConformance):
    component = "em"
    best = 1.0

    def make(self):
        return ExactMatch()


class TestF1(MetricConformance):
    component = "f1"
    best = 1.0

    def make(self):
        return F1()


class TestAnswerRecall(MetricConformance):
    component = "answer-recall"
    best = 1.0

    def make(self):
        return AnswerRecall(k=3)


class TestGoldRecall(MetricConformance):
    component = "gold-recall"
    best = 1.0

    def make(self):
        return GoldRecall(k=3)


class TestReciprocalRank(MetricConformance):
    component = "rr"
    best = 1.0

    def make(self):
        return ReciprocalRank()


class TestLabelAccuracy(MetricConformance):
    component = "label-accuracy"
    best = 1.0

    def make(self):
        return LabelAccuracy()


class TestBleu(MetricConformance):
    component = "bleu"
    best = 1.0

    def make(self):
        return Bleu()


class TestBleu1(MetricConformance):
    component = "bleu-1"
    best = 1.0

    def make(self):
        return bleu_1()


class TestRougeL(MetricConformance):
    component = "rouge-l"
    best = 1.0

    def make(self):
        return RougeL()


class TestQBleu1(MetricConformance):
    component = "q-bleu-1"

    def make(self):
        return QBleu1()


class TestDistinct(MetricConformance):
    component = "distinct"
    better = None  # varied answers are neither right nor wrong

    def make(self):
        return Distinct(n=1)


class TestAnswerAbsent(MetricConformance):
    component = "answer-absent"
    better = "lower"
    best = 0.0

    def make(self):
        return AnswerAbsent(k=3)


class TestRPrecision(MetricConformance):
    component = "r-precision"
    best = 1.0

    def make(self):
        return RPrecision()


class TestNDCG(MetricConformance):
    component = "ndcg"
    best = 1.0

    def make(self):
        return NDCG(k=3)


class TestKilt(MetricConformance):
    component = "kilt"
    best = 1.0

    def make(self):
        return Kilt()


class TestUnsupported(MetricConformance):
    component = "unsupported"
    better = None  # of questions whose answer is absent alone

    def make(self):
        return Unsupported()


class TestCalibrationError(MetricConformance):
    component = "ece"
    better = None  # the kit's predictions are all of one p(y|x)

    def make(self):
        return CalibrationError()


class TestBrier(MetricConformance):
    component = "brier"
    better = None  # the same

    def make(self):
        return Brier()


class TestPriorEntropy(MetricConformance):
    component = "prior-entropy"
    better = None  # says nothing of right and wrong

    def make(self):
        return PriorEntropy()


class TestPosteriorRank(MetricConformance):
    component = "posterior-rank"
    better = None  # the same

    def make(self):
        return PosteriorRank()


class TestSameText(MetricConformance):
    def make(self):
        return SameText()


class TestWordShare(MetricConformance):
    best = 1.0

    def make(self):
        return WordShare()


# -------------------------------------------------------------------- all of them


def test_no_component_of_ragkit_is_forgotten() -> None:
    held = {
        (one.role, one.component)
        for name, one in [*globals().items(), *vars(test_tasks).items()]
        if name.startswith("Test") and issubclass(one, Conformance)
    }
    for listing in registry.components():
        if listing.distribution == "ragkit":
            assert (listing.role, listing.component.name) in held


@pytest.mark.parametrize("role", CONFORMANCE)
def test_a_class_without_make_says_what_to_write(role: str) -> None:
    with pytest.raises(AssertionError, match=rf"write one that returns a new {role}"):
        CONFORMANCE[role]().made()
