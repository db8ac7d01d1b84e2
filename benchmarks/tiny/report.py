"""From ``results.json`` and the logs: plots, the page of results, the model card.

    python benchmarks/tiny/report.py --work build/tiny --model FOLDER

Every figure of ours comes from the files; the published ones are typed in. Knows nothing of
models.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import settings
from plots import Series, lines

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PLOTS = DOCS / "results"


def percent(score: dict[str, Any], digits: int = 1) -> str:
    """A share with its interval, in percent."""
    mean, low, high = (100 * score[name] for name in ("mean", "low", "high"))
    return f"{mean:.{digits}f} ({low:.{digits}f}–{high:.{digits}f})"


def points(score: dict[str, Any]) -> str:
    """A paired difference in points, with its interval."""
    mean, low, high = (100 * score[name] for name in ("mean", "low", "high"))
    return f"{mean:+.1f} ({low:+.1f} to {high:+.1f})"


def draw(results: dict[str, Any], work: Path) -> None:
    """All plots of the page."""
    log = [json.loads(line) for line in (work / "reader.jsonl").read_text().splitlines()]
    steps = [one for one in log if "write" in one]
    probes = [one for one in log if "probe" in one]
    lines(
        PLOTS / "reader-loss.svg",
        "Loss of the reader against examples seen",
        "examples seen",
        "nats per token",
        [
            Series("writing", [s["seen"] for s in steps], [s["write"] for s in steps], dots=False),
            Series("guide", [s["seen"] for s in steps], [s["guide"] for s in steps], dots=False),
            Series("marks", [s["seen"] for s in steps], [s["marks"] for s in steps], dots=False),
        ],
        top=4.0,
    )
    lines(
        PLOTS / "reader-probe.svg",
        "Answers token for token right, gold paragraph given, held-out training articles",
        "examples seen",
        "share right",
        [Series("probe of 256", [p["seen"] for p in probes], [p["probe"] for p in probes])],
    )
    joint = _joint(work)
    if joint:
        lines(
            PLOTS / "joint.svg",
            "Joint training: −log p(y|x)",
            "step",
            "nats per question",
            [Series("loss", *_smooth(joint, "loss"), dots=False)],
        )
        lines(
            PLOTS / "joint-signs.svg",
            "Joint training: signs of collapse",
            "step",
            "share",
            [
                Series("entropy / log K", *_smooth(joint, "prior_entropy_share"), dots=False),
                Series("distinct passages", *_smooth(joint, "distinct_passages"), dots=False),
                Series("still retrieved", *_smooth(joint, "probe_overlap"), dots=False),
            ],
            top=1.0,
        )
    recall = results["retrieval"]
    lines(
        PLOTS / "recall.svg",
        "Gold recall at k, dev questions",
        "k",
        "recall",
        [
            _recall(recall, "all trained", "after joint training"),
            _recall(recall, "all start", "MiniLM"),
        ],
        logarithmic=True,
        top=1.0,
    )
    by_k = results["by-k"]
    ks = [int(k) for k in by_k]
    em = [by_k[str(k)]["EM"] for k in ks]
    lines(
        PLOTS / "em-by-k.svg",
        "Exact match against k, all paragraphs (Fast)",
        "k",
        "exact match",
        [
            Series(
                "RAG-Sequence, Fast",
                ks,
                [e["mean"] for e in em],
                [e["low"] for e in em],
                [e["high"] for e in em],
            )
        ],
        logarithmic=True,
    )
    bins = results["open-all"]["reliability"]["bins"]
    lines(
        PLOTS / "reliability.svg",
        "How often an answer of probability p is right",
        "p(y|x)",
        "share right",
        [Series("ten bins of equal size", [b["p"] for b in bins], [b["em"] for b in bins])],
        top=1.0,
        even=True,
    )


def _joint(work: Path) -> list[dict[str, Any]]:
    """The logged steps of all stages of the joint training, numbered on."""
    found: list[dict[str, Any]] = []
    for stage in settings.JOINT:
        file = work / f"{stage.name}.json"
        before = int(found[-1]["step"]) if found else 0
        if file.exists():
            log = [one for one in json.loads(file.read_text()) if "loss" in one]
            found += [{**one, "step": one["step"] + before} for one in log]
    return found


def _smooth(log: list[dict[str, Any]], name: str) -> tuple[list[float], list[float]]:
    rows = [(one["step"], one[name]) for one in log if name in one]
    out, mean = [], None
    for _, value in rows:
        mean = value if mean is None else 0.9 * mean + 0.1 * value
        out.append(mean)
    return [step for step, _ in rows], out


def _recall(recall: dict[str, Any], key: str, name: str) -> Series:
    ks = [int(label[2:]) for label in recall[key]]
    found = [recall[key][f"R@{k}"] for k in ks]
    return Series(
        name,
        ks,
        [f["mean"] for f in found],
        [f["low"] for f in found],
        [f["high"] for f in found],
    )


def main_table(r: dict[str, Any]) -> str:
    """The figures, with the published ones beside."""
    dev, every = r["retrieval"]["dev trained"], r["retrieval"]["all trained"]
    start = r["retrieval"]["dev start"]
    rows = [
        (
            f"Open book, all 20,963 paragraphs, k = {r['open-all']['k']}: EM",
            percent(r["open-all"]["EM"]),
            "28.12 (RAG), 40.02 (passage encoder trained too)",
        ),
        ("the same: F1", percent(r["open-all"]["F1"]), ""),
        ("Gold paragraph given: EM", percent(r["gold"]["EM"]), ""),
        ("the same: F1", percent(r["gold"]["F1"]), ""),
        (
            f"Open book, 2,067 dev paragraphs, k = {r['open-dev']['k']}: EM",
            percent(r["open-dev"]["EM"]),
            "",
        ),
        ("Closed book (no passage): EM", percent(r["closed"]["EM"]), ""),
        (
            "Gold recall@1, 2,067 paragraphs",
            percent(dev["R@1"]),
            f"MiniLM {percent(start['R@1'])}; gain {points(r['retrieval']['dev gain R@1'])}",
        ),
        (
            "Gold recall@5, 2,067 paragraphs",
            percent(dev["R@5"]),
            f"MiniLM {percent(start['R@5'])}; gain {points(r['retrieval']['dev gain R@5'])}",
        ),
        (
            "Gold recall@1 / 5, all paragraphs",
            f"{percent(every['R@1'])} / {percent(every['R@5'])}",
            "MiniLM "
            + percent(r["retrieval"]["all start"]["R@1"])
            + " / "
            + percent(r["retrieval"]["all start"]["R@5"]),
        ),
        (
            "EM of the trained retriever over MiniLM, same generator "
            f"({r['frozen-retriever']['sample']:,} questions)",
            points(r["frozen-retriever"]["EM gain"]),
            "",
        ),
        ("Invented names copied from the passage given: EM", percent(r["copying"]["EM"]), ""),
        ("the same: the answer holds the name", percent(r["copying"]["holds the name"]), ""),
        (
            "Seconds for one question alone, k = 5, Thorough, two cores, fp32: median (90%)",
            f"{r['answer-time']['median']:.2f} ({r['answer-time']['p90']:.2f})",
            "",
        ),
    ]
    text = "| | ragkit-tiny | to compare |\n|---|---|---|\n"
    return text + "".join(f"| {a} | {b} | {c} |\n" for a, b, c in rows)


def side_tables(r: dict[str, Any]) -> str:
    """Marginalizers, k, BM25, swap, precision."""
    n = r["marginalizers"]["sample"]
    text = f"\n### Marginalizers ({n} questions, all paragraphs, k = {r['marginalizers']['k']})\n\n"
    text += "| | EM | F1 |\n|---|---|---|\n"
    for key, name in (
        ("thorough", "RAG-Sequence, Thorough"),
        ("fast", "RAG-Sequence, Fast"),
        ("token", "RAG-Token"),
    ):
        one = r["marginalizers"][key]
        text += f"| {name} | {percent(one['EM'])} | {percent(one['F1'])} |\n"
    if "EM" in r.get("bm25", {}):
        one = r["bm25"]
        text += f"| BM25 as retriever, Thorough | {percent(one['EM'])} | {percent(one['F1'])} |\n"
    swap = r["swapped"]
    text += (
        f"\n### Another knowledge base ({swap['sample']} questions)\n\n"
        "The same questions over the dev paragraphs as they are, and over the same paragraphs with "
        "each answer replaced by an invented name.\n\n"
        "| knowledge base | says the true answer | says the invented one |\n|---|---|---|\n"
    )
    for key, name in (("true", "as it is"), ("invented", "invented answers")):
        one = swap[key]
        text += (
            f"| {name} | {100 * one['says the true']:.1f} | "
            f"{100 * one['says the invented']:.1f} |\n"
        )
    low = r["precision"]
    text += (
        "\n### Precision\n\nThe tables were measured with the generator in bfloat16. On 500 of the "
        f"questions: EM {percent(low['bfloat16']['EM'])} in bfloat16, "
        f"{percent(low['float32']['EM'])} in float32; "
        f"{100 * low['same text']:.1f}% of the texts are the same.\n"
    )
    kept = r["int8"]
    text += (
        "\nKeeping the weights as int8 changes "
        f"{100 - 100 * kept['same text']:.1f}% of the texts and the EM by "
        f"{points(kept['EM gain'])} points (from {percent(kept['before']['EM'])}, the same 500).\n"
    )
    return text


def stages_table(r: dict[str, Any]) -> str:
    """What each stage brought."""
    found = r.get("stages")
    if not found:
        return ""
    text = (
        f"\n### What each stage brought ({found['sample']} questions)\n\n"
        "| after | EM, gold paragraph | EM, all paragraphs | empty where the passage is another |\n"
        "|---|---|---|---|\n"
    )
    remark = (
        "\nThe last column is the share of passages without the answer to which the empty output "
        "has more than half of the probability. Joint training undoes what *tell apart* had "
        "taught there: the likelihood of the answers asks nothing of passages that do not explain "
        "them.\n"
    )
    for one in found["rows"]:
        text += (
            f"| {one['name']} | {percent(one['gold']['EM'])} | {percent(one['open']['EM'])} | "
            f"{100 * one['abstains']:.0f}% |\n"
        )
    return text + remark


def failures_list(r: dict[str, Any]) -> str:
    """Twenty wrong answers, by class."""
    classes: dict[str, list[dict[str, Any]]] = {}
    for one in r["failures"]:
        if one["gold rank"] is None:
            name = "retrieval: the gold paragraph was not among those read"
        elif one["f1"] > 0.5:
            name = "boundary: more or fewer words than the gold"
        elif one["posterior of gold"] < 0.5:
            name = "choice: another passage was believed"
        else:
            name = "reading: the gold paragraph was read and misunderstood"
        classes.setdefault(name, []).append(one)
    text = "\n### Twenty wrong answers, drawn at random\n"
    for name, members in sorted(classes.items(), key=lambda item: -len(item[1])):
        text += f"\n**{name}** ({len(members)})\n\n"
        for one in members:
            golds = " / ".join(dict.fromkeys(one["answers"]))
            text += f"- {one['question'].strip()} — said *{one['said']}*, gold *{golds}*\n"
    return text


def support(open_all: dict[str, Any]) -> str:
    """Whether the passages held what was said and what should have been."""
    alone = open_all["right though no passage holds the answer"]
    missed = open_all["wrong though a passage holds the answer"]
    return (
        f"Of the right answers {100 * alone:.1f}% are held by no retrieved passage (the model "
        f"copies); of the wrong ones {100 * missed:.1f}% had a passage that holds the right one."
    )


def page(r: dict[str, Any], packed: dict[str, Any]) -> str:
    """docs/results.md."""
    open_all = r["open-all"]
    examples = sum(stage.examples for stage in settings.STAGES)
    joint = sum(stage.questions for stage in settings.JOINT)
    return f"""# Results: ragkit-tiny on SQuAD

Written by `benchmarks/tiny/report.py` from what `benchmarks/tiny/measure.py` measured; the recipe
is one command, `python benchmarks/tiny/make.py --work build/tiny`. Shares in percent with 95%
bootstrap intervals over the questions. SQuAD v1.1: trained on questions of the training articles,
measured on the 10,570 dev questions, whose articles were never trained on.

{main_table(r)}
What differs from the published figures (transformers' `rag-end2end-retriever` example, about 630
million parameters, DPR and BART-large, ten epochs): the start model is MiniLM, whose own training
data list SQuAD's *training* questions; {packed["parameters"] / 1e6:.0f} million parameters, what
the three models share counted in each; {examples:,} examples for the reader, of SQuAD's training
part and of Natural Questions (QED); joint training on {joint:,} questions, once, with the passage
encoder trained in its first part and the knowledge base built again once. The knowledge base is
the same work: all paragraphs of SQuAD, titles included.

{support(open_all)} BM25 is the better retriever here (below): SQuAD's
questions were written beside their paragraph and share its words. Compare `retriever: hybrid` on
texts of your own.

![Gold recall at k](results/recall.svg)
![Exact match against k](results/em-by-k.svg)
![Reliability](results/reliability.svg)

Expected calibration error of p(y|x): {open_all["reliability"]["ece"]:.3f}.
{side_tables(r)}{stages_table(r)}
### Training

![Loss of the reader](results/reader-loss.svg)
![Probe of the reader](results/reader-probe.svg)
![Joint training](results/joint.svg)
![Signs of collapse](results/joint-signs.svg)
{failures_list(r)}"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True)
    given = parser.parse_args()
    results = json.loads((given.work / "results.json").read_text())
    draw(results, given.work)
    packed = json.loads((given.work / "packed.json").read_text())
    (DOCS / "results.md").write_text(page(results, packed))
    card = given.model / "README.md"
    text = card.read_text() if card.exists() else ""
    begin, end = "<!-- figures -->", "<!-- end of figures -->"
    if begin in text:
        head, rest = text.split(begin, 1)
        tail = rest.split(end, 1)[1]
        card.write_text(f"{head}{begin}\n\n{main_table(results)}\n{end}{tail}")


if __name__ == "__main__":
    main()
