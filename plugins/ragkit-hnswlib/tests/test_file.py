"""Saving and loading: what comes back, and what is refused before hnswlib sees it."""

from __future__ import annotations

import hashlib
import json
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ragkit_hnswlib.index import HnswlibIndex

from ragkit.errors import CorruptError, DataError, KnowledgeBaseError

N, D, M = 300, 8, 4
HEADER = 96
RECORD = 4 + 4 * 2 * M + 4 * D + 8


def gaussian(count: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal((count, D)).astype(np.float32)


QUERIES = gaussian(20, 1)


def grown() -> HnswlibIndex:
    """An index that was built, thinned, refilled and thinned again."""
    index = HnswlibIndex(M=M, ef=7, ef_construction=30, threads=1, seed=5)
    index.build(gaussian(N - 20))
    index.remove(np.arange(40))
    index.add(gaussian(20, 2))  # into the places of removed rows
    index.remove(np.array([100, 290]))
    return index


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "saved").mkdir()
    grown().save(tmp_path / "saved")
    return tmp_path / "saved"


# ------------------------------------------------------------------- what comes back


def test_what_was_saved_answers_the_same_from_a_moved_folder(folder: Path) -> None:
    index = grown()
    moved = folder.parent / "elsewhere"
    shutil.move(folder, moved)
    loaded = HnswlibIndex.load(moved)
    assert (len(loaded), loaded.live, loaded.elements, loaded.dimension) == (N, 258, 280, D)
    options = ("M", "ef", "ef_construction", "threads", "seed", "replace_deleted")
    assert [getattr(loaded, o) for o in options] == [getattr(index, o) for o in options]
    for k in (1, 5, N):  # with ef=10, hnswlib's own after a load, k=5 would find others
        mine, its = index.search(QUERIES, k), loaded.search(QUERIES, k)
        np.testing.assert_array_equal(mine.ids, its.ids)
        np.testing.assert_array_equal(mine.scores, its.scores)


def test_ef_is_what_it_was(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((4000, 48)).astype(np.float32)
    queries = rng.standard_normal((60, 48)).astype(np.float32)
    index = HnswlibIndex(M=4, ef_construction=20, ef=300, threads=1)
    index.build(vectors)
    index.save(tmp_path)
    ids = HnswlibIndex.load(tmp_path).search(queries, 5).ids
    np.testing.assert_array_equal(ids, index.search(queries, 5).ids)
    (tmp_path / "lower").mkdir()
    index.ef = 10
    index.save(tmp_path / "lower")
    assert (HnswlibIndex.load(tmp_path / "lower").search(queries, 5).ids != ids).any()


@pytest.mark.parametrize("replace", [True, False])
def test_what_was_loaded_grows_and_forgets_on(tmp_path: Path, replace: bool) -> None:
    index = HnswlibIndex(M=M, threads=1, replace_deleted=replace)
    index.build(gaussian(50))
    index.remove(np.arange(10))
    index.save(tmp_path)
    loaded = HnswlibIndex.load(tmp_path)
    for one in (index, loaded):
        one.add(gaussian(30, 3))
        one.remove(np.array([49, 60]))
        assert (len(one), one.live) == (80, 68)
        assert one.elements == (70 if replace else 80)
    np.testing.assert_array_equal(index.search(QUERIES, 80).ids, loaded.search(QUERIES, 80).ids)


def test_saving_twice_is_saving_once(folder: Path) -> None:
    again = folder.parent / "again"
    again.mkdir()
    HnswlibIndex.load(folder).save(again)
    for file in folder.iterdir():
        assert file.read_bytes() == (again / file.name).read_bytes()


def test_nothing_is_saved_of_nothing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="index is empty"):
        HnswlibIndex().save(tmp_path)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "graph.hnsw").symlink_to("/dev/full")
    with pytest.raises(KnowledgeBaseError, match="disk may be full"):
        grown().save(tmp_path)


# ----------------------------------------------------------------- what is refused


def notes(folder: Path, **changes: Any) -> None:
    """Change what is noted beside the graph."""
    file = folder / "hnswlib.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def craft(folder: Path, change: Callable[[bytearray], None]) -> None:
    """Change the graph and note the right checksum: what an attacker would send."""
    file = folder / "graph.hnsw"
    raw = bytearray(file.read_bytes())
    change(raw)
    file.write_bytes(raw)
    notes(folder, bytes=len(raw), sha256=hashlib.sha256(raw).hexdigest())


def refused(folder: Path, words: str) -> None:
    with pytest.raises(CorruptError, match=words):
        HnswlibIndex.load(folder)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"dimension": D + 1}, "size of an element is"),
        ({"dimension": 0}, "dimension is 0"),
        ({"dimension": "8"}, "dimension is '8'"),
        ({"space": "l2"}, "space 'l2', not 'ip'"),
        ({"elements": 279}, "number of elements is 280 and should be 279"),
        ({"elements": 301}, "301 elements of 300 rows"),
        ({"rows": 301}, "rows marked as removed"),
        ({"capacity": 10}, "with room for 10"),
        ({"bytes": 1}, "should have 1"),
        ({"sha256": "0" * 64}, "sha256 differs"),
        ({"format": 2}, "pip install --upgrade ragkit-hnswlib"),
        ({"options": {"M": 5, "ef_construction": 30}}, "M=5"),
        ({"options": {"M": 1}}, "options in saved cannot be"),
        ({"options": {"em": 1}}, "options in saved cannot be"),
        ({"options": []}, "incomplete"),
        ({"removed": {"rows": 0, "sha256": hashlib.sha256(b"").hexdigest()}}, "removed.i64"),
    ],
)
def test_notes_that_do_not_fit_are_refused(
    folder: Path, changes: dict[str, Any], words: str
) -> None:
    notes(folder, **changes)
    refused(folder, words)


def test_missing_and_broken_files_are_named(folder: Path) -> None:
    (folder / "hnswlib.json").write_text("{")
    refused(folder, "cannot be read")
    (folder / "hnswlib.json").unlink()
    refused(folder, "cannot be read")
    grown().save(folder)
    (folder / "graph.hnsw").unlink()
    refused(folder, "graph.hnsw is missing")
    grown().save(folder)
    (folder / "removed.i64").unlink()
    refused(folder, "removed.i64 is missing")


@pytest.mark.parametrize("at", [0, 50, 2000, -1])
def test_a_single_changed_byte_is_named(folder: Path, at: int) -> None:
    raw = bytearray((folder / "graph.hnsw").read_bytes())
    raw[at] ^= 1
    (folder / "graph.hnsw").write_bytes(raw)
    refused(folder, "graph.hnsw is not what was written")


def test_a_list_of_removed_rows_that_is_another_is_named(folder: Path) -> None:
    gone = np.frombuffer((folder / "removed.i64").read_bytes(), dtype="<i8").copy()
    for changed, words in ((gone + 1, "rows marked"), (gone[::-1], "cannot be"), (-gone, "cannot")):
        raw = changed.tobytes()
        (folder / "removed.i64").write_bytes(raw)
        notes(folder, removed={"rows": len(gone), "sha256": hashlib.sha256(raw).hexdigest()})
        refused(folder, words)


def put(form: str, at: int, value: float) -> Callable[[bytearray], None]:
    return lambda raw: struct.pack_into(form, raw, at, value)


def first_above(raw: bytearray) -> int:
    """Where the first element with upper links has them."""
    at = HEADER + 280 * RECORD
    while not (length := struct.unpack_from("<I", raw, at)[0]):
        at += 4
    assert length % (4 + 4 * M) == 0
    return at


CRAFTED: dict[str, tuple[Callable[[bytearray], None], str]] = {
    "fewer fit than there are": (put("<Q", 8, 10), "10 elements fit"),
    "more elements than bytes": (put("<Q", 16, 1 << 40), "number of elements"),
    "larger elements": (put("<Q", 24, RECORD + 4), "size of an element"),
    "labels elsewhere": (put("<Q", 32, 1 << 20), "place of labels"),
    "vectors elsewhere": (put("<Q", 40, 0), "place of vectors"),
    "a layer too high": (put("<i", 48, 40), "entry point"),
    "no layer": (put("<i", 48, -5), "highest layer -5"),
    "no such entry point": (put("<I", 52, 280), "entry point 280"),
    "more links above": (put("<Q", 56, 400), "links of an upper layer"),
    "more links below": (put("<Q", 64, 4000), "links of the ground layer"),
    "another M": (put("<Q", 72, 400), "M is 400"),
    "a layer factor of zero": (put("<d", 80, 0.0), "layer factor is 0.0"),
    "a layer factor that is huge": (put("<d", 80, 1e9), "layer factor"),
    "another ef_construction": (put("<Q", 88, 1 << 40), "ef_construction"),
    "too many links": (put("<H", HEADER, 2 * M + 1), "links to where nothing is"),
    "a link beyond the end": (put("<I", HEADER + 4, 280), "links to where nothing is"),
    "a row beyond the end": (put("<Q", HEADER + RECORD - 8, N), "beyond the 300"),
    "a row twice": (put("<Q", HEADER + RECORD - 8, 101), "same row"),
    "a mark too many": (put("<B", HEADER + 200 * RECORD + 2, 1), "rows marked as removed"),
    "a vector of NaN": (put("<f", HEADER + 4 + 8 * M, float("nan")), "NaN"),
    "a link above to nothing": (
        lambda raw: struct.pack_into("<I", raw, first_above(raw) + 8, 280),
        "upper layer has links to where nothing is",
    ),
    "too many links above": (
        lambda raw: struct.pack_into("<I", raw, first_above(raw) + 4, M + 1),
        "upper layer has links to where nothing is",
    ),
    "upper links of a strange length": (
        lambda raw: struct.pack_into("<I", raw, first_above(raw), 7),
        "7 bytes of upper links",
    ),
    "cut": (lambda raw: raw.__delitem__(slice(-4, None)), "ends before|bytes of upper links"),
    "cut in the vectors": (lambda raw: raw.__delitem__(slice(900, None)), "vectors alone need"),
    "cut in the header": (lambda raw: raw.__delitem__(slice(50, None)), "fewer than the header"),
    "more behind it": (lambda raw: raw.extend(b"\0" * 8), "8 bytes too many"),
}


@pytest.mark.parametrize("name", CRAFTED)
def test_a_crafted_graph_with_a_right_checksum_is_refused(folder: Path, name: str) -> None:
    change, words = CRAFTED[name]
    craft(folder, change)
    refused(folder, words)


def test_a_link_above_to_an_element_that_is_not_there_is_refused(folder: Path) -> None:
    raw = (folder / "graph.hnsw").read_bytes()
    at, low = HEADER + 280 * RECORD, -1
    for element in range(280):
        (length,) = struct.unpack_from("<I", raw, at)
        if not length:
            low = element
        at += 4 + length
    craft(folder, lambda raw: struct.pack_into("<I", raw, first_above(raw) + 8, low))
    refused(folder, "elements below it")


FUZZ = """
import hashlib, json, random, sys
from pathlib import Path
import numpy as np
from ragkit.errors import CorruptError
from ragkit_hnswlib.index import HnswlibIndex

folder, queries = Path(sys.argv[1]), np.load(sys.argv[2])
notes = json.loads((folder / "hnswlib.json").read_text())
whole = (folder / "graph.hnsw").read_bytes()
rng, outcome = random.Random(0), [0, 0]
for _ in range(400):
    raw = bytearray(whole)
    for _ in range(rng.choice([1, 1, 4])):
        at = rng.randrange(len(raw) if rng.random() < 0.6 else 96)
        raw[at] = rng.randrange(256)
    (folder / "graph.hnsw").write_bytes(raw)
    text = json.dumps(notes | {"sha256": hashlib.sha256(raw).hexdigest()})
    (folder / "hnswlib.json").write_text(text)
    try:
        index = HnswlibIndex.load(folder)
    except CorruptError:
        outcome[0] += 1
        continue
    index.search(queries, 5)
    index.add(queries)
    outcome[1] += 1
print(*outcome)
"""


def test_hundreds_of_accidents_end_in_words_and_never_in_a_crash(folder: Path) -> None:
    np.save(folder.parent / "queries.npy", QUERIES)
    done = subprocess.run(
        [sys.executable, "-c", FUZZ, str(folder), str(folder.parent / "queries.npy")],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    refused, passed = map(int, done.stdout.split())
    assert refused + passed == 400
    assert refused > 100  # the others changed a component of a vector
    assert passed > 20
