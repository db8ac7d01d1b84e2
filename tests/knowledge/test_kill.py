"""Killed at any moment, a knowledge base opens at the old or the new generation, whole."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hashing import HashEncoder, LetterGenerator, build_in_child, passages
from ragkit.knowledge import KnowledgeBase

OLD = passages(7)
NEW = passages(23, first=100)
SHARD = 4
STEPS = ("fsync", "replace", "rename", "link", "unlink", "mkdir", "rmdir")
"""What changes the disk in a way that others can see or that lasts."""


@pytest.fixture
def tmp_path(tmp_path: Path) -> Iterator[Path]:
    """In memory where that is possible: thousands of fsync are slow elsewhere."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def old(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("kill") / "old"
    KnowledgeBase.build(OLD, HashEncoder(), "exact", folder, generator=LetterGenerator())
    return folder


def build(folder: Path, log: Path, delay: float = 0.0) -> KnowledgeBase:
    return KnowledgeBase.build(
        NEW,
        HashEncoder(log, delay=delay),
        "exact",
        folder,
        generator=LetterGenerator(),
        shard_size=SHARD,
        batch_size=2,
        recall_sample=4,
    )


def counting(on_step: Callable[[str, tuple[object, ...]], None]) -> None:
    """Let every step that changes the disk be announced, in this (child) process."""
    for name in STEPS:
        real = getattr(os, name)

        def step(*args, _real=real, _name=name, **options):
            on_step(_name, args)
            return _real(*args, **options)

        setattr(os, name, step)


def dies_at(number: int, work: Callable[[], object]) -> Callable[[], None]:
    def run() -> None:
        seen = 0

        def on_step(name: str, args: tuple[object, ...]) -> None:
            nonlocal seen
            seen += 1
            if seen == number:
                if name == "fsync" and number % 2:
                    _tear(args[0])
                os._exit(9)

        counting(on_step)
        work()

    return run


def _tear(descriptor: object) -> None:
    """As after a power cut: half of what was to be synced is on the disk.

    Files that are filled in place are left: what was synced in them before is safe.
    """
    name = os.readlink(f"/proc/self/fd/{descriptor}")
    if name.endswith(".raw") or os.path.isdir(name):
        return
    with contextlib.suppress(OSError):  # opened for reading
        os.ftruncate(descriptor, os.fstat(descriptor).st_size // 2)


def steps_of(work: Callable[[], object], log: Path) -> int:
    def run() -> None:
        seen = []
        counting(lambda name, args: seen.append(name))
        work()
        log.write_text(str(len(seen)))

    assert build_in_child(run) == 0
    return int(log.read_text())


def check_whole(folder: Path, *states: list) -> list:
    """It opens, verifies, and is exactly one of the states."""
    base = KnowledgeBase.open(folder)
    base.verify()
    found = list(base)
    assert found in [list(state) for state in states]
    assert [base.row(one.id) for one in found] == list(range(len(found)))
    tokens = base.tokens.take(range(len(found)))
    assert ["".join(map(chr, one)) for one in tokens] == [one.text for one in found]
    return found


def check_no_shard_twice(before: list[str], noted: int, after: list[str]) -> None:
    """What was noted as done is not encoded again; one shard at most was in the making."""
    assert not set(after) & {one.id for one in NEW[:noted]}
    again = set(before) & set(after)
    assert len({(int(one[1:]) - 100) // SHARD for one in again}) <= 1


def finish(folder: Path, log: Path) -> None:
    """Run the same build again; a build that had ended already is followed by a new one."""
    before, noted = HashEncoder(log).encoded(), 0
    mark = folder / "building" / "encoded.json"
    if list(KnowledgeBase.open(folder)) == NEW:
        before = []
    elif mark.exists():
        noted = json.loads(mark.read_text())["passages"]
    log.unlink(missing_ok=True)
    build(folder, log)
    check_no_shard_twice(before, noted, HashEncoder(log).encoded())
    check_whole(folder, NEW)
    assert {one.name for one in folder.iterdir()} == {"current", "generations", "lock"}


def test_killed_at_every_step_of_a_build(old, tmp_path):
    folder, log = tmp_path / "kb", tmp_path / "log"
    shutil.copytree(old, folder)
    total = steps_of(lambda: build(folder, log), tmp_path / "steps")
    assert total >= 50
    states = []
    for number in range(1, total + 1):
        shutil.rmtree(folder)
        shutil.copytree(old, folder)
        log.unlink(missing_ok=True)
        assert build_in_child(dies_at(number, lambda: build(folder, log))) == 9
        states.append(len(check_whole(folder, OLD, NEW)))
        finish(folder, log)
    assert states == sorted(states)  # old up to the switch, new from there on
    assert {states[0], states[-1]} == {len(OLD), len(NEW)}


def test_killed_twice_in_one_build(old, tmp_path):
    folder, log = tmp_path / "kb", tmp_path / "log"
    random.seed(0)
    for _ in range(8):
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(old, folder)
        log.unlink(missing_ok=True)
        for _ in range(2):
            number = random.randint(1, 40)
            build_in_child(dies_at(number, lambda: build(folder, log)))
            check_whole(folder, OLD, NEW)
        build(folder, log)
        check_whole(folder, NEW)


def test_killed_by_signal_at_any_time(old, tmp_path):
    folder, log = tmp_path / "kb", tmp_path / "log"
    random.seed(1)
    for _ in range(10):
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(old, folder)
        log.unlink(missing_ok=True)
        build_in_child(lambda: build(folder, log, delay=0.01), timeout=random.uniform(0, 0.25))
        check_whole(folder, OLD, NEW)
        finish(folder, log)


@pytest.mark.parametrize("kind", ["add", "remove", "compact"])
def test_killed_at_every_step_of_a_change(old, tmp_path, kind):
    start = tmp_path / "start"
    shutil.copytree(old, start)
    base = KnowledgeBase.open(start).remove(["p2"])
    more = passages(5, first=50)
    left = [one for one in OLD if one.id != "p2"]
    work, new = {
        "add": (
            lambda base: base.add(more, HashEncoder(), generator=LetterGenerator(), shard_size=2),
            [*left, *more],
        ),
        "remove": (lambda base: base.remove(["p4"]), [one for one in left if one.id != "p4"]),
        "compact": (lambda base: base.compact(), left),
    }[kind]
    folder = tmp_path / "kb"
    shutil.copytree(start, folder)
    total = steps_of(lambda: work(KnowledgeBase.open(folder)), tmp_path / "steps")
    for number in range(1, total + 1, 1 if kind == "remove" else 3):
        shutil.rmtree(folder)
        shutil.copytree(start, folder)
        child = dies_at(number, lambda: work(KnowledgeBase.open(folder)))
        assert build_in_child(child) == 9
        base = KnowledgeBase.open(folder)
        base.verify()
        assert list(base) in (left, new)
        if base.generation == 2:
            work(base)
        base = KnowledgeBase.open(folder)
        base.verify()
        assert list(base) == new
