"""Passages from what people have: dicts, datasets, jsonl, tsv, folders of text.

Everything streams. A record that is wrong is answered with its file and line. Knows
nothing of vectors.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import json
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from ragkit.errors import DataError
from ragkit.protocols import Passage

_TEXT = (".txt", ".md")
_LONGEST_FIELD = 1 << 27


def read(source: Any) -> Iterator[Passage]:
    """Passages of a source.

    Args:
        source: an iterable of dicts with ``id``, ``text`` and perhaps ``title`` (a
            ``datasets.Dataset`` is one), or of `Passage`; or a path: ``.jsonl`` with id,
            title, text (also BEIR's ``_id``), DPR's ``.tsv`` with id, text, title, each
            also as ``.gz``; or a folder of ``.txt`` and ``.md``, one passage a file.

    Raises:
        DataError: with the file and line of what is wrong.
    """
    if isinstance(source, (str, Path)):
        return _of_path(Path(source))
    if isinstance(source, Mapping) or not isinstance(source, Iterable):
        raise DataError(
            f"passages cannot be read from {type(source).__name__}; give a path, or an iterable "
            "of dicts with id, title and text"
        )
    return _of_records(source, "passage")


def _of_path(path: Path) -> Iterator[Passage]:
    if path.is_dir():
        return _of_folder(path)
    if not path.is_file():
        raise DataError(f"there is no file or folder {str(path)!r}; check the path")
    name = path.name.removesuffix(".gz")
    if name.endswith((".jsonl", ".json")):
        return _of_jsonl(path)
    if name.endswith(".tsv"):
        return _of_tsv(path)
    if name.endswith(_TEXT):
        return iter([_of_file(path, path.name)])
    raise DataError(
        f"{path.name}: passages are read from .jsonl, .tsv (each also .gz), .txt, .md, or a "
        "folder of texts; convert it, or pass dicts with id, title and text"
    )


def _of_records(records: Iterable[Any], where: str) -> Iterator[Passage]:
    for number, record in enumerate(records):
        yield _passage(record, f"{where} {number}")


def _passage(record: Any, where: str) -> Passage:
    if isinstance(record, Passage):
        found = record
    elif isinstance(record, Mapping):
        name = record.get("id", record.get("_id"))
        if isinstance(name, int) and not isinstance(name, bool):
            name = str(name)
        title = record.get("title")
        found = Passage(name, "" if title is None else title, record.get("text"))  # type: ignore[arg-type]
    else:
        raise DataError(f"{where} is {type(record).__name__}; it must be a dict with id and text")
    for field, value in zip(Passage._fields, found, strict=True):
        if not isinstance(value, str):
            has = sorted(map(str, record)) if isinstance(record, Mapping) else list(found)
            raise DataError(
                f"{where} has {field} {value!r:.40}, not a string; its fields are {has}"
            )
    if not found.id:
        raise DataError(f"{where} has an empty id; give each passage an id of its own")
    return found


def _of_jsonl(path: Path) -> Iterator[Passage]:
    with closing(_lines(path)) as lines:
        for number, line in lines:
            if not line.strip():
                continue
            where = f"{path.name}, line {number}:"
            try:
                record = json.loads(line)
            except ValueError as error:
                raise DataError(
                    f"{where} no JSON: {error}; each line must be one object"
                ) from error
            yield _passage(record, where)


def _of_tsv(path: Path) -> Iterator[Passage]:
    """DPR's form: a header, then id, text (perhaps quoted), title."""
    csv.field_size_limit(_LONGEST_FIELD)
    header: list[str] = []
    with closing(_lines(path)) as lines:
        rows = csv.reader((line for _, line in lines), delimiter="\t")
        while True:
            try:
                row = next(rows)
            except StopIteration:
                return
            except csv.Error as error:
                raise DataError(f"{path.name}, line {rows.line_num}: {error}") from error
            if not row:
                continue
            where = f"{path.name}, line {rows.line_num}:"
            if not header:
                header = row
                if not {"id", "text"} <= set(header):
                    raise DataError(
                        f"{where} the columns are {header}; they must be id, text and title "
                        "(the first line names them)"
                    )
                continue
            if len(row) != len(header):
                raise DataError(f"{where} {len(row)} columns, and the header has {len(header)}")
            yield _passage(dict(zip(header, row, strict=True)), where)


def _of_folder(path: Path) -> Iterator[Passage]:
    files = sorted(file for file in path.rglob("*") if file.suffix in _TEXT and file.is_file())
    if not files:
        raise DataError(f"the folder {str(path)!r} has no .txt or .md file")
    for file in files:
        yield _of_file(file, file.relative_to(path).as_posix())


def _of_file(file: Path, name: str) -> Passage:
    """The file's name is the id; a Markdown heading on top, or else the name, the title."""
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{name} is no UTF-8 text (byte {error.start}); convert it") from error
    title = file.stem.replace("_", " ").replace("-", " ")
    first, _, rest = text.lstrip().partition("\n")
    if file.suffix == ".md" and first.startswith("# "):
        title, text = first[2:].strip(), rest
    return Passage(name, title, text.strip())


def _lines(path: Path) -> Generator[tuple[int, str], None, None]:
    """Numbered from 1. Raises `DataError` where a .gz is none or the text is not UTF-8."""
    number = 0
    try:
        with contextlib.ExitStack() as stack:
            stream: Any = stack.enter_context(path.open("rb"))
            if path.suffix == ".gz":
                stream = stack.enter_context(gzip.open(stream))
            text = io.TextIOWrapper(stream, encoding="utf-8", newline="")
            for line in stack.enter_context(text):
                number += 1
                yield number, line
    except (gzip.BadGzipFile, EOFError, OSError) as error:
        raise DataError(
            f"{path.name}, after line {number}: {error}; is the download complete?"
        ) from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path.name}, after line {number}: no UTF-8 text") from error
