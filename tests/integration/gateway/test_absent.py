"""Names of nothing, and names that are taken: an error that says which, no change."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from tests.integration.gateway.bad_input import LONG, QUERY, document, refusal, state
from tests.integration.gateway.conftest import Wire, details
from tests.integration.gateway.movies import ID

from sparsegate.v1 import (
    collection_pb2,
    common_pb2,
    document_pb2,
    encode_pb2,
    filter_pb2,
    model_pb2,
    search_pb2,
    snapshot_pb2,
)

ABSENT = {
    "model": ("encode.Encode", encode_pb2.EncodeRequest(mode=QUERY, texts=["a"], model="gpt")),
    "model to tokenize": (
        "encode.Tokenize",
        encode_pb2.TokenizeRequest(texts=["a"], model="gpt"),
    ),
    "model of a collection": (
        "collections.Create",
        collection_pb2.CreateCollectionRequest(name="new", model="gpt"),
    ),
    "collection": ("collections.Get", collection_pb2.GetCollectionRequest(name="nope")),
    "collection to delete": (
        "collections.Delete",
        collection_pb2.DeleteCollectionRequest(name="nope"),
    ),
    "collection to write to": (
        "documents.Upsert",
        document_pb2.UpsertRequest(collection="nope", documents=[document(text="a")]),
    ),
    "collection to read": (
        "documents.Get",
        document_pb2.GetDocumentsRequest(collection="nope", ids=[common_pb2.DocumentId(number=1)]),
    ),
    "collection to count": (
        "documents.Count",
        document_pb2.CountDocumentsRequest(collection="nope"),
    ),
    "collection to page": (
        "documents.Scroll",
        document_pb2.ScrollDocumentsRequest(collection="nope", limit=1),
    ),
    "collection to delete from": (
        "documents.Delete",
        document_pb2.DeleteDocumentsRequest(
            collection="nope", ids=[common_pb2.DocumentId(number=1)]
        ),
    ),
    "collection to search": (
        "search.Search",
        search_pb2.SearchRequest(collection="nope", text="a", limit=1),
    ),
    "document to explain": (
        "search.Explain",
        search_pb2.ExplainRequest(
            collection="films", text="band", id=common_pb2.DocumentId(name="1")
        ),
    ),
    "model to get": ("models.Get", model_pb2.GetModelRequest(name="gpt")),
    "collection to optimize": (
        "collections.Optimize",
        collection_pb2.OptimizeCollectionRequest(name="nope"),
    ),
    "collection to index": (
        "collections.CreatePayloadIndex",
        collection_pb2.CreatePayloadIndexRequest(
            collection="nope", field="a", kind=collection_pb2.FIELD_KIND_TEXT
        ),
    ),
    "collection to drop an index of": (
        "collections.DeletePayloadIndex",
        collection_pb2.DeletePayloadIndexRequest(collection="nope", field="a"),
    ),
    "collection to take a snapshot of": (
        "collections.CreateSnapshot",
        snapshot_pb2.CreateSnapshotRequest(collection="nope"),
    ),
    "collection to list snapshots of": (
        "collections.ListSnapshots",
        snapshot_pb2.ListSnapshotsRequest(collection="nope"),
    ),
    "snapshot to delete": (
        "collections.DeleteSnapshot",
        snapshot_pb2.DeleteSnapshotRequest(collection="films", snapshot="nope"),
    ),
    "collection to resume": (
        "documents.StreamPosition",
        document_pb2.StreamPositionRequest(collection="nope", stream="s"),
    ),
    "collection to delete by filter from": (
        "documents.DeleteByFilter",
        document_pb2.DeleteByFilterRequest(
            collection="nope", filter=filter_pb2.Filter(must=[filter_pb2.Condition(is_null="a")])
        ),
    ),
    "collection to set payloads of": (
        "documents.SetPayload",
        document_pb2.SetPayloadRequest(
            collection="nope",
            ids=common_pb2.DocumentIds(ids=[common_pb2.DocumentId(number=1)]),
            mode=document_pb2.PAYLOAD_MODE_REPLACE,
        ),
    ),
}


@pytest.mark.parametrize("case", ABSENT)
async def test_what_is_not_there_is_not_found(films: Wire, case: str) -> None:
    code, reason, fields = await refusal(films, *ABSENT[case])
    assert code == grpc.StatusCode.NOT_FOUND
    assert reason.endswith("_NOT_FOUND")
    assert len(fields) == 1


async def test_a_taken_name_is_refused(films: Wire) -> None:
    before = await state(films)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await films.create("films", shards=8)
    expected = (grpc.StatusCode.ALREADY_EXISTS, "COLLECTION_EXISTS", ["name"])
    assert details(caught.value) == expected
    assert await state(films) == before


async def test_a_collection_made_anew_gets_nothing_meant_for_the_old_one(films: Wire) -> None:
    documents = [document(id=ID(number=n), text=LONG) for n in range(20)]
    upsert = films.documents.Upsert(
        document_pb2.UpsertRequest(collection="films", documents=documents)
    )
    writing = asyncio.ensure_future(upsert)
    (encoder,) = films.gateway._models.all()
    while not encoder._running and not writing.done():  # noqa: ASYNC110 - a count has no event
        await asyncio.sleep(0.001)
    await films.collections.Delete(collection_pb2.DeleteCollectionRequest(name="films"))
    await films.create("films")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await writing
    assert details(caught.value)[:2] == (grpc.StatusCode.NOT_FOUND, "COLLECTION_NOT_FOUND")
    count = await films.documents.Count(document_pb2.CountDocumentsRequest(collection="films"))
    assert count.count == 0
