"""Wrong encoders."""

from __future__ import annotations

import itertools
import json

import torch
from torch import nn

from ragkit.testing import EncoderConformance
from testing.right import D, WordEncoder
from testing.wrong.record import Wrong


class MeanOverPadding(WordEncoder):
    def mean(self, table, mask):
        return table.mean(1)


class Constant(WordEncoder):
    def pool(self, texts):
        return super().pool(["the same"] * len(texts))


class ReadsTheId(WordEncoder):
    def passages(self, passages):
        return super().passages([one._replace(title=one.id) for one in passages])


class NaNForNothing(WordEncoder):
    def pool(self, texts):
        found = super().pool(texts)
        empty = torch.tensor([not text.split() for text in texts])
        return found.masked_fill(empty[:, None], float("nan"))


class Doubles(WordEncoder):
    def questions(self, texts):
        return super().questions(texts).round().long()


class Squeezed(WordEncoder):
    def questions(self, texts):
        return super().questions(texts).squeeze(0)


class Detached(WordEncoder):
    def questions(self, texts):
        return super().questions(texts).detach()


class OutOfNowhere(WordEncoder):
    """Has no parameters to learn, and a gradient all the same."""

    def parameters(self, recurse=True):
        return iter(())


class PassagesLearn(WordEncoder):
    def passages(self, passages):
        return super().passages(passages) @ self.weight


class Shared(WordEncoder):
    """One matrix for both sides, whatever the fingerprint says."""

    def passages(self, passages):
        return super().passages(passages) @ self.weight.detach()


class NewNameEveryTime(WordEncoder):
    count = itertools.count()

    @property
    def fingerprint(self):
        return f"words {next(self.count)}"


class Drops(WordEncoder):
    def passages(self, passages):
        return nn.functional.dropout(super().passages(passages), 0.5, self.training)


class Unsorted(WordEncoder):
    """Encodes by length and gives the vectors in that order."""

    def passages(self, passages):
        return super().passages(sorted(passages, key=lambda one: len(one.text)))


class OneBatch(WordEncoder):
    def passages(self, passages):
        return super().passages(passages[:64])


class CleansInPlace(WordEncoder):
    def questions(self, texts):
        for i, text in enumerate(texts):
            texts[i] = text.replace("the", "")
        return super().questions(texts)


class NormedByBatch(WordEncoder):
    def questions(self, texts):
        found = super().questions(texts)
        return found / found.norm()


class ForgetsAnOption(WordEncoder):
    def __init__(self, scale=1.0):
        super().__init__()
        self.scale = scale

    @classmethod
    def load(cls, directory):
        encoder = super().load(directory)
        encoder.scale = 1.0
        return encoder


class HalfSaved(WordEncoder):
    load = None


class RandomWeights(WordEncoder):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(D, D))


class PathInFile(WordEncoder):
    def save(self, directory):
        super().save(directory)
        (directory / "where.json").write_text(json.dumps({"folder": str(directory)}))


class Pickles(WordEncoder):
    def save(self, directory):
        super().save(directory)
        torch.save(self.weight.detach(), directory / "weight.pt")


def wrong(title, kind, check, fault, advice, /, **settings) -> Wrong:
    return Wrong(title, EncoderConformance, lambda kit: kind(), check, fault, advice, settings)


ALONE = "test_batch_of_one_is_a_row_of_the_batch"
WRONG = [
    wrong("ignores the mask", MeanOverPadding, ALONE, "alone has another vector", "padding"),
    wrong("scales by the batch", NormedByBatch, ALONE, "alone has another vector", "padding"),
    wrong("one vector for all", Constant, "test_vectors_differ", "have one vector", "text read"),
    wrong(
        "reads the id",
        ReadsTheId,
        "test_title_and_text_count",
        "depends on the id",
        "encode the text",
    ),
    wrong("NaN for an empty text", NaNForNothing, "test_any_text", "no finite vector", "odd"),
    wrong("whole numbers", Doubles, "test_shapes_and_dtypes", "int64", "float32"),
    wrong("squeezes a batch of one", Squeezed, ALONE, "shape", r"must be \(1, D\)"),
    wrong(
        "no gradient",
        Detached,
        "test_gradient_of_questions",
        "carry no gradient",
        "without torch.no_grad",
    ),
    wrong(
        "undeclared gradient",
        OutOfNowhere,
        "test_gradient_of_questions",
        "no parameter",
        "detach them",
    ),
    wrong(
        "passages with gradient",
        PassagesLearn,
        "test_passages_carry_no_gradient",
        "carry a gradient",
        "no_grad",
    ),
    wrong(
        "learns behind its fingerprint",
        Shared,
        "test_fingerprint_names_the_passage_side",
        "but not the fingerprint",
        "freeze",
    ),
    wrong(
        "fingerprint changes",
        NewNameEveryTime,
        "test_fingerprint",
        "changes from call to call",
        "derive it",
    ),
    wrong("random weights", RandomWeights, "test_deterministic", "other vectors", "fix seeds"),
    wrong(
        "dropout over passages",
        Drops,
        "test_passages_do_not_depend_on_training_mode",
        "after train",
        "evaluation mode",
    ),
    wrong("order lost", Unsorted, "test_order_of_texts", "row i must be that of text i", "sort"),
    wrong("first batch alone", OneBatch, "test_order_of_texts", "shape", r"\(131, D\)"),
    wrong(
        "cleans texts in place",
        CleansInPlace,
        "test_inputs_are_not_changed",
        "changed its input 'texts'",
        "copy",
    ),
    wrong(
        "half an ability", HalfSaved, "test_signatures", "'save' but not 'load'", "take 'save' away"
    ),
    wrong(
        "writes its folder down",
        PathInFile,
        "test_saved_and_loaded",
        "path of its folder",
        "relative",
    ),
    Wrong(
        "forgets an option",
        EncoderConformance,
        lambda kit: ForgetsAnOption(2.0),
        "test_saved_and_loaded",
        "other vectors after load",
        "every option",
    ),
    wrong("writes torch's pickle", Pickles, "test_no_pickle", "weight.pt", "safetensors"),
]
