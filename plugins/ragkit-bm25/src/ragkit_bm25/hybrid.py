"""The retriever ``hybrid``: two retrievers over one knowledge base, fused.

Both are asked for more than k; what each says of a passage is a number from 0 to 1, by its rank or
by its score; their weighted mean, divided by a temperature, is the logit of the prior. With
``sum`` the gradient reaches whatever learns in them; ranks have none. Knows nothing of how
either finds its passages.
"""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, Self, runtime_checkable

import torch
from torch import Tensor, nn

from ragkit import KnowledgeBase, registry
from ragkit.errors import ConfigError, DataError
from ragkit.protocols import Passage, Retrieved, Retriever, SupportsFilter, SupportsSave
from ragkit_bm25 import fusion
from ragkit_bm25.gate import Gate
from ragkit_bm25.rows import Rows

_OPTIONS = "hybrid.json"
_SIDES = ("first", "second")


@runtime_checkable
class HasFloor(Protocol):
    """A retriever that says which score is that of a passage for which nothing speaks.

    Such passages fill its list up to k, and earn nothing by their place in it.
    """

    floor: float


@runtime_checkable
class SupportsPrepare(Protocol):
    """A retriever that can do the long part of a swap beforehand."""

    def prepare(self, knowledge_base: KnowledgeBase) -> None: ...


class HybridRetriever(nn.Module):
    """Any two retrievers over one knowledge base as one.

    Args:
        first, second: the retrievers. Where both have a ``knowledge_base``, it must be the same.
        fusion: ``rank`` (reciprocal ranks) or ``sum`` (scores, each list's scaled to 0…1).
        weights: of the first and of the second.
        constant: c of c + rank, for ``rank``; the greater, the less the first places count.
        temperature: fused scores lie between 0 and 1 and are divided by it.
        oversample: how many times k each is asked for.

    Raises:
        ConfigError: an option that cannot be, or retrievers over different knowledge bases.
    """

    conformance = "ragkit_bm25.conformance:HybridConformance"

    def __init__(
        self,
        first: Retriever,
        second: Retriever,
        fusion: Literal["rank", "sum"] = "rank",
        weights: tuple[float, float] = (1.0, 1.0),
        constant: float = 60.0,
        temperature: float = 0.1,
        oversample: int = 4,
    ) -> None:
        super().__init__()
        _check(fusion, weights, constant, temperature, oversample)
        self.first = first
        self.second = second
        self.fusion = fusion
        self.weights = (float(weights[0]), float(weights[1]))
        self.constant = float(constant)
        self.temperature = float(temperature)
        self.oversample = oversample
        self.names = _names(first, second)
        self._gate = Gate()
        self._unite()

    @property
    def parts(self) -> tuple[Retriever, Retriever]:
        """Both retrievers."""
        return self.first, self.second

    # -------------------------------------------------------------- knowledge bases

    @property
    def knowledge_base(self) -> KnowledgeBase:
        """That of the retrievers. Raises `AttributeError` where neither has one."""
        for part in self.parts:
            found = getattr(part, "knowledge_base", None)
            if found is not None:
                return found  # type: ignore[no-any-return]
        raise AttributeError("neither retriever has a knowledge base")

    def swap(self, knowledge_base: KnowledgeBase) -> None:
        """Answer from another knowledge base from the next call on, both at once.

        Answers are never of two knowledge bases: those that come in while both are being
        switched wait for it. Where the second refuses, the first goes back to the one it had.
        """
        swaps = [getattr(part, "swap", None) for part in self.parts]
        for part, one in zip(self.parts, swaps, strict=True):
            if one is None:
                raise ConfigError(f"{type(part).__name__} has no knowledge base to swap")
        for part in self.parts:
            if isinstance(part, SupportsPrepare):
                part.prepare(knowledge_base)
        before = self.knowledge_base
        with self._gate.changing():
            _call(swaps[0], knowledge_base)
            try:
                _call(swaps[1], knowledge_base)
            except BaseException:
                _call(swaps[0], before)
                raise

    def _unite(self) -> None:
        """One open knowledge base for both, where each has opened the same folder."""
        bases = [getattr(part, "knowledge_base", None) for part in self.parts]
        if bases[0] is None or bases[1] is None or bases[0] is bases[1]:
            return
        if _place(bases[0]) != _place(bases[1]):
            raise ConfigError(
                f"the retrievers read different knowledge bases, {bases[0]!r} and {bases[1]!r}; "
                "give both the same"
            )
        swap = getattr(self.second, "swap", None)
        if swap is not None:
            swap(bases[0])

    # -------------------------------------------------------------------- retrieving

    def retrieve(self, questions: Sequence[str], k: int) -> Retrieved:
        """The K = k best passages of each question, best first; ties by row number."""

        def ask(part: Retriever, wide: int) -> Retrieved:
            return part.retrieve(questions, wide)

        return self._retrieve(questions, k, ask)

    def retrieve_from(
        self, questions: Sequence[str], k: int, allowed: Collection[str]
    ) -> Retrieved:
        """The same among the passages with these ids alone.

        Raises `ConfigError` where one of the retrievers cannot filter, `DataError` where no id
        is given or the knowledge base lacks one.
        """
        for part in self.parts:
            if not isinstance(part, SupportsFilter):
                raise ConfigError(f"{type(part).__name__} cannot filter: leave out allowed=")

        def ask(part: Any, wide: int) -> Retrieved:
            found: Retrieved = part.retrieve_from(questions, wide, allowed)
            return found

        return self._retrieve(questions, k, ask)

    def _retrieve(
        self, questions: Sequence[str], k: int, ask: Callable[[Any, int], Retrieved]
    ) -> Retrieved:
        if isinstance(questions, str):
            raise DataError("questions is one string; give a list of them: [question]")
        if isinstance(k, bool) or not isinstance(k, int) or k < 1:
            raise DataError(f"k is {k!r}; it is the number of passages per question, at least 1")

        def both() -> tuple[Any, list[Retrieved]]:
            base = getattr(self, "knowledge_base", None)
            wide = k * self.oversample if base is None else min(k * self.oversample, len(base))
            return base, [ask(part, max(k, wide)) for part in self.parts]

        base, lists = self._gate.steady(both)
        return self._fused(base, lists, k)

    def _fused(self, base: Any, lists: list[Retrieved], k: int) -> Retrieved:
        device = lists[0].scores.device
        rows, places = fusion.union([one.ids.cpu().numpy() for one in lists])  # (B,U)
        columns = [torch.from_numpy(one).to(device) for one in places]
        scores = [
            fusion.aligned(one.scores.to(device).float(), column)
            for one, column in zip(lists, columns, strict=True)
        ]  # (B,U) each
        fused = self._values(scores, columns).masked_fill(
            torch.from_numpy(rows < 0).to(device), -math.inf
        )
        best, order = fused.sort(dim=-1, descending=True, stable=True)  # rows ascend: ties by row
        ids = torch.from_numpy(rows).to(device).gather(1, order)
        ids, best = _width(ids, k, -1), _width(best, k, -math.inf)  # (B,K)
        chosen = ids.cpu().numpy()
        where = [column.gather(1, order)[:, :k].cpu().numpy() for column in columns]
        return Retrieved(
            passages=_Picked(lists, where, k) if base is None else Rows(base, chosen),
            ids=ids,
            scores=best,
            mask=ids >= 0,
            tokens=next((one.tokens for one in lists if one.tokens is not None), None),
            scores_by={
                name: _width(score.detach().gather(1, order), k, -math.inf)
                for name, score in zip(self.names, scores, strict=True)
            },
        )

    def _values(self, scores: list[Tensor], columns: list[Tensor]) -> Tensor:
        """The logits (B,U): the weighted mean of what each list gives, over the temperature."""
        total = torch.zeros_like(scores[0])
        for part, weight, score, column in zip(
            self.parts, self.weights, scores, columns, strict=True
        ):
            floor = part.floor if isinstance(part, HasFloor) else None
            credited = column >= 0
            if floor is not None:
                credited = credited & (score > floor)
            if self.fusion == "rank":
                value = fusion.by_rank(column, credited, self.constant)
            else:
                value = fusion.by_score(score, column, credited, floor)
            total = total + weight * value
        return total / (sum(self.weights) * self.temperature)

    # -------------------------------------------------------------------- on disk

    def save(self, directory: Path, copy_knowledge_base: bool = False) -> None:
        """Both retrievers and the options; a copied knowledge base lies with the first.

        Raises `ConfigError` where one of them cannot be saved.
        """
        directory = Path(directory)
        names = [_savable(part) for part in self.parts]
        for side, part in zip(_SIDES, self.parts, strict=True):
            folder = directory / side
            folder.mkdir(parents=True, exist_ok=True)
            saver: Any = part
            copies = "copy_knowledge_base" in inspect.signature(saver.save).parameters
            if copy_knowledge_base and side == "first":
                if not copies:
                    raise ConfigError(f"the retriever {names[0]!r} has no knowledge base to copy")
                saver.save(folder, copy_knowledge_base=True)
            else:
                saver.save(folder)
        options = {
            **dict(zip(_SIDES, names, strict=True)),
            "fusion": self.fusion,
            "weights": list(self.weights),
            "constant": self.constant,
            "temperature": self.temperature,
            "oversample": self.oversample,
        }
        (directory / _OPTIONS).write_text(json.dumps(options, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, directory: Path, knowledge_base: KnowledgeBase | None = None) -> Self:
        """What `save` wrote; ``knowledge_base`` takes the place of the one referred to.

        Raises `ConfigError` where it is no such folder.
        """
        directory = Path(directory)
        if not (directory / _OPTIONS).is_file():
            raise ConfigError(
                f"{directory} holds no retriever: {_OPTIONS} is missing; give a folder that "
                "HybridRetriever.save wrote"
            )
        options: dict[str, Any] = json.loads((directory / _OPTIONS).read_text(encoding="utf-8"))
        base, parts = knowledge_base, []
        for side in _SIDES:
            found: Any = registry.find("retriever", options.pop(side))
            takes = "knowledge_base" in inspect.signature(found.load).parameters
            given = {"knowledge_base": base} if takes and base is not None else {}
            parts.append(found.load(directory / side, **given))
            base = base or getattr(parts[-1], "knowledge_base", None)  # the second shares it
        return cls(*parts, **{**options, "weights": tuple(options["weights"])})


class _Picked(Sequence[tuple[Passage | None, ...]]):
    """B × K passages out of the lists that they came in, for want of a knowledge base."""

    def __init__(self, lists: list[Retrieved], where: list[Any], k: int) -> None:
        self._lists, self._where, self._k = lists, where, k  # where: (B,≤K) columns, -1

    def __len__(self) -> int:
        return len(self._where[0])

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[b] for b in range(*index.indices(len(self)))]
        found: list[Passage | None] = [None] * self._k
        for one, where in zip(self._lists, self._where, strict=True):
            for i, column in enumerate(where[index].tolist()):
                if column >= 0:
                    found[i] = one.passages[index][column]
        return tuple(found)


def _call(swap: Any, knowledge_base: KnowledgeBase) -> None:
    swap(knowledge_base)


def _place(base: Any) -> tuple[Path, Any]:
    return Path(base.directory).resolve(), getattr(base, "generation", None)


def _names(first: object, second: object) -> tuple[str, str]:
    """What the scores of each are called: its component's name, its class's where it has none."""
    names = [_component(part) or type(part).__name__ for part in (first, second)]
    if names[0] == names[1]:
        return names[0], f"{names[1]}-2"
    return names[0], names[1]


def _component(part: object) -> str | None:
    target = f"{type(part).__module__}:{type(part).__qualname__}"
    for listing in registry.components():
        if listing.role == "retriever" and listing.component.target == target:
            return listing.component.name
    return None


def _savable(part: object) -> str:
    """The name by which a retriever can be found again; a name, never an import path."""
    if not isinstance(part, SupportsSave):
        raise ConfigError(
            f"{type(part).__name__} cannot be saved: it has no save and load "
            "(ragkit.protocols.SupportsSave)"
        )
    name = _component(part)
    if name is None:
        raise ConfigError(
            f"the retriever {type(part).__qualname__} cannot be saved, for no component has that "
            "target; register it with the hook ragkit_retrievers (ragkit.hookspecs)"
        )
    return name


def _width(table: Tensor, k: int, absent: float) -> Tensor:
    """(B,U) to (B,K): the first k columns, or all and then absent ones."""
    missing = k - table.shape[1]
    return nn.functional.pad(table, (0, missing), value=absent) if missing > 0 else table[:, :k]


def _check(
    fusion: str, weights: tuple[float, float], constant: float, temperature: float, oversample: int
) -> None:
    faults = []
    if fusion not in ("rank", "sum"):
        faults.append(f"fusion is {fusion!r}; it can be 'rank' or 'sum'")
    if (
        len(weights) != 2
        or not all(w >= 0 and math.isfinite(w) for w in weights)
        or not sum(weights)
    ):
        faults.append(f"weights are {weights!r}; give two numbers of at least 0, not both 0")
    if not (constant >= 0 and math.isfinite(constant)):
        faults.append(f"constant is {constant}; it must be a number of at least 0, and 60 is usual")
    if not (temperature > 0 and math.isfinite(temperature)):
        faults.append(f"temperature is {temperature}; it must be a number above 0")
    if oversample < 1:
        faults.append(f"oversample is {oversample}; it must be at least 1")
    if faults:
        raise ConfigError(faults)
