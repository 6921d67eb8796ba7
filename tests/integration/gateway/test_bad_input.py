"""Every kind of bad input, through the wire: a code, a message that names the field, no change."""

from __future__ import annotations

import asyncio
import math

import grpc
import pytest
from tests.integration.gateway.conftest import LIMITS, Wire, details, read

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

QUERY = encode_pb2.ENCODE_MODE_QUERY
INVALID = grpc.StatusCode.INVALID_ARGUMENT
LONG = "word " * 700


def vector(
    indices: list[int], values: list[float], fingerprint: str = ""
) -> common_pb2.SparseVector:
    return common_pb2.SparseVector(indices=indices, values=values, fingerprint=fingerprint)


def document(**fields: object) -> common_pb2.Document:
    fields.setdefault("id", common_pb2.DocumentId(number=1))
    return common_pb2.Document(**fields)


def nested(depth: int) -> common_pb2.Value:
    value = common_pb2.Value(int_value=1)
    for _ in range(depth):
        value = common_pb2.Value(list_value=common_pb2.ListValue(values=[value]))
    return value


async def state(wire: Wire) -> bytes:
    """All that a write could change."""
    every = await wire.collections.List(collection_pb2.ListCollectionsRequest())
    page = await wire.documents.Scroll(
        document_pb2.ScrollDocumentsRequest(collection="films", limit=20, with_vector=True)
    )
    return every.SerializeToString(deterministic=True) + page.SerializeToString(deterministic=True)


@pytest.fixture
async def films(wire: Wire) -> Wire:
    await wire.create()
    await wire.documents.Upsert(
        document_pb2.UpsertRequest(
            collection="films", documents=[document(text="a film about a band")]
        )
    )
    return wire


WHOLE = {
    "no texts": ("encode.Encode", encode_pb2.EncodeRequest(mode=QUERY), "texts"),
    "too many texts": (
        "encode.Encode",
        encode_pb2.EncodeRequest(mode=QUERY, texts=["a"] * (LIMITS["max_texts"] + 1)),
        "texts",
    ),
    "no mode": ("encode.Encode", encode_pb2.EncodeRequest(texts=["a"]), "mode"),
    "top_k of 0": (
        "encode.Encode",
        encode_pb2.EncodeRequest(mode=QUERY, texts=["a"], top_k=0),
        "top_k",
    ),
    "NaN threshold": (
        "encode.Encode",
        encode_pb2.EncodeRequest(mode=QUERY, texts=["a"], threshold=math.nan),
        "threshold",
    ),
    "unknown truncation": (
        "encode.Encode",
        encode_pb2.EncodeRequest(mode=QUERY, texts=["a"], on_truncation=9),
        "on_truncation",
    ),
    "illegal model name": (
        "encode.Encode",
        encode_pb2.EncodeRequest(mode=QUERY, texts=["a"], model="../etc"),
        "model",
    ),
    "no texts to tokenize": ("encode.Tokenize", encode_pb2.TokenizeRequest(), "texts"),
    "empty collection name": (
        "collections.Create",
        collection_pb2.CreateCollectionRequest(name=""),
        "name",
    ),
    "path as name": (
        "collections.Create",
        collection_pb2.CreateCollectionRequest(name="a/b"),
        "name",
    ),
    "dash first": ("collections.Create", collection_pb2.CreateCollectionRequest(name="-a"), "name"),
    "newline at the end": (
        "collections.Create",
        collection_pb2.CreateCollectionRequest(name="a\n"),
        "name",
    ),
    "64 characters": (
        "collections.Create",
        collection_pb2.CreateCollectionRequest(name="a" * 64),
        "name",
    ),
    "no shards": (
        "collections.Create",
        collection_pb2.CreateCollectionRequest(name="a", shards=0),
        "shards",
    ),
    "257 shards": (
        "collections.Create",
        collection_pb2.CreateCollectionRequest(name="a", shards=257),
        "shards",
    ),
    "no documents": (
        "documents.Upsert",
        document_pb2.UpsertRequest(collection="films"),
        "documents",
    ),
    "too many documents": (
        "documents.Upsert",
        document_pb2.UpsertRequest(
            collection="films", documents=[document(text="a")] * (LIMITS["max_documents"] + 1)
        ),
        "documents",
    ),
    "no ids": ("documents.Get", document_pb2.GetDocumentsRequest(collection="films"), "ids"),
    "id that is neither": (
        "documents.Delete",
        document_pb2.DeleteDocumentsRequest(collection="films", ids=[common_pb2.DocumentId()]),
        "ids[0].id",
    ),
    "page of 0": (
        "documents.Scroll",
        document_pb2.ScrollDocumentsRequest(collection="films"),
        "limit",
    ),
    "page too long": (
        "documents.Scroll",
        document_pb2.ScrollDocumentsRequest(collection="films", limit=21),
        "limit",
    ),
    "k of 0": ("search.Search", search_pb2.SearchRequest(collection="films", text="a"), "limit"),
    "k above the gateway's limit": (
        "search.Search",
        search_pb2.SearchRequest(collection="films", text="a", limit=LIMITS["max_limit"] + 1),
        "limit",
    ),
    "k above the contract's limit": (
        "search.Search",
        search_pb2.SearchRequest(collection="films", text="a", limit=10_001),
        "limit",
    ),
    "no query": ("search.Search", search_pb2.SearchRequest(collection="films", limit=1), "query"),
    "no searches": ("search.SearchBatch", search_pb2.SearchBatchRequest(), "searches"),
    "too many searches": (
        "search.SearchBatch",
        search_pb2.SearchBatchRequest(
            searches=[search_pb2.SearchRequest(collection="films", text="a", limit=1)] * 5
        ),
        "searches",
    ),
    "explain without id": (
        "search.Explain",
        search_pb2.ExplainRequest(collection="films", text="a"),
        "id",
    ),
    "no model name": ("models.Get", model_pb2.GetModelRequest(), "name"),
    "nothing to optimize": (
        "collections.Optimize",
        collection_pb2.OptimizeCollectionRequest(),
        "name",
    ),
    "index of no field": (
        "collections.CreatePayloadIndex",
        collection_pb2.CreatePayloadIndexRequest(
            collection="films", kind=collection_pb2.FIELD_KIND_TEXT
        ),
        "field",
    ),
    "index of no kind": (
        "collections.CreatePayloadIndex",
        collection_pb2.CreatePayloadIndexRequest(collection="films", field="a"),
        "kind",
    ),
    "index of no field to drop": (
        "collections.DeletePayloadIndex",
        collection_pb2.DeletePayloadIndexRequest(collection="films"),
        "field",
    ),
    "snapshot of a path": (
        "collections.DeleteSnapshot",
        snapshot_pb2.DeleteSnapshotRequest(collection="films", snapshot="../films"),
        "snapshot",
    ),
    "stream without a name": (
        "documents.StreamPosition",
        document_pb2.StreamPositionRequest(collection="films"),
        "stream",
    ),
    "deletion without a filter": (
        "documents.DeleteByFilter",
        document_pb2.DeleteByFilterRequest(collection="films"),
        "filter",
    ),
    "payload of nobody": (
        "documents.SetPayload",
        document_pb2.SetPayloadRequest(collection="films", mode=document_pb2.PAYLOAD_MODE_REPLACE),
        "target",
    ),
    "payload without a mode": (
        "documents.SetPayload",
        document_pb2.SetPayloadRequest(
            collection="films",
            ids=common_pb2.DocumentIds(ids=[common_pb2.DocumentId(number=1)]),
        ),
        "mode",
    ),
    "too many ids of payloads": (
        "documents.SetPayload",
        document_pb2.SetPayloadRequest(
            collection="films",
            ids=common_pb2.DocumentIds(ids=[common_pb2.DocumentId(number=1)] * 21),
            mode=document_pb2.PAYLOAD_MODE_REPLACE,
        ),
        "ids.ids",
    ),
    "nothing to merge": (
        "documents.SetPayload",
        document_pb2.SetPayloadRequest(
            collection="films",
            ids=common_pb2.DocumentIds(ids=[common_pb2.DocumentId(number=1)]),
            mode=document_pb2.PAYLOAD_MODE_MERGE,
        ),
        "payload",
    ),
}


@pytest.mark.parametrize("case", WHOLE)
async def test_a_broken_rule_refuses_the_request(films: Wire, case: str) -> None:
    path, request, field = WHOLE[case]
    stub, method = path.split(".")
    before = await state(films)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await getattr(getattr(films, stub), method)(request)
    code, reason, fields = details(caught.value)
    assert (code, reason, set(fields)) == (INVALID, "INVALID_REQUEST", {field})
    assert await state(films) == before


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
    path, request = ABSENT[case]
    stub, method = path.split(".")
    before = await state(films)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await getattr(getattr(films, stub), method)(request)
    code, reason, fields = details(caught.value)
    assert code == grpc.StatusCode.NOT_FOUND
    assert reason.endswith("_NOT_FOUND")
    assert len(fields) == 1
    assert await state(films) == before


async def test_a_taken_name_is_refused(films: Wire) -> None:
    before = await state(films)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await films.create("films", shards=8)
    expected = (grpc.StatusCode.ALREADY_EXISTS, "COLLECTION_EXISTS", ["name"])
    assert details(caught.value) == expected
    assert await state(films) == before


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "BLANK_TEXT"),
        (" \t\n", "BLANK_TEXT"),
        ("\u3000\u00a0", "BLANK_TEXT"),
        ("👩‍🚀", "NO_KNOWN_TOKENS"),
        ("\x00\u200b", "BLANK_TEXT"),
    ],
)
async def test_a_text_without_content_is_refused_alone(films: Wire, text: str, reason: str) -> None:
    request = encode_pb2.EncodeRequest(mode=QUERY, texts=["band", text])
    good, bad = (await films.encode.Encode(request)).results
    assert good.encoding.vector.indices
    assert read(bad.error) == (INVALID.value[0], reason, ["texts[1]"])

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await films.search.Search(search_pb2.SearchRequest(collection="films", text=text, limit=1))
    assert details(caught.value) == (INVALID, reason, ["text"])

    reply = await films.documents.Upsert(
        document_pb2.UpsertRequest(
            collection="films",
            documents=[
                document(id=common_pb2.DocumentId(number=7), text=text),
                document(id=common_pb2.DocumentId(number=8), text="band"),
            ],
        )
    )
    assert reply.applied == 1
    assert read(reply.results[0].error) == (INVALID.value[0], reason, ["documents[0].text"])
    assert not reply.results[1].HasField("error")
    count = await films.documents.Count(document_pb2.CountDocumentsRequest(collection="films"))
    assert count.count == 2


async def test_a_long_text_is_flagged_or_refused(films: Wire) -> None:
    request = encode_pb2.EncodeRequest(mode=QUERY, texts=[LONG])
    (flagged,) = (await films.encode.Encode(request)).results
    assert flagged.encoding.truncated
    assert flagged.encoding.tokens_used == 512

    request.on_truncation = common_pb2.ON_TRUNCATION_ERROR
    (refused,) = (await films.encode.Encode(request)).results
    assert read(refused.error) == (INVALID.value[0], "TEXT_TOO_LONG", ["texts[0]"])

    search = search_pb2.SearchRequest(collection="films", text=LONG, limit=1)
    assert (await films.search.Search(search)).truncated
    search.on_truncation = common_pb2.ON_TRUNCATION_ERROR
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await films.search.Search(search)
    assert details(caught.value) == (INVALID, "TEXT_TOO_LONG", ["text"])

    upsert = document_pb2.UpsertRequest(collection="films", documents=[document(text=LONG)])
    assert (await films.documents.Upsert(upsert)).results[0].truncated
    upsert.on_truncation = common_pb2.ON_TRUNCATION_ERROR
    before = await state(films)
    refused_document = (await films.documents.Upsert(upsert)).results[0]
    assert read(refused_document.error)[1:] == ("TEXT_TOO_LONG", ["documents[0].text"])
    assert await state(films) == before


OTHER = "0" * 32
VECTORS = {
    "NaN": (vector([1, 2], [1.0, math.nan]), "INVALID_VECTOR", "values[1]"),
    "infinite": (vector([1], [math.inf]), "INVALID_VECTOR", "values[0]"),
    "negative": (vector([1], [-0.5]), "INVALID_VECTOR", "values[0]"),
    "over-large": (vector([1], [1.1e6]), "INVALID_VECTOR", "values[0]"),
    "only zeros": (vector([1], [0.0]), "INVALID_VECTOR", "values"),
    "duplicate": (vector([5, 9, 5], [1.0, 1.0, 1.0]), "INVALID_VECTOR", "indices[2]"),
    "unequal": (vector([5, 9], [1.0]), "INVALID_VECTOR", "values"),
    "unknown term": (vector([1, 30522], [1.0, 1.0]), "UNKNOWN_TERM", "indices[1]"),
    "empty": (vector([], []), "INVALID_REQUEST", "indices"),
    "other model": (vector([1], [1.0], OTHER), "FINGERPRINT_MISMATCH", "fingerprint"),
}


@pytest.mark.parametrize("case", VECTORS)
async def test_a_bad_vector_is_refused_alone(films: Wire, case: str) -> None:
    bad, reason, field = VECTORS[case]
    before = await state(films)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await films.search.Search(search_pb2.SearchRequest(collection="films", vector=bad, limit=1))
    code, got, fields = details(caught.value)
    assert (got, fields[0]) == (reason, f"vector.{field}")
    mismatch = reason == "FINGERPRINT_MISMATCH"
    assert code == (grpc.StatusCode.FAILED_PRECONDITION if mismatch else INVALID)
    assert await state(films) == before

    reply = await films.documents.Upsert(
        document_pb2.UpsertRequest(
            collection="films",
            documents=[
                document(vector=bad),
                document(id=common_pb2.DocumentId(name="good"), vector=vector([9, 5], [1, 2])),
            ],
        )
    )
    assert read(reply.results[0].error)[1] == reason
    assert read(reply.results[0].error)[2][0] == f"documents[0].vector.{field}"
    assert not reply.results[1].HasField("error")

    batch = await films.search.SearchBatch(
        search_pb2.SearchBatchRequest(
            searches=[
                search_pb2.SearchRequest(collection="films", vector=bad, limit=1),
                search_pb2.SearchRequest(collection="films", vector=vector([5], [1]), limit=1),
                search_pb2.SearchRequest(collection="films", text="band"),
            ]
        )
    )
    assert read(batch.results[0].error)[1] == reason
    assert read(batch.results[0].error)[2][0] == f"searches[0].vector.{field}"
    assert batch.results[1].response.hits[0].id.name == "good"
    assert read(batch.results[2].error)[2] == ["searches[2].limit"]


ID = common_pb2.DocumentId
DOCUMENTS = {
    "no id": (common_pb2.Document(text="a"), "id"),
    "id that is neither": (document(id=ID(), text="a"), "id.id"),
    "empty id": (document(id=ID(name=""), text="a"), "id.name"),
    "id of 257 bytes": (document(id=ID(name="é" * 128 + "x"), text="a"), "id.name"),
    "neither text nor vector": (document(), "text"),
    "payload too large": (
        document(text="a", payload={"blob": common_pb2.Value(string_value="x" * 70_000)}),
        "payload",
    ),
    "payload too deep": (document(text="a", payload={"deep": nested(17)}), 'payload["deep"]'),
    "payload with NaN": (
        document(text="a", payload={"n": common_pb2.Value(double_value=math.nan)}),
        'payload["n"].double_value',
    ),
    "payload without a kind": (
        document(text="a", payload={"n": common_pb2.Value()}),
        'payload["n"].kind',
    ),
    "text over the limit": (document(text="a" * 1_048_577), "text"),
}


@pytest.mark.parametrize("case", DOCUMENTS)
async def test_a_bad_document_is_refused_alone(films: Wire, case: str) -> None:
    bad, field = DOCUMENTS[case]
    before = await state(films)
    upsert = document_pb2.UpsertRequest(collection="films", documents=[bad])
    reply = await films.documents.Upsert(upsert)
    assert reply.applied == 0
    code, reason, fields = read(reply.results[0].error)
    assert code == INVALID.value[0]
    assert reason in {"INVALID_REQUEST", "INVALID_DOCUMENT"}
    assert fields == [f"documents[0].{field}"]
    assert await state(films) == before


async def test_extreme_ids_are_legal(films: Wire) -> None:
    ids = [ID(number=0), ID(number=2**64 - 1), ID(name="5"), ID(name="é" * 128), ID(number=5)]
    reply = await films.documents.Upsert(
        document_pb2.UpsertRequest(
            collection="films", documents=[document(id=id, text="band") for id in ids]
        )
    )
    assert reply.applied == len(ids)
    got = await films.documents.Get(
        document_pb2.GetDocumentsRequest(collection="films", ids=[*ids, ID(name="6")])
    )
    assert [found.id for found in got.documents] == ids
    assert list(got.missing) == [ID(name="6")]


async def test_unsorted_vectors_are_sorted(films: Wire) -> None:
    upsert = document_pb2.UpsertRequest(
        collection="films", documents=[document(vector=vector([9, 5, 7], [1, 2, 0]))]
    )
    await films.documents.Upsert(upsert)
    got = await films.documents.Get(
        document_pb2.GetDocumentsRequest(collection="films", ids=[ID(number=1)], with_vector=True)
    )
    assert list(got.documents[0].vector.indices) == [5, 9]
    assert list(got.documents[0].vector.values) == [2, 1]


async def test_a_thousand_broken_rules_still_fit_into_the_reply(films: Wire) -> None:
    ids = [ID(name="")] * 1000
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await films.documents.Delete(
            document_pb2.DeleteDocumentsRequest(collection="films", ids=ids)
        )
    code, reason, fields = details(caught.value)
    assert (code, reason, fields[0]) == (INVALID, "INVALID_REQUEST", "ids[0].name")
    assert "999 more" in (caught.value.details() or "")


async def test_a_collection_made_anew_gets_nothing_meant_for_the_old_one(films: Wire) -> None:
    documents = [document(id=ID(number=n), text=LONG) for n in range(20)]
    upsert = films.documents.Upsert(
        document_pb2.UpsertRequest(collection="films", documents=documents)
    )
    writing = asyncio.ensure_future(upsert)
    await asyncio.sleep(0.1)
    await films.collections.Delete(collection_pb2.DeleteCollectionRequest(name="films"))
    await films.create("films")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await writing
    assert details(caught.value)[:2] == (grpc.StatusCode.NOT_FOUND, "COLLECTION_NOT_FOUND")
    count = await films.documents.Count(document_pb2.CountDocumentsRequest(collection="films"))
    assert count.count == 0


async def test_bytes_that_are_no_message_are_refused(films: Wire) -> None:
    call = films.channel.unary_unary("/sparsegate.v1.SearchService/Search")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(b"\xff\xff\xff\xff")
    assert details(caught.value) == (INVALID, "INVALID_REQUEST", [])


async def test_a_deadline_that_has_passed_changes_nothing(films: Wire) -> None:
    before = await state(films)
    documents = [document(id=ID(number=n), text=LONG) for n in range(20)]
    upsert = document_pb2.UpsertRequest(collection="films", documents=documents)
    for timeout in (1e-9, 0.001):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await films.documents.Upsert(upsert, timeout=timeout)
        assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    await asyncio.sleep(0.5)
    assert await state(films) == before


async def test_a_client_that_went_away_fails_nobody_else(films: Wire) -> None:
    encode = encode_pb2.EncodeRequest(mode=QUERY, texts=[LONG] * 8)
    gone = [films.encode.Encode(encode) for _ in range(4)]
    staying = asyncio.ensure_future(
        films.encode.Encode(encode_pb2.EncodeRequest(mode=QUERY, texts=["band"]))
    )
    await asyncio.sleep(0.01)
    for call in gone:
        call.cancel()
    (result,) = (await staying).results
    assert result.encoding.vector.indices
    assert all(call.cancelled() for call in gone)


async def test_bad_requests_fail_no_other_client(films: Wire) -> None:
    good = encode_pb2.EncodeRequest(mode=QUERY, texts=["a band on tour"])
    expected = (await films.encode.Encode(good)).results[0].encoding.vector
    mixed = encode_pb2.EncodeRequest(mode=QUERY, texts=["", "👩‍🚀", LONG])
    replies = await asyncio.gather(
        *(films.encode.Encode(good if n % 2 else mixed) for n in range(32))
    )
    for reply in replies[1::2]:
        found = reply.results[0].encoding.vector
        assert found.indices == expected.indices
        # The shape of a shared batch decides how sums are rounded.
        assert found.values == pytest.approx(expected.values, rel=1e-6)
