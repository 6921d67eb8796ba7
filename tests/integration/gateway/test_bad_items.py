"""A bad text, vector or document is refused alone; what only looks bad is taken."""

from __future__ import annotations

import math

import grpc
import pytest
from tests.integration.gateway.bad_input import INVALID, LONG, QUERY, document, state, vector
from tests.integration.gateway.conftest import Wire, details, read
from tests.integration.gateway.movies import ID

from sparsegate.v1 import common_pb2, document_pb2, encode_pb2, search_pb2


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


def nested(depth: int) -> common_pb2.Value:
    value = common_pb2.Value(int_value=1)
    for _ in range(depth):
        value = common_pb2.Value(list_value=common_pb2.ListValue(values=[value]))
    return value


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
