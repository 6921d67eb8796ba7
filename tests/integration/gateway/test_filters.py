"""Filters through the wire: counting, paging, deleting, changing payloads, payload indexes."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.golden import FILMS
from tests.integration.gateway.conftest import Wire, details, serving
from tests.integration.gateway.movies import ID, QUESTION, load_movies

from sparsegate import filters as words
from sparsegate._filters import write_filter
from sparsegate.v1 import collection_pb2, common_pb2, document_pb2, filter_pb2, search_pb2

VALUE = common_pb2.Value
LONG = words.Range("minutes", gte=120)
LONG_FILMS = [film["id"] for film in FILMS if film["movie_watch_time_min"] >= 120]
BROKEN_PATH = words.Filter(should=[words.IsNull("ok"), words.Match("a..b", 1)])


@pytest.fixture
async def films(wire: Wire) -> Wire:
    await load_movies(wire)
    return wire


async def count(wire: Wire, filter: Any) -> document_pb2.CountDocumentsResponse:
    return await wire.documents.Count(
        document_pb2.CountDocumentsRequest(collection="films", filter=write_filter(filter))
    )


async def test_a_filter_counts_and_pages(films: Wire) -> None:
    counted = await count(films, LONG)
    assert counted.count == len(LONG_FILMS) > 2
    assert list(counted.unindexed) == ["minutes"]
    request = document_pb2.ScrollDocumentsRequest(
        collection="films", limit=2, filter=write_filter(LONG), with_text=False
    )
    seen = []
    while True:
        page = await films.documents.Scroll(request)
        assert list(page.unindexed) == ["minutes"]
        assert page.sequence == counted.sequence
        seen += [document.id.number for document in page.documents]
        assert not any(document.HasField("text") for document in page.documents)
        if not page.HasField("next_after"):
            break
        request.after.CopyFrom(page.next_after)
    assert seen == sorted(LONG_FILMS)


async def test_a_filter_acts_inside_the_search(films: Wire) -> None:
    whole = search_pb2.SearchRequest(collection="films", text=QUESTION, limit=20)
    everything = (await films.search.Search(whole)).hits
    expected = [hit for hit in everything if hit.id.number in LONG_FILMS]
    filtered = search_pb2.SearchRequest(
        collection="films", text=QUESTION, limit=3, filter=write_filter(LONG)
    )
    reply = await films.search.Search(filtered)
    assert list(reply.hits) == expected[:3]
    assert list(reply.unindexed) == ["minutes"]


async def test_required_words_are_in_every_hit(films: Wire) -> None:
    request = search_pb2.SearchRequest(
        collection="films", text=QUESTION, limit=20, must_contain=["band"], with_text=True
    )
    hits = (await films.search.Search(request)).hits
    assert hits
    assert all("band" in hit.text.lower() for hit in hits)
    request.filter.CopyFrom(write_filter(LONG))
    request.must_contain.append("no such words")
    assert not (await films.search.Search(request)).hits


async def test_an_index_covers_its_field_once_it_is_ready(films: Wire) -> None:
    create = collection_pb2.CreatePayloadIndexRequest(
        collection="films", field="minutes", kind=collection_pb2.FIELD_KIND_NUMBER
    )
    before = await count(films, LONG)
    created = await films.collections.CreatePayloadIndex(create)
    assert created.sequence >= before.sequence
    (index,) = await indexes(films)
    assert (index.field, index.kind) == ("minutes", collection_pb2.FIELD_KIND_NUMBER)
    for _ in range(500):
        if (await indexes(films))[0].ready:
            break
        await asyncio.sleep(0.01)
    after = await count(films, LONG)
    assert (after.count, list(after.unindexed)) == (before.count, [])
    await films.collections.CreatePayloadIndex(create)  # twice is once
    create.kind = collection_pb2.FIELD_KIND_TEXT
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await films.collections.CreatePayloadIndex(create)
    assert details(caught.value)[0] == grpc.StatusCode.INVALID_ARGUMENT
    drop = collection_pb2.DeletePayloadIndexRequest(collection="films", field="minutes")
    assert (await films.collections.DeletePayloadIndex(drop)).deleted
    assert not (await films.collections.DeletePayloadIndex(drop)).deleted
    assert list((await count(films, LONG)).unindexed) == ["minutes"]


async def indexes(wire: Wire) -> list[collection_pb2.PayloadIndex]:
    got = await wire.collections.Get(collection_pb2.GetCollectionRequest(name="films"))
    return list(got.collection.payload_indexes)


async def test_all_that_pass_are_deleted(films: Wire) -> None:
    request = document_pb2.DeleteByFilterRequest(collection="films", filter=write_filter(LONG))
    reply = await films.documents.DeleteByFilter(request)
    assert reply.deleted == len(LONG_FILMS)
    assert (await count(films, LONG)).count == 0
    left = await films.documents.Count(document_pb2.CountDocumentsRequest(collection="films"))
    assert (left.count, left.sequence) == (len(FILMS) - len(LONG_FILMS), reply.sequence)


async def payload(wire: Wire, number: int) -> dict[str, common_pb2.Value]:
    got = await wire.documents.Get(
        document_pb2.GetDocumentsRequest(collection="films", ids=[ID(number=number)])
    )
    return dict(got.documents[0].payload)


async def test_payloads_change_in_place(films: Wire) -> None:
    number = LONG_FILMS[0]
    before = await payload(films, number)
    merge = document_pb2.SetPayloadRequest(
        collection="films",
        filter=write_filter(LONG),
        mode=document_pb2.PAYLOAD_MODE_MERGE,
        payload={"long": VALUE(bool_value=True)},
    )
    reply = await films.documents.SetPayload(merge)
    assert reply.affected == len(LONG_FILMS)
    assert await payload(films, number) == {**before, "long": VALUE(bool_value=True)}
    assert (await count(films, words.Match("long", True))).count == len(LONG_FILMS)
    ids = common_pb2.DocumentIds(ids=[ID(number=number), ID(name="nobody")])
    remove = document_pb2.SetPayloadRequest(
        collection="films",
        ids=ids,
        mode=document_pb2.PAYLOAD_MODE_REMOVE,
        keys=["long", "minutes", "absent"],
    )
    assert (await films.documents.SetPayload(remove)).affected == 1
    assert await payload(films, number) == {"name": before["name"]}
    replace = document_pb2.SetPayloadRequest(
        collection="films",
        ids=ids,
        mode=document_pb2.PAYLOAD_MODE_REPLACE,
        payload={"n": VALUE(int_value=2**53 + 1)},
    )
    assert (await films.documents.SetPayload(replace)).affected == 1
    assert await payload(films, number) == {"n": VALUE(int_value=2**53 + 1)}
    assert (await count(films, words.Range("n", gt=2**53))).count == 1


REFUSED = {
    "date": (
        words.DatetimeRange("at", gte="yesterday"),
        "filter.must[0].datetime_range.gte",
    ),
    "path": (BROKEN_PATH, "filter.should[1].match.field"),
    "bounds": (words.Range("n"), "filter.must[0].range"),
    "id inside": (
        words.Nested("a", words.HasId([1])),
        "filter.must[0].nested.filter.must[0]",
    ),
    "values": (words.Match("a", any=[]), "filter.must[0].match.values"),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_a_bad_filter_is_refused_by_every_call(films: Wire, case: str) -> None:
    filter, field = REFUSED[case]
    message = write_filter(filter)
    calls = [
        films.documents.Count(
            document_pb2.CountDocumentsRequest(collection="films", filter=message)
        ),
        films.documents.Scroll(
            document_pb2.ScrollDocumentsRequest(collection="films", limit=1, filter=message)
        ),
        films.documents.DeleteByFilter(
            document_pb2.DeleteByFilterRequest(collection="films", filter=message)
        ),
        films.documents.SetPayload(
            document_pb2.SetPayloadRequest(
                collection="films",
                filter=message,
                mode=document_pb2.PAYLOAD_MODE_REPLACE,
            )
        ),
        films.search.Search(
            search_pb2.SearchRequest(
                collection="films", text="band", limit=1, filter=message, must_contain=["x"]
            )
        ),
        films.search.Explain(
            search_pb2.ExplainRequest(
                collection="films", text="band", id=ID(number=1), filter=message
            )
        ),
    ]
    for call in calls:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        code, reason, fields = details(caught.value)
        assert code == grpc.StatusCode.INVALID_ARGUMENT
        assert reason == ("INVALID_REQUEST" if case == "values" else "INVALID_FILTER")
        assert fields == [field]
    left = await films.documents.Count(document_pb2.CountDocumentsRequest(collection="films"))
    assert left.count == len(FILMS)


async def test_a_filter_without_conditions_deletes_nothing(films: Wire) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await films.documents.DeleteByFilter(
            document_pb2.DeleteByFilterRequest(collection="films", filter=filter_pb2.Filter())
        )
    assert details(caught.value)[1:] == ("INVALID_FILTER", ["filter"])


async def test_a_batch_names_the_filter_of_one_search(films: Wire) -> None:
    good = search_pb2.SearchRequest(collection="films", text="band", limit=1)
    bad = search_pb2.SearchRequest(
        collection="films", text="band", limit=1, filter=write_filter(BROKEN_PATH)
    )
    blank = search_pb2.SearchRequest(collection="films", text="band", limit=1, must_contain=[" "])
    reply = await films.search.SearchBatch(
        search_pb2.SearchBatchRequest(searches=[good, bad, blank])
    )
    assert reply.results[0].response.hits
    assert "searches[1].filter.should[1].match.field" in reply.results[1].error.message
    assert "searches[2].must_contain[0]" in reply.results[2].error.message


async def test_a_costly_filter_needs_an_index(model_repository: Path) -> None:
    async with serving(model_repository, index={"max_unindexed_documents": 5}) as wire:
        await load_movies(wire)
        await wire.collections.Optimize(collection_pb2.OptimizeCollectionRequest(name="films"))
        calls = [
            count(wire, LONG),
            wire.search.Search(
                search_pb2.SearchRequest(
                    collection="films", text="band", limit=1, filter=write_filter(LONG)
                )
            ),
            wire.documents.DeleteByFilter(
                document_pb2.DeleteByFilterRequest(collection="films", filter=write_filter(LONG))
            ),
        ]
        for call in calls:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call
            code, reason, fields = details(caught.value)
            assert (code, reason) == (grpc.StatusCode.FAILED_PRECONDITION, "UNINDEXED_FILTER")
            assert fields[0].startswith("filter")
            assert "CreatePayloadIndex" in (caught.value.details() or "")
            assert "minutes" in (caught.value.details() or "")
