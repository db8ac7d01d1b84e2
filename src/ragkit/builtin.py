"""ragkit's own components, through the same hooks that strangers use."""

from __future__ import annotations

from ragkit.hookspecs import Component, hookimpl


@hookimpl
def ragkit_encoders() -> list[Component]:
    return [
        Component(
            "dpr",
            "ragkit.retrieve.dpr:DPREncoder",
            "two towers, any transformers encoder, CLS or mean pooling",
        ),
    ]


@hookimpl
def ragkit_indexes() -> list[Component]:
    return [
        Component("exact", "ragkit.index.exact:ExactIndex", "exact search in torch, any device"),
        Component(
            "faiss",
            "ragkit.index.faiss:FaissIndex",
            "any faiss factory string (HNSW32, IVF…, PQ…), memory-mapped",
            needs=("faiss",),
            install="pip install faiss-cpu",
        ),
    ]


@hookimpl
def ragkit_retrievers() -> list[Component]:
    return [
        Component(
            "dense",
            "ragkit.retrieve.dense:DenseRetriever",
            "an encoder over a knowledge base, exact scores with gradient (section 2.2)",
        ),
    ]


@hookimpl
def ragkit_generators() -> list[Component]:
    return [
        Component(
            "seq2seq",
            "ragkit.generate.seq2seq:Seq2SeqGenerator",
            "BART, T5 and any other encoder-decoder of transformers (section 2.3)",
        ),
        Component(
            "seq2seq-classifier",
            "ragkit.generate.classifier:Seq2SeqClassifier",
            "one of a few labels, read from the final state (appendix E)",
        ),
    ]


@hookimpl
def ragkit_marginalizers() -> list[Component]:
    return [
        Component(
            "rag-sequence",
            "ragkit.marginalize.rag_sequence:RagSequence",
            "one passage for the whole output; thorough or fast decoding (section 2.1)",
        ),
        Component(
            "rag-token",
            "ragkit.marginalize.rag_token:RagToken",
            "a fresh passage for every token (section 2.1)",
        ),
    ]


@hookimpl
def ragkit_objectives() -> list[Component]:
    return [
        Component(
            "marginal",
            "ragkit.train.objectives:Marginal",
            "-log p(y|x), no supervision of retrieval (section 2.4)",
        ),
    ]


@hookimpl
def ragkit_tasks() -> list[Component]:
    where = "ragkit.evaluate.tasks"
    return [
        Component("jsonl", f"{where}.jsonl:JsonlTask", "lines of {question, answers, passage_id?}"),
        Component("csv", f"{where}.table_task:csv_task", "tables with a row for each question"),
        Component("nq", f"{where}.nq:natural_questions", "Natural Questions: NQ-open, DPR"),
        Component("triviaqa", f"{where}.triviaqa:triviaqa", "TriviaQA with all aliases"),
        Component("webquestions", f"{where}.webquestions:webquestions", "WebQuestions"),
        Component(
            "curated-trec",
            f"{where}.curated_trec:curated_trec",
            "CuratedTrec, answers as regular expressions",
        ),
        Component("squad", f"{where}.squad:squad", "SQuAD without its paragraphs"),
        Component("msmarco-nlg", f"{where}.msmarco:msmarco", "MS MARCO NLG, answers in sentences"),
        Component("jeopardy", f"{where}.jeopardy:jeopardy", "clues for answers, SearchQA's form"),
        Component("fever", f"{where}.fever:fever", "claims, in three classes or two"),
        Component("kilt", f"{where}.kilt:kilt", "any task in KILT's form"),
        Component("beir", f"{where}.beir:beir", "folders of BEIR, for retrieval"),
    ]


@hookimpl
def ragkit_metrics() -> list[Component]:
    where = "ragkit.evaluate.metrics"
    extra = 'pip install "ragkit[metrics]"'
    sacrebleu, rouge = ("sacrebleu",), ("rouge_score",)
    return [
        Component("em", f"{where}:ExactMatch", "exact match, as in SQuAD"),
        Component("f1", f"{where}:F1", "token F1, as in SQuAD"),
        Component("label-accuracy", f"{where}:LabelAccuracy", "the right label, as in FEVER"),
        Component("bleu", f"{where}:Bleu", "BLEU by sacrebleu", sacrebleu, extra),
        Component("bleu-1", f"{where}:bleu_1", "BLEU of single words", sacrebleu, extra),
        Component("rouge-l", f"{where}:RougeL", "longest common subsequence", rouge, extra),
        Component("q-bleu-1", f"{where}:QBleu1", "how answerable a question is"),
        Component("distinct", f"{where}:Distinct", "distinct over all n-grams"),
        Component("answer-recall", f"{where}:AnswerRecall", "an answer in the first k passages"),
        Component("answer-absent", f"{where}:AnswerAbsent", "no answer in the first k passages"),
        Component("gold-recall", f"{where}:GoldRecall", "a gold passage in the first k"),
        Component("r-precision", f"{where}:RPrecision", "gold passages among the first R"),
        Component("rr", f"{where}:ReciprocalRank", "reciprocal rank of the first gold passage"),
        Component("ndcg", f"{where}:NDCG", "discounted gain over that of the best order"),
        Component("kilt", f"{where}:Kilt", "another metric, where R-precision is 1"),
        Component("unsupported", f"{where}:Unsupported", "right though no passage holds it"),
        Component("ece", f"{where}:CalibrationError", "expected calibration error of p(y|x)"),
        Component("brier", f"{where}:Brier", "square of p(y|x) minus right"),
        Component("prior-entropy", f"{where}:PriorEntropy", "entropy of p(z|x) in nats"),
        Component("posterior-rank", f"{where}:PosteriorRank", "rank averaged by p(z|x,y)"),
    ]
