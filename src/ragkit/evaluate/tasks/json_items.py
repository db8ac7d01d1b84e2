"""The items of one big JSON document, one at a time: lists of gigabytes in little memory.

`items` streams a top-level list, or the list under a key of a top-level object; `columns`
streams a document whose every key holds an object of rows, as MS MARCO is handed out. Each
item comes with the line that it begins at. Knows nothing of what the items mean.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from ragkit.errors import DataError
from ragkit.evaluate.opening import opened

_BLOCK = 1 << 20
_SPACE = " \t\r\n"
_LONGEST_TAIL = 16  # characters of a literal, number or escape that a block may cut in two


def items(path: Path, key: str | None = None) -> Iterator[tuple[int, Any]]:
    """(line, item) of a document that is a list, or an object with a list under ``key``.

    Raises `DataError` with file and line where the document is something else, is not JSON,
    or ends before it is complete.
    """
    with opened(path) as file:
        text = _Text(path, file)
        if text.peek() == "{" and key is not None:
            text.reach(key)
        if text.peek() != "[":
            wanted = "a list" if key is None else f'a list, or an object with a list "{key}"'
            raise text.fault(f"this is not {wanted}")
        yield from text.list_items()
        if key is None:
            text.end()


def columns(path: Path, names: Collection[str]) -> Iterator[tuple[int, str, str, Any]]:
    """(line, column, row, value) of an object of objects, for the columns that are named.

    Others are passed over row by row. Raises `DataError` as `items` does.
    """
    with opened(path) as file:
        text = _Text(path, file)
        if text.peek() != "{":
            raise text.fault("this is not an object of columns")
        for _, name in text.entries():
            if text.peek() != "{":
                text.value()
                continue
            for line, row in text.entries():
                value = text.value()
                if name in names:
                    yield line, name, row, value
        text.end()


class _Text:
    """The text of a document, read block by block: what is behind is let go."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path = path
        self.line = 1
        self._file = file
        self._decode = codecs.getincrementaldecoder("utf-8-sig")()
        self._text = ""
        self._at = 0
        self._ended = False
        self._decoder = json.JSONDecoder()

    def peek(self) -> str:
        """The next character that is no space; "" at the end."""
        while True:
            while self._at < len(self._text):
                character = self._text[self._at]
                if character not in _SPACE:
                    return character
                self.line += character == "\n"
                self._at += 1
            if not self._more():
                return ""

    def take(self, wanted: str) -> str:
        """The next character, which must be one of these."""
        found = self.peek()
        if not found:
            raise self.fault("the file ends here, before the document is complete", "fetch it")
        if found not in wanted:
            raise self.fault(f"there is {found!r} where {' or '.join(wanted)} must be")
        self._at += 1
        return found

    def value(self) -> Any:
        """The next value, whole."""
        if not self.peek():
            raise self.fault("the file ends here, before the document is complete", "fetch it")
        while True:
            try:
                found, end = self._decoder.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                if self._cut(error) and not self._ended:
                    self._more(double=True)
                    continue
                line = self.line + self._text.count("\n", self._at, error.pos)
                if self._ended and self._cut(error):
                    raise DataError(
                        f"{self.path}, line {line}: the file ends within a value; "
                        f"it is cut off, fetch it again"
                    ) from None
                raise DataError(
                    f"{self.path}, line {line}: not JSON ({error.msg}); fetch the file again"
                ) from None
            except RecursionError:
                raise self.fault("JSON nested too deeply") from None
            # A number near the end of a block may go on in the next: "1" of 1.5e+10.
            if end >= len(self._text) - _LONGEST_TAIL and not self._ended:
                self._more(double=True)
                continue
            self.line += self._text.count("\n", self._at, end)
            self._at = end
            return found

    def entries(self) -> Iterator[tuple[int, str]]:
        """(line, key) of an object; its value must be taken before the next key."""
        self.take("{")
        if self.peek() == "}":
            self.take("}")
            return
        while True:
            if self.peek() not in ('"', ""):
                raise self.fault(f'there is {self.peek()!r} where " must be')
            line = self.line
            name = self.value()
            self.take(":")
            yield line, name
            if self.take(",}") == "}":
                return

    def list_items(self) -> Iterator[tuple[int, Any]]:
        """(line, item) of a list."""
        self.take("[")
        if self.peek() == "]":
            self.take("]")
            return
        while True:
            self.peek()
            line = self.line
            yield line, self.value()
            if self.take(",]") == "]":
                return

    def reach(self, key: str) -> None:
        """Go to the value under a key of the object that begins here."""
        seen = []
        for _, name in self.entries():
            if name == key:
                return
            seen.append(name)
            self.value()
        raise DataError(
            f'{self.path}: no field "{key}"; there are: {", ".join(seen) or "none"}; '
            f"give the file as it was handed out"
        )

    def end(self) -> None:
        """Assert that nothing follows."""
        if self.peek():
            raise self.fault("there is more after the end of the document")

    def fault(
        self, what: str, do: str = "give the file as it was handed out, or fetch it"
    ) -> DataError:
        """The error that says where and what is wrong, and what to do."""
        return DataError(f"{self.path}, line {self.line}: {what}; {do} again")

    def _cut(self, error: json.JSONDecodeError) -> bool:
        """Whether the fault may be that the text goes on in the next block."""
        return (
            error.msg.startswith("Unterminated string")
            or error.pos >= len(self._text) - _LONGEST_TAIL
        )

    def _more(self, double: bool = False) -> bool:
        """Read on; with ``double`` as much again as there is, so that no item costs squares."""
        if self._ended:
            return False
        self._text = self._text[self._at :]
        self._at = 0
        block = self._file.read(max(_BLOCK, len(self._text)) if double else _BLOCK)
        try:
            self._text += self._decode.decode(block, final=not block)
        except UnicodeDecodeError as error:
            before = self._text.count("\n") + block[: error.start].count(b"\n")
            raise DataError(
                f"{self.path}, line {self.line + before}: not UTF-8; save the file again as UTF-8"
            ) from None
        self._ended = not block
        return not self._ended
