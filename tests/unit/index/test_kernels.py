"""Each kernel against a plain loop."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sparsegate_server.errors import InvalidVector, UnknownTerm
from sparsegate_server.index import kernels
from sparsegate_server.index.filter.mask import Mask
from sparsegate_server.index.forward import Forward, term_type
from sparsegate_server.index.kernels.top_k import offer
from sparsegate_server.index.keys import Keys
from sparsegate_server.index.leaders import NO_BAR, Leaders
from sparsegate_server.index.part import ALIVE, Query
from sparsegate_server.index.rows import Rows
from sparsegate_server.index.scratch import scratch_for
from sparsegate_server.index.segment import Details, Segment, merged
from sparsegate_server.index.tail import Tail
from sparsegate_server.index.values import Record
from sparsegate_server.types import MAX_WEIGHT, SparseVector

from . import oracle
from .oracle import Vector, sparse
from .strategies import VOCABULARY, limits, queries, vectors

kernels.warm_up()
WIDE = 70_000
"""A vocabulary whose term ids take 32 bits."""

vocabularies = st.sampled_from([VOCABULARY, WIDE])


def forward_of(documents: Sequence[Vector], vocabulary: int = VOCABULARY) -> Forward:
    return Forward.of(list(map(sparse, documents))).stored(vocabulary)


def details(rows: int, born: int = 1) -> Details:
    nothing = np.zeros(rows, np.uint32)
    return Details(np.arange(1, rows + 1), np.full(rows, born, np.uint64), nothing, nothing)


def segment_of(
    documents: Sequence[Vector],
    *,
    vocabulary: int = VOCABULARY,
    first_key: int = 0,
    step: int = 1,
    born: int = 1,
) -> Segment:
    keys = Keys.of([(first_key + step * row).to_bytes(8, "big") for row in range(len(documents))])
    forward = forward_of(documents, vocabulary)
    return Segment.build(keys, details(len(documents), born), forward, vocabulary)


def asked(query: Vector, limit: int, sequence: int = 1, vocabulary: int = VOCABULARY) -> Query:
    vector = sparse(query)
    return Query(vector.indices, vector.values, vocabulary, limit, np.uint64(sequence))


def found(
    segment: Segment,
    query: Vector,
    limit: int,
    bar: np.float32 = NO_BAR,
    sequence: int = 1,
    allowed: Mask | None = None,
    vocabulary: int = VOCABULARY,
) -> list[tuple[int, float]]:
    wanted = asked(query, limit, sequence, vocabulary)
    candidates = segment.search(wanted, Leaders(limit, bar), allowed)
    assert not any(array.any() for array in scratch_for(vocabulary))
    pairs = zip(candidates.rows.tolist(), candidates.scores.tolist(), strict=True)
    return sorted(pairs, key=lambda hit: (-hit[1], hit[0]))


def best(documents: dict[int, Vector], query: Vector, limit: int) -> list[tuple[int, float]]:
    scored = [(row, oracle.score(query, vector)) for row, vector in documents.items()]
    hits = [(row, score) for row, score in scored if score is not None]
    return sorted(hits, key=lambda hit: (-hit[1], hit[0]))[:limit]


def scanned(
    documents: Sequence[Vector], query: Vector, bar: np.float32 = NO_BAR
) -> dict[int, float]:
    tail = Tail(term_type(VOCABULARY))
    count = len(documents)
    keys = [bytes([row]) for row in range(count)]
    records = [Record(None, {})] * count
    tail.append(Rows(keys, records, [(0, 0)] * count, forward_of(documents), range(count)), 1)
    candidates = tail.view().search(asked(query, 1), Leaders(1, bar), None)
    return dict(zip(candidates.rows.tolist(), candidates.scores.tolist(), strict=True))


@given(st.lists(vectors, max_size=30), queries, limits, vocabularies)
def test_a_segment_finds_what_the_loop_finds(
    documents: list[Vector], query: Vector, limit: int, vocabulary: int
) -> None:
    segment = segment_of(documents, vocabulary=vocabulary)
    assert segment.forward.terms.itemsize == (2 if vocabulary == VOCABULARY else 4)
    expected = best(dict(enumerate(documents)), query, limit)
    assert found(segment, query, limit, vocabulary=vocabulary) == expected


# Added in ascending order the small products vanish one by one, and the sum lies half way between
# two float32; added the other way round they tip it to the upper one.
ORDER_MATTERS = {0: 1.0, 1: 2.0**-24, 2: 2.0**-53, 3: 2.0**-53}


def test_products_are_added_in_ascending_term_id() -> None:
    ones = dict.fromkeys(ORDER_MATTERS, 1.0)
    backwards = {3 - term: weight for term, weight in ORDER_MATTERS.items()}
    for document, expected in ((ORDER_MATTERS, 1.0), (backwards, 1.0 + 2.0**-23)):
        assert oracle.score(ones, document) == expected
        assert found(segment_of([document]), ones, 1) == [(0, expected)]
        assert scanned([document], ones) == {0: expected}


@given(st.lists(vectors, min_size=1, max_size=30), queries, limits, st.data())
def test_a_bar_hides_exactly_what_does_not_clear_it(
    documents: list[Vector], query: Vector, limit: int, data: st.DataObject
) -> None:
    everything = best(dict(enumerate(documents)), query, len(documents))
    bar = data.draw(st.sampled_from([-1.0, 0.0, *(score for _, score in everything)]))
    above = [hit for hit in everything if hit[1] > bar]
    assert found(segment_of(documents), query, limit, np.float32(bar)) == above[:limit]
    # In a tail, documents are passed over that have none of the terms that could clear it.
    assert scanned(documents, query, np.float32(bar)) == dict(above)


@given(st.lists(vectors, max_size=30), queries, limits, st.sets(st.integers(0, 29)), st.data())
def test_neither_the_dead_nor_the_forbidden_are_found(
    documents: list[Vector], query: Vector, limit: int, dead: set[int], data: st.DataObject
) -> None:
    segment = segment_of(documents)
    rows = range(len(documents))
    segment.bury(np.array(sorted(dead.intersection(rows)), np.int64), 1)
    allowed = data.draw(st.none() | st.sets(st.sampled_from(rows) if rows else st.nothing()))
    passing = {
        row: vector
        for row, vector in enumerate(documents)
        if row not in dead and (allowed is None or row in allowed)
    }
    mask = None if allowed is None else Mask.of(allowed, len(documents))
    assert found(segment, query, limit, allowed=mask) == best(passing, query, limit)


@given(st.lists(vectors, max_size=20), queries)
def test_a_forward_scan_gives_the_same_bits(documents: list[Vector], query: Vector) -> None:
    scores = {row: oracle.score(query, vector) for row, vector in enumerate(documents)}
    hits = {row: score for row, score in scores.items() if score is not None}
    assert scanned(documents, query) == hits
    segment = segment_of(documents)
    rows = np.arange(len(documents), dtype=np.uint32)
    above = segment.above(asked(query, 1), NO_BAR, rows)
    assert dict(zip(above.rows.tolist(), above.scores.tolist(), strict=True)) == hits
    assert above.scored == sum(map(len, documents))


@given(
    st.lists(vectors, max_size=30),
    st.sets(st.integers(0, VOCABULARY - 1), min_size=1),
    st.sets(st.integers(0, 29)),
)
def test_frequencies_count_the_visible(
    documents: list[Vector], terms: set[int], dead: set[int]
) -> None:
    segment = segment_of(documents)
    segment.bury(np.array([row for row in dead if row < len(documents)], np.int64), 2)
    wanted = np.array(sorted(terms), np.uint32)
    for sequence, gone in ((0, set(range(30))), (1, set[int]()), (2, dead)):
        expected = [
            sum(term in vector for row, vector in enumerate(documents) if row not in gone)
            for term in sorted(terms)
        ]
        assert segment.frequencies(wanted, sequence).tolist() == expected


def random_documents(count: int) -> list[Vector]:
    """Two terms each, out of few weights, so that scores tie a lot."""
    random = np.random.default_rng(7)
    terms = random.integers(0, VOCABULARY, (count, 2))
    weights = random.integers(1, 5, (count, 2)).astype(np.float32)
    return [
        dict(zip(pair, values, strict=True))
        for pair, values in zip(terms.tolist(), weights.tolist(), strict=True)
    ]


@pytest.mark.parametrize("documents", [65_535, 65_536, 65_537, 140_000])
def test_windows_join_without_a_seam(documents: int) -> None:
    stored = random_documents(documents)
    query = {1: 0.375, 5: 1.0, 11: 2.5}
    segment = segment_of(stored)
    assert len(segment.postings.window_terms) - 1 == -(-documents // kernels.WINDOW)
    every = best(dict(enumerate(stored)), query, documents)
    for limit in (1, 10, 10_000, documents):
        assert found(segment, query, limit) == every[:limit]
    allowed = Mask.of(range(0, documents, 3), documents)
    passing = [hit for hit in every if hit[0] % 3 == 0]
    assert found(segment, query, 10, allowed=allowed) == passing[:10]
    dead = np.arange(1, documents, 2)
    segment.bury(dead, 1)
    alive = [hit for hit in every if hit[0] % 2 == 0]
    assert found(segment, query, 1000) == alive[:1000]
    terms = np.array([1, 5], np.uint32)
    expected = [sum(term in vector for vector in stored[::2]) for term in (1, 5)]
    assert segment.frequencies(terms, 1).tolist() == expected


def test_blocks_that_cannot_win_hide_nothing() -> None:
    """Weights over forty orders of magnitude, clustered, so that most blocks are passed over."""
    random = np.random.default_rng(3)
    count = 80_000
    heights = np.repeat(random.uniform(-30, 6, -(-count // 500)), 500)[:count]
    weights = np.float32(10.0**heights * random.uniform(0.1, 1.0, count)).tolist()
    terms = random.integers(0, 3, count).tolist()
    stored: list[Vector] = [
        {term: min(weight, 1e6), 7: 1e-30} for term, weight in zip(terms, weights, strict=True)
    ]
    stored = [{term: float(np.float32(each)) for term, each in row.items()} for row in stored]
    segment = segment_of(stored)
    assert (segment.postings.blocks >= 0).any()
    for query in ({0: 1.0}, {0: 1e-20, 1: 1e6, 7: 1e6}, {0: 1.0, 1: 1.0, 2: 1.0, 7: 1e-45}):
        rounded = {term: float(np.float32(weight)) for term, weight in query.items()}
        assert found(segment, rounded, 25) == best(dict(enumerate(stored)), rounded, 25)


@settings(deadline=None)  # a helper that is called by itself is compiled by the first call
@given(st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0]), max_size=40), limits, st.data())
def test_the_heap_keeps_the_best_and_of_equals_the_first(
    offered: list[float], room: int, data: st.DataObject
) -> None:
    scores, rows = np.empty(room, np.float32), np.empty(room, np.uint32)
    filled = 0
    for row in data.draw(st.permutations(range(len(offered)))):
        filled = offer(scores, rows, filled, np.float32(offered[row]), row)
    kept = zip(rows[:filled].tolist(), scores[:filled].tolist(), strict=True)
    expected = sorted(enumerate(offered), key=_by_score)[:room]
    assert sorted(kept, key=_by_score) == expected


def _by_score(hit: tuple[int, float]) -> tuple[float, int]:
    return (-hit[1], hit[0])


keys_strategy = st.sets(st.binary(min_size=1, max_size=4)).map(sorted)


@given(keys_strategy, st.lists(st.binary(max_size=4)))
def test_keys_are_found_where_they_are(stored: list[bytes], wanted: list[bytes]) -> None:
    keys = Keys.of(stored)
    expected = [stored.index(key) if key in stored else -1 for key in wanted]
    assert keys.find(Keys.of(wanted)).tolist() == expected
    for key in wanted:
        assert keys.first_after(key) == sum(each <= key for each in stored)
    assert [keys[row] for row in range(len(keys))] == stored


@given(st.lists(keys_strategy, min_size=1, max_size=5))
def test_runs_of_keys_merge_in_order(runs: list[list[bytes]]) -> None:
    keys = Keys.concatenated([Keys.of(run) for run in runs])
    order = kernels.merge_order(keys.blob, keys.offsets, np.cumsum([0, *map(len, runs)]))
    taken = keys.take(order)
    assert [taken[row] for row in range(len(taken))] == sorted(key for run in runs for key in run)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=20), st.data())
def test_visible_rows_are_those_alive_then(
    lives: list[tuple[int, int]], data: st.DataObject
) -> None:
    born, dead = (np.array([life[at] for life in lives], np.uint64) for at in (0, 1))
    first, last = sorted(data.draw(st.tuples(*[st.integers(0, len(lives))] * 2)))
    sequence, limit = data.draw(st.integers(0, 5)), data.draw(st.integers(0, 21))
    rows = kernels.visible_rows(born, dead, np.uint64(sequence), first, last, limit)
    alive = [row for row in range(first, last) if lives[row][0] <= sequence < lives[row][1]]
    assert rows.tolist() == alive[:limit]


@settings(max_examples=50)
@given(
    st.lists(st.lists(vectors, min_size=1, max_size=8), min_size=1, max_size=4),
    st.sets(st.tuples(st.integers(0, 3), st.integers(0, 7))),
    queries,
)
def test_a_merge_keeps_the_living_and_their_scores(
    parts: list[list[Vector]], dead: set[tuple[int, int]], query: Vector
) -> None:
    segments = [
        segment_of(part, first_key=number, step=len(parts), born=number + 1)
        for number, part in enumerate(parts)
    ]
    living: dict[int, Vector] = {}
    for number, (segment, part) in enumerate(zip(segments, parts, strict=True)):
        rows = [row for row in range(len(part)) if (number, row) in dead]
        segment.bury(np.array(rows, np.int64), 2)
        living |= {
            number + len(parts) * row: vector for row, vector in enumerate(part) if row not in rows
        }
    outcome = merged(segments, VOCABULARY, 9)
    dropped = outcome.dropped(segments).tolist()
    assert len(dropped) == sum(map(len, parts)) - len(living)
    if not living:
        assert outcome.segment is None
        return
    assert outcome.segment
    result = outcome.segment
    assert [int.from_bytes(result.key(row), "big") for row in range(result.rows)] == sorted(living)
    assert (result.deaths.dead == ALIVE).all()
    assert result.details.born.tolist() == [key % len(parts) + 1 for key in sorted(living)]
    expected = best(living, query, 100)
    hits = found(result, query, 100, sequence=len(parts))
    assert [(int.from_bytes(result.key(row), "big"), score) for row, score in hits] == expected


def test_what_dies_during_a_merge_is_dead_after_it() -> None:
    segments = [segment_of([{1: 1.0}] * 3, first_key=number, step=2) for number in (0, 1)]
    outcome = merged(segments, VOCABULARY, 9)
    assert outcome.segment
    segments[1].bury(np.array([2]), 7)
    outcome.carry_over(segments)
    assert outcome.segment.deaths.dead.tolist() == [ALIVE] * 5 + [7]
    assert outcome.segment.deaths.count == 1


def vector(terms: list[int], weights: list[float]) -> SparseVector:
    return SparseVector(np.array(terms, np.uint32), np.array(weights, np.float32))


@pytest.mark.parametrize(
    ("bad", "error", "field"),
    [
        (vector([1, VOCABULARY], [1, 1]), UnknownTerm, "indices[1]"),
        (vector([1, 2**32 - 1], [1, 1]), UnknownTerm, "indices[1]"),
        (vector([2, 1], [1, 1]), InvalidVector, "indices[1]"),
        (vector([2, 2], [1, 1]), InvalidVector, "indices[1]"),
        (vector([1, 2, 3], [1, 1, 0]), InvalidVector, "values[2]"),
        (vector([1], [-1]), InvalidVector, "values[0]"),
        (vector([1], [float("nan")]), InvalidVector, "values[0]"),
        (vector([1], [float("inf")]), InvalidVector, "values[0]"),
        (vector([1], [MAX_WEIGHT * 1.01]), InvalidVector, "values[0]"),
        (vector([1, 2], [1]), InvalidVector, "values"),
    ],
)
def test_a_vector_that_must_not_be_stored_is_named(
    bad: SparseVector, error: type[InvalidVector], field: str
) -> None:
    good = vector([0, 3], [1, MAX_WEIGHT])
    with pytest.raises(error) as caught:
        Forward.of([good, bad, good]).check(VOCABULARY)
    assert caught.value.field == f"documents[1].vector.{field}"


def read_only(array: NDArray[np.uint8]) -> NDArray[np.uint8]:
    array.flags.writeable = False
    return array


def test_kernels_take_read_only_arrays() -> None:
    keys = Keys.of([b"a", b"b"])
    blob, offsets = read_only(keys.blob.copy()), keys.offsets
    assert kernels.find_keys(blob, offsets, blob, offsets).tolist() == [0, 1]
