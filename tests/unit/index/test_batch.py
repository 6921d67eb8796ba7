"""A batch finds what its searches find alone, bit for bit, all of them at one instant."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsegate_server.errors import InvalidFilter, SparsegateError
from sparsegate_server.filters import FieldKind, Filter, HasId, Match
from sparsegate_server.index import Batch, Collection
from sparsegate_server.index.batch import MOST_IN_A_ROW, Outcome
from sparsegate_server.index.filtering import Filtering, Passing
from sparsegate_server.index.view import View
from sparsegate_server.operations import WHOLE, SearchOptions, SearchResult, Selection
from sparsegate_server.types import SparseVector

from .opening import document, opened, scratch
from .oracle import sparse
from .strategies import FIELDS, VOCABULARY, batches, filters, limits, queries, weights

Searches = Sequence[tuple[SparseVector, SearchOptions]]

BROKEN = Filter(must=(Match("a..b", (1,)),))
UNKNOWN = SparseVector(np.array([VOCABULARY], np.uint32), np.ones(1, np.float32))
UNSORTED = SparseVector(np.array([3, 2], np.uint32), np.ones(2, np.float32))


@st.composite
def searches(draw: st.DrawFn) -> Searches:
    """Some that share a filter, some that are refused."""
    few = [None, BROKEN, *draw(st.lists(filters, max_size=3))]
    options = st.builds(
        SearchOptions,
        limit=limits | st.just(0),
        offset=st.sampled_from([0, 0, 1, 3, -1]),
        threshold=st.none() | weights,
        filter=st.sampled_from(few),
        idf=st.booleans(),
        select=st.sampled_from([Selection(), WHOLE]),
        max_bytes=st.sampled_from([0, 0, 1]),
        effort=st.sampled_from([1.0, 1.0, 0.5, 0.1, 2.0]),
        target_recall=st.sampled_from([None, None, None, 0.9]),
    )
    vectors = queries.map(sparse) | st.sampled_from([UNKNOWN, UNSORTED, sparse({})])
    return draw(st.lists(st.tuples(vectors, options), max_size=40))


def alone(collection: Collection, asked: Searches) -> list[Outcome]:
    def outcome(query: SparseVector, options: SearchOptions) -> Outcome:
        try:
            return collection.search(query, options)
        except SparsegateError as error:
            return error

    return [outcome(*each) for each in asked]


def in_threads(batch: Batch, threads: int) -> list[Outcome]:
    with ThreadPoolExecutor(threads) as pool:
        return [each for some in pool.map(batch.answer, batch.chunks(threads)) for each in some]


def plain(outcome: Outcome) -> object:
    """All that an outcome says, to the last bit."""
    if isinstance(outcome, SparsegateError):
        return type(outcome), outcome.message, outcome.field, outcome.metadata
    documents = [
        replace(each, vector=bits(each.vector)) if each.vector else each
        for each in outcome.documents
    ]
    return replace(outcome, query=bits(outcome.query), documents=documents)


def bits(vector: SparseVector) -> object:
    return vector.indices.tobytes(), vector.values.tobytes()


@settings(deadline=None, max_examples=40)
@given(
    st.lists(batches, min_size=1, max_size=5),
    searches(),
    st.sampled_from([1, 4]),
    st.sampled_from([1, 3, 50]),
    st.sets(st.sampled_from(list(FIELDS))),
)
def test_it_finds_what_single_searches_find(batched, asked, shards, threads, indexed) -> None:  # type: ignore[no-untyped-def]
    with (
        scratch() as root,
        ThreadPoolExecutor(2) as pool,
        opened(root / "c", shards=shards, pool=pool, threads=2) as collection,
    ):
        for field in indexed:
            collection.create_index(field, FIELDS[field][0])
        for place, batch in enumerate(batched):
            collection.upsert(batch)
            if place % 2 == 0:
                collection.seal()
        expected = [plain(each) for each in alone(collection, asked)]
        assert [plain(each) for each in collection.search_batch(asked)] == expected
        with collection.batch(asked, threads=threads) as together:
            # What is written meanwhile is not seen, and what it replaces is still there.
            collection.delete([document.id for batch in batched for document in batch])
            collection.optimize()
            assert [plain(each) for each in in_threads(together, threads)] == expected


@given(st.integers(0, 300), st.integers(1, 40))
def test_chunks_are_short_and_as_many_as_there_are_threads(count: int, threads: int) -> None:
    chunks = Batch([(UNKNOWN, SearchOptions(1))] * count, search=refuse, done=int).chunks(threads)
    assert [number for chunk in chunks for number in chunk] == list(range(count))
    assert all(1 <= len(chunk) <= MOST_IN_A_ROW for chunk in chunks)
    if count <= threads * MOST_IN_A_ROW:
        assert len(chunks) <= threads
    assert not chunks or len(chunks[0]) - 1 <= count / threads


def refuse(query: SparseVector, options: SearchOptions) -> SearchResult:
    raise AssertionError("nobody asked")


@pytest.fixture
def collection(tmp_path: Path) -> Iterator[Collection]:
    with opened(tmp_path / "c", shards=2) as collection:
        collection.upsert(
            [document(key, {1: 1.0 + key}, f"text {key}", {"n": key % 3}) for key in range(60)]
        )
        collection.create_index("n", FieldKind.NUMBER)
        collection.optimize()
        yield collection


def test_each_filter_is_evaluated_once(
    collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluated: Counter[str] = Counter()
    passing = Filtering.passing

    def counted(self: Filtering, view: View, filter: Filter) -> Passing:
        evaluated[repr(filter)] += 1
        return passing(self, view, filter)

    monkeypatch.setattr(Filtering, "passing", counted)

    def some() -> list[Filter]:
        """Equal filters, each an object of its own, as the wire brings them."""
        return [
            Filter(must=(Match("n", (0,)),)),
            Filter(must=(Match("n", (1,)),)),
            Filter(must=(Match("n", (True,)),)),  # equal to 1 in Python, and to no number here
            Filter(must=(HasId((1, "1")),)),
            Filter(must=(Match("a..b", (1,)),)),
        ]

    asked = [
        (sparse({1: 1.0}), SearchOptions(60, filter=filter)) for _ in range(20) for filter in some()
    ]
    with collection.batch(asked, threads=4) as batch:
        found = in_threads(batch, 4)
    assert set(evaluated.values()) == {1}
    assert len(evaluated) == 5
    for at, outcome in enumerate(found):
        match at % 5:
            case 4:
                assert isinstance(outcome, InvalidFilter)
            case kind:
                assert isinstance(outcome, SearchResult)
                assert len(outcome.ids) == (20, 20, 0, 1)[kind]


def test_the_instant_is_kept_as_long_as_somebody_holds_it(collection: Collection) -> None:
    published = collection._contents.published
    asked = [(sparse({1: 1.0}), SearchOptions(60, select=WHOLE))] * 3
    before = published.view.sequence
    with collection.batch(asked, threads=2) as batch:
        batch.hold()
    collection.delete(list(range(60)))
    collection.optimize()
    assert published.oldest() == before
    for outcome in batch.answer(range(3)):
        assert isinstance(outcome, SearchResult)
        assert len(outcome.documents) == 60
        assert outcome.sequence == before
    batch.release()
    assert published.oldest() == published.view.sequence > before


def test_an_error_holds_nothing(collection: Collection) -> None:
    (outcome,) = collection.search_batch([(UNSORTED, SearchOptions(1))])
    assert isinstance(outcome, SparsegateError)
    assert outcome.__traceback__ is None


def test_an_empty_batch(collection: Collection) -> None:
    assert collection.search_batch([]) == []
