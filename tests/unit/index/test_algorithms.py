"""Every way through a segment finds what scoring every document finds.

The segments are large enough for several windows, for columns, for deferred terms and for blocks
that are passed over.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sparsegate_server.index import kernels
from sparsegate_server.index.chooser import SCAN
from sparsegate_server.index.filter.mask import Mask
from sparsegate_server.index.forward import Forward, indptr_of
from sparsegate_server.index.keys import Keys
from sparsegate_server.index.leaders import NO_BAR, Leaders
from sparsegate_server.index.part import Candidates, Query
from sparsegate_server.index.scratch import scratch_for
from sparsegate_server.index.segment import Details, Segment

kernels.warm_up()
VOCABULARY = 500
ROWS = (0, 1, 3_000, 65_536, 150_000)


@cache
def segment_of(rows: int) -> Segment:
    """Zipfian terms with skewed weights; the common ones light, and all in drifts, as documents in
    the order of some source are."""
    random = np.random.default_rng(rows)
    shares = 0.9 / np.arange(1, VOCABULARY + 1) ** 0.8
    drift = random.uniform(0.3, 1.0, (-(-rows // 700), VOCABULARY)).repeat(700, axis=0)[:rows]
    present = random.random((rows, VOCABULARY)) < shares * drift
    lengths, terms = present.sum(axis=1), np.nonzero(present)[1]
    light = np.linspace(0.2, 1.0, VOCABULARY)[terms]
    weights = light * random.lognormal(0, 0.7, len(terms))
    # A few weights far out, and many alike, so that scores tie.
    weights[random.random(len(terms)) < 0.001] *= 20
    weights = np.where(random.random(len(terms)) < 0.3, 0.5, weights)
    forward = Forward(indptr_of(lengths), terms.astype(np.uint16), weights.astype(np.float32))
    keys = Keys.of([row.to_bytes(8, "big") for row in range(rows)])
    nothing = np.zeros(rows, np.uint32)
    born = random.integers(1, 3, rows).astype(np.uint64)
    segment = Segment.build(
        keys, Details(np.arange(1, rows + 1), born, nothing, nothing), forward, VOCABULARY
    )
    dead = np.flatnonzero(random.random(rows) < 0.05)
    segment.bury(dead, 3)
    return segment


def test_the_segments_have_what_the_algorithms_are_about() -> None:
    postings = segment_of(150_000).postings
    columns, lists = postings.columns >= 0, np.diff(postings.ranges)
    assert columns.sum() > 20
    assert ((lists > 0) & (postings.blocks >= 0)).sum() > 500
    assert len(postings.window_terms) == 4


@st.composite
def asked(draw: st.DrawFn) -> Query:
    terms = sorted(draw(st.sets(st.integers(0, VOCABULARY - 1), min_size=1, max_size=40)))
    weights = draw(
        st.lists(
            st.sampled_from([0.01, 0.1, 0.5, 1.0, 3.0, 1e-30, 1e5]),
            min_size=len(terms),
            max_size=len(terms),
        )
    )
    return Query(
        np.array(terms, np.uint32),
        np.array(weights, np.float32),
        VOCABULARY,
        draw(st.sampled_from([1, 10, 100, 1000, 200_000])),
        np.uint64(draw(st.integers(0, 4))),
    )


@st.composite
def masks(draw: st.DrawFn, rows: int) -> Mask | None:
    share = draw(st.sampled_from([None, 0.0, 0.001, 0.01, 0.05, 0.1, 0.3, 0.9, 1.0]))
    if share is None:
        return None
    random = np.random.default_rng(draw(st.integers(0, 9)))
    if draw(st.booleans()):
        return Mask.of(np.flatnonzero(random.random(rows) < share), rows)
    first = random.integers(0, rows + 1)
    return Mask.of(np.arange(first, min(rows, first + int(rows * share))), rows)


def ranked(
    found: Candidates, limit: int | None = None
) -> tuple[NDArray[np.uint32], NDArray[np.float32]]:
    order = np.lexsort((found.rows, -found.scores))[:limit]
    return found.rows[order], found.scores[order]


def searched(
    segment: Segment, query: Query, mask: Mask | None = None, bar: np.float32 = NO_BAR
) -> Candidates:
    return segment.search(query, Leaders(query.limit, bar), mask)


def every_hit(
    segment: Segment, query: Query, mask: Mask | None, bar: np.float32
) -> tuple[NDArray[np.uint32], NDArray[np.float32]]:
    rows = np.arange(segment.rows, dtype=np.uint32) if mask is None else mask.rows()
    return ranked(segment.above(query, bar, rows))


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(ROWS), asked(), st.data())
def test_the_best_are_found(rows: int, query: Query, data: st.DataObject) -> None:
    segment = segment_of(rows)
    mask = data.draw(masks(rows))
    bar = data.draw(st.sampled_from([NO_BAR, np.float32(0), np.float32(0.7), np.float32(4)]))
    expected = [each[: query.limit] for each in every_hit(segment, query, mask, bar)]
    for way in (kernels.STEPWISE, kernels.WHOLE, kernels.RARE, SCAN, None):
        if way == kernels.RARE and mask is None:
            continue
        leaders = Leaders(query.limit, bar)
        every = (
            segment.search(query, leaders, mask)
            if way is None
            else segment.search_by(way, query, leaders, mask)
        )
        found = ranked(every, query.limit)
        assert found[0].tolist() == expected[0].tolist()
        assert found[1].tobytes() == expected[1].tobytes()
        assert not any(array.any() for array in scratch_for(VOCABULARY))


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(ROWS), asked(), st.floats(0.01, 0.99), st.data())
def test_less_effort_says_what_it_may_have_missed(
    rows: int, query: Query, effort: float, data: st.DataObject
) -> None:
    segment = segment_of(rows)
    mask = data.draw(masks(rows))
    bar = data.draw(st.sampled_from([NO_BAR, np.float32(0.7)]))
    found = searched(segment, replace(query, effort=effort), mask, bar)
    every = dict(zip(*map(np.ndarray.tolist, every_hit(segment, query, mask, bar)), strict=True))
    scores = dict(zip(*map(np.ndarray.tolist, ranked(found, query.limit)), strict=True))
    assert scores.items() <= every.items()
    worst = min(scores.values(), default=-1.0) if len(scores) == query.limit else -1.0
    overlooked = [score for row, score in every.items() if row not in scores and score > worst]
    assert max(overlooked, default=-1.0) <= found.missed
    assert not any(array.any() for array in scratch_for(VOCABULARY))


def test_more_terms_than_the_sums_have_room_for_are_scored_one_by_one() -> None:
    segment = segment_of(3_000)
    terms = np.arange(2 * kernels.MOST_TERMS, dtype=np.uint32)
    query = Query(terms, np.ones(len(terms), np.float32), len(terms), 10, np.uint64(2))
    expected = [each[:10] for each in every_hit(segment, query, None, NO_BAR)]
    found = ranked(searched(segment, query), 10)
    assert [each.tolist() for each in found] == [each.tolist() for each in expected]


@pytest.mark.parametrize("share", [0.3, 0.05, 0.01])
def test_a_filter_spares_reading(share: float) -> None:
    segment = segment_of(150_000)
    rows = segment.rows
    terms = np.arange(0, VOCABULARY, 20, dtype=np.uint32)
    query = Query(terms, np.ones(len(terms), np.float32), VOCABULARY, 10, np.uint64(4))
    everything = searched(segment, query).scored
    first = np.arange(int(rows * share))
    assert searched(segment, query, Mask.of(first, rows)).scored < everything * (share + 0.4)


@settings(max_examples=60, deadline=None)
@given(asked(), st.permutations([1, 3_000, 65_536]), st.data())
def test_what_other_parts_have_found_hides_nothing(
    query: Query, order: list[int], data: st.DataObject
) -> None:
    leaders = Leaders(query.limit)
    found: dict[tuple[int, int], float] = {}
    every: dict[tuple[int, int], float] = {}
    for rows in order:
        segment = segment_of(rows)
        mask = data.draw(masks(rows))
        own = segment.search(query, leaders, mask)
        assert own.missed < 0
        found |= zip_scores(rows, own.rows, own.scores)
        every |= zip_scores(rows, *every_hit(segment, query, mask, NO_BAR))
        taken = sorted(leaders.scores[: leaders.filled].tolist(), reverse=True)
        assert taken == sorted(every.values(), reverse=True)[: query.limit]
    assert found.items() <= every.items()
    if len(every) > query.limit:
        worst = sorted(every.values())[-query.limit]
        every = {place: score for place, score in every.items() if score > worst}
        ties = [place for place, score in found.items() if score == worst]
        assert len(ties) + len(every) >= query.limit
    assert every.items() <= found.items()


def zip_scores(
    part: int, rows: NDArray[np.uint32], scores: NDArray[np.float32]
) -> dict[tuple[int, int], float]:
    return {(part, row): score for row, score in zip(rows.tolist(), scores.tolist(), strict=True)}
