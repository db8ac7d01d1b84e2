"""What a prompt says, and that its parts are those of the whole text."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import causal_models as tiny
import numpy as np
import pytest
import torch
from ragkit_causal_lm.prompts import PromptBuilder, pad_left

from ragkit.errors import ConfigError, DataError
from ragkit.generate.form import Form
from ragkit.protocols import Passage, Retrieved

TOKENIZER = tiny.tokenizer()
FORM = Form.parse("Knowledge: {title}. {text}\nQuestion: {question}\nAnswer:")


def one(passage: Passage) -> Retrieved:
    return replace(tiny.retrieved(1, 1), passages=[[passage]])


def test_a_prompt_is_bos_and_the_form_without_the_tokenizers_eos() -> None:
    builder = PromptBuilder(TOKENIZER, FORM, 200)
    prompts = builder.of_pairs(["Who? É"], one(Passage("1", '"Title"', "some  text")))
    text = "Knowledge: Title. some text\nQuestion: Who? É\nAnswer:"
    assert prompts.tokens[0].tolist() == [0, *TOKENIZER(text, add_special_tokens=False).input_ids]
    prompts = builder.of_pairs(["Who?"], one(Passage("1", "", "some text")))
    text = "<s>Knowledge: some text\nQuestion: Who?\nAnswer:"
    assert TOKENIZER.decode(prompts.tokens[0]) == text


@pytest.mark.parametrize("system", ["", "Be brief."])
def test_a_chat_is_what_the_template_writes(system: str) -> None:
    form = Form.parse("{text}\n{question}")
    builder = PromptBuilder(TOKENIZER, form, 200, chat=True, system=system)
    prompts = builder.of_pairs(["Who?"], one(Passage("1", "", "some text")))
    said = [{"role": "system", "content": system}] if system else []
    said.append({"role": "user", "content": "some text\nWho?"})
    want = TOKENIZER.apply_chat_template(said, add_generation_prompt=True, tokenize=True)
    assert prompts.tokens[0].tolist() == want["input_ids"]


def test_padding_is_on_the_left_and_zero() -> None:
    tokens = torch.tensor([[5, 6, 1, 1], [5, 6, 7, 8], [9, 1, 1, 1]])
    mask = tokens != 1
    moved, present = pad_left(tokens, mask)
    assert moved.tolist() == [[0, 0, 5, 6], [5, 6, 7, 8], [0, 0, 0, 9]]
    assert torch.equal(present, moved != 0)
    assert pad_left(torch.zeros(0, 0, dtype=torch.long), torch.zeros(0, 0) > 0)[0].shape == (0, 0)


@pytest.mark.parametrize("chat", [False, True])
def test_the_passage_is_cut_and_never_the_question(chat: bool) -> None:
    builder = PromptBuilder(TOKENIZER, FORM, 80, chat=chat)
    prompts = builder.of_pairs(["where is the river"], one(Passage("1", "T", "x" * 500)))
    assert prompts.tokens.shape == (1, 80)
    text = TOKENIZER.decode(prompts.tokens[0])
    assert "xxx\nQuestion: where is the river\nAnswer:" in text
    with pytest.raises(DataError, match="raise max_source"):
        builder.of_pairs(["x" * 90], one(Passage("1", "T", "x")))


def test_ready_tokens_give_the_same_prompts_as_text() -> None:
    builder = PromptBuilder(TOKENIZER, FORM, 200)
    found = tiny.retrieved(3, 3, absent=1)
    ready = builder.of_passages(tiny.PASSAGES)

    class Tokens:
        tokenization = builder.tokenization

        def take(self, rows: Any) -> list[Any]:
            return [np.asarray(ready[row], dtype=np.int32) for row in rows]

    for mine, other in zip(
        builder.of_pairs(tiny.QUESTIONS, replace(found, tokens=Tokens())),
        builder.of_pairs(tiny.QUESTIONS, found),
        strict=True,
    ):
        assert torch.equal(mine, other)


def test_impossible_prompts_say_what_to_do() -> None:
    with pytest.raises(ConfigError, match="plain text"):
        PromptBuilder(TOKENIZER, Form.parse("{question} [SEP] {text}"), 99)
    with pytest.raises(ConfigError, match="this tokenizer has none"):
        PromptBuilder(tiny.tokenizer(chat=None), FORM, 99, chat=True)
    twice = tiny.tokenizer("{{ messages[0].content }}{{ messages[0].content }}")
    with pytest.raises(ConfigError, match="2 times"):
        PromptBuilder(twice, FORM, 99, chat=True)
    picky = tiny.tokenizer(
        "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    )
    with pytest.raises(ConfigError, match="no system role; leave out system="):
        PromptBuilder(picky, FORM, 99, chat=True, system="Be brief.")
