"""Items of a JSON document, streamed: the same as `json` gives, whatever the blocks are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ragkit.errors import DataError
from ragkit.evaluate.tasks import json_items

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)


@pytest.fixture(params=[1, 7, 1 << 20])
def block(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(json_items, "_BLOCK", request.param)
    return int(request.param)


@pytest.mark.usefixtures("block")
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    values=st.lists(VALUES, max_size=5),
    indent=st.sampled_from([None, 2]),
    ascii_only=st.booleans(),
)
def test_a_list(values: list[Any], indent: int | None, ascii_only: bool, tmp_path: Path) -> None:
    file = tmp_path / "list.json"
    text = json.dumps(values, indent=indent, ensure_ascii=ascii_only)
    file.write_text(text, encoding="utf-8", errors="surrogatepass")
    assert [item for _, item in json_items.items(file)] == values
    whole = json.dumps({"version": [1, {"data": 2}], "data": values}, indent=indent)
    file.write_text(whole)
    assert [item for _, item in json_items.items(file, "data")] == values


@pytest.mark.usefixtures("block")
def test_lines_are_where_items_begin(tmp_path: Path) -> None:
    file = tmp_path / "list.json"
    file.write_bytes(b'\xef\xbb\xbf[\n  {"a": 1},\n\n  {"b":\n 2}, "x",\n3\n]\n')
    assert list(json_items.items(file)) == [(2, {"a": 1}), (4, {"b": 2}), (5, "x"), (6, 3)]


@pytest.mark.usefixtures("block")
def test_columns(tmp_path: Path) -> None:
    file = tmp_path / "columns.json"
    content = {
        "big": {"0": ["passed over"] * 9, "1": []},
        "query": {"0": "a", "1": "b"},
        "version": 2,
        "id": {"1": 11, "0": 10},
        "none": {},
    }
    file.write_text(json.dumps(content, indent=1))
    found = [
        (column, row, value) for _, column, row, value in json_items.columns(file, ["query", "id"])
    ]
    assert found == [("query", "0", "a"), ("query", "1", "b"), ("id", "1", 11), ("id", "0", 10)]


BAD = [
    (b"", "line 1: this is not a list"),
    (b'{"a": []}', "this is not a list"),
    (b"[1, 2", "line 1: the file ends here, before the document is complete; fetch it again"),
    (b"[1,", "the file ends here"),
    (b'[\n{"a": "b', "line 2: the file ends within a value; it is cut off"),
    (b'[\n{"a": tru', "line 2: the file ends within a value"),
    (b"[1 2]", "there is '2' where , or ] must be"),
    (b"[1, 2] 3", "there is more after the end"),
    (
        b'[{"a": 1,\n "b": oops, "c": "' + b"x" * 99 + b'"}]',
        r"line 2: not JSON \(Expecting value\)",
    ),
    (b'["a", \n"\xe9"]', "line 2: not UTF-8"),
    (b"[" * 100_000, "nested too deeply"),
]


@pytest.mark.usefixtures("block")
@pytest.mark.parametrize(("content", "message"), BAD, ids=[text for _, text in BAD])
def test_a_bad_document_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "bad.json"
    file.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        list(json_items.items(file))
    assert str(file) in str(caught.value)


def test_a_missing_key_says_which_there_are(tmp_path: Path) -> None:
    file = tmp_path / "other.json"
    file.write_text('{"version": 1, "rows": []}')
    with pytest.raises(DataError, match='no field "data"; there are: version, rows'):
        list(json_items.items(file, "data"))
    file.write_text("[]")
    with pytest.raises(DataError, match="not an object of columns"):
        list(json_items.columns(file, ["a"]))


def test_what_is_behind_is_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_items, "_BLOCK", 1 << 10)
    file = tmp_path / "long.json"
    file.write_text(json.dumps([{"n": i, "text": "x" * 200} for i in range(2000)]))
    longest = 0

    class Watched(json_items._Text):
        def value(self) -> Any:
            nonlocal longest
            found = super().value()
            longest = max(longest, len(self._text))
            return found

    monkeypatch.setattr(json_items, "_Text", Watched)
    assert [item["n"] for _, item in json_items.items(file)] == list(range(2000))
    assert longest < 1 << 13  # of 460,000 characters
