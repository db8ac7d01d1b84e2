"""Answers in the passage's spelling: by an uncased tokenizer that loses case and spaces."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

import tiny
from ragkit.errors import ConfigError
from ragkit.generate.quoting import Quoter
from ragkit.generate.seq2seq import Seq2SeqGenerator
from ragkit.knowledge import KnowledgeBase
from ragkit.protocols import Passage, SupportsQuoting
from ragkit.rag import RAG
from ragkit.retrieve.dense import DenseRetriever
from ragkit.retrieve.dpr import DPREncoder


def uncased() -> PreTrainedTokenizerFast:
    """BERT's tokenizer with a vocabulary of single characters and a few words."""
    characters = "abcdefghijklmnopqrstuvwxyz0123456789.$-'"
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "play", "norman", "million"]
    names += [*characters, *(f"##{one}" for one in characters)]
    raw = Tokenizer(
        models.WordPiece(vocab={name: i for i, name in enumerate(names)}, unk_token="[UNK]")
    )
    raw.normalizer = normalizers.BertNormalizer(lowercase=True)
    raw.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    raw.decoder = decoders.WordPiece()
    raw.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B [SEP]",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    special = {"pad": 0, "unk": 1, "cls": 2, "sep": 3}
    return PreTrainedTokenizerFast(
        tokenizer_object=raw, **{f"{name}_token": names[i] for name, i in special.items()}
    )


TOKENIZER = uncased()


def ids(text: str) -> list[int]:
    return TOKENIZER(text, add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize(
    ("answer", "passages", "wanted"),
    [
        ("u. s. $ 5. 2 million", [("", "It cost U.S. $5.2 million in all.")], "U.S. $5.2 million"),
        ("zoe", [("", "Then Zoë came.")], "Zoë"),
        ("norman", [("", "Normandy is not Norman.")], "Norman"),  # no word is cut
        ("play", [("", "a PLAYGROUND")], "PLAY"),  # unless there is no other
        ("ada holm", [("Ada Holm", "The keeper.")], "Ada Holm"),
        ("ada", [("ADA", "so said Ada")], "Ada"),  # the text before the title
        ("ada", [("", "none"), ("", "ADA"), ("", "Ada")], "ADA"),  # the likeliest passage
        ("ada holm", [("", "Ada went; Holm stayed")], None),
        ("ada holm", [("Ada", "Holm")], None),
        ("", [("", "anything")], None),
        ("ada", [("", "")], None),
        ("ada", [], None),
    ],
)
def test_the_words_of_the_passage(
    answer: str, passages: list[tuple[str, str]], wanted: str | None
) -> None:
    found = [Passage(str(i), title, text) for i, (title, text) in enumerate(passages)]
    assert Quoter(TOKENIZER).quote([2, *ids(answer), 3, 0], found) == wanted


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_span_of_whole_words_comes_back_as_it_stood(data: st.DataObject) -> None:
    word = st.text("aBcÉ", min_size=1, max_size=3)
    words = data.draw(st.lists(word, min_size=1, max_size=12))
    start = data.draw(st.integers(0, len(words) - 1))
    end = data.draw(st.integers(start + 1, len(words)))
    wanted = ids(" ".join(words[start:end]))
    found = Quoter(TOKENIZER).quote(wanted, [Passage("0", "", " ".join(words))])
    # It stands earlier too, perhaps in other letters: then the first is right.
    spans = [words[i : i + end - start] for i in range(len(words))]
    first = next(one for one in spans if ids(" ".join(one)) == wanted)
    assert found == " ".join(first)


def test_an_unknown_character_is_copied() -> None:
    assert Quoter(TOKENIZER).quote(ids("\u2603"), [Passage("0", "", "a \u2603 b")]) == "\u2603"


def test_byte_level_tokens_lose_their_space() -> None:
    tokenizer = tiny.tokenizer()
    tokens = tokenizer(" blue", add_special_tokens=False)["input_ids"]
    assert Quoter(tokenizer).quote(tokens, [Passage("0", "", "sky is blue")]) == "blue"


def test_only_the_passages_before_the_find_are_read() -> None:
    def passages():
        yield Passage("0", "", "none")
        yield Passage("1", "", "Ada")
        raise AssertionError("read on")

    assert Quoter(TOKENIZER).quote(ids("ada"), passages()) == "Ada"


class Fixed:
    """A marginalizer whose outputs are given: tokens, and the posterior of two passages."""

    def __init__(self, outputs):
        self.outputs = outputs

    def decode(self, reading, prior, options):
        from ragkit.protocols import Hypothesis

        return [
            [
                Hypothesis(torch.tensor(ids(text)), -1.0, -1.0, prior[0], torch.tensor(post).log())
                for text, post in self.outputs
            ]
        ] * len(prior)


def build(directory, **options):
    encoder = DPREncoder(tiny.bert(), tokenizer=TOKENIZER, pooling="mean")
    generator = Seq2SeqGenerator(tiny.bart(), TOKENIZER, **options)
    texts = ["ADA HOLM keeps it", "Ada Holm left"]
    base = KnowledgeBase.build(
        [{"id": str(i), "text": text} for i, text in enumerate(texts)], encoder, "exact", directory
    )
    rag = RAG(DenseRetriever(encoder, base), generator)
    order = [int(one.id) for one in rag.retriever.retrieve(["who"], 2).passages[0]]
    # Most of the posterior is on the passage in small letters, then on the other.
    small = [0.9 if i == 1 else 0.1 for i in order]
    outputs = [("ada holm", small), ("ada holm", small[::-1]), ("nobody", small)]
    rag.marginalizer = Fixed(outputs)
    return rag


def test_answers_follow_the_posterior(tmp_path) -> None:
    (answer,) = build(tmp_path / "a", spelling="passage").answer("who", k=2)
    assert [one.text for one in answer.n_best] == ["Ada Holm", "ADA HOLM", "nobody"]
    assert answer.text == "Ada Holm"
    assert "".join(answer.tokens) == "ada holm"
    (answer,) = build(tmp_path / "b").answer("who", k=2)
    assert [one.text for one in answer.n_best] == ["ada holm", "ada holm", "nobody"]


def test_the_option_is_kept(tmp_path) -> None:
    generator = Seq2SeqGenerator(tiny.bart(), TOKENIZER, spelling="passage")
    assert isinstance(generator, SupportsQuoting)
    generator.save(tmp_path)
    again = Seq2SeqGenerator.load(tmp_path)
    assert again.spelling == "passage"
    assert again.quote(ids("ada"), [Passage("0", "", "Ada")]) == "Ada"


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigError, match="'tokenizer' or 'passage'"):
        Seq2SeqGenerator(tiny.bart(), TOKENIZER, spelling="pasage")

    class Slow:
        is_fast = False

    with pytest.raises(ConfigError, match="give a fast tokenizer"):
        Quoter(Slow())
