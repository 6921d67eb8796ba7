"""A collection against a dictionary: the same documents, the same bits, the same order."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsegate_server.errors import (
    DocumentNotFound,
    InvalidDocument,
    InvalidRequest,
    InvalidVector,
    ShuttingDown,
    SparsegateError,
    UnknownTerm,
)
from sparsegate_server.index import Collection
from sparsegate_server.index.merge import FACTOR
from sparsegate_server.index.upkeep import Upkeep
from sparsegate_server.operations import WHOLE, Document, SearchOptions, Selection
from sparsegate_server.types import DocumentId, SparseVector

from . import oracle
from .opening import assert_holds, document, documents, hits, opened, scratch, then
from .oracle import Model, Stored, Vector, sparse
from .strategies import VOCABULARY, ids, limits, queries, vectors


@pytest.fixture(scope="module")
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as executor:
        yield executor


@pytest.fixture
def collection(tmp_path: Path) -> Iterator[Collection]:
    with opened(tmp_path / "c", shards=2, tail_documents=3) as collection:
        yield collection


upserts = st.tuples(st.just("upsert"), st.lists(st.tuples(ids, vectors), max_size=8))
deletes = st.tuples(st.just("delete"), st.lists(ids, max_size=6))
work = st.tuples(st.sampled_from(["seal", "merge", "optimize"]), st.just([]))


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.one_of(upserts, upserts, deletes, work), max_size=14),
    st.lists(st.tuples(queries, limits), min_size=1, max_size=3),
    st.sampled_from([1, 2, 3, 7]),
)
def test_any_history_any_layout_same_bits(pool, history, asked, tail) -> None:  # type: ignore[no-untyped-def]
    for shards, threads in ((1, 1), (2, 2), (4, 1), (8, 3)):
        with (
            scratch() as root,
            opened(
                root / "c", shards=shards, tail_documents=tail, threads=threads, pool=pool
            ) as collection,
            ExitStack() as pins,
        ):
            model: dict[DocumentId, Vector] = {}
            past = []
            for operation, items in history:
                before = collection.size().sequence
                if operation == "upsert":
                    written = collection.upsert([document(*item) for item in items])
                    assert written.affected == len({key for key, _ in items} & model.keys())
                    model |= dict(items)
                    assert written.sequence == before + bool(items)
                elif operation == "delete":
                    written = collection.delete(items)
                    gone = set(items) & model.keys()
                    assert written.affected == len(gone)
                    model = {key: vector for key, vector in model.items() if key not in gone}
                    assert written.sequence == before + bool(gone)
                else:
                    getattr(collection, operation)()
                for query, limit in asked:
                    assert hits(collection, query, limit) == oracle.search(model, query, limit)
                view = pins.enter_context(collection._contents.published.pin())
                past.append((view, dict(model)))
            # A reader that still holds an old view sees the documents of then.
            for view, vectors_then in past:
                reader = then(collection, view)
                assert_holds(reader, {key: Stored(each) for key, each in vectors_then.items()})
                for query, limit in asked:
                    expected = oracle.search(vectors_then, query, limit)
                    assert hits(reader, query, limit) == expected


@settings(deadline=None, max_examples=40)
@given(st.sets(ids, max_size=20), st.integers(1, 7), st.sampled_from([1, 4]))
def test_scrolling_page_by_page_meets_every_document_once(
    present: set[DocumentId], limit: int, shards: int
) -> None:
    with scratch() as root, opened(root / "c", shards=shards) as collection:
        for place, key in enumerate(present):
            collection.upsert([document(key, {1: 1.0})])
            if place % 5 == 4:
                collection.seal()
        seen: list[DocumentId] = []
        after: DocumentId | None = None
        while True:
            page = collection.scroll(after, limit, select=Selection())
            assert len(page.documents) <= limit
            seen += [each.id for each in page.documents]
            after = page.next_after
            if after is None:
                break
            assert after == seen[-1]
        assert seen == sorted(present, key=oracle.order)


def test_the_last_of_several_with_one_id_wins(collection: Collection) -> None:
    for _ in range(3):
        collection.upsert([document(1, {1: 1.0}), document("1", {2: 1.0}), document(1, {3: 1.0})])
        assert collection.count().count == 2
        assert hits(collection, {1: 1.0}, 5) == []
        assert hits(collection, {3: 1.0}, 5) == [(1, 1.0)]
        collection.seal()


def test_a_deleted_document_may_come_back(collection: Collection) -> None:
    for round_ in range(20):
        weight = float(round_ + 1)
        collection.upsert([document(key, {1: weight}) for key in range(5)])
        assert hits(collection, {1: 1.0}, 2) == [(0, weight), (1, weight)]
        if round_ % 3 == 0:
            collection.seal()
        assert collection.delete([0, 99, 1, 0]).affected == 2
        assert hits(collection, {1: 1.0}, 2) == [(2, weight), (3, weight)]
        assert collection.get([0, 2]).documents[0] is None
        if round_ % 3 == 1:
            collection.merge()


@pytest.mark.parametrize(("shards", "batch"), [(1, 100_000), (4, 50_000), (1, 30_000)])
def test_ties_go_to_the_smaller_id_among_100_000(tmp_path: Path, shards: int, batch: int) -> None:
    """Sealed and not, in one segment and in several."""
    vector = sparse({1: 0.5, 3: 0.25})
    shuffled = np.random.default_rng(3).permutation(99_997).tolist()
    last: list[DocumentId] = [2**64 - 1, "5", "é"]
    every = [*shuffled, *last]
    with opened(tmp_path / "c", shards=shards) as collection:
        for start in range(0, len(every), batch):
            chunk = every[start : start + batch]
            collection.upsert([Document(key, vector) for key in chunk])
            if start + batch < len(every) or shards > 1:
                collection.seal()
        query = {1: 2.0, 3: 1.0, 4: 9.0}
        for limit in (1, 10, 10_000):
            assert hits(collection, query, limit) == [(key, 1.25) for key in range(limit)]
        assert hits(collection, query, 100_001) == [
            *((key, 1.25) for key in range(99_997)),
            *((key, 1.25) for key in last),
        ]
        assert hits(collection, query, SearchOptions(3, offset=99_996)) == [
            (99_996, 1.25),
            *((key, 1.25) for key in last[:2]),
        ]
        collection.delete(list(range(5, 1000)))
        remaining = [(key, 1.0) for key in (0, 1, 2, 3, 4, 1000, 1001)]
        assert hits(collection, {1: 2.0}, 7) == remaining
        collection.delete(list(range(1, 99_996)))
        assert hits(collection, {1: 2.0}, 10) == [
            (0, 1.0),
            (99_996, 1.0),
            *((k, 1.0) for k in last),
        ]


def test_a_score_that_rounds_to_zero_is_still_a_hit(collection: Collection) -> None:
    tiny = float(np.finfo(np.float32).smallest_subnormal)
    collection.upsert([document("b", {1: tiny}), document("a", {1: tiny}), document("c", {2: 1.0})])
    for _ in range(2):
        assert hits(collection, {1: tiny}, 10) == [("a", 0.0), ("b", 0.0)]
        assert collection.explain(sparse({1: tiny}), "a", SearchOptions(1)).score == 0.0
        assert collection.explain(sparse({1: tiny}), "c", SearchOptions(1)).score is None
        collection.seal()


def test_a_document_without_terms_is_kept_and_never_found(collection: Collection) -> None:
    collection.upsert([document(1, {})])
    collection.seal()
    collection.upsert([document(2, {1: 1.0}), document(3, {})])
    for _ in range(2):
        assert hits(collection, dict.fromkeys(range(VOCABULARY), 1.0), 5) == [(2, 1.0)]
        assert_holds(collection, {1: Stored({}), 2: Stored({1: 1.0}), 3: Stored({})})
        collection.optimize()


def test_an_empty_collection_answers(collection: Collection) -> None:
    for _ in range(2):
        assert hits(collection, {1: 1.0}, 10) == []
        assert hits(collection, {}, 10) == []
        assert collection.scroll(None, 10) == collection.scroll(7, 10)
        assert collection.scroll(None, 10).documents == ()
        assert collection.get([1]).documents == (None,)
        assert collection.get([]).documents == ()
        assert collection.delete([1]).sequence == 0
        assert collection.upsert([]).sequence == 0
        assert collection.size()[:6] == (0, 0, 0, 0, 0, 0)
        assert not collection.seal()
        assert not collection.merge()
        collection.optimize()


def test_documents_come_with_the_hits_on_demand(collection: Collection) -> None:
    model: Model = {
        key: Stored({1: float(key + 1)}, f"text {key}", {"n": key, "m": None}) for key in range(5)
    }
    for each in documents(model):
        collection.upsert([each])
        if each.id == 2:
            collection.seal()
    found = collection.search(sparse({1: 1.0}), SearchOptions(3, select=WHOLE))
    assert [each.id for each in found.documents] == [hit.id for hit in found.hits] == [4, 3, 2]
    assert [oracle.content(each) for each in found.documents] == [model[key] for key in (4, 3, 2)]
    assert found.sequence == 5
    # Three in postings, and those of the same three documents and of two in the tail.
    assert found.postings_scored == 8
    assert collection.search(sparse({1: 1.0}), SearchOptions(3)).documents == ()
    some = Selection(payload=True, include=frozenset({"n", "x"}))
    (first,) = collection.search(sparse({1: 1.0}), SearchOptions(1, select=some)).documents
    assert (first.vector, first.text, first.payload) == (None, None, {"n": 4})
    less = Selection(text=True, payload=True, exclude=frozenset({"n"}))
    assert (
        collection.get([0], less).documents[0]
        == (collection.scroll(None, 1, select=less).documents[0])
    )
    (first,) = collection.scroll(None, 1, select=less).documents
    assert (first.vector, first.text, first.payload) == (None, "text 0", {"m": None})


def test_segments_stay_few_and_the_dead_are_dropped(tmp_path: Path) -> None:
    with opened(tmp_path / "c", tail_documents=4) as collection:
        for round_ in range(300):
            collection.upsert([document(key % 100, {1: 1.0}) for key in range(round_, round_ + 3)])
            if collection.size().tail >= 4:
                collection.seal()
                while collection.merge():
                    pass
        size = collection.size()
        assert size.documents == 100
        assert size.tombstones <= 100
        assert size.segments <= 4 * (FACTOR - 1)


def test_the_store_forgets_the_dead_that_nobody_can_see(tmp_path: Path) -> None:
    with opened(tmp_path / "c") as collection:
        for _ in range(5):
            collection.upsert([document(key, {1: 1.0}) for key in range(10)])
            collection.seal()
        with collection._contents.published.pin() as view:
            collection.delete(list(range(8)))
            collection.optimize()
            collection.upsert([])
            assert_holds(then(collection, view), {key: Stored({1: 1.0}) for key in range(10)})
        collection.upsert([document(9, {2: 1.0})])
        collection.optimize()
        collection.upsert([])
        numbers = [each.number for each in collection._store.live_after(0)]
        assert collection._store.tombstones() == []
        assert collection._store.greatest_number() == max(numbers)
        assert len(numbers) == 2


def test_optimizing_ends_though_documents_go_on_dying(
    collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection.upsert([document(key, {1: 1.0}) for key in range(100)])
    merge = Upkeep._merge
    left = iter(range(100))

    def beside_a_delete(self: Upkeep, *arguments: Any) -> None:
        merge(self, *arguments)
        collection.delete([next(left)])

    collection.seal()
    collection.upsert([document(key, {1: 1.0}) for key in range(100, 200)])
    monkeypatch.setattr(Upkeep, "_merge", beside_a_delete)
    collection.optimize()
    assert next(left) == 2  # one merge in each of the shards
    assert collection.size().segments == 2


def vector(terms: list[int], weights: list[float]) -> SparseVector:
    return SparseVector(np.array(terms, np.uint32), np.array(weights, np.float32))


GOOD = Document(7, vector([1], [5]))


@pytest.mark.parametrize(
    ("bad", "error", "field"),
    [
        (Document(-1, GOOD.vector), InvalidRequest, "documents[1].id"),
        (Document("\ud800", GOOD.vector), InvalidRequest, "documents[1].id"),
        (Document("x" * 257, GOOD.vector), InvalidRequest, "documents[1].id"),
        (Document(1, vector([3, 1], [1, 1])), InvalidVector, "documents[1].vector.indices[1]"),
        (Document(1, vector([99], [1])), UnknownTerm, "documents[1].vector.indices[0]"),
        (Document(1, GOOD.vector, "\ud800"), InvalidDocument, "documents[1].text"),
        (
            Document(1, GOOD.vector, None, {"n": float("nan")}),
            InvalidDocument,
            "documents[1].payload",
        ),
        (Document(1, GOOD.vector, None, {"s": "\ud800"}), InvalidDocument, "documents[1].payload"),
    ],
)
def test_a_refused_write_changes_nothing(
    collection: Collection, bad: Document, error: type[SparsegateError], field: str
) -> None:
    collection.upsert([document(7, {1: 1.0})])
    with pytest.raises(error) as caught:
        collection.upsert([GOOD, bad])
    assert caught.value.field == field
    with pytest.raises(InvalidRequest) as refused:
        collection.delete([7, True])
    assert refused.value.field == "ids[1]"
    assert collection.size().sequence == 1
    assert_holds(collection, {7: Stored({1: 1.0})})


@pytest.mark.parametrize(
    ("query", "error"),
    [
        (vector([VOCABULARY], [1]), UnknownTerm),
        (vector([2, 1], [1, 1]), InvalidVector),
        (vector([1, 1], [1, 1]), InvalidVector),
        (vector([1], [0]), InvalidVector),
        (vector([1], [-1]), InvalidVector),
        (vector([1], [float("nan")]), InvalidVector),
        (vector([1], [float("inf")]), InvalidVector),
        (vector([1, 2], [1]), InvalidVector),
    ],
)
def test_a_query_that_cannot_score_is_refused(
    collection: Collection, query: SparseVector, error: type[SparsegateError]
) -> None:
    collection.upsert([GOOD])
    with pytest.raises(error):
        collection.search(query, SearchOptions(1))
    with pytest.raises(error):
        collection.explain(query, 7, SearchOptions(1))


def test_limits_and_unknown_documents_are_refused_by_name(collection: Collection) -> None:
    for call, field in (
        (lambda: collection.search(GOOD.vector, SearchOptions(0)), "limit"),
        (lambda: collection.search(GOOD.vector, SearchOptions(1, offset=-1)), "offset"),
        (lambda: collection.scroll(None, 0), "limit"),
        (lambda: collection.scroll("", 1), "after"),
        (lambda: collection.get([1, -1]), "ids[1]"),
    ):
        with pytest.raises(InvalidRequest) as caught:
            call()
        assert caught.value.field == field
    with pytest.raises(DocumentNotFound):
        collection.explain(GOOD.vector, 1, SearchOptions(1))


def test_a_closed_collection_takes_no_writes(tmp_path: Path) -> None:
    with opened(tmp_path / "c") as collection:
        collection.upsert([GOOD])
    with pytest.raises(ShuttingDown):
        collection.upsert([GOOD])
    collection.close()
