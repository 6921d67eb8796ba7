"""Postings hold every weight once, under bounds that are sound in exact arithmetic."""

from __future__ import annotations

from collections import defaultdict
from fractions import Fraction

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sparsegate_server.index import kernels
from sparsegate_server.index.forward import Forward, indptr_of
from sparsegate_server.index.kernels.bits import LANES
from sparsegate_server.index.kernels.bounds import (
    Lists,
    Scaled,
    cut_of,
    rescale_query,
    scale_query,
)
from sparsegate_server.index.kernels.columns import TOGETHER, Columns, add_columns
from sparsegate_server.index.kernels.lanes import lanes_reaching
from sparsegate_server.index.kernels.windows import BLOCK, BLOCKED, DENSE
from sparsegate_server.index.postings import Postings

from . import oracle
from .oracle import Vector, sparse
from .strategies import VOCABULARY, queries, vectors, weights

kernels.warm_up()


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
    impacts = postings.impacts if gap > DENSE else postings.dense[:rows:gap]
    np.maximum.at(expected, np.arange(0, rows, gap) // BLOCK, impacts)
    assert postings.block_maxima.tolist() == expected.tolist()


def test_rare_terms_have_no_block_maxima() -> None:
    postings = postings_of([{1: 1.0, 2: 1.0}] * (BLOCKED - 1) + [{2: 1.0}])
    assert postings.blocks.tolist() == [-1, 0]
    assert len(postings.block_maxima) == kernels.BLOCKS


@given(st.integers(0, 3), st.integers(0, 2**32 - 1))
def test_a_heavy_term_is_a_column_and_no_list(sparseness: int, seed: int) -> None:
    """Term 3 is in every document, 4 in one of ten, 5 in fewer than that, 6 in fewer than are worth
    block maxima."""
    random = np.random.default_rng(seed)
    rows = 10 * BLOCKED + 700 * sparseness
    documents: list[Vector] = [{3: float(np.float32(random.uniform(0.1, 5)))} for _ in range(rows)]
    for term, count in ((4, -(-rows // DENSE)), (5, rows // DENSE - 1), (6, BLOCKED - 1)):
        for row in random.choice(rows, count, replace=False).tolist():
            documents[row][term] = float(np.float32(random.uniform(0.1, 5)))
    postings = postings_of(documents)
    assert postings.terms.tolist() == [3, 4, 5, 6]
    assert (postings.columns >= 0).tolist() == [True, True, False, False]
    assert np.diff(postings.ranges).tolist() == [0, 0, rows // DENSE - 1, BLOCKED - 1]
    length = -(-rows // BLOCK) * BLOCK
    assert len(postings.dense) == 2 * length
    for place, term in enumerate((3, 4)):
        column = postings.dense[postings.columns[place] :][:length].tolist()
        scale = Fraction(float(postings.scales[place]))
        for row, impact in enumerate(column):
            weight = Fraction(documents[row].get(term, 0.0)) if row < rows else Fraction(0)
            assert (impact - 1) * scale < weight <= impact * scale
        blocks = np.array(column).reshape(-1, BLOCK).max(axis=1).tolist()
        start = int(postings.blocks[place]) * kernels.BLOCKS
        assert postings.block_maxima[start : start + len(blocks)].tolist() == blocks


def lists_of(postings: Postings) -> Lists:
    return Lists(*postings.arrays()[1:], postings.directory, int(postings.shift))


def scaled_query(query: Vector, postings: Postings, share: float) -> tuple[float, Scaled]:
    """The factor, times `share`, and the query that is scaled to it."""
    asked = sparse(query)
    scaled = Scaled(
        np.empty(len(asked), np.int64),
        np.zeros(len(asked), np.uint32),
        np.zeros(kernels.BLOCKS, np.uint32),
    )
    lists = lists_of(postings)
    factor = share * scale_query(asked.indices, asked.values, lists, 0, 1, scaled)
    if share < 1:
        rescale_query(asked.values, lists, factor, scaled)
    return factor, scaled


@settings(deadline=None)  # a helper that is called by itself is compiled by the first call
@given(
    st.lists(vectors, min_size=1, max_size=20),
    queries,
    st.sampled_from([1.0, 0.5, 1e-3]),
    st.data(),
)
def test_integer_bounds_overflow_nothing_and_cut_off_nothing_that_clears_the_bar(
    documents: list[Vector], query: Vector, share: float, data: st.DataObject
) -> None:
    postings = postings_of(documents)
    factor, scaled = scaled_query(query, postings, share)
    scores = [oracle.score(query, vector) for vector in documents]
    if factor == 0.0:
        assert scores == [None] * len(documents)
        return
    sums = [0] * len(documents)
    for place, coefficient in zip(
        scaled.places.tolist(), scaled.coefficients.tolist(), strict=True
    ):
        if place < 0:
            continue
        for posting in range(postings.ranges[place], postings.ranges[place + 1]):
            added = -(-coefficient * int(postings.impacts[posting]) // 256)
            sums[postings.local_ids[posting]] += added
    assert max(sums) <= int(scaled.bounds.max())
    assert max(sums) < 2**16
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


@pytest.mark.parametrize("weight", [1e-45, 1.0, 3e38])
def test_as_many_terms_as_the_sums_have_room_for_do_not_overflow(weight: float) -> None:
    terms = list(range(kernels.MOST_TERMS))
    document = dict.fromkeys(terms, 1e6)
    postings = postings_of([document], len(terms))
    factor, scaled = scaled_query(dict.fromkeys(terms, weight), postings, 1.0)
    assert factor > 0
    assert scaled.coefficients.min() >= 1
    added = -(-scaled.coefficients.astype(np.int64) * 255 // 256)
    assert 2**15 < added.sum() < 2**16


@settings(deadline=None)
@given(
    st.integers(1, 9).flatmap(
        lambda columns: st.lists(
            st.lists(st.integers(0, 255), min_size=LANES, max_size=LANES),
            min_size=columns,
            max_size=columns,
        )
    ),
    st.data(),
)
def test_columns_add_up_to_no_less_than_their_impacts(
    impacts: list[list[int]], data: st.DataObject
) -> None:
    size = len(impacts)
    weights = data.draw(st.lists(st.integers(1, 7000), min_size=size, max_size=size))
    columns = Columns(np.zeros(size + TOGETHER, np.int64), np.zeros(size + TOGETHER, np.uint32))
    columns.starts[:size] = np.arange(size) * LANES
    columns.coefficients[:size] = weights
    count = -(-size // TOGETHER) * TOGETHER
    before = data.draw(st.integers(0, 100))
    sums = np.full(2 * LANES, before, np.uint16)
    dense = np.array(impacts, np.uint8).reshape(-1)
    # The columns are those of a window whose second stride is added.
    columns.starts[:] -= LANES
    add_columns(columns, count, dense, LANES, sums)
    assert sums[:LANES].tolist() == [before] * LANES
    for lane in range(LANES):
        exact = sum(w * column[lane] for w, column in zip(weights, impacts, strict=True))
        added = int(sums[LANES + lane]) - before
        assert exact / 256 <= added < exact / 256 + count / TOGETHER
        assert (added == 0) == (exact == 0)


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 2**16 - 1), min_size=LANES, max_size=LANES),
    st.integers(0, 2**16 - 1),
)
def test_lanes_that_reach_a_value_are_told(values: list[int], low: int) -> None:
    sums = np.array([*range(7), *values], np.uint16)
    expected = sum(1 << lane for lane, value in enumerate(values) if value >= low)
    assert _reaching(sums, 7, np.uint16(low)) == expected


@numba.njit
def _reaching(sums: NDArray[np.uint16], at: int, low: np.uint16) -> int:
    return int(lanes_reaching(sums, at, low))
