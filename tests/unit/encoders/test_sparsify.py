"""Sparsification against slow oracles."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from sparsegate_server.encoders.sparsify import from_top_terms, rows, top
from sparsegate_server.models.spec import ModelIdentity, ModelSpec
from sparsegate_server.types import SparseVector

# Few different values, so that ties are common.
LOGITS = st.integers(-3, 3).map(float) | st.floats(-10, 10, width=32)


def slow(logits: NDArray[np.float32], mask: list[int], threshold: float) -> dict[int, float]:
    """The formula, term by term."""
    weights: dict[int, float] = {}
    for row, real in zip(logits, mask, strict=True):
        for term, logit in enumerate(row):
            weight = math.log1p(max(0.0, float(logit)))
            if real and weight > threshold:
                weights[term] = max(weights.get(term, 0.0), weight)
    return weights


def sparsified(
    logits: NDArray[np.float32], mask: list[int], threshold: float, max_terms: int
) -> tuple[SparseVector, bool]:
    """The vector of one text of a model that returns logits, float32 [length, vocabulary]."""
    identity = ModelIdentity(
        "splade", "", "", logits.shape[1], max_terms=max_terms, threshold=threshold
    )
    spec = ModelSpec("made-up", identity, output="logits")
    (row,) = rows(spec, {"logits": logits[None]}, np.array([mask], np.int32))
    return row.vector, row.capped


@given(st.data())
def test_sparsify_is_the_formula(data: st.DataObject) -> None:
    length = data.draw(st.integers(1, 5))
    logits = data.draw(arrays.arrays(np.float32, (length, 7), elements=LOGITS))
    mask = data.draw(st.lists(st.integers(0, 1), min_size=length, max_size=length))
    max_terms = data.draw(st.integers(1, 8))

    vector, capped = sparsified(logits, mask, 0.0, max_terms)

    expected = slow(logits, mask, 0.0)
    # By the logit: the logarithm may make two of them equal.
    pooled = logits[np.array(mask) == 1].max(axis=0, initial=-np.inf)
    heaviest = sorted(expected, key=lambda term: (-pooled[term], term))[:max_terms]
    assert capped == (len(expected) > max_terms)
    assert vector.indices.tolist() == sorted(heaviest)
    np.testing.assert_allclose(
        vector.values, [expected[term] for term in sorted(heaviest)], rtol=1e-6
    )
    assert (vector.indices.dtype, vector.values.dtype) == (np.uint32, np.float32)


def test_a_weight_at_the_threshold_is_dropped() -> None:
    logits = np.expm1(np.array([[0.5, 0.6, 0.4]], np.float32)).astype(np.float32)
    logits[0, 0] = np.float32(np.expm1(0.5))
    vector, capped = sparsified(logits, [1], 0.5, 10)
    assert (vector.indices.tolist(), capped) == ([1], False)


@given(
    st.lists(st.tuples(st.integers(0, 2**16 - 1), st.integers(0, 4)), unique_by=lambda x: x[0]),
    st.integers(1, 10),
)
def test_the_graphs_terms_become_the_same_vector(
    weights: list[tuple[int, int]], max_terms: int
) -> None:
    weights.sort(key=lambda x: (-x[1], x[0]))
    vector, capped = from_top_terms(
        np.array([term for term, _ in weights], np.uint16),
        np.array([weight for _, weight in weights], np.float32),
        max_terms,
    )
    positive = [each for each in weights if each[1] > 0]
    assert capped == (len(positive) > max_terms)
    assert list(zip(vector.indices, vector.values, strict=True)) == sorted(positive[:max_terms])
    assert vector.indices.dtype == np.uint32


@given(
    st.lists(
        st.dictionaries(st.integers(0, 2**16 - 1), st.tuples(st.integers(1, 4), st.integers(0, 9))),
        min_size=1,
        max_size=3,
    ),
    st.integers(1, 10),
)
def test_each_term_keeps_the_position_that_came_with_it(
    texts: list[dict[int, tuple[int, int]]], max_terms: int
) -> None:
    """Rows of a graph: terms by descending weight, filled up with zeros to the fullest."""
    width = max(map(len, texts))
    ordered = [sorted(each.items(), key=lambda x: (-x[1][0], x[0])) for each in texts]
    filled = [each + [(0, (0, 0))] * (width - len(each)) for each in ordered]
    shape = len(texts), width
    outputs = {
        "indices": np.array([[t for t, _ in row] for row in filled], np.uint16).reshape(shape),
        "values": np.array([[w for _, (w, _) in row] for row in filled], np.float32).reshape(shape),
        "positions": np.array([[p for _, (_, p) in row] for row in filled], np.uint16).reshape(
            shape
        ),
    }
    identity = ModelIdentity("splade", "", "", 2**16, max_terms=max_terms)
    spec = ModelSpec("made-up", identity, positions=True)
    found = rows(spec, outputs, np.ones((len(texts), 1), np.int32))
    for row, terms in zip(found, ordered, strict=True):
        expected = sorted((t, w, p) for t, (w, p) in terms[:max_terms])
        assert row.positions is not None
        assert row.positions.dtype == np.uint16
        columns = row.vector.indices.tolist(), row.vector.values.tolist(), row.positions.tolist()
        assert list(zip(*columns, strict=True)) == expected
        assert row.capped == (len(terms) > max_terms)


@given(
    st.dictionaries(st.integers(0, 99), st.integers(1, 4)),
    st.integers(0, 12),
    st.sampled_from([0.0, 1.0, 2.5, 4.0]),
)
def test_top_takes_the_heaviest(weights: dict[int, int], k: int, threshold: float) -> None:
    terms = sorted(weights)
    vector = SparseVector(
        np.array(terms, np.uint32), np.array([weights[term] for term in terms], np.float32)
    )
    above = [term for term in terms if weights[term] > threshold]
    kept = sorted(above, key=lambda term: (-weights[term], term))[: k or None]
    found = top(vector, k, threshold)
    assert found.indices.tolist() == sorted(kept)
    assert found.values.tolist() == [weights[term] for term in sorted(kept)]


@pytest.mark.parametrize(("k", "kept"), [(1, [3]), (2, [3, 5]), (3, [3, 5, 9])])
def test_ties_go_to_the_smaller_id(k: int, kept: list[int]) -> None:
    vector = SparseVector(np.array([3, 5, 9], np.uint32), np.ones(3, np.float32))
    assert top(vector, k).indices.tolist() == kept
