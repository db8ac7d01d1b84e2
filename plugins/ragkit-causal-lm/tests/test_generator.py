"""The generator as a component: options, targets, folders, adapters."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import causal_models as tiny
import pytest
import torch
from ragkit_causal_lm import lora
from ragkit_causal_lm.generator import CausalLMGenerator
from torch import Tensor
from transformers import AutoModelForCausalLM

import ragkit
from ragkit.errors import ConfigError, CorruptError, DataError, MissingDependency
from ragkit.protocols import SupportsPassageTokens, SupportsSave

TOKENIZER = tiny.tokenizer()
LORA: dict[str, Any] = {
    "r": 2,
    "lora_alpha": 4,
    "target_modules": "all-linear",
    "lora_dropout": 0.0,
}


def scores(generator: Any) -> Tensor:
    found = tiny.retrieved(2, 3, absent=1)
    with torch.no_grad():
        reading = generator.read(tiny.QUESTIONS[:2], found)
        found_scores: Tensor = reading.score(generator.targets(["ab", "c"]), reading.rows)
        return found_scores


def stir(generator: Any) -> None:
    """Adapters begin as no change at all; make them one."""
    for name, weight in generator.model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.5)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A language model as users have it: a folder."""
    tiny.llama().save_pretrained(tmp_path / "llm")
    TOKENIZER.save_pretrained(tmp_path / "llm")
    return tmp_path / "llm"


def test_targets_follow_a_blank_and_end_in_eos() -> None:
    generator = CausalLMGenerator(tiny.gpt2(), TOKENIZER, max_target=5)
    targets = generator.targets(["ab", "c"])
    blank, a = TOKENIZER(" a", add_special_tokens=False).input_ids
    assert targets.tokens[0].tolist()[:2] == [blank, a]
    assert targets.tokens[0, -1] == 2
    assert targets.mask.tolist() == [[True] * 4, [True, True, True, False]]
    assert generator.text(targets.tokens.tolist()) == ["ab", "c"]
    with pytest.raises(DataError, match="raise max_target"):
        generator.targets(["abcd"])
    chat = CausalLMGenerator(tiny.gpt2(), TOKENIZER, chat=True, max_target=5)
    assert chat.targets(["a"]).tokens.tolist() == [[a, 2]]


def test_of_several_ends_a_target_takes_the_tokenizers() -> None:
    model = tiny.gpt2()
    model.generation_config.eos_token_id = [9, 2]
    generator = CausalLMGenerator(model, TOKENIZER)
    assert generator.targets([""]).tokens[0, -1] == 2
    assert generator.generation_config.eos_token_id == [9, 2]


def test_it_is_found_by_name_and_checked_by_its_signature(folder: Path) -> None:
    made = ragkit.make("generator", "causal-lm", model=str(folder))
    assert isinstance(made, CausalLMGenerator)
    assert isinstance(made, SupportsSave)
    assert isinstance(made, SupportsPassageTokens)
    with pytest.raises(ConfigError, match="did you mean 'max_source'"):
        ragkit.make("generator", "causal-lm", model=str(folder), max_sorce=3)


@pytest.mark.parametrize("device_map", ["cpu", "auto", {"": "cpu"}])
def test_device_map_and_dtype_are_passed_on(
    folder: Path, device_map: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, given = AutoModelForCausalLM.from_pretrained, []

    def spied(name: str, **options: Any) -> Any:
        given.append(options)
        return real(name, **options)

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", spied)
    made = CausalLMGenerator(folder, device_map=device_map, dtype="float64")
    assert given == [{"device_map": device_map, "dtype": "float64"}]
    assert made.model.dtype == torch.float64
    monkeypatch.undo()
    plain = CausalLMGenerator(folder)
    torch.testing.assert_close(scores(made).float(), scores(plain), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("family", tiny.FAMILIES)
@pytest.mark.parametrize("chat", [False, True])
def test_save_and_load_from_a_moved_folder(family: str, chat: bool, tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "chat": chat,
        "system": "Be brief." if chat else "",
        "max_source": 150,
    }
    generator = CausalLMGenerator(tiny.FAMILIES[family](), TOKENIZER, **options)
    (tmp_path / "a").mkdir()
    generator.save(tmp_path / "a")
    (tmp_path / "a").rename(tmp_path / "b")
    again = CausalLMGenerator.load(tmp_path / "b").eval()
    assert again.tokenization == generator.tokenization
    torch.testing.assert_close(scores(again), scores(generator))
    assert not [p for p in (tmp_path / "b").iterdir() if p.suffix in (".bin", ".pt", ".pkl")]
    assert not [p for p in (tmp_path / "b").glob("*.json") if str(tmp_path) in p.read_text()]


def test_adapters_alone_learn_and_begin_as_no_change() -> None:
    plain = CausalLMGenerator(tiny.llama(), TOKENIZER)
    generator = CausalLMGenerator(tiny.llama(), TOKENIZER, lora=LORA)
    torch.testing.assert_close(scores(generator), scores(plain))
    learning = [n for n, p in generator.named_parameters() if p.requires_grad]
    assert learning
    assert all("lora_" in name for name in learning)
    stir(generator)
    assert not torch.allclose(scores(generator), scores(plain))
    # Read once and shared: the adapters are in the keys and values too.
    found = tiny.retrieved(1, 1)
    with torch.no_grad():
        reading = generator.read(tiny.QUESTIONS[:1], found)
        targets = generator.targets(["abc"])
        prompt = tiny.unpadded(generator.prompts.of_pairs(tiny.QUESTIONS[:1], found), 0)
        want = tiny.plain(generator.model, prompt, targets.tokens[0].tolist())
        got = reading.score(targets, reading.rows)[0, 0]
    torch.testing.assert_close(got, want, atol=1e-4, rtol=1e-4)


def test_adapters_equal_the_matrices_that_they_stand_for() -> None:
    """W + (α/r)·B·A, put into a plain model by hand."""
    generator = CausalLMGenerator(tiny.llama(), TOKENIZER, lora=LORA)
    stir(generator)
    plain = CausalLMGenerator(tiny.llama(), TOKENIZER)
    adapted = dict(generator.model.named_parameters())
    with torch.no_grad():
        for name, weight in plain.model.named_parameters():
            stem = name.removesuffix(".weight")
            if f"{stem}.lora_A.default.weight" in adapted:
                a, b = (adapted[f"{stem}.lora_{x}.default.weight"] for x in "AB")
                weight += LORA["lora_alpha"] / LORA["r"] * b @ a
    torch.testing.assert_close(scores(generator), scores(plain), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_adapters_are_saved_apart_and_read_back(family: str, tmp_path: Path) -> None:
    generator = CausalLMGenerator(
        tiny.FAMILIES[family](), TOKENIZER, lora={"r": 2, "target_modules": "all-linear"}
    )
    stir(generator)
    (tmp_path / "a").mkdir()
    generator.save(tmp_path / "a")
    (tmp_path / "a").rename(tmp_path / "b")
    assert not [p for p in (tmp_path / "b").glob("*.json") if str(tmp_path) in p.read_text()]
    again = CausalLMGenerator.load(tmp_path / "b").eval()
    torch.testing.assert_close(scores(again), scores(generator))
    again.load_state_dict(generator.state_dict())  # the same names: training may go on
    # The model's own weights are what they were, under their own names.
    alone = type(generator.model).from_pretrained(tmp_path / "b").eval()
    plain = CausalLMGenerator(tiny.FAMILIES[family](), TOKENIZER)
    torch.testing.assert_close(scores(CausalLMGenerator(alone, TOKENIZER)), scores(plain))
    generator.save(tmp_path / "b")  # and it can be saved again
    (tmp_path / "b" / lora.FILE).unlink()
    with pytest.raises(CorruptError, match="missing"):
        CausalLMGenerator.load(tmp_path / "b")


def test_a_model_of_the_hub_with_adapters_is_named_and_not_copied(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hub is a folder that is found from where one stands."""
    monkeypatch.chdir(folder.parent)
    module = importlib.import_module("ragkit_causal_lm.generator")
    real = module._load
    asked = []

    def from_hub(name: Any, device_map: Any, dtype: str | None) -> Any:
        asked.append(name)
        return real(folder if name == "owner/llm" else name, device_map, dtype)

    monkeypatch.setattr(module, "_load", from_hub)
    generator = CausalLMGenerator("owner/llm", tokenizer=TOKENIZER, lora=LORA)
    stir(generator)
    (tmp_path / "saved").mkdir()
    generator.save(tmp_path / "saved")
    assert not (tmp_path / "saved" / "model.safetensors").exists()
    assert json.loads((tmp_path / "saved" / "ragkit_causal_lm.json").read_text())["base"] == (
        "owner/llm"
    )
    again = CausalLMGenerator.load(tmp_path / "saved").eval()
    assert asked == ["owner/llm", "owner/llm"]
    torch.testing.assert_close(scores(again), scores(generator.eval()))


def test_without_peft_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MissingDependency, match=r"pip install 'ragkit-causal-lm\[lora\]'"):
        CausalLMGenerator(tiny.gpt2(), TOKENIZER, lora=LORA)
    CausalLMGenerator(tiny.gpt2(), TOKENIZER)  # without adapters it is not needed


def test_impossible_options_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"(?s)lora=.*a usual choice"):
        CausalLMGenerator(tiny.gpt2(), TOKENIZER, lora={"rank": 3})
    with pytest.raises(ConfigError, match="a usual choice"):
        CausalLMGenerator(tiny.gpt2(), TOKENIZER, lora={"target_modules": ["nothing"]})
    with pytest.raises(ConfigError, match="chat=True"):
        CausalLMGenerator(tiny.gpt2(), TOKENIZER, system="Be brief.")
    with pytest.raises(ConfigError, match=r"model\.safetensors"):
        CausalLMGenerator(tmp_path)
    with pytest.raises(ConfigError, match="tokenizer="):
        CausalLMGenerator(tiny.gpt2())
    with pytest.raises(ConfigError, match="device_map"):
        CausalLMGenerator(tiny.gpt2(), TOKENIZER, device_map="auto")
    with pytest.raises(ConfigError, match="max_target=256"):
        CausalLMGenerator(tiny.gpt2(), TOKENIZER, max_target=256)
    model = tiny.gpt2()
    model.config.eos_token_id = model.generation_config.eos_token_id = None
    silent = tiny.tokenizer()
    silent.eos_token = None
    with pytest.raises(ConfigError, match="what ends a text"):
        CausalLMGenerator(model, silent)
