"""Rows of tables, tab or comma separated, each with the line that it begins at.

Knows two habits: that of spreadsheets and of DPR, which put quotes around a field with a quote
in it, and that of plain lists, to which a quote is a character like others. Knows nothing of
what the columns mean.
"""

from __future__ import annotations

import ast
import csv
import warnings
from collections.abc import Iterator
from pathlib import Path

from ragkit.errors import DataError
from ragkit.evaluate.opening import lines

_LONGEST_FIELD = 1 << 27


def quoted(path: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """(line, fields) of every row that is not empty, quotes as spreadsheets mean them.

    Raises `DataError` with file and line where a quote is left open.
    """
    csv.field_size_limit(_LONGEST_FIELD)
    reader = csv.reader((text for _, text in lines(path)), delimiter=delimiter, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise DataError(
                f"{path}, line {line}: {error}; close the quote, and write one within a field twice"
            ) from None
        if any(field.strip() for field in row):
            yield line, row


def plain(path: Path, delimiter: str = "\t") -> Iterator[tuple[int, list[str]]]:
    """(line, fields) of every line that is not empty, quotes being characters like others."""
    for line, text in lines(path):
        if text.strip():
            yield line, text.rstrip("\r\n").split(delimiter)


def counted(path: Path, line: int, row: list[str], columns: str) -> list[str]:
    """The row, which must have as many fields as there are columns; they are named, by comma."""
    names = columns.split(", ")
    if len(row) != len(names):
        raise DataError(
            f"{path}, line {line}: {len(row)} columns, and there should be {len(names)}: {columns}"
        )
    return row


def listed(field: str, where: str) -> list[object]:
    """A list as DPR's files write it, in Python's way: ``['14 December 1972', "it's"]``.

    Nothing in it is run. Raises `DataError` where it is no list.
    """
    try:
        with warnings.catch_warnings():  # of backslashes in regular expressions
            warnings.simplefilter("ignore")
            found = ast.literal_eval(field.strip())
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        found = None
    if not isinstance(found, list):
        raise DataError(f"{where}: {field!r:.80} is no list of answers; write ['…', '…']")
    return found
