"""Bad input to every conversion: one clear error, which says what to do, and nothing written."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import DPRContextEncoder

import theirs
import tiny
from ragkit import RAG, KnowledgeBase
from ragkit.convert import from_dpr, from_hf_rag, from_retrieval, to_hf_rag
from ragkit.errors import ConfigError, DataError, EncoderMismatch, KnowledgeBaseError, RagkitError
from ragkit.generate.seq2seq import Seq2SeqGenerator
from ragkit.retrieve.dense import DenseRetriever
from ragkit.retrieve.dpr import DPREncoder
from spoiling import POINTER, Bomb, Case, both, cut, drop, edit, refuses, saves, write

TOWER = theirs.dpr(DPRContextEncoder, 2)
FOUND = theirs.vectors(TOWER)
D = FOUND.shape[1]


WEIGHTS = "model.safetensors"
AS_BIN = drop(WEIGHTS)
OLD = {"_use_new_zipfile_serialization": False}

# ------------------------------------------------------------------ Hugging Face RAG

HF = [
    Case("no folder", lambda f: shutil.move(f, f.parent / "x"), ConfigError,
         ("there is no folder",)),
    Case("no config", drop("config.json"), ConfigError, ("config.json is missing", "complete?")),
    Case("half a config", cut("config.json"), ConfigError, ("no JSON", "complete?")),
    Case("a list", write("config.json", "[]"), ConfigError, ("holds list",)),
    Case("no question encoder", edit("config.json", lambda t: t.pop("question_encoder")),
         ConfigError, ("has no question_encoder", "save_pretrained")),
    Case("no generator", edit("config.json", lambda t: t.update(generator=None)),
         ConfigError, ("has no generator",)),
    Case("a generator alone", edit("config.json", lambda t: t.update(model_type="bart")),
         ConfigError, ("model_type 'bart'", "Seq2SeqGenerator(FOLDER)")),
    Case("an encoder alone", edit("config.json", lambda t: t.update(model_type="dpr")),
         ConfigError, ("model_type 'dpr'", "DPREncoder(FOLDER)")),
    Case("ragkit's own", edit("config.json", lambda t: t.update(model_type="ragkit")),
         ConfigError, ("is a ragkit model already", "ragkit ask")),
    Case("a question encoder of another kind",
         edit("config.json", lambda t: t["question_encoder"].update(model_type="bert")),
         ConfigError, ("question encoder", "'bert'", "'dpr' alone")),
    Case("a generator of no such kind",
         edit("config.json", lambda t: t["generator"].update(model_type="bert")),
         ConfigError, ("the generator is 'bert'", "no encoder-decoder")),
    Case("a kind that nobody knows",
         edit("config.json", lambda t: t["generator"].update(model_type="nothing")),
         ConfigError, ("no configuration that transformers reads",)),
    Case("a separator that cannot be", edit("config.json", lambda t: t.update(doc_sep=" [SEP] ")),
         ConfigError, ("doc_sep", "[SEP]")),
    Case("no weights", drop(WEIGHTS), DataError, ("has no weights", "complete?")),
    Case("TensorFlow's alone", both(AS_BIN, write("tf_model.h5", "x")), DataError,
         ("TensorFlow's", "convert them")),
    Case("half the weights", cut(WEIGHTS), DataError, ("no whole safetensors", "complete?")),
    Case("a page in their place", write(WEIGHTS, "<html>404</html>"), DataError,
         ("no whole safetensors",)),
    Case("a pointer of git-lfs", write(WEIGHTS, POINTER), DataError, ("git lfs pull",)),
    Case("an empty file", write(WEIGHTS, ""), DataError, ("is empty", "complete?")),
    Case("a part that is missing",
         both(AS_BIN, write("model.safetensors.index.json", '{"weight_map": {"a": "m-1.bin"}}')),
         DataError, ("m-1.bin", "complete?")),
    Case("a table that is none",
         both(AS_BIN, write("model.safetensors.index.json", '{"weights": 1}')),
         DataError, ("no table of weights",)),
    Case("a pickle that runs", both(AS_BIN, saves("pytorch_model.bin", {"a": Bomb()})),
         DataError, ("more than weights", "print", "any code", "state_dict()")),
    Case("an old pickle that runs",
         both(AS_BIN, saves("pytorch_model.bin", {"a": Bomb()}, **OLD)),
         DataError, ("more than weights", "print", "any code")),
    Case("half a pickle",
         both(AS_BIN, saves("pytorch_model.bin", {"a": torch.ones(999)}), cut("pytorch_model.bin")),
         DataError, ("no whole file", "complete?")),
    Case("a page for a pickle", both(AS_BIN, write("pytorch_model.bin", "<html>")),
         DataError, ("no whole file",)),
    Case("no table", both(AS_BIN, saves("pytorch_model.bin", [torch.ones(2)])),
         DataError, ("holds list", "no table")),
    Case("the weights of something else",
         both(AS_BIN, saves("pytorch_model.bin", {"encoder.weight": torch.ones(2)})),
         DataError, ("no weights of the question encoder",)),
    Case("other sizes", edit("config.json", lambda t: t["generator"].update(d_model=32)),
         DataError, ("weights of the generator are not those of its configuration",)),
    Case("fewer layers than said",
         edit("config.json", lambda t: t["question_encoder"].update(num_hidden_layers=3)),
         DataError, ("lacks", "weights of the question encoder", "layer.2")),
    Case("no tokenizer", drop("generator_tokenizer"), ConfigError,
         ("lacks the folder generator_tokenizer", "RagTokenizer")),
    Case("a tokenizer without words", drop("question_encoder_tokenizer/tokenizer.json"),
         ConfigError, ("question_encoder_tokenizer", "complete?")),
    Case("half a tokenizer", cut("question_encoder_tokenizer/tokenizer.json"), ConfigError,
         ("no tokenizer could be read", "question_encoder_tokenizer")),
]  # fmt: skip


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("good")
    theirs.checkpoint(folder / "hf", "rag-token")
    theirs.dataset(folder / "set", FOUND)
    return folder


@pytest.mark.parametrize("case", HF, ids=lambda case: case.name)
def test_checkpoints_of_transformers(tmp_path: Path, good: Path, case: Case) -> None:
    folder = tmp_path / "hf"
    shutil.copytree(good / "hf", folder)
    case.spoil(folder)
    call = lambda: from_hf_rag(folder, tmp_path / "out", passage_encoder=TOWER)  # noqa: E731
    refuses(case, call, tmp_path)


CALLS: list[tuple[dict[str, Any], type[RagkitError], str]] = [
    ({"passage_encoder": None}, ConfigError, "--passage-encoder"),
    ({"passage_encoder": "not/a/name"}, ConfigError, "no encoder could be loaded from"),
    ({"faiss": "a.faiss"}, ConfigError, "give both"),
    ({"passages": "nowhere"}, DataError, "there is no file or folder 'nowhere'"),
    ({"marginalizer": "rag"}, RagkitError, "rag-token"),
    ({"generation": {"num_beam": 3}}, ConfigError, "no generation option 'num_beam'"),
    ({"knowledge_base": "nowhere"}, KnowledgeBaseError, "nowhere"),
]


@pytest.mark.parametrize(("options", "error", "says"), CALLS, ids=lambda one: str(one)[:30])
def test_calls_that_cannot_be(
    tmp_path: Path, good: Path, options: dict[str, Any], error: type[RagkitError], says: str
) -> None:
    case = Case("", str, error, (says,))
    given = {"passage_encoder": TOWER, **options}
    refuses(case, lambda: from_hf_rag(good / "hf", tmp_path / "out", **given), tmp_path)


def test_what_is_there_is_not_written_over(tmp_path: Path, good: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for out, words in (("out", "not empty"), ("file", "is a file")):
        case = Case("", str, ConfigError, (words,))
        target = tmp_path / out
        for call in (
            lambda target=target: from_hf_rag(good / "hf", target, passage_encoder=TOWER),
            lambda target=target: from_dpr(good / "a.cp", target),
            lambda target=target: from_retrieval(good / "a.json", target),
            lambda target=target: to_hf_rag("nothing", target),
        ):
            refuses(case, call, tmp_path)
    (tmp_path / "free").mkdir()
    from_hf_rag(good / "hf", tmp_path / "free", passage_encoder=TOWER)
    assert (tmp_path / "free" / "config.json").is_file()


def test_an_interrupt_leaves_nothing(
    tmp_path: Path, good: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Seq2SeqGenerator, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        from_hf_rag(good / "hf", tmp_path / "out", passage_encoder=TOWER, passages=good / "set")
    assert list(tmp_path.iterdir()) == []


# --------------------------------------------------------------------------- back


def model(folder: Path, **options: Any) -> RAG:
    form = options.pop("form", "{title} / {text} // {question}")
    tower = options.pop("tower", None) or tiny.bert()
    marginalizer = options.pop("marginalizer", "rag-token")
    encoder = DPREncoder(tower, tokenizer=tiny.tokenizer(), **options)
    generator = Seq2SeqGenerator(tiny.bart(), tiny.tokenizer(), form=form)
    return RAG(DenseRetriever(encoder, None), generator, marginalizer)


class Other:
    """A marginalizer of somebody else."""


MODELS: list[tuple[dict[str, Any], str]] = [
    ({"pooling": "mean"}, "pools by 'mean'"),
    ({"normalize": True}, "length 1"),
    ({"question_prefix": "query: "}, "the prefix 'query: '"),
    ({"form": "{question} / {text}"}, "the form of its sources"),
    ({"form": "{text} // {question}"}, "the form of its sources"),
    ({"form": "{title} {text} [SEP] {question}"}, "the form of its sources"),
    ({"marginalizer": Other()}, "the marginalizer is Other"),
    ({"pooling": "mean", "normalize": True, "form": "{text} {question}"}, "3 errors"),
]


@pytest.mark.parametrize(("options", "says"), MODELS, ids=[says for _, says in MODELS])
def test_models_that_transformers_cannot_say(
    tmp_path: Path, options: dict[str, Any], says: str
) -> None:
    case = Case("", str, ConfigError, (says, "transformers' RAG"))
    refuses(case, lambda: to_hf_rag(model(tmp_path, **options), tmp_path / "out"), tmp_path)


def test_an_index_that_faiss_does_not_know(tmp_path: Path) -> None:
    rag = model(tmp_path)
    base = KnowledgeBase.build(theirs.PASSAGES, rag.retriever.encoder, directory=tmp_path / "kb")
    for factory in ("HNWS32", "IVF64,Flat"):
        case = Case("", str, ConfigError, (f"faiss cannot make '{factory}'", "--factory"))
        options: dict[str, Any] = {"knowledge_base": base, "factory": factory}
        refuses(case, lambda options=options: to_hf_rag(rag, tmp_path / "out", **options), tmp_path)
    other = model(tmp_path, tower=tiny.bert(seed=9))
    case = Case("", str, EncoderMismatch, ("another encoder",))
    refuses(case, lambda: to_hf_rag(other, tmp_path / "o", knowledge_base=base), tmp_path)
    case = Case("", str, ConfigError, ("k is 0",))
    refuses(case, lambda: to_hf_rag(rag, tmp_path / "o", k=0), tmp_path)
