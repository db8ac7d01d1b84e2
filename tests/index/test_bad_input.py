"""Whatever an index cannot take is answered with what was wrong and what to type."""

from __future__ import annotations

import numpy as np
import pytest

from ragkit.errors import ConfigError, DataError
from ragkit.index.exact import ExactIndex
from ragkit.index.faiss import FaissIndex

VECTORS = np.random.default_rng(0).standard_normal((40, 8)).astype(np.float32)
Q = VECTORS[:2]


def ready(kind):
    index = kind()
    index.build(VECTORS)
    return index


def with_value(value: float) -> np.ndarray:
    bad = VECTORS.copy()
    bad[17, 3] = value
    return bad


BOTH = {
    "vectors of one axis": (lambda i: i.build(VECTORS[0]), r"shape \(8,\)"),
    "no vectors": (lambda i: i.build(VECTORS[:0]), "no vectors"),
    "no dimensions": (lambda i: i.build(VECTORS[:, :0]), "shape"),
    "whole numbers": (lambda i: i.build(VECTORS.astype(np.int64)), "int64"),
    "doubles": (lambda i: i.build(VECTORS.astype(np.float64)), "float64"),
    "NaN in a vector": (lambda i: i.build(with_value(np.nan)), "vector 17"),
    "infinity in a vector": (lambda i: i.build(with_value(np.inf)), "vector 17"),
    "added vectors of another dimension": (lambda i: i.add(VECTORS[:, :4]), "4 dimensions"),
    "queries of another dimension": (lambda i: i.search(Q[:, :4], 1), r"\(B, 8\)"),
    "a query without batch": (lambda i: i.search(Q[0], 1), r"\(B, 8\)"),
    "NaN in a query": (lambda i: i.search(Q * np.nan, 1), "NaN"),
    "k of zero": (lambda i: i.search(Q, 0), "k is 0"),
    "k below zero": (lambda i: i.search(Q, -3), "k is -3"),
    "k that is no whole number": (lambda i: i.search(Q, 1.5), "k is 1.5"),
    "k that is a truth value": (lambda i: i.search(Q, True), "k is True"),
    "nothing allowed": (lambda i: i.search_allowed(Q, 1, np.array([], int)), "empty"),
    "a row beyond the last allowed": (lambda i: i.search_allowed(Q, 1, np.array([40])), "0…39"),
    "a row below zero allowed": (lambda i: i.search_allowed(Q, 1, np.array([-1])), "0…39"),
}


@pytest.mark.parametrize("kind", [ExactIndex, FaissIndex])
@pytest.mark.parametrize("case", BOTH)
def test_vectors_and_queries(kind, case):
    work, message = BOTH[case]
    index = ready(kind)
    with pytest.raises(DataError, match=message):
        work(index)
    assert len(index) == len(VECTORS)  # and it still works
    assert index.search(Q, 1).ids.shape == (2, 1)


OPTIONS = {
    "an unknown factory": (ConfigError, lambda: FaissIndex("HNWS32"), "HNSW32"),
    "a factory that does not fit": (
        (ConfigError, DataError),
        lambda: FaissIndex("PQ3").build(VECTORS),
        "PQ3",
    ),
    "too few vectors to train": (
        DataError,
        lambda: FaissIndex("IVF4096,Flat").build(VECTORS),
        "choose a smaller",
    ),
    "an unknown search parameter": (
        ConfigError,
        lambda: FaissIndex("HNSW8", search={"nporbe": 3}).build(VECTORS),
        "nporbe",
    ),
    "a block of zero": (DataError, lambda: ExactIndex(block=0), "block is 0"),
}


@pytest.mark.parametrize("case", OPTIONS)
def test_options(case):
    error, work, message = OPTIONS[case]
    with pytest.raises(error, match=message):
        work()
