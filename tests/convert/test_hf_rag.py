"""Checkpoints of transformers' RAG, made by transformers, to ragkit and back.

Losses and greedy outputs are those of transformers itself with its own retriever.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import faiss
import pytest
import torch
from transformers import (
    DPRContextEncoder,
    RagRetriever,
    RagTokenizer,
)

import ours
import theirs
import tiny
from ragkit import RAG, KnowledgeBase
from ragkit.convert import from_hf_rag, to_hf_rag
from ragkit.errors import ConfigError, EncoderMismatch
from ragkit.generate.seq2seq import Seq2SeqGenerator
from ragkit.retrieve.dense import DenseRetriever
from ragkit.retrieve.dpr import DPREncoder
from ragkit.retrieve.towers import load_tower
from spoiling import edit

EXACT = {"atol": 1e-6, "rtol": 1e-6}
LAYOUTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "pytorch_model.bin": {"binary": True},
    "projection": {"projection": 8},
    "trained end to end": {"end_to_end": True},
    "other separators": {"title_sep": ": ", "doc_sep": " Q: ", "prefix": "read "},
    "t5": {"t5": True},
}


class Place:
    """A checkpoint with its passages, and transformers' own view of it."""

    def __init__(self, folder: Path, mixing: str, **layout: Any) -> None:
        self.folder = folder / "hf"
        projection = layout.get("projection", 0)
        self.tower = theirs.dpr(DPRContextEncoder, 2, projection)
        found = theirs.vectors(self.tower)
        self.dataset = theirs.dataset(folder / "passages", found)
        flat = faiss.IndexFlatIP(found.shape[1])
        self.index = theirs.index(folder / "passages.faiss", found, flat)
        if layout.pop("t5", False):
            layout["generator"] = tiny.t5()
        prefix = layout.pop("prefix", None)
        where = {"index_name": "custom", "passages_path": str(self.dataset)}
        where["index_path"] = str(self.index)
        self.model = theirs.checkpoint(self.folder, mixing, **where, **layout)
        if prefix:
            self.model.generator.config.prefix = prefix
            self.change(lambda table: table["generator"].update(prefix=prefix))

    def change(self, how: Any) -> None:
        file = self.folder / "config.json"
        table = json.loads(file.read_text())
        how(table)
        file.write_text(json.dumps(table))

    def retriever(self) -> RagRetriever:
        return RagRetriever.from_pretrained(self.folder)


@pytest.mark.parametrize(
    ("mixing", "layout"),
    [("rag-sequence", "plain"), ("rag-sequence", "other separators")]
    # transformers' loss of RAG-Sequence fails with T5, which has no bos_token_id.
    + [("rag-token", layout) for layout in LAYOUTS],
)
def test_there_and_back(tmp_path: Path, mixing: str, layout: str) -> None:
    """Losses to 1e-6 and greedy outputs equal, after one way and after both."""
    place = Place(tmp_path, mixing, **LAYOUTS[layout])
    retriever = place.retriever()
    losses, outputs = (f(place.model, retriever) for f in (theirs.losses, theirs.outputs))
    assert len({tuple(one) for one in outputs}) > 1

    given = None if LAYOUTS[layout].get("end_to_end") else place.tower
    report = from_hf_rag(place.folder, tmp_path / "ragkit", passage_encoder=given)
    rag = RAG.from_pretrained(tmp_path / "ragkit")
    torch.testing.assert_close(ours.losses(rag), losses, **EXACT)
    assert ours.outputs(rag) == outputs
    assert type(rag.marginalizer).__name__ == {"rag-token": "RagToken"}.get(mixing, "RagSequence")
    assert any("knowledge base" in line for line in report.made)

    to_hf_rag(tmp_path / "ragkit", tmp_path / "back", k=theirs.K)
    again = theirs.KINDS[mixing].from_pretrained(tmp_path / "back")
    state, before = again.state_dict(), place.model.state_dict()
    before = {name: one for name, one in before.items() if "ctx_encoder" not in name}
    assert set(state) == set(before)
    assert all(torch.equal(state[name], before[name]) for name in state)
    retriever = RagRetriever.from_pretrained(tmp_path / "back")
    torch.testing.assert_close(theirs.losses(again, retriever), losses, **EXACT)
    assert theirs.outputs(again, retriever) == outputs
    config, first = again.config, place.model.config
    for name in ("title_sep", "doc_sep", "n_docs", "max_combined_length", "retrieval_vector_size"):
        assert getattr(config, name) == getattr(first, name), name
    tower = DPRContextEncoder.from_pretrained(tmp_path / "back" / "passage_encoder")
    assert (theirs.vectors(tower) == theirs.vectors(place.tower)).all()


def own(folder: Path, **options: Any) -> RAG:
    """A model of ragkit's own, of BERT towers, with passages that were removed and added."""
    encoder = DPREncoder(tiny.bert(seed=3), tiny.bert(seed=4), tiny.tokenizer())
    generator = Seq2SeqGenerator(tiny.bart(seed=5, scale=0.5), tiny.tokenizer(), max_source=80)
    more = [one._replace(id=f"{one.id}2", text=one.text[::-1]) for one in theirs.PASSAGES]
    base = KnowledgeBase.build(
        [*theirs.PASSAGES, *more], encoder, "exact", folder / "kb", dtype="float32"
    )
    base = base.remove(["b", "e2"])
    mixing = options.pop("marginalizer", "rag-token")
    return RAG(DenseRetriever(encoder, base, **options), generator, mixing)


@pytest.mark.parametrize(("mixing", "temperature"), [("rag-token", 4.0), ("rag-sequence", 1.0)])
def test_back_and_there(tmp_path: Path, mixing: str, temperature: float) -> None:
    """A model that was made here: in transformers, and here again."""
    rag = own(tmp_path, marginalizer=mixing, temperature=temperature)
    losses, outputs = ours.losses(rag), ours.outputs(rag)
    report = to_hf_rag(rag, tmp_path / "theirs", k=theirs.K)
    assert any("temperature" in line for line in report.notes) is (temperature != 1)

    model = theirs.KINDS[mixing].from_pretrained(tmp_path / "theirs")
    retriever = RagRetriever.from_pretrained(tmp_path / "theirs")
    torch.testing.assert_close(theirs.losses(model, retriever), losses, **EXACT)
    assert theirs.outputs(model, retriever) == outputs
    assert retriever.index.dataset.num_rows == 10

    from_hf_rag(tmp_path / "theirs", tmp_path / "again")
    again = RAG.from_pretrained(tmp_path / "again")
    torch.testing.assert_close(ours.losses(again), losses, **EXACT)
    assert ours.outputs(again) == outputs
    base = again.retriever.knowledge_base
    assert list(base) == list(rag.retriever.knowledge_base)


def test_a_moved_folder_is_found_with_what_is_in_it(tmp_path: Path) -> None:
    to_hf_rag(own(tmp_path), tmp_path / "theirs")
    (tmp_path / "theirs").rename(tmp_path / "moved")
    from_hf_rag(tmp_path / "moved", tmp_path / "again")
    (tmp_path / "again").rename(tmp_path / "elsewhere")
    rag = RAG.from_pretrained(tmp_path / "elsewhere")
    assert len(rag.retriever.knowledge_base) == 10
    assert rag.answer("when", k=2, max_new_tokens=2)[0].passages


def test_decoding_defaults_are_the_checkpoints(tmp_path: Path) -> None:
    """Released checkpoints have them in config.json, which transformers 5 no longer reads."""
    place = Place(tmp_path, "rag-sequence")
    old = {"num_beams": 4, "no_repeat_ngram_size": 3, "length_penalty": 2.0, "early_stopping": True}

    def change(table: dict[str, Any]) -> None:
        table["generator"].update(old, forced_bos_token_id=0, max_length=20)
        table["num_beams"] = 2

    place.change(change)
    report = from_hf_rag(place.folder, tmp_path / "a", passage_encoder=place.tower)
    found = RAG.from_pretrained(tmp_path / "a").generator.generation_config
    assert (found.num_beams, found.no_repeat_ngram_size, found.length_penalty) == (2, 3, 2.0)
    assert (found.early_stopping, found.forced_bos_token_id, found.max_length) == (True, 0, 20)
    assert not any("<s>" in line for line in report.notes)

    place.change(lambda table: table.pop("num_beams"))
    asked = {"max_length": 30}
    report = from_hf_rag(
        place.folder, tmp_path / "b", passage_encoder=place.tower, generation=asked
    )
    found = RAG.from_pretrained(tmp_path / "b").generator.generation_config
    assert (found.num_beams, found.no_repeat_ngram_size, found.max_length) == (1, 3, 30)
    assert any("length_penalty" in line for line in report.dropped)

    to_hf_rag(tmp_path / "a", tmp_path / "theirs")
    from_hf_rag(tmp_path / "theirs", tmp_path / "c")
    found = RAG.from_pretrained(tmp_path / "c").generator.generation_config
    assert (found.num_beams, found.forced_bos_token_id, found.length_penalty) == (2, 0, 2.0)


def test_a_checkpoint_in_parts(tmp_path: Path) -> None:
    place = Place(tmp_path, "rag-token")
    place.model.save_pretrained(place.folder, max_shard_size="20KB")
    (place.folder / "model.safetensors").unlink(missing_ok=True)
    assert len(list(place.folder.glob("model-*.safetensors"))) > 1
    from_hf_rag(place.folder, tmp_path / "a", passage_encoder=place.tower)
    losses = theirs.losses(place.model, place.retriever())
    torch.testing.assert_close(ours.losses(RAG.from_pretrained(tmp_path / "a")), losses, **EXACT)


def test_the_base_model_needs_a_mixture(tmp_path: Path) -> None:
    place = Place(tmp_path, "rag-token")
    place.model.rag.save_pretrained(place.folder)
    with pytest.raises(ConfigError, match="RagModel, which leaves open"):
        from_hf_rag(place.folder, tmp_path / "a", passage_encoder=place.tower)
    from_hf_rag(place.folder, tmp_path / "a", passage_encoder=place.tower, marginalizer="rag-token")
    losses = theirs.losses(place.model, place.retriever())
    torch.testing.assert_close(ours.losses(RAG.from_pretrained(tmp_path / "a")), losses, **EXACT)


def test_a_model_without_passages_says_how_to_get_them(tmp_path: Path) -> None:
    """As facebook/rag-token-nq is: its passages are on the hub."""
    theirs.checkpoint(tmp_path / "theirs", "rag-token", label_smoothing=0.1, do_deduplication=False)
    tower = theirs.dpr(DPRContextEncoder, 2)
    report = from_hf_rag(tmp_path / "theirs", tmp_path / "a", passage_encoder=tower)
    (line,) = (line for line in report.notes if "no knowledge base" in line)
    assert "wiki_dpr" in line
    assert "ragkit convert kb" in line
    assert sorted(report.dropped)[0].startswith("do_deduplication=False")
    assert "label_smoothing=0.1" in sorted(report.dropped)[1]
    edit("config.json", lambda table: table.update(index_name="legacy"))(tmp_path / "theirs")
    report = from_hf_rag(tmp_path / "theirs", tmp_path / "old", passage_encoder=tower)
    assert any("pickles, which are not opened" in line for line in report.notes)
    base = KnowledgeBase.build(
        theirs.PASSAGES,
        RAG.from_pretrained(tmp_path / "a").retriever.encoder,
        directory=tmp_path / "kb",
    )
    report = from_hf_rag(
        tmp_path / "theirs", tmp_path / "b", passage_encoder=tower, knowledge_base=base
    )
    assert len(RAG.from_pretrained(tmp_path / "b").retriever.knowledge_base) == 6
    assert not any("no knowledge base" in line for line in report.notes)


def test_older_checkpoints_have_weights_that_nobody_uses(tmp_path: Path) -> None:
    """Poolers and position numbers, as the released ones have."""
    place = Place(tmp_path, "rag-token", binary=True)
    file = place.folder / "pytorch_model.bin"
    state = torch.load(file, weights_only=True)
    bert = "rag.question_encoder.question_encoder.bert_model"
    state[f"{bert}.pooler.dense.weight"] = torch.ones(16, 16)
    state[f"{bert}.embeddings.position_ids"] = torch.arange(256)[None]
    state["something.else"] = torch.ones(2)
    torch.save(state, file)
    report = from_hf_rag(place.folder, tmp_path / "a", passage_encoder=place.tower)
    said = " ".join(report.dropped)
    assert "pooler.dense.weight" in said or "position_ids" in said
    assert "something.else" in said
    losses = theirs.losses(place.model, place.retriever())
    torch.testing.assert_close(ours.losses(RAG.from_pretrained(tmp_path / "a")), losses, **EXACT)


def words(folder: Path) -> None:
    """Tokenizers as the released checkpoints have them: files of words, no tokenizer.json."""
    asked, written = folder / "question_encoder_tokenizer", folder / "generator_tokenizer"
    for one in (asked, written):
        shutil.rmtree(one)
        one.mkdir()
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz?."]
    pieces += [f"##{letter}" for letter in "abcdefghijklmnopqrstuvwxyz"]
    pieces += [f"[unused{n}]" for n in range(261 - len(pieces))]
    (asked / "vocab.txt").write_text("\n".join(pieces) + "\n")
    (asked / "tokenizer_config.json").write_text('{"do_lower_case": true, "model_max_length": 512}')
    vocabulary = tiny.tokenizer().get_vocab()
    (written / "vocab.json").write_text(json.dumps(vocabulary))
    (written / "merges.txt").write_text("#version: 0.2\n")
    (written / "tokenizer_config.json").write_text('{"model_max_length": 1024}')


def test_the_layout_of_the_released_checkpoints(tmp_path: Path) -> None:
    """Of 2020: one .bin with shared weights once, words in files, settings since forgotten."""
    place = Place(tmp_path, "rag-token", binary=True)
    file = place.folder / "pytorch_model.bin"
    state = torch.load(file, weights_only=True)
    for name in ("lm_head.weight", "model.encoder.embed_tokens.weight"):
        del state[f"rag.generator.{name}"]
    torch.save(state, file, _use_new_zipfile_serialization=False)
    (place.folder / "generation_config.json").unlink()
    words(place.folder)
    old = {
        "_num_labels": 3,
        "add_bias_logits": False,
        "extra_pos_embeddings": 2,
        "force_bos_token_to_be_generated": False,
        "normalize_before": False,
        "num_beams": 4,
        "prefix": " ",
        "static_position_embeddings": False,
        "task_specific_params": {"summarization": {}},
    }

    def age(table: dict[str, Any]) -> None:
        table["generator"].update(old)
        table["question_encoder"].update(xla_device=None, gradient_checkpointing=False)
        table.update(index_name="exact", index_path=None, passages_path=None)
        for part in (table, table["generator"], table["question_encoder"]):
            part.pop("dtype", None)
            part.pop("transformers_version", None)

    place.change(age)
    report = from_hf_rag(place.folder, tmp_path / "a", passage_encoder=place.tower)
    rag = RAG.from_pretrained(tmp_path / "a")
    assert any("on the hub" in line for line in report.notes)
    assert rag.generator.form.template == " {title} / {text} // {question}"
    found = RagTokenizer.from_pretrained(place.folder)
    asked = "Who WROTE it?"
    assert (
        rag.retriever.encoder.tokenizer(asked)["input_ids"]
        == (found.question_encoder(asked)["input_ids"])
    )
    assert found.question_encoder.decode(found.question_encoder(asked)["input_ids"][1:-1]) != asked
    for text in ("Éire \u2019 98", " Book / it"):
        wanted = found.generator(text)["input_ids"]
        assert rag.generator.tokenizer(text)["input_ids"] == wanted
    state = place.model.generator.state_dict()
    own = rag.generator.model.state_dict()
    assert all(torch.equal(own[name], state[name]) for name in own)


def test_a_name_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Downloaded, but for TensorFlow's weights; what cannot be had is said."""
    place = Place(tmp_path, "rag-token")
    asked = []

    def fetched(name: str, allow_patterns: list[str]) -> str:
        asked.append((name, "tf_model.h5" in allow_patterns, "*.bin" in allow_patterns))
        if "nothing" in name:
            raise OSError("you are offline\nand more")
        return str(place.folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetched)
    from_hf_rag("facebook/rag-token-nq", tmp_path / "a", passage_encoder=place.tower)
    assert len(RAG.from_pretrained(tmp_path / "a").retriever.knowledge_base) == 6
    with pytest.raises(ConfigError, match=r"'facebook/nothing' is no folder here.*offline$"):
        from_hf_rag("facebook/nothing", tmp_path / "b", passage_encoder=place.tower)
    assert asked == [("facebook/rag-token-nq", False, True), ("facebook/nothing", False, True)]


def test_half_precision_becomes_single(tmp_path: Path) -> None:
    place = Place(tmp_path, "rag-token")
    place.model.half().save_pretrained(place.folder)
    report = from_hf_rag(place.folder, tmp_path / "a", passage_encoder=place.tower)
    assert any("float16 became float32" in line for line in report.notes)
    rag = RAG.from_pretrained(tmp_path / "a")
    assert {one.dtype for one in rag.parameters()} == {torch.float32}
    state = place.model.generator.float().state_dict()
    assert torch.equal(rag.generator.model.model.shared.weight, state["model.shared.weight"])


def test_another_passage_encoder_is_noticed(tmp_path: Path) -> None:
    place = Place(tmp_path, "rag-token")
    other = theirs.dpr(DPRContextEncoder, 7)
    with pytest.raises(EncoderMismatch, match="cosines of"):
        from_hf_rag(place.folder, tmp_path / "a", passage_encoder=other)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["hf", "passages", "passages.faiss"]


def test_a_passage_encoder_by_its_folder(tmp_path: Path) -> None:
    """Of transformers, or what DPREncoder saved."""
    place = Place(tmp_path, "rag-token")
    tiny_folder = tmp_path / "tower"
    place.tower.save_pretrained(tiny_folder)
    from_hf_rag(place.folder, tmp_path / "a", passage_encoder=tiny_folder)
    first = RAG.from_pretrained(tmp_path / "a").retriever
    first.encoder.save(tmp_path / "dpr")
    from_hf_rag(place.folder, tmp_path / "b", passage_encoder=tmp_path / "dpr")
    second = RAG.from_pretrained(tmp_path / "b").retriever
    assert first.encoder.fingerprint == second.encoder.fingerprint
    assert load_tower(tiny_folder).config.model_type == "dpr"


def test_tokenizers_come_along(tmp_path: Path) -> None:
    place = Place(tmp_path, "rag-token")
    from_hf_rag(place.folder, tmp_path / "a", passage_encoder=place.tower)
    to_hf_rag(tmp_path / "a", tmp_path / "theirs", passages=False)
    found = RagTokenizer.from_pretrained(tmp_path / "theirs")
    wanted = tiny.tokenizer()("Éire \u2019 98")["input_ids"]
    assert found.question_encoder("Éire \u2019 98")["input_ids"] == wanted
    assert found.generator("Éire \u2019 98")["input_ids"] == wanted
    assert not (tmp_path / "theirs" / "hf_dataset").exists()
