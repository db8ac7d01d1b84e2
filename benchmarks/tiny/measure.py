"""Every figure of the model card, from a saved model, each row resumable.

    python benchmarks/tiny/measure.py --model FOLDER --work build/tiny [--rows NAME …]

A row is one function below; its outcome goes to ``results.json`` as soon as it is there,
and a row found there is not measured again. Questions are SQuAD's dev questions, unless a
row chooses something: then they are those of held-out training articles. Side tables use
a fixed sample, and say so.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench import Bench, invented, reliability, sample, scores

from ragkit import RAG, KnowledgeBase
from ragkit.evaluate import closed_book, gold_passage, interval, paired_interval
from ragkit.evaluate.text import has_answer, squad_normalise
from ragkit.protocols import Example, Passage

SAMPLE = 2_000
SMALL = 500
KS = (1, 2, 5, 10, 20)
ROWS: dict[str, Callable[[Bench], Any]] = {}


def row(function: Callable[[Bench], Any]) -> Callable[[Bench], Any]:
    ROWS[function.__name__.replace("_", "-")] = function
    return function


# ------------------------------------------------------------------- what is chosen


@row
def choose_k(bench: Bench) -> Any:
    """k for the open book, on questions of held-out training articles."""
    chosen = sample(bench.chosen.examples, 300)
    rag = bench.over("all")
    return {str(k): scores(bench.run(rag, f"choose-k{k}", chosen, k)) for k in (2, 3, 5)}


def best_k(bench: Bench) -> int:
    found = bench.results["choose-k"]
    return max((int(k) for k in found), key=lambda k: found[str(k)]["EM"]["mean"])


# --------------------------------------------------------------------- the main rows


@row
def gold(bench: Bench) -> Any:
    """The gold paragraph given."""
    model = gold_passage(bench.over("dev"), bench.dev.examples)
    return scores(bench.run(model, "gold", bench.dev.examples, 1))


@row
def open_all(bench: Bench) -> Any:
    """Open book over all 20,963 paragraphs, RAG-Sequence, Thorough."""
    rag = bench.over("all")
    k = best_k(bench)
    result = bench.run(rag, "open-all", bench.dev.examples, k)
    em = result.values["EM"]
    held = np.array(
        [
            any(has_answer(p.title + " " + p.text, e.answers) for p in said.passages)
            for said, e in zip(result.predictions, bench.dev.examples, strict=True)
        ]
    )
    return {
        **scores(result),
        "k": k,
        "right though no passage holds the answer": float(((em == 1) & ~held).sum() / em.sum()),
        "wrong though a passage holds the answer": float(
            ((em == 0) & held).sum() / (em == 0).sum()
        ),
        "reliability": reliability([p.log_likelihood for p in result.predictions], em),
    }


@row
def open_dev(bench: Bench) -> Any:
    """Open book over the dev articles' 2,067 paragraphs."""
    rag = bench.over("dev")
    k = best_k(bench)
    return {**scores(bench.run(rag, "open-dev", bench.dev.examples, k)), "k": k}


@row
def closed(bench: Bench) -> Any:
    """No passage: the generator alone."""
    model = closed_book(bench.rag.generator)
    return scores(bench.run(model, "closed", bench.dev.examples, 1))


@row
def retrieval(bench: Bench) -> Any:
    """Gold recall of the trained encoders and of MiniLM, each over its own vectors."""
    found: dict[str, Any] = {}
    examples = bench.dev.examples
    for name in ("dev", "all"):
        ranks = {}
        for which, encoder, base in (
            ("trained", bench.encoder, bench.base(name)),
            ("start", bench.start, bench.base(f"start-{name}")),
        ):
            ranks[which] = _ranks(encoder, examples, base)
            found[f"{name} {which}"] = {
                f"R@{k}": interval((ranks[which] < k).astype(float))._asdict()
                for k in (1, 2, 5, 10, 20, 50)
            }
        for k in (1, 5):
            found[f"{name} gain R@{k}"] = paired_interval(
                (ranks["trained"] < k).astype(float), (ranks["start"] < k).astype(float)
            )._asdict()
    return found


def _ranks(encoder: Any, examples: Any, base: Any) -> Any:
    """Rank of each question's gold paragraph, 0 the best; a million where not in the 50."""
    gold = base.rows([one.passage_ids[0] for one in examples])
    ranks = []
    for i in range(0, len(examples), 64):
        part = examples[i : i + 64]
        with torch.no_grad():
            queries = encoder.questions([one.question for one in part]).float().numpy()
        hits = base.search(queries, 50)
        for ids, row_ in zip(hits.ids, gold[i : i + 64], strict=True):
            where = np.flatnonzero(ids == row_)
            ranks.append(int(where[0]) if len(where) else 10**6)
    return np.array(ranks)


@row
def frozen_retriever(bench: Bench) -> Any:
    """The trained generator over MiniLM as it was: what training the retriever moved."""
    examples = sample(bench.dev.examples, SAMPLE)
    k = best_k(bench)
    trained = bench.run(bench.over("all"), "open-all", bench.dev.examples, k)  # found there
    place = {one.id: i for i, one in enumerate(bench.dev.examples)}
    chosen = [place[one.id] for one in examples]
    frozen = bench.run(bench.frozen(), "frozen", examples, k)
    return {
        "frozen": scores(frozen),
        "EM gain": paired_interval(trained.values["EM"][chosen], frozen.values["EM"])._asdict(),
        "sample": len(examples),
    }


# ----------------------------------------------------------------------- side tables


@row
def marginalizers(bench: Bench) -> Any:
    """RAG-Sequence (Thorough, Fast) and RAG-Token over all paragraphs."""
    from ragkit.marginalize.rag_sequence import RagSequence
    from ragkit.marginalize.rag_token import RagToken

    examples = sample(bench.dev.examples, SMALL)
    rag = bench.over("all")
    k = best_k(bench)
    found = {}
    for name, marginalizer in (
        ("thorough", RagSequence()),
        ("fast", RagSequence("fast")),
        ("token", RagToken()),
    ):
        model = RAG(rag.retriever, rag.generator, marginalizer)
        result = bench.run(model, f"marginalizer-{name}", examples, k)
        found[name] = {**scores(result), "per second": result.timing.per_second}
    return {**found, "sample": len(examples), "k": k}


@row
def by_k(bench: Bench) -> Any:
    """EM against k, as in Figure 3; Fast, for Thorough's cost grows with the square of k."""
    from ragkit.marginalize.rag_sequence import RagSequence

    examples = sample(bench.dev.examples, SMALL)
    rag = bench.over("all")
    model = RAG(rag.retriever, rag.generator, RagSequence("fast"))
    return {str(k): scores(bench.run(model, f"fast-k{k}", examples, k)) for k in KS}


@row
def bm25(bench: Bench) -> Any:
    """BM25 in place of the dense retriever (Table 6)."""
    try:
        from ragkit import make

        retriever: Any = make("retriever", "bm25", knowledge_base=bench.base("all"))
    except Exception as error:
        return {"not measured": str(error).splitlines()[0]}
    examples = sample(bench.dev.examples, SMALL)
    model = RAG(retriever, bench.rag.generator, "rag-sequence")
    return {**scores(bench.run(model, "bm25", examples, best_k(bench))), "sample": len(examples)}


@row
def copying(bench: Bench) -> Any:
    """Invented names in place of the answers, the changed paragraph given."""
    changed, passages = invented(bench, SAMPLE)
    base = {one.id: one for one in passages}

    class Given:
        tokens = None

        def rows(self, ids: Sequence[str]) -> Any:
            return np.array([order[i] for i in ids], dtype=np.int64)

        def passages(self, rows: Any) -> list[Passage]:
            return [listed[int(r)] for r in rows]

    listed = list(base.values())
    order = {one.id: i for i, one in enumerate(listed)}
    model = gold_passage(bench.rag, changed, Given())
    said = bench.run(model, "copying", changed, 1)
    holds = [
        squad_normalise(e.answers[0]) in squad_normalise(p.text)
        for p, e in zip(said.predictions, changed, strict=True)
    ]
    return {**scores(said), "holds the name": interval(np.array(holds, dtype=float))._asdict()}


@row
def swapped(bench: Bench) -> Any:
    """The knowledge base swapped for one with invented answers: whom does it follow?"""
    changed, passages = invented(bench, SMALL, one_each=True)
    fresh = {one.id: one for one in passages}
    folder = bench.work / "kb-invented"
    if not (folder / "current").exists():
        every = [fresh.get(one.id, one) for one in bench.dev.passages.values()]
        with torch.autocast("cpu", torch.bfloat16):
            KnowledgeBase.build(every, bench.encoder, "exact", folder)
    k = best_k(bench)
    originals = {one.id: one for one in bench.dev.examples}
    found: dict[str, Any] = {"sample": len(changed)}
    for name, base in (("true", bench.base("dev")), ("invented", KnowledgeBase.open(folder))):
        bench.rag.swap(base)
        said = bench.run(bench.rag, f"swap-{name}", changed, k)
        texts = [squad_normalise(one.text) for one in said.predictions]
        found[name] = {
            "says the invented": float(
                np.mean(
                    [
                        t == squad_normalise(e.answers[0])
                        for t, e in zip(texts, changed, strict=True)
                    ]
                )
            ),
            "says the true": float(
                np.mean(
                    [
                        any(t == squad_normalise(g) for g in originals[e.id].answers)
                        for t, e in zip(texts, changed, strict=True)
                    ]
                )
            ),
        }
    return found


@row
def answer_time(bench: Bench) -> Any:
    """Seconds for one question alone, k = 5, Thorough, as shipped (float32)."""
    rag = RAG.from_pretrained(bench.folder, knowledge_base=bench.base("all"))
    asked = [one.question for one in sample(bench.dev.examples, 60)]
    seconds = []
    for question in asked:
        began = time.perf_counter()
        rag.answer([question], k=5)
        seconds.append(time.perf_counter() - began)
    return {"median": float(np.median(seconds[10:])), "p90": float(np.quantile(seconds[10:], 0.9))}


@row
def precision(bench: Bench) -> Any:
    """The other rows are measured in bfloat16; the same sample in float32."""
    examples = sample(bench.dev.examples, SMALL)
    rag = RAG.from_pretrained(bench.folder, knowledge_base=bench.base("all"))
    k = best_k(bench)
    exact = bench.run(rag, "float32", examples, k)
    low = bench.run(bench.over("all"), "bfloat16", examples, k)
    same = np.mean(
        [a.text == b.text for a, b in zip(exact.predictions, low.predictions, strict=True)]
    )
    return {"float32": scores(exact), "bfloat16": scores(low), "same text": float(same)}


@row
def int8(bench: Bench) -> Any:
    """What keeping the weights as int8 costs: the last checkpoint in float32 beside it."""
    import joint
    import settings

    examples = sample(bench.dev.examples, SMALL)
    k = best_k(bench)
    folder = bench.work / settings.JOINT[-1].name
    last = max(folder.glob("checkpoint-*"), key=lambda one: int(one.name[11:]))
    saved = RAG.from_pretrained(last, knowledge_base=bench.base("all"))
    model: Any = saved.generator.model
    whole = RAG(
        saved.retriever,  # read as the shipped one reads: training cut sources shorter
        joint.generator(model.to(bench.rag.generator.model.dtype), settings.MAX_SOURCE),
        "rag-sequence",
    ).eval()
    before = bench.run(whole, "not-rounded", examples, k)
    after = bench.run(bench.over("all"), "bfloat16", examples, k)
    same = np.mean(
        [a.text == b.text for a, b in zip(before.predictions, after.predictions, strict=True)]
    )
    return {
        "before": scores(before),
        "after": scores(after),
        "EM gain": paired_interval(after.values["EM"], before.values["EM"])._asdict(),
        "same text": float(same),
    }


@row
def failures(bench: Bench) -> Any:
    """Twenty wrong answers drawn at random, with what was there."""
    result = bench.run(bench.over("all"), "open-all", bench.dev.examples, best_k(bench))
    wrong = [i for i, value in enumerate(result.values["EM"]) if value == 0]
    shown = []
    for i in random.Random(3).sample(wrong, min(20, len(wrong))):
        said, example = result.predictions[i], bench.dev.examples[i]
        ids = [one.id for one in said.passages]
        gold = example.passage_ids[0]
        shown.append(
            {
                "question": example.question,
                "answers": list(example.answers),
                "said": said.text,
                "gold rank": ids.index(gold) + 1 if gold in ids else None,
                "posterior of gold": said.posterior[ids.index(gold)] if gold in ids else 0.0,
                "probability": float(np.exp(said.log_likelihood)),
                "f1": float(result.values["F1"][i]),
            }
        )
    return shown


@row
def stages(bench: Bench) -> Any:
    """What each stage of the training brought, over the frozen retriever and at the end."""
    import joint
    import reader as training
    import settings

    examples = sample(bench.dev.examples, SMALL)
    rag = bench.over("all")
    k = best_k(bench)
    rows = []
    for folder, name in (("after-copy", "copy"), ("after-tell-apart", "tell-apart"), ("", "joint")):
        whole = rag
        if folder:
            model: Any = training.loaded(bench.work / f"{folder}.safetensors")
            whole = bench.frozen(joint.generator(model.to(torch.bfloat16), settings.MAX_SOURCE))
        given = gold_passage(whole, bench.dev.examples, bench.base("dev"))
        rows.append(
            {
                "name": name,
                "gold": scores(bench.run(given, f"stage-{name}-gold", examples, 1)),
                "open": scores(bench.run(whole, f"stage-{name}-open", examples, k)),
                "abstains": _abstains(whole, examples),
            }
        )
    return {"rows": rows, "sample": len(examples), "k": k}


def _abstains(rag: RAG, examples: Sequence[Example]) -> float:
    """Share of passages without the answer to which the likeliest output is the empty one."""
    silent, seen = 0, 0
    for example in examples[:200]:
        with torch.no_grad():
            found = rag.retriever.retrieve([example.question], 3)
            reading = rag.generator.read([example.question], found)
            targets = rag.generator.targets([""])
            empty = reading.score(targets, reading.rows).sum(-1).exp()[0]  # (K,)
        for passage, p in zip(found.passages[0], empty.tolist(), strict=True):
            if passage and not has_answer(f"{passage.title} {passage.text}", example.answers):
                seen += 1
                silent += p > 0.5
    return silent / max(seen, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--rows", nargs="*", default=list(ROWS))
    parser.add_argument("--float32", action="store_true")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    file = given.work / "results.json"
    bench = Bench(given.model, given.work, not given.float32)
    if file.exists():
        bench.results = json.loads(file.read_text())
    for name in given.rows:
        if name in bench.results:
            continue
        began = time.monotonic()
        bench.results[name] = ROWS[name](bench)
        print(name, f"{time.monotonic() - began:.0f} s", json.dumps(bench.results[name])[:300])
        sys.stdout.flush()
        aside = file.with_suffix(".new")
        aside.write_text(json.dumps(bench.results, indent=1))
        aside.replace(file)


if __name__ == "__main__":
    main()
