"""The embedded backend keeps the contract of `IndexBackend`."""

from __future__ import annotations

import asyncio
import time

import pytest

from sparsegate_server.backends.base import IndexBackend, PayloadIndex
from sparsegate_server.errors import (
    CollectionExists,
    CollectionNotFound,
    DocumentNotFound,
    InvalidRequest,
)
from sparsegate_server.filters import FieldKind, Filter, Match
from sparsegate_server.operations import (
    WHOLE,
    Document,
    Fetched,
    PayloadChange,
    PayloadMode,
    SearchOptions,
    StreamBatch,
)

from .conftest import FILM, TEN, config, vector


async def quiet(backend: IndexBackend, name: str) -> None:
    """Waits until there is no background work left."""
    stop = time.monotonic() + 20
    while (await backend.get_collection(name)).busy:
        assert time.monotonic() < stop
        await asyncio.sleep(0.005)


async def test_what_is_written_is_read(backend: IndexBackend) -> None:
    written = await backend.upsert("films", [FILM, Document(2**64 - 1, vector(3))])
    assert (written.sequence, written.affected) == (1, 0)
    result = await backend.search("films", vector(1, 1), SearchOptions(10, select=WHOLE))
    assert [(hit.id, hit.score) for hit in result.hits] == [(2**64 - 1, 3.0), ("a", 3.0)]
    assert result.sequence == 1
    assert result.postings_scored == 3
    found = result.documents[1]
    assert (found.id, found.text, found.payload) == ("a", "text", {"year": 1984})
    assert found.vector
    assert found.vector.values.tolist() == [1.0, 2.0]
    assert (await backend.search("films", vector(1), SearchOptions(1))).documents == ()
    assert (await backend.get("films", ["b", "a"])).documents[0] is None
    assert (await backend.explain("films", vector(1, 1), "a", TEN)).rank == 2
    with pytest.raises(DocumentNotFound):
        await backend.explain("films", vector(1, 1), "b", TEN)
    gone = await backend.delete("films", ["a", "b"])
    assert (gone.sequence, gone.affected) == (2, 1)
    assert await backend.get("films", ["a"]) == Fetched((None,), 2)


async def test_filters_payloads_and_indexes(backend: IndexBackend) -> None:
    documents = [Document(number, vector(1), None, {"k": "ab"[number % 2]}) for number in range(9)]
    await backend.upsert("films", documents)
    only_a = Filter(must=(Match("k", ("a",)),))
    assert (await backend.count("films", only_a)).count == 5
    declared = await backend.create_payload_index("films", "k", FieldKind.KEYWORD)
    assert declared.affected == 0
    await quiet(backend, "films")
    stats = await backend.get_collection("films")
    assert stats.payload_indexes == (PayloadIndex("k", FieldKind.KEYWORD, ready=True),)
    change = PayloadChange(PayloadMode.MERGE, {"k": "b"})
    assert (await backend.set_payload("films", only_a, change)).affected == 5
    counted = await backend.count("films", only_a)
    assert (counted.count, counted.unindexed) == (0, ())
    assert (await backend.delete("films", Filter(must=(Match("k", ("b",)),)))).affected == 9
    assert (await backend.delete_payload_index("films", "k")).affected == 1
    assert (await backend.delete_payload_index("films", "k")).affected == 0


async def test_a_retried_write_is_applied_once(backend: IndexBackend) -> None:
    first = await backend.upsert("films", [FILM], request_id="r")
    again = await backend.upsert("films", [FILM], request_id="r")
    assert (again.sequence, again.repeated) == (first.sequence, True)
    with pytest.raises(InvalidRequest):
        await backend.delete("films", ["a"], request_id="r")
    for number in (1, 2, 2, 1):
        await backend.upsert("films", [FILM], batch=StreamBatch("s", number))
    assert await backend.stream_position("films", "s") == 2
    assert (await backend.get_collection("films")).sequence == first.sequence + 2


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
    assert (books.sequence, books.documents, books.postings, books.tombstones) == (2, 1, 3, 1)
    assert books.store_bytes
    assert backend.config("books").shards == 1
    optimised = await backend.optimize("books")
    assert (optimised.segments, optimised.tail, optimised.tombstones) == (1, 0, 0)
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
        backend.upsert("x", []),
        backend.delete("x", []),
        backend.get("x", []),
        backend.scroll("x", after=None, limit=1),
        backend.search("x", vector(1), TEN),
        backend.count("x"),
        backend.create_snapshot("x"),
        backend.list_snapshots("x"),
        backend.stream_position("x", "s"),
        backend.optimize("x"),
    ):
        with pytest.raises(CollectionNotFound, match="list the collections") as caught:
            await call
        assert caught.value.field == "collection"
    with pytest.raises(CollectionNotFound) as caught:
        await backend.delete_collection("x")
    assert caught.value.field == "name"
    with pytest.raises(CollectionNotFound):
        backend.config("x")


async def test_what_was_meant_for_a_deleted_collection_does_not_reach_the_next(
    backend: IndexBackend,
) -> None:
    old = backend.config("films")
    await backend.upsert("films", [FILM], config=old)
    await backend.delete_collection("films")
    await backend.create_collection(config("films"))
    with pytest.raises(CollectionNotFound, match="made anew"):
        await backend.upsert("films", [FILM], config=old)
    with pytest.raises(CollectionNotFound, match="made anew"):
        await backend.search("films", vector(1), TEN, config=old)
    await backend.upsert("films", [FILM], config=backend.config("films"))


async def test_an_error_of_the_engine_reaches_the_caller(backend: IndexBackend) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await backend.upsert("films", [FILM, Document("", vector(1))])
    assert caught.value.field == "documents[1].id"
    assert (await backend.get_collection("films")).documents == 0
