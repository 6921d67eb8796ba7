"""Measures against numbers that were calculated by hand, and rankings against slow oracles."""

from __future__ import annotations

import math
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsegate_server.parity import measures
from sparsegate_server.parity.scoring import Postings
from sparsegate_server.types import SparseVector


def vector(weights: dict[int, float]) -> SparseVector:
    terms = sorted(weights)
    values = [weights[term] for term in terms]
    return SparseVector(np.array(terms, np.uint32), np.array(values, np.float32))


def test_ndcg_is_what_is_calculated_by_hand() -> None:
    relevant = {"a": 3.0, "b": 2.0, "c": 1.0, "x": 0.0}
    # 2/log2(2) + 0/log2(3) + 3/log2(4) of 3/log2(2) + 2/log2(3) + 1/log2(4)
    found = measures.ndcg(["b", "other", "a"], relevant)
    assert found == pytest.approx((2 + 1.5) / (3 + 2 / math.log2(3) + 0.5))
    assert found == pytest.approx(0.735, abs=5e-4)


def test_ndcg_reads_no_further_than_k() -> None:
    assert measures.ndcg(["x", "a"], {"a": 1.0}, k=1) == 0
    assert measures.ndcg(["a"], {"a": 1.0, "b": 1.0}, k=1) == 1
    assert measures.ndcg(["a"], {}) == 0
    assert measures.ndcg([1, 2], {1: -1.0, 2: 1.0}) == pytest.approx(1 / math.log2(3))


def test_top_is_stable_and_without_what_was_not_found() -> None:
    scores = np.array([0, 2, 1, 2, 0], np.float32)
    assert measures.top(scores).tolist() == [1, 3, 2]
    assert measures.top(scores, 1).tolist() == [1]


@pytest.mark.parametrize(
    ("reference", "found", "expected"),
    [
        ([4, 3, 2, 1], [4, 3, 2, 1], 1.0),
        ([4, 3, 2, 1], [1, 2, 3, 4], 0.0),
        ([4, 3, 2, 1], [4, 1, 3, 2], 0.5),
        # Documents 1 and 2 are equal: either may be the second.
        ([4, 3, 3, 1], [4, 2, 3, 1], 1.0),
        ([4, 2, 3, 1], [4, 3, 3, 1], 1.0),
        # One hit is enough for the reference.
        ([4, 0, 0, 0], [4, 3, 0, 0], 1.0),
        ([4, 0, 0, 0], [3, 4, 0, 0], 0.0),
        ([4, 3, 0, 0], [4, 0, 0, 0], 0.5),
        ([0, 0, 0, 0], [0, 0, 0, 0], 1.0),
        ([0, 0, 0, 0], [0, 1, 0, 0], 0.0),
    ],
)
def test_overlap_of_two(reference: list[float], found: list[float], expected: float) -> None:
    scores = (np.array(each, np.float32) for each in (reference, found))
    assert measures.overlap(*scores, k=2) == expected


_scores = st.lists(st.integers(0, 3), min_size=5, max_size=5)


@given(_scores, _scores, st.integers(1, 6))
def test_overlap_is_the_best_that_any_order_of_ties_gives(
    reference: list[int], found: list[int], k: int
) -> None:
    def tops(scores: list[int], k: int) -> set[frozenset[int]]:
        hits = [at for at, score in enumerate(scores) if score]
        orders = permutations(hits)
        sorted_ = [sorted(order, key=lambda at: -scores[at]) for order in orders]
        return {frozenset(order[:k]) for order in sorted_}

    k_hits = min(k, sum(map(bool, reference)))
    if k_hits:
        pairs = [(a, b) for a in tops(reference, k_hits) for b in tops(found, k_hits)]
        expected = max(len(a & b) for a, b in pairs) / k_hits
    else:
        expected = float(not any(found))
    arrays = (np.array(each, np.float32) for each in (reference, found))
    assert measures.overlap(*arrays, k=k) == expected


@pytest.mark.parametrize(
    ("one", "other", "floors", "expected"),
    [
        ({}, {}, (0, 0), 0.0),
        ({1: 1.0, 2: 0.5}, {1: 1.25, 2: 0.5}, (0, 0), 0.25),
        ({1: 1.0}, {1: 1.0, 7: 0.5}, (0, 0), 0.5),
        ({1: 1.0, 7: 0.5}, {1: 1.0}, (0, 0), 0.5),
        # A term that is left out may weigh as much as the threshold, or a capped vector's last.
        ({1: 1.0}, {1: 1.0, 7: 0.5}, (0.25, 0), 0.25),
        ({1: 1.0, 7: 0.5}, {1: 1.0}, (0, 0.75), 0.0),
    ],
)
def test_difference(
    one: dict[int, float], other: dict[int, float], floors: tuple[float, float], expected: float
) -> None:
    assert measures.difference(vector(one), vector(other), *floors) == expected


def test_differences_of_sums_are_relative_to_them() -> None:
    one, other = vector({1: 8.0, 2: 0.5, 7: 4.0}), vector({1: 10.0, 2: 0.625})
    assert measures.difference(one, other) == 4.0
    assert measures.difference(one, other, relative=True) == 1.0
    assert measures.difference(one, other, other_floor=4.0, relative=True) == 0.25


_vectors = st.dictionaries(st.integers(0, 9), st.floats(0.125, 9, width=32), max_size=6)


@given(st.lists(_vectors, min_size=1, max_size=6), _vectors)
def test_scores_are_sums_over_the_common_terms(
    documents: list[dict[int, float]], query: dict[int, float]
) -> None:
    scores = Postings([vector(each) for each in documents], 10).scores(vector(query))
    for score, document in zip(scores, documents, strict=True):
        total = 0.0
        for term in sorted(query.keys() & document.keys()):
            total += query[term] * document[term]
        assert score == np.float32(total)
