"""The laws of a task: a stream of examples that can be read again, with ids of their own.

Knows `ragkit.protocols.Task` and `Example`; no file format and no model.
"""

from __future__ import annotations

from itertools import islice
from typing import Any, ClassVar

from ragkit.errors import RagkitError
from ragkit.evaluate.measures import as_metrics
from ragkit.protocols import Example
from ragkit.testing.asserting import attempt, must
from ragkit.testing.kit import Conformance

_AS_MANY = 1 << 20  # passages: more than any metric counts


class TaskConformance(Conformance):
    """The laws of a `Task`; ``make()`` returns one with at least two examples a split.

    splits: those that it has.
    limit: examples of each that are looked at.
    """

    role = "task"
    splits: ClassVar[tuple[str, ...]] = ("dev",)
    limit: ClassVar[int] = 1000

    def test_examples(self) -> None:
        """Every split gives examples: records of ragkit with texts, nothing else in them."""
        for split in self.splits:
            found = self._examples(self.made(), split)
            must(
                len(found) >= 2,
                f"split {split!r} gives {len(found)} examples; let make() give a task with two at "
                "least",
            )
            for number, example in enumerate(found):
                _check(example, f"example {number} of split {split!r}")

    def test_ids_are_distinct(self) -> None:
        """Every example of a split has an id of its own."""
        for split in self.splits:
            seen: dict[str, int] = {}
            for number, example in enumerate(self._examples(self.made(), split)):
                must(
                    example.id not in seen,
                    f"examples {seen.get(example.id)} and {number} of split {split!r} have one id, "
                    f"{example.id!r}; predictions are kept by it, so number them where the data "
                    "have none",
                )
                seen[example.id] = number

    def test_a_split_can_be_read_again(self) -> None:
        """A split read twice, or by two readers turn by turn, gives the same in the same order."""
        task = self.made()
        for split in self.splits:
            first = self._examples(task, split)
            must(
                self._examples(task, split) == first,
                f"split {split!r} read a second time gives other examples (or none); begin afresh "
                "at every call, in one order",
            )
            one, other = iter(task.examples(split)), iter(task.examples(split))
            turns = [(next(one, None), next(other, None)) for _ in range(min(2, len(first)))]
            must(
                turns == [(example, example) for example in first[:2]],
                f"two readers of split {split!r} disturb each other; keep the place in the "
                "iterator, not in the task",
            )

    def test_alike_however_made(self) -> None:
        """Two tasks made alike give the same examples."""
        for split in self.splits:
            must(
                self._examples(self.made(), split) == self._examples(self.made(), split),
                f"two tasks that make() gave differ in split {split!r}; fix the seed of whatever "
                "is drawn",
            )

    def test_unknown_split(self) -> None:
        """A split that does not exist is refused by name, before its first example."""
        task, split = self.made(), "no-such-split"
        try:
            found = list(islice(task.examples(split), 2))
        except RagkitError as error:
            must(
                split in str(error),
                f"the refusal of split {split!r} does not name it: {error}; say which there are",
            )
            return
        except Exception as error:
            raise AssertionError(
                f"split {split!r} raised {type(error).__name__}: {error}; refuse it with "
                "ragkit.errors.DataError that names the splits there are"
            ) from error
        must(
            found,
            f"split {split!r} gives no example and no error; refuse it with "
            "ragkit.errors.DataError that names the splits there are",
        )

    def test_metrics(self) -> None:
        """metrics names at least one metric, and each can be built."""
        names = self.made().metrics
        must(
            not isinstance(names, str)
            and len(names) > 0
            and all(isinstance(n, str) for n in names),
            f"metrics is {names!r}; give the names of one or more, as in ('em', 'f1')",
        )
        with attempt(
            f"metrics {list(names)}", "name metrics that `ragkit components metric` lists"
        ):
            as_metrics(list(names), _AS_MANY)

    def test_examples_are_judged_by_its_metrics(self) -> None:
        """An example has what training needs: answers, or a target."""
        for split in self.splits:
            for number, example in enumerate(self._examples(self.made(), split)):
                must(
                    example.answers or example.target is not None or example.passage_ids,
                    f"example {number} of split {split!r} has neither answers, target nor passage "
                    "ids, so nothing is known to be right about it; leave it out",
                )

    # ------------------------------------------------------------------------ helpers

    def _examples(self, task: Any, split: str) -> list[Example]:
        with attempt(f"examples({split!r})", "it must stream ragkit.protocols.Example"):
            return list(islice(task.examples(split), self.limit))


def _check(example: Example, where: str) -> None:
    must(
        isinstance(example, Example),
        f"{where} is {type(example).__name__}; give a ragkit.protocols.Example",
    )
    for name in ("id", "question"):
        value = getattr(example, name)
        must(
            isinstance(value, str) and value.strip(),
            f"{name} of {where} is {value!r}; give a text that is not empty",
        )
    for name in ("answers", "passage_ids"):
        value = getattr(example, name)
        must(
            isinstance(value, tuple) and all(isinstance(one, str) for one in value),
            f"{name} of {where} is {value!r:.80}; give a tuple of texts",
        )
    must(
        example.target is None or isinstance(example.target, str),
        f"target of {where} is {example.target!r:.80}; give a text, or None for the first answer",
    )
    must(
        all(isinstance(name, str) for name in example.extra),
        f"extra of {where} has keys that are no text; give a mapping by name",
    )
