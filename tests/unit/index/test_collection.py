"""A collection against a dictionary: the same documents, the same bits, the same order."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsegate_server.errors import (
    DocumentNotFound,
    InvalidRequest,
    InvalidVector,
    SparsegateError,
    UnknownTerm,
)
from sparsegate_server.index import Collection, Entry, Record
from sparsegate_server.index.merge import FACTOR
from sparsegate_server.index.segment import Segment
from sparsegate_server.types import DocumentId, SparseVector

from . import oracle
from .oracle import Vector, sparse
from .strategies import VOCABULARY, ids, limits, queries, vectors

Model = dict[DocumentId, Vector]


@pytest.fixture(scope="module")
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as executor:
        yield executor


def entry(document_id: DocumentId, vector: Vector) -> Entry:
    return Entry(
        document_id, sparse(vector), Record(f"text of {document_id!r}", {"v": len(vector)})
    )


def entries(documents: Model) -> list[Entry]:
    return [entry(*item) for item in documents.items()]


def hits(collection: Collection, query: Vector, limit: int) -> list[tuple[DocumentId, float]]:
    return [tuple(match) for match in collection.search(sparse(query), limit).matches]


def assert_holds(collection: Collection, model: Model) -> None:
    """Every way of reading gives the documents of the model."""
    size = collection.size()
    assert collection.count() == size.documents == len(model)
    assert size.postings >= sum(map(len, model.values()))
    everything = collection.scroll(None, 1000)
    assert [each.id for each in everything.entries] == sorted(model, key=oracle.order)
    assert not everything.more
    for found in [*everything.entries, *collection.get(list(model)).entries]:
        assert found is not None
        expected = entry(found.id, model[found.id])
        assert found.record == expected.record
        assert found.vector.indices.tolist() == expected.vector.indices.tolist()
        assert found.vector.values.tolist() == expected.vector.values.tolist()


upserts = st.tuples(st.just("upsert"), st.lists(st.tuples(ids, vectors), max_size=8))
deletes = st.tuples(st.just("delete"), st.lists(ids, max_size=6))


@settings(max_examples=120)
@given(
    st.lists(st.one_of(upserts, upserts, deletes), max_size=14),
    st.lists(st.tuples(queries, limits), min_size=1, max_size=3),
    st.sampled_from([1, 2, 3, 7]),
)
def test_any_history_any_layout_same_bits(pool, history, asked, tail) -> None:  # type: ignore[no-untyped-def]
    for shards, threads in ((1, 1), (2, 2), (4, 1), (8, 3)):
        collection = Collection(
            VOCABULARY, shards=shards, tail_documents=tail, threads=threads, pool=pool
        )
        model: Model = {}
        past = []
        for operation, items in history:
            before = collection.size().sequence
            if operation == "upsert":
                written = collection.upsert([entry(*item) for item in items])
                assert written.affected == len({key for key, _ in items} & model.keys())
                model |= dict(items)
                assert written.sequence == before + bool(items)
            else:
                written = collection.delete(items)
                gone = set(items) & model.keys()
                assert written.affected == len(gone)
                model = {key: vector for key, vector in model.items() if key not in gone}
                assert written.sequence == before + bool(gone)
            for query, limit in asked:
                assert hits(collection, query, limit) == oracle.search(model, query, limit)
            past.append((collection._snapshot, dict(model)))
        for query, _ in asked:
            for key, vector in model.items():
                assert collection.score(sparse(query), key) == oracle.score(query, vector)
        # A reader that still holds an old snapshot sees the documents of then.
        for snapshot, then in past:
            collection._snapshot = snapshot
            assert_holds(collection, then)
            for query, limit in asked:
                assert hits(collection, query, limit) == oracle.search(then, query, limit)


@given(st.sets(ids, max_size=20), st.integers(1, 7), st.sampled_from([1, 4]))
def test_scrolling_page_by_page_meets_every_document_once(
    present: set[DocumentId], limit: int, shards: int
) -> None:
    collection = Collection(VOCABULARY, shards=shards, tail_documents=3)
    for key in present:
        collection.upsert([entry(key, {1: 1.0})])
    seen: list[DocumentId] = []
    more = True
    while more:
        page = collection.scroll(seen[-1] if seen else None, limit)
        assert len(page.entries) <= limit
        seen += [each.id for each in page.entries]
        more = page.more
    assert seen == sorted(present, key=oracle.order)


def test_the_last_of_several_with_one_id_wins() -> None:
    collection = Collection(VOCABULARY, tail_documents=2)
    for _ in range(3):
        collection.upsert([entry(1, {1: 1.0}), entry("1", {2: 1.0}), entry(1, {3: 1.0})])
        assert collection.count() == 2
        assert hits(collection, {1: 1.0}, 5) == []
        assert hits(collection, {3: 1.0}, 5) == [(1, 1.0)]


def test_a_deleted_document_may_come_back() -> None:
    collection = Collection(VOCABULARY, tail_documents=2)
    for round_ in range(20):
        weight = float(round_ + 1)
        collection.upsert([entry(key, {1: weight}) for key in range(5)])
        assert hits(collection, {1: 1.0}, 2) == [(0, weight), (1, weight)]
        assert collection.delete([0, 99, 1, 0]).affected == 2
        assert hits(collection, {1: 1.0}, 2) == [(2, weight), (3, weight)]
        assert collection.get([0, 2]).entries[0] is None


@pytest.mark.parametrize(("shards", "batch"), [(1, 100_000), (4, 100_000), (1, 30_000)])
def test_ties_go_to_the_smaller_id_among_100_000(shards: int, batch: int) -> None:
    collection = Collection(VOCABULARY, shards=shards)
    vector = sparse({1: 0.5, 3: 0.25})
    record = Record(None, {})
    shuffled = np.random.default_rng(3).permutation(100_000).tolist()
    for start in range(0, len(shuffled), batch):
        chunk = shuffled[start : start + batch]
        collection.upsert([Entry(key, vector, record) for key in chunk])
    for limit in (1, 10, 10_000):
        assert hits(collection, {1: 2.0, 3: 1.0, 4: 9.0}, limit) == [
            (key, 1.25) for key in range(limit)
        ]
    collection.delete(list(range(5, 1000)))
    assert hits(collection, {1: 2.0}, 7) == [(key, 1.0) for key in (0, 1, 2, 3, 4, 1000, 1001)]


def test_a_score_that_rounds_to_zero_is_still_a_hit() -> None:
    tiny = float(np.finfo(np.float32).smallest_subnormal)
    for tail in (1, 100):
        collection = Collection(VOCABULARY, tail_documents=tail)
        collection.upsert([entry("b", {1: tiny}), entry("a", {1: tiny}), entry("c", {2: 1.0})])
        assert hits(collection, {1: tiny}, 10) == [("a", 0.0), ("b", 0.0)]
        assert collection.score(sparse({1: tiny}), "a") == 0.0
        assert collection.score(sparse({1: tiny}), "c") is None


def test_a_document_without_terms_is_kept_and_never_found() -> None:
    collection = Collection(VOCABULARY, tail_documents=1)
    collection.upsert([entry(1, {})])
    collection.upsert([entry(2, {1: 1.0})])
    assert hits(collection, dict.fromkeys(range(VOCABULARY), 1.0), 5) == [(2, 1.0)]
    assert collection.get([1]).entries[0] is not None


def test_an_empty_collection_answers() -> None:
    collection = Collection(VOCABULARY, shards=4)
    assert hits(collection, {1: 1.0}, 10) == []
    assert collection.scroll(None, 10).entries == []
    assert collection.get([1]) == ([None], 0)
    assert collection.delete([1]).sequence == 0
    assert collection.upsert([]).sequence == 0
    assert collection.size() == (0, 0, 0, 0, 0)


def test_entries_come_with_the_hits_on_demand() -> None:
    collection = Collection(VOCABULARY, tail_documents=2)
    for key in range(5):
        collection.upsert([entry(key, {1: float(key + 1)})])
    ranking = collection.search(sparse({1: 1.0}), 3, with_entries=True)
    assert [match.id for match in ranking.matches] == [4, 3, 2]
    assert [each.id for each in ranking.entries] == [4, 3, 2]
    assert ranking.entries[0].record.text == "text of 4"
    assert ranking.sequence == 5
    assert ranking.postings_scored == 5
    assert collection.search(sparse({1: 1.0}), 3).entries == []


def test_segments_stay_few_and_the_dead_are_dropped() -> None:
    collection = Collection(VOCABULARY, tail_documents=4)
    for round_ in range(300):
        collection.upsert([entry(key % 100, {1: 1.0}) for key in range(round_, round_ + 3)])
    size = collection.size()
    assert size.documents == 100
    assert size.tombstones <= 100
    assert size.segments <= 4 * (FACTOR - 1)


def vector(terms: list[int], weights: list[float]) -> SparseVector:
    return SparseVector(np.array(terms, np.uint32), np.array(weights, np.float32))


RECORD = Record(None, {})
GOOD = Entry(7, vector([1], [5]), RECORD)


@pytest.mark.parametrize(
    ("bad", "error", "field"),
    [
        (Entry(-1, GOOD.vector, RECORD), InvalidRequest, "documents[1].id"),
        (Entry("\ud800", GOOD.vector, RECORD), InvalidRequest, "documents[1].id"),
        (Entry(1, vector([3, 1], [1, 1]), RECORD), InvalidVector, "documents[1].vector.indices[1]"),
        (Entry(1, vector([99], [1]), RECORD), UnknownTerm, "documents[1].vector.indices[0]"),
    ],
)
def test_a_refused_write_changes_nothing(
    bad: Entry, error: type[SparsegateError], field: str
) -> None:
    collection = Collection(VOCABULARY, shards=2, tail_documents=2)
    collection.upsert([entry(7, {1: 1.0})])
    with pytest.raises(error) as caught:
        collection.upsert([GOOD, bad, GOOD])
    assert caught.value.field == field
    with pytest.raises(InvalidRequest) as caught:
        collection.delete([7, True])
    assert caught.value.field == "ids[1]"
    assert collection.size().sequence == 1
    assert_holds(collection, {7: {1: 1.0}})


def test_a_write_that_fails_half_way_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    collection = Collection(VOCABULARY, shards=2, tail_documents=4)
    model: Model = {key: {1: float(key + 1)} for key in range(6)}
    for item in entries(model):
        collection.upsert([item])

    def out_of_memory(*_: object) -> Segment:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(Segment, "build", out_of_memory)
        for _ in range(2):
            with pytest.raises(MemoryError):
                collection.upsert([entry(key, {2: 9.0}) for key in range(40)])
            assert collection.size().sequence == 6
            assert_holds(collection, model)
    later: Model = {key: {2: 9.0} for key in range(40)}
    assert collection.upsert(entries(later)).affected == 6
    assert_holds(collection, later)


@pytest.mark.parametrize(
    ("query", "error"),
    [
        (vector([VOCABULARY], [1]), UnknownTerm),
        (vector([2, 1], [1, 1]), InvalidVector),
        (vector([1, 1], [1, 1]), InvalidVector),
        (vector([1], [0]), InvalidVector),
        (vector([1], [float("nan")]), InvalidVector),
        (vector([1, 2], [1]), InvalidVector),
    ],
)
def test_a_query_that_cannot_score_is_refused(
    query: SparseVector, error: type[SparsegateError]
) -> None:
    collection = Collection(VOCABULARY)
    with pytest.raises(error):
        collection.search(query, 1)


def test_limits_and_unknown_documents_are_refused_by_name() -> None:
    collection = Collection(VOCABULARY)
    for call in (lambda: collection.search(GOOD.vector, 0), lambda: collection.scroll(None, 0)):
        with pytest.raises(InvalidRequest) as caught:
            call()
        assert caught.value.field == "limit"
    with pytest.raises(InvalidRequest) as refused:
        collection.scroll("", 1)
    assert refused.value.field == "after"
    with pytest.raises(DocumentNotFound):
        collection.score(GOOD.vector, 1)
