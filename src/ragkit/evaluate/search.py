"""A retriever as the search function of a benchmark: BEIR's and mteb's.

Both hand over a corpus and queries and take back ``{query: {passage: score}}``. `BeirSearch`
has the one method that BEIR's ``EvaluateRetrieval`` calls, `MtebSearch` those of mteb's
``SearchProtocol`` (mteb 2). Neither package is imported, here or anywhere in ragkit. Knows
nothing of how passages are found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch

from ragkit.errors import ConfigError, DataError
from ragkit.evaluate.retrieving import resting
from ragkit.evaluate.trec import falling
from ragkit.protocols import Passage, Retrieved, Retriever, SupportsFilter

Build = Callable[[Iterator[Passage]], Retriever]
"""Makes a retriever over the passages of a corpus."""
Found = dict[str, dict[str, float]]
"""Scores by query and passage; a dictionary keeps the order, best first."""


class BeirSearch:
    """What BEIR's ``EvaluateRetrieval`` takes for a retriever.

    Args:
        retriever: one whose knowledge base holds the corpus, or a function that makes one
            from the passages of a corpus.
        batch_size: queries searched at once.
    """

    def __init__(self, retriever: Retriever | Build, batch_size: int = 64) -> None:
        self._source = _Source(retriever)
        self._batch_size = batch_size

    def search(
        self,
        corpus: Mapping[str, Mapping[str, str]],
        queries: Mapping[str, str],
        top_k: int,
        score_function: str | None = None,
        **_: Any,
    ) -> Found:
        """The ``top_k`` best passages of every query.

        ``corpus`` maps ids to ``{"title", "text"}``, ``queries`` ids to texts. The score is the
        retriever's own whatever ``score_function`` says: an encoder with ``normalize`` has
        cosines, one without inner products. Equal scores are told apart by the least step of a
        32-bit float, so that whoever sorts by them keeps the order.

        Raises `DataError` where the corpus is not that of the retriever's knowledge base.
        """
        passages = (
            Passage(id, one.get("title") or "", one.get("text") or "") for id, one in corpus.items()
        )
        retriever = self._source.over(passages, corpus)
        return _search(retriever, list(queries.items()), top_k, self._batch_size)


class MtebSearch:
    """What mteb takes for a model: its ``SearchProtocol``.

    Args:
        retriever: one whose knowledge base holds the corpus, or a function that makes one
            from the passages of a corpus.
        meta: mteb's own description of the model, an ``mteb.ModelMeta``.
        batch_size: queries searched at once.
    """

    def __init__(
        self, retriever: Retriever | Build, meta: Any = None, batch_size: int = 64
    ) -> None:
        self._source = _Source(retriever)
        self._batch_size = batch_size
        self._ready: Retriever | None = None
        self.mteb_model_meta = meta

    def index(self, corpus: Iterable[Mapping[str, Any]], **_: Any) -> None:
        """Take the corpus of a task: rows with ``id``, ``text`` (or ``body``), perhaps ``title``.

        What else mteb says (``task_metadata``, ``hf_split``, ``hf_subset``, ``encode_kwargs``)
        makes no difference here. Raises `DataError` where it is not the corpus of the
        retriever's knowledge base, or a row has no text.
        """
        ids = [_text(row, "id") for row in corpus]
        self._ready = self._source.over(map(_passage, corpus), ids)

    def search(
        self,
        queries: Iterable[Mapping[str, Any]],
        *,
        top_k: int,
        top_ranked: Mapping[str, Sequence[str]] | None = None,
        **_: Any,
    ) -> Found:
        """The ``top_k`` best passages of every query, rows with ``id`` and ``text``.

        top_ranked: ids to keep to, by query, as tasks of reranking give them.

        Raises `DataError` where no corpus was indexed, `ConfigError` where ``top_ranked`` is
        given and the retriever cannot keep to some ids.
        """
        if self._ready is None:
            raise DataError("no corpus was indexed; mteb calls index(corpus, …) before search")
        asked = [(_text(row, "id"), _text(row, "text")) for row in queries]
        if top_ranked is None:
            return _search(self._ready, asked, top_k, self._batch_size)
        return _rerank(self._ready, asked, top_k, top_ranked)


class _Source:
    """A retriever that is there, or what makes one; which is asked for once a corpus."""

    def __init__(self, retriever: Retriever | Build) -> None:
        self._given = retriever

    def over(self, passages: Iterator[Passage], ids: Iterable[str]) -> Retriever:
        """A retriever over just these passages."""
        given: Any = self._given
        if not hasattr(given, "retrieve"):
            made: Retriever = given(passages)
            return made
        base = getattr(given, "knowledge_base", None)
        if base is not None:
            _compare(base, list(ids))
        found: Retriever = given
        return found


def _compare(base: Any, ids: list[str]) -> None:
    """Raise `DataError` where the ids are not those of the knowledge base."""
    held = {passage.id for passage in base}
    missing = [id for id in ids if id not in held]
    if missing or len(ids) != len(held):
        named = f", and lacks {len(missing):,} of them, such as {missing[0]!r}" if missing else ""
        raise DataError(
            f"the corpus has {len(ids):,} passages and the retriever's knowledge base "
            f"{len(held):,}{named}; build one from this corpus, or give a function that does: "
            f"BeirSearch(lambda passages: …)"
        )


def _search(
    retriever: Retriever, asked: Sequence[tuple[str, str]], k: int, batch_size: int
) -> Found:
    found: Found = {}
    for start in range(0, len(asked), batch_size):
        batch = asked[start : start + batch_size]
        with torch.no_grad(), resting(retriever):
            held = retriever.retrieve([text for _, text in batch], k)
        found |= zip((id for id, _ in batch), _scores(held), strict=True)
    return found


def _rerank(
    retriever: Retriever,
    asked: Sequence[tuple[str, str]],
    k: int,
    among: Mapping[str, Sequence[str]],
) -> Found:
    if not isinstance(retriever, SupportsFilter):
        raise ConfigError(
            f"{type(retriever).__name__} cannot keep to some ids (it has no retrieve_from), so "
            f"it cannot rerank; choose tasks of retrieval"
        )
    found: Found = {}
    for id, text in asked:
        ids = list(among.get(id, ()))
        if not ids:
            found[id] = {}
            continue
        with torch.no_grad(), resting(retriever):
            (found[id],) = _scores(retriever.retrieve_from([text], min(k, len(ids)), ids))
    return found


def _scores(held: Retrieved) -> Iterator[dict[str, float]]:
    """{id: score} of each question, best first, absent passages left out."""
    for row, scores in zip(held.passages, held.scores.tolist(), strict=True):
        there = [(one.id, s) for one, s in zip(row, scores, strict=True) if one is not None]
        yield dict(zip((id for id, _ in there), falling(s for _, s in there), strict=True))


def _passage(row: Mapping[str, Any]) -> Passage:
    body = "body" if row.get("body") is not None else "text"  # else text may repeat the title
    return Passage(_text(row, "id"), row.get("title") or "", _text(row, body))


def _text(row: Mapping[str, Any], field: str) -> str:
    value = row.get(field)
    if not isinstance(value, str):
        raise DataError(
            f"a row has {field} {value!r:.60}, and texts are needed; it has "
            f"{', '.join(sorted(map(str, row)))}. Retrieval here is of texts by texts"
        )
    return value
