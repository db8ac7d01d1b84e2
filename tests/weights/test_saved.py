"""A whole RAG at rest in fewer bits: saved, moved, opened, damaged, interrupted."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import tiny
from ragkit import persist, registry
from ragkit.errors import ConfigError, CorruptError, EncoderMismatch, KnowledgeBaseError
from ragkit.generate.seq2seq import Seq2SeqGenerator
from ragkit.knowledge import KnowledgeBase
from ragkit.rag import RAG
from ragkit.retrieve.dense import DenseRetriever
from ragkit.retrieve.dpr import DPREncoder
from ragkit.weights import compact, packed

TEXTS = ["red apple", "green pear", "blue plum", "black grape"]
QUESTIONS = ["which apple", "what is blue"]


def build(knowledge_base=None, **options):
    encoder = DPREncoder(tiny.bert(), tokenizer=tiny.tokenizer(), pooling="mean", **options)
    generator = Seq2SeqGenerator(tiny.bart(scale=0.4), tiny.tokenizer())
    return RAG(DenseRetriever(encoder, knowledge_base, temperature=4.0), generator)


def knowledge(directory, encoder):
    passages = [{"id": f"p{i}", "text": text} for i, text in enumerate(TEXTS)]
    return KnowledgeBase.build(passages, encoder, "exact", directory, dtype="float32")


def size(folder):
    return sum(p.stat().st_size for p in folder.rglob("*.safetensors"))


@pytest.mark.parametrize("weights", ["float16", "bfloat16", "int8"])
def test_every_weight_is_the_rounding_of_what_was_saved(tmp_path, weights):
    rag = build()
    rag.save_pretrained(tmp_path / "a", weights=weights)
    (tmp_path / "a").rename(tmp_path / "b")
    again = RAG.from_pretrained(tmp_path / "b")
    found = again.state_dict()
    assert found.keys() == rag.state_dict().keys()
    for name, tensor in rag.state_dict().items():
        want = compact.restored(*compact.stored(tensor, weights), tensor.dtype)
        assert torch.equal(found[name], want), name
    assert not (tmp_path / "b").joinpath("parts-1", "generator", "model.safetensors").exists()


def test_what_the_parts_share_is_stored_once(tmp_path):
    """Both towers are one model here, so three quarters of the whole are left at most."""
    rag = build()
    rag.save_pretrained(tmp_path / "plain")
    rag.save_pretrained(tmp_path / "small", weights="bfloat16")
    encoder = sum(t.numel() for t in rag.retriever.encoder.question_encoder.state_dict().values())
    kept = load_file(tmp_path / "small" / "parts-1" / packed.DATA)
    generator = {id(p): p.numel() for p in rag.generator.parameters()}
    assert sum(t.numel() for t in kept.values()) <= encoder + sum(generator.values())
    assert size(tmp_path / "small") < size(tmp_path / "plain") / 2


def test_a_model_that_is_loaded_and_saved_stays_what_it_is(tmp_path):
    build().save_pretrained(tmp_path / "0", weights="int8")
    first = RAG.from_pretrained(tmp_path / "0")
    base = knowledge(tmp_path / "kb", first.retriever.encoder)
    with pytest.raises(EncoderMismatch):
        build(base)  # before it was rounded it was another encoder
    first.save_pretrained(tmp_path / "1", weights="int8")
    second = RAG.from_pretrained(tmp_path / "1", knowledge_base=base)
    first.swap(base)
    ours, theirs = first.state_dict(), second.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    data = [(tmp_path / n / "parts-1" / packed.DATA).read_bytes() for n in "01"]
    assert data[0] == data[1]
    one, other = (rag.answer(QUESTIONS, k=2, max_new_tokens=4) for rag in (first, second))
    assert [a.text for a in one] == [a.text for a in other]


def test_a_plain_save_is_written_as_ever(tmp_path):
    build().save_pretrained(tmp_path / "m")
    own = json.loads((tmp_path / "m" / "config.json").read_text())["ragkit"]
    assert own["format"] == 1
    assert "weights" not in own
    assert (tmp_path / "m" / "parts-1" / "generator" / "model.safetensors").is_file()


def test_older_versions_refuse_what_they_cannot_read(tmp_path, monkeypatch):
    build().save_pretrained(tmp_path / "m", weights="int8")
    monkeypatch.setattr(persist, "FORMAT", 1)
    with pytest.raises(ConfigError, match="pip install --upgrade ragkit"):
        RAG.from_pretrained(tmp_path / "m")


def test_a_copied_knowledge_base_stays_whole(tmp_path):
    rag = build()
    rag.swap(knowledge(tmp_path / "kb", rag.retriever.encoder))
    rag.save_pretrained(tmp_path / "m", weights="bfloat16", copy_knowledge_base=True)
    KnowledgeBase.open(tmp_path / "m/parts-1/retriever/knowledge_base").verify()


# ------------------------------------------------------------- without knowledge base


def test_a_model_without_a_knowledge_base(tmp_path):
    build().save_pretrained(tmp_path / "m", weights="int8")
    rag = RAG.from_pretrained(tmp_path / "m")
    with pytest.raises(KnowledgeBaseError, match=r"rag\.swap.*--kb DIR"):
        rag.answer(QUESTIONS)
    with pytest.raises(ConfigError, match="no knowledge base; leave it out"):
        rag.save_pretrained(tmp_path / "n", copy_knowledge_base=True)
    assert not list((tmp_path / "n").glob("config.json"))
    base = knowledge(tmp_path / "kb", rag.retriever.encoder)
    rag.swap(base)
    given = RAG.from_pretrained(tmp_path / "m", knowledge_base=tmp_path / "kb")
    for one in (rag, given):
        assert one.answer(QUESTIONS, k=2, max_new_tokens=3)[0].passages
    other = knowledge(tmp_path / "other", DPREncoder(tiny.bert(seed=5), tokenizer=tiny.tokenizer()))
    with pytest.raises(EncoderMismatch):
        rag.swap(other)
    with pytest.raises(EncoderMismatch):
        RAG.from_pretrained(tmp_path / "m", knowledge_base=other)


# ------------------------------------------------------------------ damage and death


@pytest.mark.parametrize("name", [packed.DATA, packed.INDEX])
def test_a_file_that_was_tampered_with_is_named(tmp_path, name):
    build().save_pretrained(tmp_path / "m", weights="int8")
    file = tmp_path / "m" / "parts-1" / name
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    with pytest.raises(CorruptError, match=rf"{name} is not what was written"):
        RAG.from_pretrained(tmp_path / "m")


def test_an_unknown_kind_leaves_the_folder_alone(tmp_path):
    rag = build()
    rag.save_pretrained(tmp_path / "m")
    with pytest.raises(ConfigError, match="'int8'"):
        rag.save_pretrained(tmp_path / "m", weights="int4")
    assert [p.name for p in (tmp_path / "m").glob("parts-*")] == ["parts-1"]


def test_a_save_that_dies_leaves_a_model_that_opens(tmp_path):
    """Killed at each file that it makes, takes away or renames while packing."""
    rag = build()
    rag.save_pretrained(tmp_path / "m", weights="int8")
    before = rag.generator.model.lm_head.weight.detach().clone()
    want = {
        name: compact.restored(*compact.stored(tensor, "int8"), torch.float32)
        for name, tensor in {"before": before, "after": before * 2}.items()
    }
    seen = set()
    for step in run_to_kill(tmp_path / "m"):
        found = RAG.from_pretrained(step["folder"]).generator.model.lm_head.weight
        which = [name for name, tensor in want.items() if torch.equal(found, tensor)]
        seen.add((step["code"], *which))
    assert {(9, "before"), (0, "after")} <= seen
    assert all(code in (0, 9) and which for code, *which in seen)


def run_to_kill(folder):
    """Copies of the folder after a save into each died one step later than the last.

    In a process with one thread, for a child of many may wait for those it lacks.
    """
    script = Path(__file__).with_name("save_to_kill.py")
    done = subprocess.run(
        [sys.executable, script, folder],
        env=os.environ | {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


# ----------------------------------------------------------------- strangers' parts


STRANGER = '''
import json
import torch
from pathlib import Path
from safetensors.torch import load_file, save_file
from ragkit import Component, hookimpl

@hookimpl
def ragkit_encoders():
    return [Component("plain-stranger", "plain_stranger:Plain")]

class Plain(torch.nn.Module):
    """Reads its own file, and knows nothing of packing."""
    dimension, fingerprint = 64, "plain"

    def __init__(self, weight):
        super().__init__()
        self.weight = torch.nn.Parameter(weight)

    def save(self, directory):
        save_file({"weight": self.weight.detach()}, Path(directory) / "mine.safetensors")
        (Path(directory) / "more.json").write_text("[3]")

    @classmethod
    def load(cls, directory):
        assert json.loads((Path(directory) / "more.json").read_text()) == [3]
        return cls(load_file(Path(directory) / "mine.safetensors")["weight"])
'''


def test_a_part_that_reads_its_own_files_finds_them(tmp_path, monkeypatch):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "plain_stranger.py").write_text(STRANGER)
    info = tmp_path / "site" / "plain_stranger-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plain-stranger\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[ragkit]\nplain = plain_stranger\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    registry.forget()
    try:
        weight = torch.randn(64, 32)
        encoder = importlib.import_module("plain_stranger").Plain(weight)
        generator = Seq2SeqGenerator(tiny.bart(), tiny.tokenizer())
        rag = RAG(DenseRetriever(encoder, None), generator)
        rag.save_pretrained(tmp_path / "m", weights="int8")
        assert not list((tmp_path / "m").rglob("mine.safetensors"))
        found = RAG.from_pretrained(tmp_path / "m").retriever.encoder.weight
        assert torch.equal(found, compact.restored(*compact.stored(weight, "int8"), torch.float32))
        assert not list((tmp_path / "m").rglob("mine.safetensors"))
    finally:
        registry.forget()
        shutil.rmtree(tmp_path / "site")
