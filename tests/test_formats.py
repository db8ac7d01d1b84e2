"""The page about file formats against real folders, which are read by what the page says."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from safetensors import safe_open

import tiny
from ragkit import RAG, KnowledgeBase
from ragkit.generate.seq2seq import Seq2SeqGenerator
from ragkit.retrieve.dense import DenseRetriever
from ragkit.retrieve.dpr import DPREncoder

PAGE = (Path(__file__).parents[1] / "docs" / "formats.md").read_text(encoding="utf-8")
TEXTS = [{"id": f"née-{i}", "title": f"t{i}", "text": "text " * (i + 1)} for i in range(7)]


def table(heading: str) -> dict[str, list[str]]:
    """The first table below a heading: what stands in ticks at the left, and the other cells."""
    (section,) = (
        one for one in re.split(r"^#+ ", PAGE, flags=re.MULTILINE) if one.startswith(heading + "\n")
    )
    rows = re.findall(r"^\| `([^`]+)` \|(.*)\|$", section, re.MULTILINE)
    return {name: [cell.strip() for cell in cells.split("|")] for name, cells in rows}


def files(folder: Path, folders: tuple[str, ...] = ()) -> set[str]:
    """Every file below a folder; for one below any of ``folders``, that."""
    found = set()
    for file in folder.rglob("*"):
        if file.is_file():
            name = file.relative_to(folder).as_posix()
            found.add(next((one for one in folders if name.startswith(one)), name))
    return found


def folders_of(rows: dict[str, list[str]]) -> tuple[str, ...]:
    return tuple(name for name in rows if name.endswith("/"))


@pytest.fixture(scope="module")
def parts() -> tuple[DPREncoder, Seq2SeqGenerator]:
    encoder = DPREncoder(tiny.bert(seed=0), tiny.bert(seed=1), tiny.tokenizer())
    return encoder, Seq2SeqGenerator(tiny.bart(), tiny.tokenizer())


@pytest.fixture(scope="module")
def base(
    parts: tuple[DPREncoder, Seq2SeqGenerator], tmp_path_factory: pytest.TempPathFactory
) -> KnowledgeBase:
    """Generation 3: two files of passages, and one passage removed."""
    encoder, generator = parts
    folder = tmp_path_factory.mktemp("formats") / "kb"
    first = KnowledgeBase.build(TEXTS[:5], encoder, "exact", folder, generator=generator)
    return first.add(TEXTS[5:], encoder, generator=generator).remove(["née-2"])


def generation(base: KnowledgeBase) -> Path:
    return Path(base.directory) / "generations" / f"{base.generation:06d}"


# ----------------------------------------------------------------- knowledge bases


def test_the_files_of_a_knowledge_base(base: KnowledgeBase) -> None:
    rows = table("A knowledge base")
    assert files(Path(base.directory), ("generations/",)) == {
        name if not name.startswith("generations/") else "generations/" for name in rows
    }
    assert (Path(base.directory) / "current").read_bytes() == b"3\n"
    assert (Path(base.directory) / "lock").read_bytes() == b""
    assert (Path(base.directory) / "generations" / "000001").is_dir()


def test_the_files_of_a_generation(base: KnowledgeBase) -> None:
    rows = table("A generation")
    assert files(generation(base), folders_of(rows)) == set(rows)


def test_the_fields_of_a_manifest(base: KnowledgeBase) -> None:
    manifest = json.loads((generation(base) / "manifest.json").read_text())
    assert set(table("The manifest")) == set(manifest)
    assert set(manifest["encoder"]) == {"name", "fingerprint"}
    assert set(manifest["files"]) == files(generation(base)) - {"manifest.json"}
    for name, entry in manifest["files"].items():
        content = (generation(base) / name).read_bytes()
        sums = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        assert entry == sums
    said = manifest.pop("sha256")
    assert said == hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def raw(base: KnowledgeBase, name: str, kind: int = 0) -> Any:
    """A file, as the type that the page has for it; the first of several."""
    types = re.findall(r"`(<\w\d)`", table("A generation")[name][0])
    return np.fromfile(generation(base) / name, types[kind])


def test_the_columns_hold_what_the_page_says(
    base: KnowledgeBase, parts: tuple[DPREncoder, Seq2SeqGenerator]
) -> None:
    read = [
        row
        for name in json.loads((generation(base) / "manifest.json").read_text())["passages"]
        for row in pa.ipc.open_file(str(generation(base) / name)).read_all().to_pylist()
    ]
    assert read == TEXTS
    vectors = raw(base, "vectors.raw").reshape(7, 16)
    expected = parts[0].passages([base.passages([i])[0] for i in range(7)])
    np.testing.assert_allclose(vectors.astype(np.float32), expected, rtol=2e-3, atol=2e-3)
    offsets, tokens = raw(base, "offsets.raw"), raw(base, "tokens.raw")
    assert offsets.shape == (8,)
    made = parts[1].passage_tokens(base.passages(list(range(7))))
    assert [tokens[a:b].tolist() for a, b in itertools.pairwise(offsets)] == made
    assert raw(base, "removed.raw").tolist() == [2]


def test_ids_are_found_as_the_page_says(base: KnowledgeBase) -> None:
    keys = raw(base, "ids.raw")
    assert keys.tolist() == sorted(keys.tolist())
    found = {int(key) & 0xFFFFFFFF: int(key) >> 32 for key in keys}
    assert sorted(found) == [0, 1, 3, 4, 5, 6]
    for row, hashed in found.items():
        digest = hashlib.blake2b(TEXTS[row]["id"].encode(), digest_size=4).digest()
        assert hashed == int.from_bytes(digest, "little")


def test_the_files_of_the_indexes(
    base: KnowledgeBase, parts: tuple[DPREncoder, Seq2SeqGenerator], tmp_path: Path
) -> None:
    listed = set(table("Indexes"))
    of_exact = {f"index/{name}" for name in files(generation(base) / "index")}
    other = KnowledgeBase.build(
        TEXTS, parts[0], {"name": "faiss", "factory": "Flat"}, tmp_path / "kb"
    )
    of_faiss = {f"index/{name}" for name in files(generation(other) / "index")}
    assert of_exact | of_faiss == listed
    # Without a generator there are no tokens; vectors may be wider.
    absent = set(table("A generation")) - files(generation(other), ("index/",))
    assert absent == {"passages-1.arrow", "removed.raw", "tokens.raw", "offsets.raw"}
    wide = KnowledgeBase.build(TEXTS, parts[0], "exact", tmp_path / "wide", dtype="float32")
    vectors = raw(wide, "vectors.raw", kind=1).reshape(7, 16)
    expected = parts[0].passages(list(wide))
    np.testing.assert_allclose(vectors, expected, rtol=1e-4, atol=1e-5)


# -------------------------------------------------------------------- saved models


@pytest.fixture(scope="module")
def model(base: KnowledgeBase, parts: tuple[DPREncoder, Seq2SeqGenerator]) -> RAG:
    return RAG(DenseRetriever(parts[0], base), parts[1], "rag-token")


def test_the_files_of_a_saved_model(model: RAG, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path / "plain")
    model.save_pretrained(tmp_path / "packed", weights="int8", copy_knowledge_base=True)
    for folder in (tmp_path / "plain", tmp_path / "packed"):
        assert files(folder, ("parts-1/",)) == set(table("A saved model"))
    rows = table("Parts")
    plain = files(tmp_path / "plain" / "parts-1", folders_of(rows))
    packed = files(tmp_path / "packed" / "parts-1", folders_of(rows))
    weights = {"weights.json", "weights.safetensors"}
    copied = "retriever/knowledge_base/"
    assert plain == set(rows) - weights - {copied}
    assert packed == set(rows) - {"generator/model.safetensors"}
    below = [file.name for file in (tmp_path / "packed").rglob("*.safetensors")]
    assert below == ["weights.safetensors"]


def test_the_fields_of_a_models_configuration(model: RAG, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path, weights="int8")
    config = json.loads((tmp_path / "config.json").read_text())
    assert set(config) == {"model_type", "ragkit"}
    own = config["ragkit"]
    assert set(own) == set(table("`config.json`"))
    index = (tmp_path / own["parts"] / "weights.json").read_bytes()
    assert own["weights"] == {"kept_as": "int8", "sha256": hashlib.sha256(index).hexdigest()}
    for entry in own["components"].values():
        assert set(entry) in ({"name", "folder"}, {"name", "options"})
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert set(config["ragkit"]) == set(table("`config.json`")) - {"weights"}
    assert config["ragkit"]["format"] == 1
    assert config["ragkit"]["parts"] == "parts-2"


@pytest.mark.parametrize("kept", ["int8", "float16", "bfloat16"])
def test_packed_weights_are_read_as_the_page_says(model: RAG, tmp_path: Path, kept: Any) -> None:
    model.save_pretrained(tmp_path, weights=kept)
    home = tmp_path / "parts-1"
    index = json.loads((home / "weights.json").read_text())
    assert set(index) == set(table("Packed weights"))
    data = (home / "weights.safetensors").read_bytes()
    assert index["sha256"] == hashlib.sha256(data).hexdigest()
    names = index["files"]["generator/model.safetensors"]
    generator: Any = model.generator
    state = generator.model.state_dict()
    rounded = 0
    with safe_open(home / "weights.safetensors", "pt") as opened:
        there = set(opened.keys())
        for name, number in names.items():
            weight, found = state[name], opened.get_tensor(str(number))
            assert index["dtypes"][number] == "float32"
            if f"{number}.scale" not in there:
                small = weight.dim() < 2 or weight.numel() < 1024 or weight[0].numel() < 16
                assert found.dtype == (torch.float32 if kept == "int8" else getattr(torch, kept))
                assert small or kept != "int8"
                continue
            scale = opened.get_tensor(f"{number}.scale")
            assert (found.dtype, scale.dtype) == (torch.int8, torch.float32)
            assert scale.shape == weight.shape[:1]
            assert int(found.abs().max()) <= 127
            off = (weight - found.float() * scale[:, None]).abs().amax(1)
            assert bool((off <= scale * 0.51).all())
            largest = weight.abs().amax(1) / 127
            assert bool(((scale >= largest) & (scale <= largest * (1 + 2**-15))).all())
            rounded += 1
    assert (rounded > 0) == (kept == "int8")
