"""Postings hold every weight once, under bounds that are sound in exact arithmetic."""

from __future__ import annotations

from collections import defaultdict
from fractions import Fraction

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsegate_server.index import kernels
from sparsegate_server.index.forward import Forward, indptr_of
from sparsegate_server.index.kernels.bounds import bound_blocks, cut_of, scale_query
from sparsegate_server.index.kernels.windows import BLOCK, BLOCKED
from sparsegate_server.index.postings import Postings

from . import oracle
from .oracle import Vector, sparse
from .strategies import VOCABULARY, queries, vectors, weights

kernels.warm_up()
MOST = 2**32


def postings_of(documents: list[Vector], vocabulary: int = VOCABULARY) -> Postings:
    return Postings.of(Forward.of(list(map(sparse, documents))).stored(vocabulary), vocabulary)


@given(st.lists(vectors, max_size=30), st.sampled_from([VOCABULARY, 70_000]))
def test_postings_hold_every_weight_once_in_order(documents: list[Vector], vocabulary: int) -> None:
    postings = postings_of(documents, vocabulary)
    seen: dict[int, list[int]] = {}
    for place, term in enumerate(postings.terms.tolist()):
        span = slice(postings.ranges[place], postings.ranges[place + 1])
        seen[term] = postings.local_ids[span].tolist()
    expected: defaultdict[int, list[int]] = defaultdict(list)
    for row, vector in enumerate(documents):
        for term in sorted(vector):
            expected[term].append(row)
    assert seen == expected
    assert list(seen) == sorted(seen)
    assert postings.local_ids.dtype == np.uint16


@given(st.lists(vectors, min_size=1, max_size=30))
def test_an_impact_bounds_its_weight_and_is_the_least_that_does(documents: list[Vector]) -> None:
    postings = postings_of(documents)
    for place, term in enumerate(postings.terms.tolist()):
        scale = Fraction(float(postings.scales[place]))
        for posting in range(postings.ranges[place], postings.ranges[place + 1]):
            impact = int(postings.impacts[posting])
            weight = Fraction(documents[postings.local_ids[posting]][term])
            assert 1 <= impact <= 255
            assert (impact - 1) * scale < weight <= impact * scale


@given(st.lists(weights, min_size=BLOCKED, max_size=BLOCKED + 50), st.integers(1, 40))
def test_block_maxima_are_those_of_the_impacts(heights: list[float], gap: int) -> None:
    rows = len(heights) * gap
    lengths = np.zeros(rows, np.int64)
    lengths[::gap] = 1
    forward = Forward(
        indptr_of(lengths), np.full(len(heights), 3, np.uint16), np.array(heights, np.float32)
    )
    postings = Postings.of(forward, VOCABULARY)
    assert postings.blocks.tolist() == [0]
    expected = np.zeros(kernels.BLOCKS, np.uint8)
    np.maximum.at(expected, postings.local_ids // BLOCK, postings.impacts)
    assert postings.block_maxima.tolist() == expected.tolist()


def test_rare_terms_have_no_block_maxima() -> None:
    postings = postings_of([{1: 1.0, 2: 1.0}] * (BLOCKED - 1) + [{2: 1.0}])
    assert postings.blocks.tolist() == [-1, 0]
    assert len(postings.block_maxima) == kernels.BLOCKS


@settings(deadline=None)  # a helper that is called by itself is compiled by the first call
@given(st.lists(vectors, min_size=1, max_size=20), queries, st.data())
def test_integer_bounds_overflow_nothing_and_cut_off_nothing_that_clears_the_bar(
    documents: list[Vector], query: Vector, data: st.DataObject
) -> None:
    postings, asked = postings_of(documents), sparse(query)
    places = np.empty(len(asked), np.int64)
    coefficients = np.zeros(len(asked), np.uint32)
    factor = scale_query(
        asked.indices,
        asked.values,
        postings.terms,
        postings.scales,
        0,
        len(postings.terms),
        places,
        coefficients,
    )
    scores = [oracle.score(query, vector) for vector in documents]
    if factor == 0.0:
        assert scores == [None] * len(documents)
        return
    assert sum(c * 255 for c in coefficients.tolist()) < MOST
    blocks = np.empty(kernels.BLOCKS, np.uint32)
    bound_blocks(places, coefficients, postings.blocks, postings.block_maxima, blocks)
    sums = [0] * len(documents)
    for place, coefficient in zip(places.tolist(), coefficients.tolist(), strict=True):
        if place < 0:
            continue
        for posting in range(postings.ranges[place], postings.ranges[place + 1]):
            sums[postings.local_ids[posting]] += coefficient * int(postings.impacts[posting])
    assert max(sums) <= int(blocks.max())
    hits = [score for score in scores if score is not None]
    bar = data.draw(st.sampled_from([-1.0, 0.0, *hits]))
    cut = cut_of(np.float32(bar), factor)
    for total, score in zip(sums, scores, strict=True):
        if score is not None and score > bar:
            assert total >= cut
    for row, (total, score) in enumerate(zip(sums, scores, strict=True)):
        exact = sum(
            Fraction(query[term]) * Fraction(weight)
            for term, weight in documents[row].items()
            if term in query
        )
        assert (score is None) == (total == 0)
        assert total >= exact * Fraction(factor)


def test_as_many_terms_as_a_query_may_have_do_not_overflow() -> None:
    terms = np.arange(2**16, dtype=np.uint32)
    for weight in (1e-45, 1.0, 3e38):
        places = np.empty(len(terms), np.int64)
        coefficients = np.zeros(len(terms), np.uint32)
        values = np.full(len(terms), weight, np.float32)
        scales = np.full(len(terms), 1e6 / 255, np.float32)
        assert scale_query(terms, values, terms, scales, 0, len(terms), places, coefficients) > 0
        assert coefficients.min() >= 1
        assert int(coefficients.sum(dtype=np.uint64)) * 255 < MOST
