"""For each question the paragraphs that MiniLM ranks high: the reader's hard negatives.

The start model retrieves over all training paragraphs, exactly; the ranks are kept in
one file. Knows nothing of the reader.
"""

from __future__ import annotations

import json
from pathlib import Path

import encoders
import numpy as np
import torch
from sources import Corpus

from ragkit.index.exact import ExactIndex
from ragkit.protocols import Passage
from ragkit.retrieve.dpr import DPREncoder

RANKS = 12


@torch.no_grad()
def ranked(corpus: Corpus, file: Path) -> dict[str, list[str]]:
    """Passage ids by example id, best first, at most `RANKS`."""
    if file.exists():
        found: dict[str, list[str]] = json.loads(file.read_text())
        return found
    model = encoders.minilm()
    passages = [one for one in corpus.passages.values()]
    index = ExactIndex()
    index.build(_vectors(model, passages))
    order = sorted(range(len(corpus.examples)), key=lambda i: len(corpus.examples[i].question))
    found = {}
    for i in range(0, len(order), 256):
        part = [corpus.examples[j] for j in order[i : i + 256]]
        with torch.autocast("cpu", torch.bfloat16):
            queries = model.questions([one.question for one in part]).float().numpy()
        hits = index.search(queries, RANKS)
        for one, row in zip(part, hits.ids, strict=True):
            found[one.id] = [passages[r].id for r in row if r >= 0]
    aside = file.with_suffix(".new")
    aside.write_text(json.dumps(found))
    aside.replace(file)
    return found


def _vectors(model: DPREncoder, passages: list[Passage]) -> np.ndarray:
    order = sorted(range(len(passages)), key=lambda i: len(passages[i].text))
    out = np.zeros((len(passages), model.dimension), dtype=np.float32)
    for i in range(0, len(order), 64):
        part = order[i : i + 64]
        with torch.autocast("cpu", torch.bfloat16):
            out[part] = model.passages([passages[j] for j in part]).float().numpy()
    return out
