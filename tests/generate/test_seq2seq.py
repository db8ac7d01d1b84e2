"""The generator against the plain model, one pair at a time, for three families."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import (
    BartConfig,
    MBartConfig,
    MBartForConditionalGeneration,
    PegasusConfig,
    PegasusForConditionalGeneration,
)

import pairs
import tiny
from ragkit.errors import ConfigError, DataError
from ragkit.generate.form import BERT, Form
from ragkit.generate.seq2seq import Seq2SeqGenerator
from ragkit.protocols import Passage, Targets

TOKENIZER = tiny.tokenizer()


def small(config_class, model_class):
    base = tiny.bart().config.to_dict()
    keep = {
        name: base[name]
        for name in (
            "vocab_size",
            "d_model",
            "encoder_layers",
            "decoder_layers",
            "init_std",
            "encoder_attention_heads",
            "decoder_attention_heads",
            "encoder_ffn_dim",
            "decoder_ffn_dim",
            "max_position_embeddings",
            "pad_token_id",
            "eos_token_id",
        )
    }
    torch.manual_seed(0)
    return model_class(config_class(**keep, dropout=0.0, decoder_start_token_id=2)).eval()


FAMILIES = {
    "bart": (tiny.bart, {}),
    "t5": (tiny.t5, {"form": "question: {question} context: {title} {text}"}),
    "bert2bert": (tiny.bert2bert, {"form": BERT}),
    "mbart": (lambda: small(MBartConfig, MBartForConditionalGeneration), {}),
    "pegasus": (lambda: small(PegasusConfig, PegasusForConditionalGeneration), {}),
}
FAMILY = pytest.mark.parametrize("family", FAMILIES)


def make(family):
    model, options = FAMILIES[family]
    return Seq2SeqGenerator(model(), TOKENIZER, **options)


def plain(generator, questions, found, targets):
    """(B,K,T) from the model alone, pair by pair, without any padding."""
    sources = generator.sources.of_pairs(questions, found)
    out = torch.zeros(*sources.rows.shape, targets.tokens.shape[1])
    for b, k in (sources.rows >= 0).nonzero().tolist():
        pair = sources.rows[b, k]
        length = int(sources.mask[pair].sum())
        options = {}
        if sources.segments is not None:
            options["token_type_ids"] = sources.segments[pair, :length][None]
        size = int(targets.mask[b].sum())
        gold = targets.tokens[b, :size][None]
        start = torch.tensor([[generator.generation_config.decoder_start_token_id]])
        logits = generator.model(
            input_ids=sources.tokens[pair, :length][None],
            attention_mask=torch.ones(1, length, dtype=torch.long),
            decoder_input_ids=torch.cat([start, gold[:, :-1]], 1),
            **options,
        ).logits
        out[b, k, :size] = logits.log_softmax(-1).gather(-1, gold[..., None])[0, :, 0]
    return out


@FAMILY
def test_score_equals_the_plain_model(family):
    generator = make(family)
    assert generator.grouped
    found, questions = pairs.retrieved(3, 3, absent=1), pairs.QUESTIONS
    targets = generator.targets(["a", "two words", "longer target"])
    reading = generator.read(questions, found)
    got = reading.score(targets, reading.rows)
    torch.testing.assert_close(
        got, plain(generator, questions, found, targets), atol=1e-4, rtol=1e-4
    )
    assert (got[~targets.mask[:, None].expand_as(got)] == 0).all()
    assert (got[-1, -1] == 0).all()  # the absent passage
    # The gradient too, of weights on both sides of the encoder.
    parameters = dict(generator.model.named_parameters())
    got.sum().backward()
    mine = {name: p.grad.clone() for name, p in parameters.items() if p.grad is not None}
    generator.model.zero_grad()
    plain(generator, questions, found, targets).sum().backward()
    assert mine
    for name, grad in mine.items():
        scale = parameters[name].grad.abs().max().clamp(min=1)
        torch.testing.assert_close(
            grad / scale, parameters[name].grad / scale, atol=1e-4, rtol=1e-3, msg=name
        )


@FAMILY
def test_score_is_the_chain_of_next_and_append(family):
    """Also with more hypotheses than questions, in any order, and with gaps."""
    generator = make(family)
    reading = generator.read(pairs.QUESTIONS[:2], pairs.retrieved(2, 3))
    rows = reading.rows[[1, 0, 1, 1, 0]].clone()
    rows[1, 0] = rows[3, 2] = -1
    targets = generator.targets(["abc", "x", "yy", "zzz", "q"])
    with torch.no_grad():
        whole = reading.score(targets, rows)
    torch.testing.assert_close(reading.score(targets, rows).detach(), whole, atol=1e-4, rtol=1e-4)
    decoding = reading.start(rows)
    steps = []
    for t in range(targets.tokens.shape[1]):
        logp = decoding.next()
        assert (logp.exp().sum(-1)[rows >= 0] - 1).abs().max() < 1e-4
        assert (logp[rows < 0] == 0).all()
        gold = targets.tokens[:, t][:, None, None].expand(-1, 3, 1)
        steps.append(logp.gather(-1, gold)[..., 0])
        decoding.append(targets.tokens[:, t], torch.arange(5))
    chain = torch.stack(steps, -1) * targets.mask[:, None]
    torch.testing.assert_close(chain, whole, atol=1e-4, rtol=1e-4)


@FAMILY
@pytest.mark.parametrize("seed", range(3))
def test_hypotheses_may_multiply_leave_and_change_places(family, seed):
    """A random life of hypotheses, against scoring their texts from the beginning."""
    generator = make(family)
    reading = generator.read(pairs.QUESTIONS, pairs.retrieved(3, 3, absent=1))
    random = torch.Generator().manual_seed(seed)
    decoding = reading.start(reading.rows)
    texts, rows = torch.zeros(3, 0, dtype=torch.int64), reading.rows
    for size in (3, 7, 12, 5, 2, 4, 1):
        logp = decoding.next()
        if texts.shape[1]:
            mask = torch.ones_like(texts, dtype=torch.bool)
            with torch.no_grad():
                again = reading.start(rows)
                for t in range(texts.shape[1]):
                    again.next()
                    again.append(texts[:, t], torch.arange(len(texts)))
                torch.testing.assert_close(again.next(), logp, atol=1e-4, rtol=1e-4)
                longer = torch.cat([texts, logp[:, 0].argmax(-1, keepdim=True)], 1)
                mask = torch.ones_like(longer, dtype=torch.bool)
                scored = reading.score(Targets(longer, mask), rows)[:, :, -1]
            chosen = logp.gather(-1, longer[:, -1][:, None, None].expand(-1, 3, 1))[..., 0]
            torch.testing.assert_close(scored, chosen, atol=1e-4, rtol=1e-4)
        parents = torch.randint(0, len(rows), (size,), generator=random)
        tokens = torch.randint(5, 261, (size,), generator=random)
        decoding.append(tokens, parents)
        texts, rows = torch.cat([texts[parents], tokens[:, None]], 1), rows[parents]


def test_each_pair_is_encoded_once_and_its_keys_are_made_once():
    generator = make("bart")
    encoded, keyed = [], []
    layer = generator.model.model.decoder.layers[0].encoder_attn
    hooks = [
        generator.model.get_encoder().register_forward_hook(
            lambda m, a, k, out: encoded.append(len(k["input_ids"])), with_kwargs=True
        ),
        layer.k_proj.register_forward_hook(lambda m, a, out: keyed.append(len(a[0]))),
    ]
    reading = generator.read(pairs.QUESTIONS, pairs.retrieved(3, 4))
    decoding = reading.start(reading.rows.repeat_interleave(4, dim=0))  # four beams each
    for _ in range(5):
        decoding.next()
        decoding.append(
            torch.full((12,), 50), torch.arange(12).flip(0).view(3, 4).flip(0).flatten()
        )
    with torch.no_grad():
        rows = reading.rows.repeat_interleave(3, dim=0)
        reading.score(pairs.random_targets(9, 4), rows)
    assert encoded == [12]
    assert keyed == [12, 12]  # once to decode, once to score: never once for each beam
    for hook in hooks:
        hook.remove()


def test_ready_tokens_give_the_same_sources_as_text():
    generator = make("bart")
    found = pairs.retrieved(3, 3, absent=1)
    ready = generator.passage_tokens(pairs.PASSAGES)

    class Tokens:
        tokenization = generator.tokenization

        def take(self, rows):
            return [np.asarray(ready[row], dtype=np.int32) for row in rows]

    with_tokens = replace(found, tokens=Tokens())
    for mine, other in zip(
        generator.sources.of_pairs(pairs.QUESTIONS, with_tokens)[:2],
        generator.sources.of_pairs(pairs.QUESTIONS, found)[:2],
        strict=True,
    ):
        assert torch.equal(mine, other)
    Tokens.tokenization = "another tokenizer"  # then the text is tokenised
    Tokens.take = None
    generator.sources.of_pairs(pairs.QUESTIONS, with_tokens)


def test_source_is_the_released_models_composition():
    generator = make("bart")
    passage = Passage("1", '"Title"', "some  text")
    found = replace(pairs.retrieved(1, 1), passages=[[passage]])
    sources = generator.sources.of_pairs(["Who? É"], found)
    text = TOKENIZER.decode(sources.tokens[0])
    assert text == "<s>Title / some text // Who? É</s>"
    whole = TOKENIZER("Title / some text // Who? É")["input_ids"]
    assert sources.tokens[0].tolist() == whole


def test_the_passage_is_cut_and_never_the_question():
    generator = Seq2SeqGenerator(tiny.bart(), TOKENIZER, max_source=40)
    long = Passage("1", "T", "x" * 500)
    found = replace(pairs.retrieved(1, 1), passages=[[long]])
    sources = generator.sources.of_pairs(["where is the river"], found)
    assert sources.tokens.shape[1] == 40
    assert TOKENIZER.decode(sources.tokens[0]).endswith(" // where is the river</s>")
    with pytest.raises(DataError, match="raise max_source"):
        generator.sources.of_pairs(["x" * 50], found)


def test_form_of_bert_has_segments():
    generator = make("bert2bert")
    sources = generator.sources.of_pairs(["who"], pairs.retrieved(1, 2))
    assert sources.segments is not None
    for tokens, segments, mask in zip(*sources[:3:2], sources.mask, strict=True):
        text = TOKENIZER.decode(tokens[(segments == 1) & mask])
        assert text.endswith("</s>")
        assert "who" not in text
    assert (sources.segments[~sources.mask] == 0).all()


@pytest.mark.parametrize(
    ("template", "fault"),
    [
        ("{text}", "needs"),
        ("{title} {question} {text}", "between"),
        ("{question} {answer}", "needs"),
        ("{question} [SEP] {title} [SEP] {text}", "once"),
    ],
)
def test_impossible_forms_say_what_to_type(template, fault):
    with pytest.raises(ConfigError, match=fault) as caught:
        Form.parse(template)
    assert "{question}" in str(caught.value)


def test_forms_fill_in_one_pass():
    form = Form.parse("{title} / {text} // {question}")
    assert form.of_passage(Passage("1", "{text}", "{question}")) == "{text} / {question}"
    assert form.of_passage(Passage("1", "", "alone")) == "alone"
    assert form.of_passage(Passage("1", "", "")) == ""
    assert form.of_question("why") == " // why"


def test_targets_end_in_eos_and_forced_tokens_do_not_count():
    generator = make("bart")
    targets = generator.targets(["ab", "c"])
    assert targets.tokens.tolist()[0][-1] == 2
    assert targets.mask.tolist() == [[True, True, True], [True, True, False]]
    generator.generation_config.forced_bos_token_id = 0
    targets = generator.targets(["ab"])
    assert targets.tokens[0, 0] == 0
    assert targets.mask.tolist() == [[False, True, True, True]]
    with pytest.raises(DataError, match="raise max_target"):
        Seq2SeqGenerator(tiny.bart(), TOKENIZER, max_target=3).targets(["abcd"])


@FAMILY
def test_save_and_load_from_a_moved_folder(family, tmp_path):
    generator = make(family)
    (tmp_path / "a").mkdir()
    generator.save(tmp_path / "a")
    (tmp_path / "a").rename(tmp_path / "b")
    assert not [p for p in (tmp_path / "b").iterdir() if p.suffix in (".bin", ".pt", ".pkl")]
    again = Seq2SeqGenerator.load(tmp_path / "b").eval()
    assert again.tokenization == generator.tokenization
    found, targets = pairs.retrieved(2, 2), generator.targets(["ab", "c"])
    one = generator.read(pairs.QUESTIONS[:2], found)
    other = again.read(pairs.QUESTIONS[:2], found)
    torch.testing.assert_close(one.score(targets, one.rows), other.score(targets, other.rows))


def test_a_model_comes_back_with_the_parameters_that_it_was_saved_with(tmp_path):
    """No pooler of random weights is made for an encoder that had none, or has one unused."""
    generator = Seq2SeqGenerator(tiny.bert2bert(), TOKENIZER)
    generator.save(tmp_path)
    again = Seq2SeqGenerator.load(tmp_path)
    mine, its = generator.state_dict(), again.state_dict()
    assert mine.keys() == its.keys()
    assert not [name for name in mine if "pooler" in name]
    assert all(torch.equal(mine[name], its[name]) for name in mine)


def test_unloadable_model_says_what_to_give(tmp_path):
    with pytest.raises(ConfigError, match=r"model\.safetensors"):
        Seq2SeqGenerator(tmp_path)
    with pytest.raises(ConfigError, match="tokenizer"):
        Seq2SeqGenerator(tiny.bart())


def test_bfloat16_stays_near():
    """bf16 has 8 bits: log-probabilities within a few hundredths of float32's."""
    exact, rough = make("bart"), make("bart")
    rough.model.to(torch.bfloat16)
    found, targets = pairs.retrieved(2, 3), exact.targets(["ab", "c"])
    one = exact.read(pairs.QUESTIONS[:2], found)
    other = rough.read(pairs.QUESTIONS[:2], found)
    got = other.score(targets, other.rows)
    assert got.dtype == torch.float32
    error = (got - one.score(targets, one.rows)).abs().max()
    assert error < 0.35, error
    assert other.start(other.rows).next().dtype == torch.float32


def test_gradient_checkpointing_changes_no_gradient():
    generator = make("bart").train()
    found, targets = pairs.retrieved(2, 3, absent=1), generator.targets(["ab", "c"])

    def gradients():
        generator.zero_grad()
        reading = generator.read(pairs.QUESTIONS[:2], found)
        reading.score(targets, reading.rows).sum().backward()
        return [p.grad.clone() for p in generator.parameters() if p.grad is not None]

    before = gradients()
    generator.model.activation_checkpointing_enable()
    for mine, other in zip(gradients(), before, strict=True):
        torch.testing.assert_close(mine, other)


def test_bart_config_is_left_as_it_was():
    assert isinstance(make("bart").model.config, BartConfig)


def test_encoder_and_decoder_have_their_own_windows():
    model = tiny.bert2bert()
    model.config.decoder.max_position_embeddings = 8
    generator = Seq2SeqGenerator(model, tiny.tokenizer(), form=BERT, max_source=48)
    assert generator.max_source == 48
    assert generator.max_target == 8


def test_double_precision_stays_double():
    generator = make("bart")
    found, targets = pairs.retrieved(3, 2), pairs.random_targets(3, 4)
    single = generator.read(pairs.QUESTIONS, found)
    with torch.no_grad():
        expected = single.score(targets, single.rows)
        generator.model.double()
        reading = generator.read(pairs.QUESTIONS, found)
        scores = reading.score(targets, reading.rows)
    assert scores.dtype == torch.float64
    torch.testing.assert_close(scores.float(), expected, rtol=1e-4, atol=1e-4)
