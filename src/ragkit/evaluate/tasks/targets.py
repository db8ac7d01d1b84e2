"""Training targets that are looked for in passages, as the paper does (section 3.1, appendix D).

TriviaQA: golds that occur in none of the passages retrieved for a question are dropped.
CuratedTrec: the target is the text that most often matches the regular expression in them.
A question of which nothing is found is left out. Knows any retriever, no file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice

from ragkit.errors import ConfigError
from ragkit.evaluate.tasks.patterns import checked
from ragkit.evaluate.text import has_answer
from ragkit.protocols import Example, Retriever

DEPTH = 1000
"""Passages that the paper looks into."""
_SECONDS = 5.0


def with_targets(
    examples: Iterable[Example],
    retriever: Retriever,
    *,
    regex: bool = False,
    k: int = DEPTH,
    batch_size: int = 16,
) -> Iterator[Example]:
    """The examples of which something is found in the k passages retrieved, with targets.

    Args:
        examples: streamed, a batch at a time.
        retriever: any; it is asked for k passages of each question.
        regex: whether the golds are regular expressions (CuratedTrec). Then the target is the
            most frequent match; else answers that are not found are dropped, and the target
            is the example's own where it is found, or the first answer that is.
        k: passages looked into.
        batch_size: questions retrieved for at once.

    Raises `ConfigError` where k or batch_size is below 1.
    """
    if k < 1 or batch_size < 1:
        raise ConfigError(f"k is {k} and batch_size {batch_size}; both must be 1 or more")
    stream = iter(examples)
    while batch := list(islice(stream, batch_size)):
        found = retriever.retrieve([one.question for one in batch], k)
        for example, passages in zip(batch, found.passages, strict=True):
            texts = [passage.text for passage in passages if passage is not None]
            chosen = _matched(example, texts) if regex else _occurring(example, texts)
            if chosen is not None:
                yield chosen


def most_matched(pattern: str, texts: Iterable[str], where: str = "target") -> str | None:
    """The text that an expression matches most often, the first of several; None if none.

    Raises `DataError` where the expression is none.
    """
    compiled = checked(pattern, where)
    counts: Counter[str] = Counter()
    for text in texts:
        try:
            counts.update(one[0].strip() for one in compiled.finditer(text, timeout=_SECONDS))
        except TimeoutError:  # an expression that goes wild on this text
            continue
    del counts[""]
    return max(counts, key=counts.__getitem__) if counts else None


def _matched(example: Example, texts: Sequence[str]) -> Example | None:
    for pattern in example.answers:
        target = most_matched(pattern, texts, f"example {example.id}")
        if target is not None:
            return replace(example, target=target)
    return None


def _occurring(example: Example, texts: Sequence[str]) -> Example | None:
    wanted = dict.fromkeys([*example.answers, *([example.target] if example.target else [])])
    there = [one for one in wanted if any(has_answer(text, [one]) for text in texts)]
    if not there:
        return None
    target = example.target if example.target in there else there[0]
    return replace(
        example, answers=tuple(one for one in example.answers if one in there), target=target
    )
