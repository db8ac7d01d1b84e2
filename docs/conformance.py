"""The page about the conformance kit, made from the kit's own docstrings.

``python docs/conformance.py > docs/conformance.md``; a test compares the two.
"""

from __future__ import annotations

import inspect
import re
from typing import Any

from ragkit.testing import CONFORMANCE, Conformance
from ragkit.testing.kit import checks, law

HEAD = """# The conformance kit

`ragkit.testing` holds the laws of every role, as tests. It comes with ragkit, and needs neither
pytest nor a network. Whoever writes a component has it checked in three lines, and a component
that passes may take any other's place.

## In your tests

```python
from ragkit.index.exact import ExactIndex
from ragkit.testing import IndexConformance


class TestMine(IndexConformance):
    recall = 1.0  # a setting: what your index promises

    def make(self):
        return ExactIndex(block=128)
```

pytest collects the class as it is. `make()` returns a new component at every call, always the same
one: seed random weights. `component = "mine"` adds the checks of what is installed under that name.

Without pytest, `run` gives what became of every check:

```python
from ragkit.testing import run

outcomes = run(TestMine)
assert not [one for one in outcomes if one.state == "failed"]
for one in outcomes:
    print(one.name, one.state, one.law, one.message)
```

## By name

`ragkit.testing.check` makes an installed component from its options and runs all checks of its
role.

```python
from ragkit.testing import check

outcomes = check("index", "faiss", factory="Flat", settings={"recall": 1.0})
print([one.message for one in outcomes if one.state == "skipped"])
```

Options that the component needs and that you do not give are filled in with samples: an encoder, a
knowledge base over a dozen passages, a file of questions. A component that cannot be made so may
name a conformance class of its own, in an attribute of the class behind its name:

```python
class MyGenerator:
    conformance = "my_package.conformance:MyGeneratorConformance"
```

`ragkit.testing.tiny` has models with random weights and a tokenizer of bytes, for such a class and
for your tests: `tiny.bart()`, `tiny.bert()`, `tiny.tokenizer()`.

## What an outcome says

* **failed**: the message names the fault, and what to do about it.
* **skipped**: the law is about an ability that the component does not declare. An ability is
  declared by having the methods of its `Supports…` protocol; to have half of them, or methods that
  raise `NotImplementedError`, is a fault. An index that can add rows with some options and not with
  others has the method and refuses with a `ragkit.RagkitError`: say so where it does,
  `refuses = ("SupportsAdd",)`.
* **passed**: it holds for what was tried. Samples are few, and the same every time.

The kit is tested itself: with implementations that are wrong on purpose, each of which must be
caught by the check that is meant for it, with a message that says so.
"""


def main() -> None:
    print(HEAD)
    print("## Laws of every role\n")
    print(_table(Conformance, [name for name in vars(Conformance) if name.startswith("test_")]))
    common = set(vars(Conformance))
    for role, cls in CONFORMANCE.items():
        print(f"\n## {role.capitalize()}: `{cls.__name__}`\n")
        print(_about(cls))
        print(_table(cls, [name for name in checks(cls) if name not in common]))


def _table(cls: type[Conformance], names: list[str]) -> str:
    rows = [f"| `{name}` | {_escaped(law(cls, name))} |" for name in names]
    return "\n".join(["| check | law |", "|---|---|", *rows])


def _about(cls: type[Conformance]) -> str:
    """The class's docstring: its prose, and its settings as a list with their defaults."""
    paragraphs = (inspect.getdoc(cls) or "").split("\n\n")
    out = []
    for paragraph in paragraphs:
        settings = re.findall(r"^(\w+(?:, \w+)*): (.*(?:\n    .*)*)", paragraph, re.MULTILINE)
        if not settings:
            out.append(" ".join(paragraph.split("\n")).replace("``", "`") + "\n")
            continue
        for names, text in settings:
            given = ", ".join(f"`{name} = {_default(cls, name)}`" for name in names.split(", "))
            out.append(f"* {given}: " + " ".join(text.split()).replace("``", "`"))
        out.append("")
    return "\n".join(out)


def _default(cls: type[Conformance], name: str) -> Any:
    value = getattr(cls, name)
    return "…" if isinstance(value, tuple) and len(value) > 3 else repr(value)


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("``", "`").replace("<", "&lt;")


if __name__ == "__main__":
    main()
