"""The embedded backend keeps the contract of `IndexBackend`."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator, Sequence

import numpy as np
import pytest

from sparsegate_server.backends.base import CollectionConfig, Document, Fetched, IndexBackend
from sparsegate_server.backends.embedded import EmbeddedBackend
from sparsegate_server.errors import (
    CollectionExists,
    CollectionNotFound,
    InvalidRequest,
    ShuttingDown,
)
from sparsegate_server.settings import Index
from sparsegate_server.types import SparseVector


def vector(*weights: float) -> SparseVector:
    return SparseVector(np.arange(len(weights), dtype=np.uint32), np.array(weights, np.float32))


def config(name: str, shards: int = 2) -> CollectionConfig:
    return CollectionConfig(name, "model", "fingerprint", vocabulary_size=16, shards=shards)


@pytest.fixture
async def backend() -> AsyncIterator[IndexBackend]:
    embedded = EmbeddedBackend(Index(threads=2, tail_documents=4))
    await embedded.create_collection(config("films"))
    yield embedded
    await embedded.close()


FILM = Document("a", vector(1, 2), "text", {"year": 1984})


async def test_what_is_written_is_read(backend: IndexBackend) -> None:
    written = await backend.upsert("films", [FILM, Document(2**64 - 1, vector(3))])
    assert (written.sequence, written.affected) == (1, 0)
    result = await backend.search("films", vector(1, 1), limit=10, with_documents=True)
    assert [(hit.id, hit.score) for hit in result.hits] == [(2**64 - 1, 3.0), ("a", 3.0)]
    assert result.sequence == 1
    assert result.postings_scored == 3
    found = result.documents[1]
    assert (found.id, found.text, found.payload) == ("a", "text", {"year": 1984})
    assert found.vector.values.tolist() == [1.0, 2.0]
    assert (await backend.search("films", vector(1), limit=1)).documents == ()
    assert (await backend.get("films", ["b", "a"])).documents[0] is None
    gone = await backend.delete("films", ["a", "b"])
    assert (gone.sequence, gone.affected) == (2, 1)
    assert await backend.get("films", ["a"]) == Fetched((None,), 2)


async def test_pages_follow_each_other(backend: IndexBackend) -> None:
    await backend.upsert("films", [Document(number, vector(1)) for number in range(7)])
    first = await backend.scroll("films", after=None, limit=4)
    assert [document.id for document in first.documents] == [0, 1, 2, 3]
    second = await backend.scroll("films", after=first.next_after, limit=4)
    assert [document.id for document in second.documents] == [4, 5, 6]
    assert (first.next_after, second.next_after) == (3, None)


async def test_collections_are_listed_by_name_and_counted(backend: IndexBackend) -> None:
    await backend.create_collection(config("books", shards=1))
    await backend.upsert("books", [Document(1, vector(1, 1))])
    await backend.upsert("books", [Document(1, vector(1))])
    books, films = await backend.list_collections()
    assert (books.config, films.config) == (config("books", shards=1), config("films"))
    assert books == await backend.get_collection("books")
    assert (books.sequence, books.documents, books.postings, books.tombstones) == (2, 1, 3, 1)
    assert backend.config("books").shards == 1
    await backend.delete_collection("books")
    assert [each.config.name for each in await backend.list_collections()] == ["films"]
    await backend.create_collection(config("books"))
    assert (await backend.get_collection("books")).documents == 0


async def test_names_are_unique_and_known(backend: IndexBackend) -> None:
    results = await asyncio.gather(
        *(backend.create_collection(config("new")) for _ in range(5)), return_exceptions=True
    )
    errors = [each for each in results if isinstance(each, CollectionExists)]
    assert len(errors) == 4
    assert errors[0].field == "name"
    for call in (
        backend.get_collection("x"),
        backend.delete_collection("x"),
        backend.upsert("x", []),
        backend.delete("x", []),
        backend.get("x", []),
        backend.scroll("x", after=None, limit=1),
        backend.search("x", vector(1), limit=1),
    ):
        with pytest.raises(CollectionNotFound, match="list the collections") as caught:
            await call
        assert caught.value.field == "collection"
    with pytest.raises(CollectionNotFound):
        backend.config("x")


async def test_an_error_of_the_engine_reaches_the_caller(backend: IndexBackend) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await backend.upsert("films", [FILM, Document("", vector(1))])
    assert caught.value.field == "documents[1].id"
    assert (await backend.get_collection("films")).documents == 0


class Slow(Sequence[Document]):
    """Documents that say when a write has begun to read them, and wait to be let go."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.release = threading.Event()

    def __len__(self) -> int:
        return 1

    def __getitem__(self, at):  # type: ignore[no-untyped-def]
        return [FILM][at]

    def __iter__(self) -> Iterator[Document]:
        self.begun.set()
        assert self.release.wait(30)
        return iter([FILM])


async def test_a_write_that_has_begun_survives_its_caller(backend: IndexBackend) -> None:
    slow = Slow()
    begun = asyncio.create_task(backend.upsert("films", slow))
    assert await asyncio.to_thread(slow.begun.wait, 30)
    waiting = asyncio.create_task(backend.upsert("films", [Document("b", vector(1))]))
    await asyncio.sleep(0)
    # Neither the loop nor a read waits for the writer.
    assert (await backend.search("films", vector(1), limit=1)).hits == ()
    for task in (begun, waiting):
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    slow.release.set()
    await backend.upsert("films", [])
    found = (await backend.get("films", ["a", "b"])).documents
    assert found[0] is not None
    assert found[1] is None


async def test_closing_finishes_what_was_begun_and_refuses_the_rest(backend: IndexBackend) -> None:
    slow = Slow()
    write = asyncio.create_task(backend.upsert("films", slow))
    assert await asyncio.to_thread(slow.begun.wait, 30)
    closing = asyncio.create_task(backend.close())
    await asyncio.sleep(0)
    with pytest.raises(ShuttingDown):
        await backend.search("films", vector(1), limit=1)
    with pytest.raises(ShuttingDown):
        await backend.create_collection(config("late"))
    slow.release.set()
    assert (await write).sequence == 1
    await closing


async def test_many_searches_share_few_threads(backend: IndexBackend) -> None:
    await backend.create_collection(config("wide", shards=8))
    documents = [Document(number, vector(1 + number % 5)) for number in range(200)]
    await backend.upsert("wide", documents)
    results = await asyncio.gather(
        *(backend.search("wide", vector(1), limit=3) for _ in range(100))
    )
    assert {tuple(hit.id for hit in each.hits) for each in results} == {(4, 9, 14)}
