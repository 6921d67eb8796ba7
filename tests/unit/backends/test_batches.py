"""Batches of searches share the threads with everything else, and end as their callers do."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from sparsegate_server.backends import batches
from sparsegate_server.backends.base import AliasChange, CollectionConfig, Tier
from sparsegate_server.backends.embedded import EmbeddedBackend
from sparsegate_server.errors import (
    CollectionNotFound,
    InvalidRequest,
    NotCalibrated,
    ShuttingDown,
    SparsegateError,
    UnknownTerm,
)
from sparsegate_server.index import Batch
from sparsegate_server.operations import WHOLE, Document, SearchOptions, SearchResult
from sparsegate_server.settings import Index
from sparsegate_server.types import SparseVector

CHUNK = 16
TEN = SearchOptions(10)


def vector(*weights: float) -> SparseVector:
    return SparseVector(np.arange(len(weights), dtype=np.uint32), np.array(weights, np.float32))


class Gated:
    """Searches that say when the first has begun, and wait to be let go.

    Attributes:
        log: what was searched, by its limit.
        ended: whether the batch needs its instant no more.
    """

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.open = threading.Event()
        self.ended = threading.Event()
        self.log: list[int | str] = []

    def batch(self, count: int) -> Batch:
        searches = [(vector(1), SearchOptions(number)) for number in range(count)]
        return Batch(searches, self.search, self.ended.set)

    def search(self, query: SparseVector, options: SearchOptions) -> SearchResult:
        self.begun.set()
        assert self.open.wait(30)
        assert not self.ended.is_set()
        self.log.append(options.limit)
        if options.limit % 7 == 0:
            raise InvalidRequest(f"{options.limit}")
        return SearchResult((options.limit,), (1.0,), 1, 1, query)


@pytest.fixture
def gated() -> Iterator[Gated]:
    gated = Gated()
    yield gated
    gated.open.set()


@pytest.fixture
def thread() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as executor:
        yield executor


def number_of(outcome: SearchResult | SparsegateError) -> int:
    if isinstance(outcome, SparsegateError):
        return int(outcome.message)
    return int(outcome.ids[0])


@pytest.mark.parametrize("count", [0, 1, 15, 100])
@pytest.mark.parametrize("threads", [1, 3, 8])
async def test_every_search_has_an_outcome_in_its_place(
    count: int, threads: int, gated: Gated
) -> None:
    gated.open.set()
    with ThreadPoolExecutor(threads) as pool, gated.batch(count) as batch:
        outcomes = await batches.answered(batch, threads, pool.submit)
    assert list(map(number_of, outcomes)) == list(range(count))
    failed = [at for at, each in enumerate(outcomes) if isinstance(each, SparsegateError)]
    assert failed == list(range(0, count, 7))
    assert gated.ended.is_set()


async def test_a_single_search_waits_for_one_chunk(
    gated: Gated, thread: ThreadPoolExecutor
) -> None:
    with gated.batch(100) as batch:
        answered = asyncio.ensure_future(batches.answered(batch, 1, thread.submit))
        assert await asyncio.to_thread(gated.begun.wait, 30)
        single = thread.submit(gated.log.append, "single")
        gated.open.set()
        assert len(await answered) == 100
    assert single.done()
    assert gated.log.index("single") == CHUNK


async def test_what_no_thread_has_begun_is_dropped_when_the_caller_leaves(
    gated: Gated, thread: ThreadPoolExecutor
) -> None:
    async def ask() -> None:
        with gated.batch(100) as batch:
            await batches.answered(batch, 2, thread.submit)

    asked = asyncio.create_task(ask())
    assert await asyncio.to_thread(gated.begun.wait, 30)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    # The chunk that a thread is at still needs the instant.
    assert not gated.ended.is_set()
    gated.open.set()
    assert await asyncio.to_thread(gated.ended.wait, 30)
    await asyncio.wrap_future(thread.submit(int))
    assert gated.log == list(range(CHUNK))


async def test_what_the_pool_does_not_take_any_more_is_refused(
    gated: Gated, thread: ThreadPoolExecutor
) -> None:
    gated.open.set()
    taken: list[object] = []

    def submit(work: Callable[[], batches.Outcomes]) -> Future[batches.Outcomes]:
        if len(taken) == 2:
            raise ShuttingDown("no more")
        taken.append(work)
        return thread.submit(work)

    with gated.batch(50) as batch:
        outcomes = await batches.answered(batch, 1, submit)
    assert list(map(number_of, outcomes[: 2 * CHUNK])) == list(range(2 * CHUNK))
    assert {type(each) for each in outcomes[2 * CHUNK :]} == {ShuttingDown}
    assert len(outcomes) == 50
    assert gated.ended.is_set()


# Of a collection.


@pytest.fixture
async def backend(tmp_path: Path) -> AsyncIterator[EmbeddedBackend]:
    backend = EmbeddedBackend(Index(folder=tmp_path / "data", threads=2, tail_documents=4))
    await backend.start()
    await backend.create_collection(CollectionConfig("films", Tier("model", "print", 16), 2))
    await backend.upsert("films", films(1))
    yield backend
    await backend.close()


def films(generation: int) -> list[Document]:
    """All of them at once say which write they are of."""
    return [
        Document(number, vector(generation, 1 + number), str(generation)) for number in range(9)
    ]


async def test_an_error_leaves_the_other_searches_alone(backend: EmbeddedBackend) -> None:
    unknown = SparseVector(np.array([16], np.uint32), np.ones(1, np.float32))
    good, term, recall, best, limit = await backend.search_batch(
        "films",
        [
            (vector(1), TEN),
            (unknown, TEN),
            (vector(1), SearchOptions(10, target_recall=0.9)),
            (vector(0.5, 1), SearchOptions(2, offset=1, effort=0.4)),
            (vector(1), SearchOptions(0)),
        ],
    )
    assert isinstance(good, SearchResult)
    assert good.ids == list(range(9))
    assert isinstance(term, UnknownTerm)
    assert isinstance(recall, NotCalibrated)
    assert isinstance(best, SearchResult)
    assert best.ids == [7, 6]
    assert best.effort == 0.4
    assert isinstance(limit, InvalidRequest)


async def test_all_are_answered_as_of_one_instant(backend: EmbeddedBackend) -> None:
    searches = [(vector(1), SearchOptions(10, select=WHOLE))] * 200
    asked = asyncio.create_task(backend.search_batch("films", searches))
    generation = 1
    while not asked.done():
        generation += 1
        await backend.upsert("films", films(generation))
    outcomes = await asked
    assert generation > 1
    seen = set()
    for each in outcomes:
        assert isinstance(each, SearchResult)
        seen.add(each.sequence)
        assert {found.text for found in each.documents} == {str(each.sequence)}
    assert len(seen) == 1


async def test_it_may_be_about_an_alias_but_not_about_another_collection(
    backend: EmbeddedBackend,
) -> None:
    await backend.update_aliases([AliasChange("latest", "films")])
    (found,) = await backend.search_batch("latest", [(vector(1), TEN)])
    assert isinstance(found, SearchResult)
    old = backend.config("films")
    await backend.delete_collection("films")
    await backend.create_collection(CollectionConfig("films", Tier("model", "print", 16)))
    with pytest.raises(CollectionNotFound):
        await backend.search_batch("films", [(vector(1), TEN)], config=old)
    with pytest.raises(CollectionNotFound):
        await backend.search_batch("movies", [(vector(1), TEN)])


async def test_a_collection_may_be_deleted_meanwhile(backend: EmbeddedBackend) -> None:
    searches = [(vector(1), SearchOptions(10, select=WHOLE))] * 200
    await backend.optimize("films")  # so that texts come from the store
    asked = asyncio.create_task(backend.search_batch("films", searches))
    await asyncio.sleep(0.002)
    await backend.delete_collection("films")
    for each in await asked:
        assert isinstance(each, SearchResult | CollectionNotFound)


async def test_closing_finishes_what_was_begun(backend: EmbeddedBackend) -> None:
    asked = asyncio.create_task(backend.search_batch("films", [(vector(1), TEN)] * 200))
    await asyncio.sleep(0.002)
    await backend.close()
    outcomes = await asked
    assert isinstance(outcomes[0], SearchResult)
    for each in outcomes:
        assert isinstance(each, SearchResult | ShuttingDown)
