"""`FileTask`: a description, a reader, and the folder where somebody's files lie.

Finds the file of a split by the names under which it is handed out, streams it, counts, and
says so where the count is not the known one: half a download is noticed. Knows no format:
that is the reader's; and no task: that is the description's.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from ragkit.errors import ConfigError, DataError, nearest
from ragkit.evaluate.opening import plain_name
from ragkit.evaluate.tasks.about import About, Layout
from ragkit.protocols import Example

Reader = Callable[[Path], Iterator[Example]]
"""The examples of a file; an empty id stands for "number them"."""
Incomplete = Literal["warn", "refuse", "ignore"]
"""What to do where a file has another number of questions than is known."""


class IncompleteWarning(UserWarning):
    """A file has another number of questions than the one that was handed out."""


@dataclass(frozen=True, slots=True)
class Found:
    """The files of a split, and how many questions they should have (() if unknown)."""

    files: tuple[Path, ...]
    known: tuple[int, ...]

    def complaint(self, count: int) -> str:
        """What to say of so many questions; "" where the number is right, or unknown."""
        if not self.known or count in self.known:
            return ""
        wanted = " or ".join(f"{one:,}" for one in self.known)
        names = " and ".join(str(one) for one in self.files)
        short = min(self.known) - count
        how = f"{short:,} are missing; is the download complete?" if short > 0 else "who added any?"
        return f"{names}: {count:,} questions, and there should be {wanted}: {how}"


class FileTask:
    """A task whose questions lie in files that somebody handed out.

    Args:
        about: what is known of it.
        read: its reader.
        path: a file, which then serves every split, or a folder: there the file of a split is
            looked for under the names in ``about``, also in folders directly below.
        splits: the file of each split instead, relative to ``path`` where that is a folder.
        prompt: what is asked, with ``{question}`` where the task's question goes.
        metrics: other metrics than those of ``about``.
        incomplete: what to do where a file has another number of questions than is known.
        options: what else decides the examples; a run remembers it by the task's ``repr``.

    Raises `ConfigError` for options that make no sense, `DataError` where there is no such path.
    """

    def __init__(
        self,
        about: About,
        read: Reader,
        path: str | Path,
        *,
        splits: Mapping[str, str] | None = None,
        prompt: str = "{question}",
        metrics: Sequence[str] | None = None,
        incomplete: Incomplete = "warn",
        options: Mapping[str, object] | None = None,
    ) -> None:
        if prompt.count("{question}") != 1:
            raise ConfigError(
                f"task {about.name}: prompt is {prompt!r}; it must have {{question}} once, "
                f"as in 'Is it true? {{question}}'"
            )
        ways = get_args(Incomplete)
        if incomplete not in ways:
            raise ConfigError(
                f"task {about.name}: incomplete is {incomplete!r}{nearest(incomplete, ways)}; "
                f"type one of {', '.join(ways)}"
            )
        self.path = Path(path)
        if not self.path.exists():
            raise DataError(
                f"{self.path}: there is no such file or folder; task {about.name} reads "
                f"{_offer(about)}"
            )
        self.about = about
        self.splits = {} if splits is None else dict(splits)
        self.prompt = prompt
        self.incomplete = incomplete
        self._metrics = about.metrics if metrics is None else tuple(metrics)
        self.options = {} if options is None else dict(options)
        self._read = read

    def __repr__(self) -> str:
        said = [f"path={str(self.path)!r}"]
        said += [f"splits={self.splits!r}"] if self.splits else []
        said += [f"prompt={self.prompt!r}"] if self.prompt != "{question}" else []
        said += [f"{name}={value!r}" for name, value in self.options.items()]
        return f"{self.about.name}({', '.join(said)})"

    @property
    def metrics(self) -> Sequence[str]:
        """The metrics by which this task is judged."""
        return self._metrics

    def examples(self, split: str) -> Iterator[Example]:
        """Stream the examples of a split.

        Raises `DataError` before the first example where the split has no file, and with file
        and line at the first record that is not right. Where the last one is read and the
        number is not the known one, `IncompleteWarning` is given (or `DataError`, as asked).
        """
        return self._examples(self.found(split))

    def found(self, split: str) -> Found:
        """The files of a split; raises `DataError` where they are not there."""
        if self.splits:
            if split not in self.splits:
                raise DataError(
                    f"this task has no split {split!r}{nearest(split, self.splits)}; "
                    f"there are: {', '.join(sorted(self.splits))}"
                )
            folder = self.path if self.path.is_dir() else Path()
            return self._by_name(folder / self.splits[split])
        if not self.path.is_dir():
            return self._by_name(self.path)
        return self._in_folder(split)

    def named(self) -> str:
        """The split that the name of the file at ``path`` stands for; "" where for none."""
        return next((split for _, split in self._called(self.path)), "")

    def there(self) -> dict[str, Found]:
        """The splits whose files are there."""
        names = self.splits or dict.fromkeys(
            split for layout in self.about.layouts for split in layout.files
        )
        found = {}
        for split in names:
            try:
                found[split] = self.found(split)
            except DataError:
                continue
        return found

    def _examples(self, found: Found) -> Iterator[Example]:
        seen: dict[str, int] = {}
        count = 0
        for path in found.files:
            before = count
            for example in self._read(path):
                count += 1
                name = example.id or str(count)
                seen[name] = seen.get(name, 0) + 1
                if seen[name] > 1:  # some were published twice; predictions are kept by id
                    name = f"{name}#{seen[name]}"
                question = self.prompt.replace("{question}", example.question)
                yield replace(example, id=name, question=question)
            if count == before:
                raise DataError(f"{path} has no question; fetch it again, or name another file")
        complaint = found.complaint(count)
        if complaint and self.incomplete == "refuse":
            raise DataError(f"{complaint} Fetch it again, or type incomplete=warn")
        if complaint and self.incomplete == "warn":
            warnings.warn(complaint, IncompleteWarning, stacklevel=2)

    def _by_name(self, path: Path) -> Found:
        """A file with the number of questions that one of its name should have."""
        known = (layout.known(split) for layout, split in self._called(path))
        return Found((path,), next(known, ()))

    def _called(self, path: Path) -> Iterator[tuple[Layout, str]]:
        """The layouts and splits that a file is called after, alone."""
        for layout in self.about.layouts:
            for split, files in layout.files.items():
                if len(files) == 1 and plain_name(path) in files[0].split("|"):
                    yield layout, split

    def _in_folder(self, split: str) -> Found:
        partly = ""
        for layout in self.about.layouts:
            wanted = layout.files.get(split, ())
            files = [(name, self._locate(name)) for name in wanted]
            missing = [name for name, at in files if at is None]
            if wanted and not missing:
                return Found(tuple(at for _, at in files if at), layout.known(split))
            if len(missing) < len(wanted):
                partly = f"{layout.name} has more files of it: missing are {', '.join(missing)}"
        raise DataError(
            f"{self.path} has no file of split {split!r} of task {self.about.name}; "
            f"{partly or self._wanted(split)}; there is: {self._listing()}. Type the path of a "
            f"file, or splits={{{split!r}: '<file>'}}"
        )

    def _locate(self, name: str) -> Path | None:
        """A file by one of its names, in the folder or directly below."""
        if name.endswith("/"):  # a folder of files
            return self.path / name if (self.path / name).is_dir() else None
        names = [one + ending for one in name.split("|") for ending in ("", ".gz")]
        below = sorted(one for one in self.path.iterdir() if one.is_dir())
        for folder in (self.path, *below):
            for one in names:
                if (folder / one).is_file():
                    return folder / one
        return None

    def _wanted(self, split: str) -> str:
        named = [
            " and ".join(one.partition("|")[0] for one in layout.files[split])
            + (f" ({layout.source})" if layout.source else "")
            for layout in self.about.layouts
            if split in layout.files
        ]
        if named:
            return f"it would be {' or '.join(named)}"
        splits = dict.fromkeys(s for layout in self.about.layouts for s in layout.files)
        near = nearest(split, splits)
        return f"its splits are {', '.join(splits)}{near}" if splits else "it knows no file by name"

    def _listing(self) -> str:
        names = sorted(one.name for one in self.path.iterdir())
        more = f" and {len(names) - 8} more" if len(names) > 8 else ""
        return (", ".join(names[:8]) or "nothing") + more


def _offer(about: About) -> str:
    sources = [f"{layout.name} ({layout.source})" for layout in about.layouts if layout.source]
    return "; ".join(sources) or "files of your own"
