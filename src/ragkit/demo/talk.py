"""The demo's dialogue: questions as they are typed, from either edition.

Knows nothing of training and figures.
"""

from __future__ import annotations

import sys

from rich.console import Console

from ragkit.cli.draw import answer_view
from ragkit.demo.live import FIRST
from ragkit.demo.measure import MAX_NEW_TOKENS
from ragkit.demo.prepare import Parts, examples
from ragkit.demo.world import EDITIONS
from ragkit.errors import RagkitError
from ragkit.rag import RAG


def talk(parts: Parts, k: int) -> None:
    """Answer until an empty line; ``:swap`` changes the edition."""
    console = Console(markup=False, highlight=False)
    rag = RAG(parts.rag.retriever, parts.rag.generator, "rag-token")
    edition = FIRST
    rag.swap(parts.bases[edition])
    console.print()
    console.print("4  Your questions", style="bold")
    for one in examples(FIRST, "test", changed=True)[:3]:
        console.print(f"   {one.question}", style="dim")
    console.print("   ':swap' changes the edition, an empty line ends", style="dim")
    while True:
        try:
            typed = input(f"\nfacts of {edition} > ").strip()
        except (EOFError, KeyboardInterrupt):
            print(file=sys.stderr)
            return
        if not typed:
            return
        if typed in (":swap", "swap"):
            edition = EDITIONS[(EDITIONS.index(edition) + 1) % len(EDITIONS)]
            rag.swap(parts.bases[edition])
            continue
        try:
            (answer,) = rag.answer([typed], k=k, max_new_tokens=MAX_NEW_TOKENS)
        except RagkitError as error:
            console.print(str(error), style="red")
            continue
        console.print(answer_view(answer))
