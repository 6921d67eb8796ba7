"""Requests that break a rule of the contract: a code, a message that names the field, no change."""

from __future__ import annotations

import math

import grpc
import pytest
from tests.integration.gateway.bad_input import INVALID, QUERY, document, refusal
from tests.integration.gateway.conftest import LIMITS, Wire, details
from tests.integration.gateway.movies import ID

from sparsegate.v1 import (
    collection_pb2,
    common_pb2,
    document_pb2,
    encode_pb2,
    model_pb2,
    search_pb2,
    snapshot_pb2,
)

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
    code, reason, fields = await refusal(films, path, request)
    assert (code, reason, set(fields)) == (INVALID, "INVALID_REQUEST", {field})


async def test_a_thousand_broken_rules_still_fit_into_the_reply(films: Wire) -> None:
    ids = [ID(name="")] * 1000
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await films.documents.Delete(
            document_pb2.DeleteDocumentsRequest(collection="films", ids=ids)
        )
    code, reason, fields = details(caught.value)
    assert (code, reason, fields[0]) == (INVALID, "INVALID_REQUEST", "ids[0].name")
    assert "999 more" in (caught.value.details() or "")


async def test_bytes_that_are_no_message_are_refused(films: Wire) -> None:
    call = films.channel.unary_unary("/sparsegate.v1.SearchService/Search")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(b"\xff\xff\xff\xff")
    assert details(caught.value) == (INVALID, "INVALID_REQUEST", [])
