"""The ids of questions and passages against ids written down by hand."""

from __future__ import annotations

import pytest
from transformers import BertTokenizerFast

import tiny
from ragkit.errors import DataError
from ragkit.protocols import Passage
from ragkit.retrieve.form import EncoderForm, clean_passage, tokenizer_fingerprint

WORDS = ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "who", "is", "it", "'", "s", "the", "moon", '"']


@pytest.fixture
def words(tmp_path):
    """A BERT tokenizer of twelve words: it lowers case and gives segment ids."""
    file = tmp_path / "vocab.txt"
    file.write_text("\n".join(WORDS))
    return BertTokenizerFast(vocab_file=str(file), vocab=str(file))


def ids(text: str) -> list[int]:
    return [WORDS.index(word) for word in text.split()]


def test_question_has_straight_apostrophes(words):
    (row,) = EncoderForm(16, 16).question_ids(words, ["Who\u2019s it"])
    assert row["input_ids"] == ids("[CLS] who ' s it [SEP]")


def test_passage_is_title_sep_text_with_segments_all_zero(words):
    passage = Passage("1", "Moon", '"it is\nthe "moon""')
    (row,) = EncoderForm(16, 16).passage_ids(words, [passage])
    assert row["input_ids"] == ids('[CLS] moon [SEP] it is the " moon " [SEP]')
    assert set(row["token_type_ids"]) == {0}


def test_segments_of_the_tokenizer_on_request(words):
    (row,) = EncoderForm(16, 16, segments=True).passage_ids(words, [Passage("1", "moon", "it is")])
    assert row["token_type_ids"] == [0, 0, 0, 1, 1, 1]


def test_passage_without_title_has_one_part(words):
    passages = [Passage("1", "", "it is"), Passage("2", "moon", "it"), Passage("3", "", "")]
    rows = EncoderForm(16, 16).passage_ids(words, passages)
    assert [row["input_ids"] for row in rows] == [
        ids("[CLS] it is [SEP]"),
        ids("[CLS] moon [SEP] it [SEP]"),
        ids("[CLS] [SEP]"),
    ]


@pytest.mark.parametrize(
    ("form", "expected"),
    [("title text", "[CLS] moon it is [SEP]"), ("text", "[CLS] it is [SEP]")],
)
def test_other_forms(words, form, expected):
    rows = EncoderForm(16, 16, passage=form).passage_ids(words, [Passage("1", "moon", "it is")])
    assert rows[0]["input_ids"] == ids(expected)


def test_prefixes_stand_before_the_text(words):
    form = EncoderForm(16, 16, question_prefix="who ", passage_prefix="the ")
    assert form.question_ids(words, ["is it"])[0]["input_ids"] == ids("[CLS] who is it [SEP]")
    (row,) = form.passage_ids(words, [Passage("1", "moon", "is it")])
    assert row["input_ids"] == ids("[CLS] the moon [SEP] is it [SEP]")


def test_long_passages_are_cut_at_the_end_of_the_text(words):
    passage = Passage("1", "moon", "it is " * 20)
    (row,) = EncoderForm(16, 8).passage_ids(words, [passage])
    assert row["input_ids"] == ids("[CLS] moon [SEP] it is it is [SEP]")


def test_long_questions_are_refused_unless_they_may_be_cut(words):
    with pytest.raises(DataError, match=r"has 10 tokens .* at most 6"):
        EncoderForm(6, 16).question_ids(words, ["it is " * 4])
    (row,) = EncoderForm(6, 16, cut_questions=True).question_ids(words, ["it is " * 4])
    assert row["input_ids"] == ids("[CLS] it is it is [SEP]")


@pytest.mark.parametrize(
    ("text", "expected"),
    [('"a "b" c"', 'a "b" c'), ('""a""', '"a"'), ('a"', "a"), ('"', ""), ("a\nb", "a b")],
)
def test_one_outer_quote_is_stripped_on_each_side(text, expected):
    assert clean_passage(text) == expected


def test_fingerprint_outlives_saving_and_sees_another_vocabulary(words, tmp_path):
    from transformers import AutoTokenizer

    words.save_pretrained(tmp_path / "saved")
    again = AutoTokenizer.from_pretrained(tmp_path / "saved")
    words(["it"], truncation=True, max_length=4)  # leaves a setting in the fast tokenizer
    assert tokenizer_fingerprint(words) == tokenizer_fingerprint(again)
    again.add_tokens(["sun"])
    assert tokenizer_fingerprint(words) != tokenizer_fingerprint(again)
    assert tokenizer_fingerprint(words) != tokenizer_fingerprint(tiny.tokenizer())


def test_title_and_text_as_sentences(words):
    passages = [Passage("1", "moon", "it is"), Passage("2", "", "it is")]
    rows = EncoderForm(16, 16, passage="title. text").passage_ids(words, passages)
    assert [row["input_ids"] for row in rows] == [
        words(text)["input_ids"] for text in ("moon. it is", "it is")
    ]
