"""The package: what is in it, under which licence, and that it opens by name, unharmed."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import ragkit_tiny

from ragkit import RAG, shipped
from ragkit.errors import CorruptError, KnowledgeBaseError
from ragkit.weights import packed

ROOT = Path(__file__).parents[1]
MODEL = Path(ragkit_tiny.__file__).parent / "model"
MOST = 50_000_000
"""Bytes at rest, of all files together."""

trained = pytest.mark.skipif(not MODEL.is_dir(), reason="the model is not in this tree yet")

ANSWER = """
import json, socket, sys
import torch

def refuse(*_, **__):
    raise AssertionError("the network was used")

socket.socket.connect = refuse
from ragkit import RAG, KnowledgeBase

rag = RAG.from_pretrained("ragkit-tiny")
texts = [
    {"id": "a", "title": "Keeper", "text": "Ada Holm has kept the lighthouse since 1999."},
    {"id": "b", "title": "Ferry", "text": "The ferry leaves the harbour at nine every morning."},
    {"id": "c", "title": "Inn", "text": "The Grey Goose is an inn with seven rooms."},
]
base = KnowledgeBase.build(texts, rag.retriever.encoder, "exact", sys.argv[1],
                           generator=rag.generator, progress=False)
rag.swap(base)
asked = ["Who keeps the lighthouse?", "When does the ferry leave?", "How many rooms has the inn?"]
for threads in map(int, sys.argv[2:]):
    torch.set_num_threads(threads)
    print(json.dumps([[a.text, a.log_likelihood, [p.id for p in a.passages],
                       [p.posterior for p in a.passages]] for a in rag.answer(asked, k=3)]))
"""


def answers(folder: Path, *threads: int) -> list[list[list[object]]]:
    """What a fresh process without a network says, for each number of threads."""
    done = subprocess.run(
        [sys.executable, "-c", ANSWER, str(folder), *map(str, threads)],
        env=os.environ | {"HF_HUB_OFFLINE": "1", "OMP_WAIT_POLICY": "PASSIVE"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_licence_and_notice_are_there() -> None:
    notice = (ROOT / "NOTICE").read_text(encoding="utf-8")
    for source, licence in (
        ("all-MiniLM-L6-v2", "Apache License 2.0"),
        ("SQuAD", "CC BY-SA 4.0"),
        ("Natural Questions", "CC BY-SA 3.0"),
    ):
        (entry,) = re.findall(rf"^\* [^*]*?{source}.*?(?=^$)", notice, re.MULTILINE | re.DOTALL)
        assert licence in entry
    assert "Apache License" in (ROOT / "LICENSE").read_text(encoding="utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["license"] == "Apache-2.0 AND CC-BY-SA-4.0"
    assert project["license-files"] == ["LICENSE", "NOTICE"]
    (record,) = ragkit_tiny.ragkit_models()
    assert record.licence == "CC-BY-SA-4.0"


def test_versions_agree() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    top = re.search(r"^## \[([^\]]+)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert top is not None
    assert top[1] == project["version"] == ragkit_tiny.__version__
    assert metadata.version("ragkit-tiny") == project["version"]


def test_the_plugin_loads_nothing_heavy() -> None:
    code = "import ragkit_tiny, sys; ragkit_tiny.ragkit_models(); print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert not {"torch", "numpy", "transformers"} & set(done.stdout.split())


def test_the_name_leads_to_this_package() -> None:
    (one,) = [one for one in shipped.models() if one.model.name == "ragkit-tiny"]
    assert one.distribution == "ragkit-tiny"
    assert one.folder == MODEL
    assert one.state == ("ready" if MODEL.is_dir() else "broken")


@trained
def test_the_whole_is_small_and_safe() -> None:
    files = [file for file in MODEL.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) <= MOST
    assert not [f for f in files if f.suffix in (".bin", ".pt", ".pth", ".pkl", ".pickle")]
    text = "".join(file.read_text("utf-8") for file in files if file.suffix == ".json")
    assert str(Path.home()) not in text  # no path of whoever made it
    card = (MODEL / "README.md").read_text(encoding="utf-8")
    assert "to be written by whoever trained it" not in card
    assert "license: cc-by-sa-4.0" in card


@trained
def test_every_byte_of_the_weights_is_under_a_checksum(tmp_path: Path) -> None:
    shutil.copytree(MODEL, tmp_path / "copy")
    (parts,) = (tmp_path / "copy").glob("parts-*")
    for name in (packed.DATA, packed.INDEX):
        good = (parts / name).read_bytes()
        for place in (0, len(good) // 3, len(good) - 2):
            changed = bytearray(good)
            changed[place] ^= 1
            (parts / name).write_bytes(changed)
            with pytest.raises(CorruptError, match=name):
                RAG.from_pretrained(tmp_path / "copy")
        (parts / name).write_bytes(good)
    assert not [f for f in parts.rglob("*.safetensors") if f.name != packed.DATA]
    assert RAG.from_pretrained(tmp_path / "copy") is not None


@trained
def test_it_comes_without_a_knowledge_base_and_says_so() -> None:
    with pytest.raises(KnowledgeBaseError, match="--kb DIR"):
        RAG.from_pretrained("ragkit-tiny").answer("who?")


@trained
def test_a_saved_copy_has_the_same_weights_and_fingerprint(tmp_path: Path) -> None:
    rag = RAG.from_pretrained("ragkit-tiny")
    rag.save_pretrained(tmp_path / "again", weights="int8")
    again = RAG.from_pretrained(tmp_path / "again")
    mine, theirs = rag.state_dict(), again.state_dict()
    assert mine.keys() == theirs.keys()
    assert all(mine[name].equal(theirs[name]) for name in mine)
    assert rag.retriever.encoder.fingerprint == again.retriever.encoder.fingerprint  # type: ignore[attr-defined]


@trained
def test_the_same_answers_in_every_run_and_with_any_threads(tmp_path: Path) -> None:
    first, with_two = answers(tmp_path / "1", 1, 2)
    assert answers(tmp_path / "2", 1) == [first]  # bit for bit
    for one, other in zip(first, with_two, strict=True):
        assert one[0] == other[0]
        assert one[2] == other[2]
        assert one[1] == pytest.approx(other[1], abs=1e-3)
        assert one[3] == pytest.approx(other[3], abs=1e-3)
