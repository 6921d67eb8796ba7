"""Each kernel against a plain loop."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sparsegate_server.errors import InvalidVector, UnknownTerm
from sparsegate_server.index import kernels
from sparsegate_server.index.forward import Forward
from sparsegate_server.index.keys import Keys
from sparsegate_server.index.part import ALIVE, NO_BAR, Query, Scratch
from sparsegate_server.index.segment import Segment, merged
from sparsegate_server.index.tail import Tail
from sparsegate_server.index.values import Record
from sparsegate_server.types import MAX_WEIGHT, SparseVector

from . import oracle
from .oracle import Vector, sparse
from .strategies import VOCABULARY, limits, queries, vectors

kernels.warm_up()
SCRATCH = Scratch()
RECORD = Record(None, {})


def segment_of(
    documents: list[Vector], first_key: int = 0, step: int = 1, born: int = 1
) -> Segment:
    keys = Keys.of([(first_key + step * row).to_bytes(8, "big") for row in range(len(documents))])
    return Segment.build(
        keys,
        [RECORD] * len(documents),
        Forward.of(list(map(sparse, documents))),
        np.full(len(documents), born, np.uint64),
        VOCABULARY,
    )


def asked(query: Vector, limit: int, sequence: int = 1) -> Query:
    vector = sparse(query)
    return Query(vector.indices, vector.values, VOCABULARY, limit, np.uint64(sequence))


def found(
    segment: Segment, query: Vector, limit: int, bar: np.float32 = NO_BAR, sequence: int = 1
) -> list[tuple[int, float]]:
    candidates = segment.search(asked(query, limit, sequence), bar, SCRATCH)
    assert not SCRATCH.accumulator.any()
    pairs = zip(candidates.rows.tolist(), candidates.scores.tolist(), strict=True)
    return sorted(pairs, key=lambda hit: (-hit[1], hit[0]))


def scanned(documents: list[Vector], query: Vector) -> dict[int, float]:
    tail = Tail()
    forward = Forward.of(list(map(sparse, documents)))
    tail.reserve(len(documents), len(forward.terms))
    keys = [bytes([row]) for row in range(len(documents))]
    tail.append(keys, [RECORD] * len(documents), forward, 1)
    candidates = tail.view().search(asked(query, 1), NO_BAR, SCRATCH)
    assert not SCRATCH.table(VOCABULARY).any()
    return dict(zip(candidates.rows.tolist(), candidates.scores.tolist(), strict=True))


def dotted(document: Vector, query: Vector) -> float | None:
    left, right = sparse(query), sparse(document)
    total = kernels.dot(left.indices, left.values, right.indices, right.values)
    return float(np.float32(total)) if total > 0 else None


@given(st.lists(vectors, max_size=30), queries, limits)
def test_a_segment_finds_what_the_loop_finds(
    documents: list[Vector], query: Vector, limit: int
) -> None:
    expected = oracle.search(dict(enumerate(documents)), query, limit)
    assert found(segment_of(documents), query, limit) == expected


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
        assert dotted(document, ones) == expected


@given(st.lists(vectors, min_size=1, max_size=30), queries, limits, st.data())
def test_a_bar_hides_exactly_what_does_not_clear_it(
    documents: list[Vector], query: Vector, limit: int, data: st.DataObject
) -> None:
    everything = oracle.search(dict(enumerate(documents)), query, len(documents))
    bar = data.draw(st.sampled_from([-1.0, 0.0, *(score for _, score in everything)]))
    above = [hit for hit in everything if hit[1] > bar]
    assert found(segment_of(documents), query, limit, np.float32(bar)) == above[:limit]


@given(st.lists(vectors, max_size=30), queries, st.sets(st.integers(0, 29)))
def test_the_dead_are_not_found(documents: list[Vector], query: Vector, dead: set[int]) -> None:
    segment = segment_of(documents)
    segment.bury(np.array([row for row in dead if row < len(documents)], np.int64), 1)
    living = {row: vector for row, vector in enumerate(documents) if row not in dead}
    assert found(segment, query, 10) == oracle.search(living, query, 10)


@given(st.lists(vectors, max_size=20), queries)
def test_a_forward_scan_and_a_dot_product_give_the_same_bits(
    documents: list[Vector], query: Vector
) -> None:
    expected = {row: oracle.score(query, vector) for row, vector in enumerate(documents)}
    hits = {row: score for row, score in expected.items() if score is not None}
    assert scanned(documents, query) == hits
    for row, score in expected.items():
        assert dotted(documents[row], query) == score


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
    every = oracle.search(dict(enumerate(stored)), query, documents)
    for limit in (1, 10, 10_000, documents):
        assert found(segment, query, limit) == every[:limit]


@given(st.lists(vectors, max_size=30))
def test_postings_hold_every_weight_once_in_order(documents: list[Vector]) -> None:
    postings = segment_of(documents).postings
    seen: dict[int, list[tuple[int, float]]] = {}
    for place, term in enumerate(postings.terms.tolist()):
        span = slice(postings.ranges[place], postings.ranges[place + 1])
        local_ids, impacts = postings.local_ids[span], postings.impacts[span]
        seen[term] = list(zip(local_ids.tolist(), impacts.tolist(), strict=True))
    expected: dict[int, list[tuple[int, float]]] = {}
    for row, vector in enumerate(documents):
        for term in sorted(vector):
            expected.setdefault(term, []).append((row, vector[term]))
    assert seen == expected
    assert list(seen) == sorted(seen)
    assert postings.local_ids.dtype == np.uint16


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
        segment_of(part, number, len(parts), born=number + 1) for number, part in enumerate(parts)
    ]
    living: dict[int, Vector] = {}
    for number, (segment, part) in enumerate(zip(segments, parts, strict=True)):
        rows = [row for row in range(len(part)) if (number, row) in dead]
        segment.bury(np.array(rows, np.int64), 2)
        living |= {
            number + len(parts) * row: vector for row, vector in enumerate(part) if row not in rows
        }
    result = merged(segments, VOCABULARY)
    assert [int.from_bytes(result.key(row), "big") for row in range(result.rows)] == sorted(living)
    assert (result.dead == ALIVE).all()
    assert result.born.tolist() == [key % len(parts) + 1 for key in sorted(living)]
    expected = oracle.search(living, query, 100)
    hits = found(result, query, 100, sequence=len(parts))
    assert [(int.from_bytes(result.key(row), "big"), score) for row, score in hits] == expected


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


def read_only(array: NDArray[np.float32]) -> NDArray[np.float32]:
    array.flags.writeable = False
    return array


def test_kernels_take_read_only_arrays() -> None:
    one = vector([1], [2])
    assert kernels.dot(one.indices, read_only(one.values), one.indices, one.values) == 4.0
