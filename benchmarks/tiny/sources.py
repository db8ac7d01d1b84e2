"""The data as they lie on disk, with who may see what.

Held out for good: SQuAD's dev questions and their articles, QED dev. Held out for
choices: the questions of some articles of SQuAD's training part, picked by a hash of
the title. Knows nothing of tokens.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from settings import DATA, HELD_OUT_ARTICLES

from ragkit.protocols import Example, Passage


@dataclass(frozen=True)
class Corpus:
    """Paragraphs by id, and the questions over them."""

    passages: dict[str, Passage]
    examples: list[Example]

    def only(self, titles: set[str], inside: bool) -> Corpus:
        """The same with the questions of these titles only, or without them."""
        kept = [
            one
            for one in self.examples
            if (self.passages[one.passage_ids[0]].title in titles) == inside
        ]
        return Corpus(self.passages, kept)


def squad(split: str) -> Corpus:
    """SQuAD v1.1, ``train`` or ``dev``."""
    folder = DATA / "squad"
    passages = {
        row["id"]: Passage(row["id"], row["title"], row["text"])
        for row in _lines(folder / f"{split}-v1.1.passages.jsonl.gz")
    }
    examples = [
        Example(row["id"], row["question"], tuple(row["answers"]), (row["passage_id"],))
        for row in _lines(folder / f"{split}-v1.1.questions.jsonl.gz")
    ]
    return Corpus(passages, examples)


def qed(split: str) -> Corpus:
    """Natural Questions with their gold paragraph (QED), ``train`` or ``dev``."""
    passages, examples = {}, []
    for file in sorted((DATA / "qed").glob("*.jsonl*")):
        for row in _lines(file):
            if row["split"] != split:
                continue
            key = f"qed-{row['id']}"
            passages[key] = Passage(key, row["title"], row["paragraph"])
            examples.append(Example(key, row["question"] + "?", tuple(row["answers"]), (key,)))
    return Corpus(passages, examples)


def chosen_titles(corpus: Corpus) -> set[str]:
    """The articles held out for choices: those whose title has the smallest hash."""
    titles = {passage.title for passage in corpus.passages.values()}
    ranked = sorted(titles, key=lambda title: hashlib.sha256(title.encode()).hexdigest())
    return set(ranked[:HELD_OUT_ARTICLES])


def _lines(file: Path) -> Iterator[dict[str, Any]]:
    if not file.exists():
        raise SystemExit(f"{file} is missing; set RAGKIT_DATA to the folder with the data")
    opener: Any = gzip.open if file.suffix == ".gz" else open
    with opener(file, "rt", encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)
