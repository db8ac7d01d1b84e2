"""DPR's own checkpoints, as its code names and saves them, to an encoder folder."""

from __future__ import annotations

import sys
import types
from collections import OrderedDict, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel

import theirs
import tiny
from ragkit.convert import dpr as converting
from ragkit.convert import from_dpr
from ragkit.errors import DataError
from ragkit.retrieve.dpr import DPREncoder

PARAMS = {
    "do_lower_case": True,
    "pretrained_model_cfg": "bert-base-uncased",
    "encoder_model_type": "hf_bert",
    "pretrained_file": None,
    "projection_dim": 0,
    "sequence_length": 200,
}


def towers(projection: int = 0) -> dict[str, dict[str, torch.Tensor]]:
    made = {"question_model": theirs.bert_states(1), "ctx_model": theirs.bert_states(2)}
    if projection:
        for seed, state in enumerate(made.values()):
            torch.manual_seed(seed)
            state["encode_proj.weight"] = torch.randn(projection, 16)
            state["encode_proj.bias"] = torch.randn(projection)
    return made


def table(**changes: Any) -> dict[str, Any]:
    """As DPR's trainer keeps it."""
    state = OrderedDict(
        (f"{side}.{name}", weight)
        for side, tower in changes.pop("towers", towers()).items()
        for name, weight in tower.items()
    )
    return {
        "model_dict": state,
        "optimizer_dict": {"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": []},
        "scheduler_dict": {"last_epoch": 3},
        "offset": 0,
        "epoch": 39,
        "encoder_params": PARAMS,
        **changes,
    }


def base(folder: Path, **config: Any) -> Path:
    """The BERT that it was trained from: a configuration and a tokenizer."""
    tiny.bert_config(**config).save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)
    return folder


def by_hand(state: dict[str, torch.Tensor], texts: list[list[int]]) -> np.ndarray:
    """The [CLS] state of a BERT with these weights (N,D), and DPR's projection."""
    model = BertModel(tiny.bert_config()).eval()
    model.load_state_dict({n: w for n, w in state.items() if "encode_proj" not in n})
    with torch.no_grad():
        rows = [model(torch.tensor([ids])).last_hidden_state[0, 0] for ids in texts]
    found = torch.stack(rows)
    if "encode_proj.weight" in state:
        found = found @ state["encode_proj.weight"].T + state["encode_proj.bias"]
    return found.numpy()


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before torch 1.6"])
@pytest.mark.parametrize("projection", [0, 8])
def test_vectors_are_those_of_the_checkpoint(tmp_path: Path, projection: int, zipped: bool) -> None:
    made = towers(projection)
    file = tmp_path / "bert-base-encoder.cp"
    torch.save(table(towers=made), file, _use_new_zipfile_serialization=zipped)
    report = from_dpr(file, tmp_path / "dpr", base=base(tmp_path / "bert"))
    encoder = DPREncoder.load(tmp_path / "dpr")
    words = tiny.tokenizer()
    asked = [words(question)["input_ids"] for question in theirs.QUESTIONS]
    np.testing.assert_allclose(
        encoder.questions(theirs.QUESTIONS).detach().numpy(),
        by_hand(made["question_model"], asked),
        atol=1e-5,
    )
    told = [words(one.title, one.text)["input_ids"] for one in theirs.PASSAGES]
    np.testing.assert_allclose(
        encoder.passages(theirs.PASSAGES).numpy(), by_hand(made["ctx_model"], told), atol=1e-5
    )
    assert encoder.form.max_question == encoder.form.max_passage == 200
    said = " ".join(report.dropped)
    assert "the pooler of the question tower" in said
    assert "optimizer_dict, scheduler_dict, offset, epoch" in said


def test_towers_open_in_transformers_and_by_their_folders(tmp_path: Path) -> None:
    from transformers import DPRContextEncoder, DPRQuestionEncoder

    torch.save(table(), tmp_path / "a.cp")
    from_dpr(tmp_path / "a.cp", tmp_path / "dpr", base=base(tmp_path / "bert"))
    folder = tmp_path / "dpr"
    DPRQuestionEncoder.from_pretrained(folder / "question_encoder")
    tower = DPRContextEncoder.from_pretrained(folder / "passage_encoder")
    whole = DPREncoder.load(folder)
    parts = DPREncoder(
        folder / "question_encoder", folder / "passage_encoder", folder / "tokenizer",
        max_question=200, max_passage=200,
    )  # fmt: skip
    assert parts.fingerprint == whole.fingerprint
    np.testing.assert_allclose(
        theirs.vectors(tower), whole.passages(theirs.PASSAGES).numpy(), atol=1e-5
    )


class Settings:
    """What stands for an object of omegaconf while a checkpoint is written."""


def omegaconf(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Classes by omegaconf's names, which the reader of the file does not have."""
    made = {}
    for place, name in (("dictconfig", "DictConfig"), ("nodes", "AnyNode"), ("base", "Metadata")):
        module = types.ModuleType(f"omegaconf.{place}")
        made[name] = type(name, (Settings,), {"__module__": module.__name__})
        setattr(module, name, made[name])
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(sys.modules, "omegaconf", types.ModuleType("omegaconf"))
    return made


@pytest.mark.parametrize("zipped", [True, False])
def test_settings_of_omegaconf_run_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zipped: bool
) -> None:
    """As DPR saves them since it is configured by hydra."""
    made = omegaconf(monkeypatch)

    def node(value: Any) -> Any:
        one = made["AnyNode"]()
        one.__dict__.update(_val=value, _parent=None, _metadata=made["Metadata"]())
        return one

    settings = made["DictConfig"]()
    content = {name: node(value) for name, value in PARAMS.items()}
    settings.__dict__.update(_content=content, _metadata=made["Metadata"](), kind=Any)
    params = {"do_lower_case": True, "encoder": settings}
    file = tmp_path / "dpr_biencoder.39"
    more = {"encoder_params": params, "scheduler_dict": defaultdict(dict)}
    torch.save(table(**more), file, _use_new_zipfile_serialization=zipped)
    for name in [name for name in sys.modules if name.startswith("omegaconf")]:
        monkeypatch.delitem(sys.modules, name)
    found = converting.read(file)
    assert converting.plain(found["encoder_params"])["encoder"]["sequence_length"] == 200
    from_dpr(file, tmp_path / "dpr", base=base(tmp_path / "bert"))
    assert DPREncoder.load(tmp_path / "dpr").form.max_passage == 200
    assert not any(name.startswith("omegaconf") for name in sys.modules)


class Bomb:
    def __init__(self, call: Any, *given: Any) -> None:
        self.reduced = call, given

    def __reduce__(self) -> Any:
        return self.reduced


@pytest.mark.parametrize("zipped", [True, False])
def test_whatever_would_run_is_not_run(tmp_path: Path, zipped: bool) -> None:
    """Also behind names that are let through: no class of a stand-in can be had."""
    hit = tmp_path / "hit"
    bombs = [Bomb(Path.touch, hit), Bomb(open, str(hit), "w"), Bomb(getattr, hit, "touch")]
    for bomb in bombs:
        torch.save(
            table(encoder_params={"x": bomb}),
            tmp_path / "a.cp",
            _use_new_zipfile_serialization=zipped,
        )
        with pytest.raises(DataError, match="can run any code"):
            from_dpr(tmp_path / "a.cp", tmp_path / "dpr", base=base(tmp_path / "bert"))
        assert not hit.exists()
        assert not (tmp_path / "dpr").exists()


def test_without_a_configuration_the_shapes_say_it(tmp_path: Path) -> None:
    """A tokenizer alone is here; heads have 64 dimensions in every BERT of DPR."""
    config = BertConfig(
        vocab_size=261, hidden_size=128, num_hidden_layers=3, num_attention_heads=2,
        intermediate_size=96, max_position_embeddings=64, pad_token_id=0,
    )  # fmt: skip
    torch.manual_seed(0)
    models = [BertModel(config).eval(), BertModel(config).eval()]
    made = dict(zip(("question_model", "ctx_model"), (m.state_dict() for m in models), strict=True))
    torch.save(table(towers=made, encoder_params={}), tmp_path / "a.cp")
    tiny.tokenizer().save_pretrained(tmp_path / "words")
    report = from_dpr(tmp_path / "a.cp", tmp_path / "dpr", base=tmp_path / "words")
    assert any("heads of 64" in line for line in report.notes)
    encoder = DPREncoder.load(tmp_path / "dpr")
    ids = torch.tensor([tiny.tokenizer()("who wrote it")["input_ids"]])
    with torch.no_grad():
        wanted = models[0](ids).last_hidden_state[0, 0]
    found = encoder.questions(["who wrote it"])[0].detach()
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
