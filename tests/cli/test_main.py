"""The command as a process: exit codes, pipes that close, full disks, Ctrl-C, red lines."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import tiny
from ragkit import KnowledgeBase
from ragkit.cli import build
from ragkit.errors import ConfigError, KnowledgeBaseError

COMMAND = [sys.executable, "-c", "from ragkit.cli import main; main()"]


def ragkit(
    *words: str, path: Path | None = None, stdout: int = subprocess.PIPE
) -> subprocess.CompletedProcess[str]:
    """``ragkit WORDS`` away from any terminal; ``path``: where further plugins are."""
    return subprocess.run(
        [*COMMAND, *words],
        env=os.environ | ({"PYTHONPATH": str(path)} if path else {}) | {"HF_HUB_OFFLINE": "1"},
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        timeout=120,
        check=False,
    )


# Three processes each that only look, so that all of them together stay cheap.
QUIET = [["--version"], ["--help"], ["components", "--json"]]


@pytest.mark.parametrize("words", QUIET, ids=lambda words: words[0])
def test_a_reader_that_has_gone_is_no_accident(words: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = ragkit(*words, stdout=writing)
    finally:
        os.close(writing)
    assert done.returncode == 1
    assert done.stderr == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
@pytest.mark.parametrize("words", [["--version"], ["components", "--json"]], ids=lambda w: w[0])
def test_a_full_disk_is_one_line(words: list[str]) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        done = ragkit(*words, stdout=full)
    finally:
        os.close(full)
    assert done.returncode == 1
    assert done.stderr.startswith("[Errno 28] No space left on device")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ([], 2, ""),  # help, on stdout
        (["kb"], 2, ""),
        (["kb", "fly"], 2, "No such command 'fly'"),
        (["kb", "build"], 2, "Missing"),
        (["kb", "search", "absent", "sky?", "-k", "0"], 2, "-k"),
        (["kb", "info", "absent"], 1, "'absent' is no folder"),
        (["config", "show", "indx", "faiss"], 2, "no role is named 'indx'; did you mean 'index'?"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_exit_codes(words: list[str], code: int, said: str) -> None:
    done = ragkit(*words)
    assert done.returncode == code
    assert said in done.stderr
    assert (done.stdout == "") is bool(said)
    assert "Traceback" not in done.stderr
    if code == 1:  # one line, however long: nothing is broken at 80 columns
        assert done.stderr.count("\n") == 1


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are POSIX's")
def test_errors_are_red_at_a_terminal_and_plain_elsewhere() -> None:
    master, slave = os.openpty()
    environment = {k: v for k, v in os.environ.items() if k != "NO_COLOR"} | {"TERM": "xterm"}
    done = subprocess.run(
        [*COMMAND, "kb", "info", "absent"],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=slave,
        timeout=120,
        check=False,
    )
    os.close(slave)
    shown = os.read(master, 10_000).decode()
    os.close(master)
    assert done.stdout == b""
    assert "\x1b[31m" in shown
    assert "'absent' is no folder" in shown
    assert "\x1b" not in ragkit("kb", "info", "absent").stderr


def check(file: Path, *overrides: str) -> list[str]:
    """The faults that ``ragkit config check`` finds, here within this process."""
    done = CliRunner().invoke(build(), ["config", "check", str(file), *overrides])
    assert isinstance(done.exception, ConfigError)
    assert done.stdout == ""
    return done.exception.faults


def test_a_misspelt_role_is_found(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("retreiver: {name: dense}\nsteps: 3\nindex: exact\n")
    assert check(file) == ["unknown key 'retreiver'; did you mean 'retriever'?"]


def test_a_configuration_of_training_is_checked_whole(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(
        "retriever: {name: dense, encoder: {name: dpr, poling: cls}, knowledge_base: kb}\n"
        "generator: seq2seq\ntrain: {name: jsonl, pth: x}\n"
        "arguments: {k: five, learning_rate: 1e-4}\ncolour: red\n"
    )
    faults = check(file, "arguments.bf16=maybe")
    assert len(faults) == 6
    for said in (
        "retriever.encoder: unknown option 'poling'; did you mean 'pooling'?",
        "train: unknown option 'pth'; did you mean 'path'?",
        "arguments.k: 'five' (str) must be int",
        "arguments.bf16: 'maybe' (str) must be bool",
        "arguments.output_dir is missing",
        "unknown key 'colour'",
    ):
        assert sum(said in fault for fault in faults) == 1, said


def test_a_broken_plugin_is_shown_and_json_stays_clean(tmp_path: Path) -> None:
    (tmp_path / "loud.py").write_text("print('hello')\nimport nowhere_at_all\n")
    info = tmp_path / "loud-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: loud\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[ragkit]\nloud = loud\n")
    reason = "No module named 'nowhere_at_all'"
    found = json.loads(ragkit("components", "--json", path=tmp_path).stdout)
    plugins = {one["distribution"]: one for one in found["plugins"]}
    assert plugins["loud"]["state"] == "broken"
    assert reason in plugins["loud"]["error"]
    shown = ragkit("components", path=tmp_path)
    assert shown.returncode == 0
    assert reason in shown.stdout
    doctor = json.loads(ragkit("doctor", "--json", path=tmp_path).stdout)
    (loud,) = [one for one in doctor["plugins"] if one["name"] == "loud"]
    assert loud["state"].startswith("broken (")
    assert reason in loud["error"]


BUSY = """
import sys, time
from ragkit.cli import main
from ragkit.knowledge import KnowledgeBase
from ragkit.retrieve.dpr import DPREncoder

KnowledgeBase.build.__func__.__kwdefaults__["shard_size"] = 2
true = DPREncoder.passages
limit, seen = sys.argv.pop(1) == "limit", []

def passages(self, some):
    if limit and len(seen) >= 4:
        print("busy", file=sys.stderr, flush=True)
        time.sleep(60)
    seen.extend(some)
    return true(self, some)

DPREncoder.passages = passages
try:
    main()
finally:
    print(len(seen), "encoded", file=sys.stderr)
"""


def test_ctrl_c_while_building_keeps_what_is_done(tmp_path: Path) -> None:
    tiny.bert().save_pretrained(tmp_path / "encoder")
    tiny.tokenizer().save_pretrained(tmp_path / "encoder")
    (tmp_path / "texts").mkdir()
    for number in range(7):
        (tmp_path / "texts" / f"{number}.txt").write_text(f"passage number {number}")
    target = tmp_path / "kb"
    words = ["kb", "build", str(tmp_path / "texts"), "-o", str(target), "--json"]
    words += ["-e", f"model={tmp_path / 'encoder'}"]
    child = subprocess.Popen(
        [sys.executable, "-c", BUSY, "limit", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stderr is not None
    before = []
    for line in child.stderr:
        if line == "busy\n":
            child.send_signal(signal.SIGINT)
            break
        before.append(line)
    out, errors = child.communicate(timeout=60)
    assert child.returncode == 130, errors
    assert (out, before) == ("", [])
    assert "Traceback" not in errors
    with pytest.raises(KnowledgeBaseError):  # nothing half made opens
        KnowledgeBase.open(target)
    done = subprocess.run(
        [sys.executable, "-c", BUSY, "free", *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["passages"] == 7
    assert done.stderr == "3 encoded\n"  # two shards of two were kept
    base = KnowledgeBase.open(target)
    base.verify()
    assert sorted(p.text for p in base) == [f"passage number {n}" for n in range(7)]
