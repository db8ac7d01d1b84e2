"""A folder's safetensors in one file: what is stored, what comes back, what is refused."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

import tiny
from ragkit.errors import ConfigError, CorruptError
from ragkit.weights import models, packed


@pytest.fixture
def folder(tmp_path):
    """Two parts that share a matrix, under different names."""
    torch.manual_seed(0)
    shared, own = torch.randn(64, 32), torch.randn(64, 32)
    (tmp_path / "a").mkdir()
    (tmp_path / "b" / "inner").mkdir(parents=True)
    save_file({"w": shared, "bias": torch.randn(32)}, tmp_path / "a" / "model.safetensors")
    save_file(
        {"w": own, "tied": shared.clone(), "steps": torch.arange(5)},
        tmp_path / "b" / "inner" / "x.safetensors",
        metadata={"format": "pt", "made": "here"},
    )
    (tmp_path / "a" / "options.json").write_text("{}")
    return tmp_path


def stored(folder):
    return load_file(folder / packed.DATA)


def test_what_is_equal_is_stored_once(folder):
    packed.pack(folder, "int8")
    bytes_of = [t.numel() * t.element_size() for t in stored(folder).values()]
    # Two matrices of 64 rows in int8, their scales, a vector and five whole numbers.
    assert sorted(bytes_of) == sorted([64 * 32, 64 * 4, 64 * 32, 64 * 4, 32 * 4, 5 * 8])
    left = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert left == {packed.DATA, packed.INDEX, "a/options.json"}


@pytest.mark.parametrize("weights", ["float32", "float16", "bfloat16", "int8"])
def test_all_tensors_come_back_by_name_and_type(folder, weights):
    before = {
        part: load_file(next((folder / part).glob("*.safetensors"))) for part in ("a", "b/inner")
    }
    packed.pack(folder, weights)
    close = {"float32": 0.0, "float16": 1e-3, "bfloat16": 1e-2, "int8": 0.03}[weights]
    for part, tensors in before.items():
        after = packed.tensors(folder / part)
        assert after.keys() == tensors.keys()
        for name, tensor in tensors.items():
            assert after[name].dtype == tensor.dtype
            torch.testing.assert_close(after[name], tensor, atol=close, rtol=close)
    assert torch.equal(
        packed.tensors(folder / "a")["w"], packed.tensors(folder / "b/inner")["tied"]
    )
    assert packed.tensors(folder / "b") is None  # nothing lay there directly
    assert packed.holds(folder / "b")


def test_an_unpacked_copy_has_every_file(folder):
    packed.pack(folder, "float32")
    with packed.unpacked(folder) as copy:
        assert load_file(copy / "b/inner/x.safetensors").keys() == {"w", "tied", "steps"}
        assert (copy / "a" / "options.json").read_text() == "{}"
    assert not copy.exists()
    with packed.unpacked(folder / "b") as copy:
        with packed.safe_open(copy / "inner" / "x.safetensors", "pt") as opened:
            assert opened.metadata() == {"format": "pt", "made": "here"}
        assert copy.name == "b"
    with packed.unpacked(folder.parent) as copy:  # nothing packed: the folder itself
        assert copy == folder.parent


def test_files_under_a_manifest_stay(folder):
    """Those of a knowledge base that was copied into the folder have sums of their own."""
    (folder / "b" / "manifest.json").write_text("{}")
    packed.pack(folder, "int8")
    assert (folder / "b" / "inner" / "x.safetensors").is_file()
    assert packed.tensors(folder / "b" / "inner") is None


def test_the_bytes_do_not_depend_on_the_run(folder, tmp_path_factory):
    import shutil

    other = tmp_path_factory.mktemp("other")
    shutil.copytree(folder, other, dirs_exist_ok=True)
    assert packed.pack(folder, "int8") == packed.pack(other, "int8")
    assert (folder / packed.DATA).read_bytes() == (other / packed.DATA).read_bytes()


def test_damage_is_named(folder):
    sha = packed.pack(folder, "int8")
    packed.check(folder, sha)
    data = folder / packed.DATA
    good = data.read_bytes()
    data.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    with pytest.raises(CorruptError, match=packed.DATA):
        packed.check(folder, sha)
    data.write_bytes(good[: len(good) // 2])
    with pytest.raises(CorruptError, match=packed.DATA):
        packed.tensors(folder / "a")
    data.write_bytes(good)
    index = folder / packed.INDEX
    table = json.loads(index.read_text())
    table["files"]["a/model.safetensors"]["w"] = 1
    index.write_text(json.dumps(table))
    with pytest.raises(CorruptError, match=packed.INDEX):
        packed.check(folder, sha)
    index.write_text("{")
    with pytest.raises(CorruptError, match=packed.INDEX):
        packed.tensors(folder / "a")
    data.unlink()
    with pytest.raises(CorruptError, match="missing"):
        packed.check(folder, sha)


def test_nothing_is_touched_where_the_kind_is_unknown(folder):
    with pytest.raises(ConfigError):
        packed.pack(folder, "int3")
    assert (folder / "a" / "model.safetensors").is_file()


# -------------------------------------------------------------------------- models


MODELS = {"bart": tiny.bart, "t5": tiny.t5, "bert2bert": tiny.bert2bert, "bert": tiny.bert}


@pytest.mark.parametrize("name", MODELS)
def test_a_model_from_tensors_is_transformers_own(name, tmp_path):
    from transformers import AutoModel, AutoModelForSeq2SeqLM

    auto = AutoModel if name == "bert" else AutoModelForSeq2SeqLM
    models.save(MODELS[name](), tmp_path / "m")
    want, _ = models.load(auto, tmp_path / "m")
    packed.pack(tmp_path, "float32")
    found, report = models.load(auto, tmp_path / "m")
    assert type(found) is type(want)
    assert not found.training
    assert not report["missing_keys"]
    assert found.config.to_dict() == want.config.to_dict()
    assert found.config._attn_implementation == want.config._attn_implementation
    ours, theirs = found.state_dict(), want.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    buffers = dict(want.named_buffers())
    assert all(torch.equal(one, buffers[key]) for key, one in found.named_buffers())
    same = {id(p): key for key, p in want.named_parameters(remove_duplicate=False)}
    once = {id(p): key for key, p in found.named_parameters(remove_duplicate=False)}
    assert sorted(same.values()) == sorted(once.values())  # what is tied is tied
    if name != "bert":
        assert found.generation_config.to_dict() == want.generation_config.to_dict()


def test_a_model_of_another_type_goes_through_transformers(tmp_path):
    from transformers import AutoModel

    model = tiny.bert().to(torch.bfloat16)
    model.save_pretrained(tmp_path / "m")
    packed.pack(tmp_path, "float32")
    found, _ = models.load(AutoModel, tmp_path / "m", dtype=torch.float32)
    assert found.dtype == torch.float32
    assert torch.equal(
        found.state_dict()["embeddings.word_embeddings.weight"].bfloat16(),
        model.embeddings.word_embeddings.weight,
    )


def test_a_missing_pooler_is_zero(tmp_path):
    from transformers import AutoModel, BertModel

    model = BertModel(tiny.bert_config(), add_pooling_layer=False)
    model.save_pretrained(tmp_path / "m")
    packed.pack(tmp_path, "float32")
    found, _ = models.load(AutoModel, tmp_path / "m")
    assert not found.pooler.dense.weight.any()


def test_weights_shared_beyond_what_the_class_says(tmp_path):
    """One matrix for encoder, decoder and head, as small models are built."""
    from transformers import AutoModelForSeq2SeqLM

    model = tiny.bert2bert()
    words = model.encoder.embeddings.word_embeddings.weight
    model.decoder.bert.embeddings.word_embeddings.weight = words
    model.decoder.cls.predictions.decoder.weight = words
    ties = models.save(model, tmp_path / "m")
    (names,) = ties
    assert set(names) == {
        "encoder.embeddings.word_embeddings.weight",
        "decoder.bert.embeddings.word_embeddings.weight",
    }
    for weights in (None, "int8"):
        if weights:
            packed.pack(tmp_path, weights)
            sizes = [t.numel() for t in stored(tmp_path).values()]
            assert sizes.count(words.numel()) == 1
        found, _ = models.load(AutoModelForSeq2SeqLM, tmp_path / "m")
        models.tie(found, ties)
        one = found.encoder.embeddings.word_embeddings.weight
        assert found.decoder.bert.embeddings.word_embeddings.weight is one
        assert found.decoder.cls.predictions.decoder.weight is one
        torch.testing.assert_close(one, words, atol=0.01 if weights else 0.0, rtol=0.0)
