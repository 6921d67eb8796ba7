"""What a good client sees: every service once, on a real gateway."""

from __future__ import annotations

import asyncio
import math
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from tests.golden import FILMS
from tests.integration.gateway.conftest import Wire, settings_for

from sparsegate.v1 import (
    collection_pb2,
    common_pb2,
    document_pb2,
    encode_pb2,
    model_pb2,
    search_pb2,
)
from sparsegate_server.app import Gateway

QUESTION = "A movie about music"
ID = common_pb2.DocumentId


def movie_documents() -> list[common_pb2.Document]:
    return [
        common_pb2.Document(
            id=ID(number=movie["id"]),
            text=movie["movie_description"],
            payload={
                "name": common_pb2.Value(string_value=movie["movie_name"]),
                "minutes": common_pb2.Value(int_value=movie["movie_watch_time_min"]),
            },
        )
        for movie in FILMS
    ]


async def load_movies(wire: Wire, name: str = "films", shards: int = 2) -> None:
    await wire.create(name, shards)
    upsert = document_pb2.UpsertRequest(collection=name, documents=movie_documents())
    assert (await wire.documents.Upsert(upsert)).applied == len(FILMS)


async def test_a_question_finds_the_film_that_shares_no_word_with_it(wire: Wire) -> None:
    await load_movies(wire)
    reply = await wire.search.Search(
        search_pb2.SearchRequest(
            collection="films", text=QUESTION, limit=5, with_payload=True, with_query=True
        )
    )
    assert reply.hits[0].payload["name"].string_value == "This Is Spinal Tap"
    assert reply.hits[0].payload["minutes"].int_value == 82
    assert not reply.hits[0].HasField("text")
    assert [hit.score for hit in reply.hits] == sorted((h.score for h in reply.hits), reverse=True)
    assert "song" in reply.query.terms
    assert len(reply.query.terms) == len(reply.query.vector.indices)
    assert reply.postings_scored > 0
    assert reply.sequence > 0
    assert reply.fingerprint == reply.query.vector.fingerprint
    stages = reply.timings
    assert min(stages.tokenize_ms, stages.infer_ms, stages.search_ms) > 0
    assert stages.total_ms >= stages.infer_ms


async def test_scores_have_the_same_bits_for_any_number_of_shards(wire: Wire) -> None:
    seen = set()
    for shards in (1, 2, 4, 8):
        name = f"films{shards}"
        await load_movies(wire, name, shards)
        reply = await wire.search.Search(
            search_pb2.SearchRequest(collection=name, text=QUESTION, limit=20)
        )
        seen.add(tuple((hit.id.number, struct.pack("<f", hit.score)) for hit in reply.hits))
    assert len(seen) == 1


async def test_an_explanation_adds_up_to_the_score_that_search_returns(wire: Wire) -> None:
    await load_movies(wire)
    reply = await wire.search.Search(
        search_pb2.SearchRequest(collection="films", text=QUESTION, limit=20)
    )
    for hit in reply.hits:
        explained = await wire.search.Explain(
            search_pb2.ExplainRequest(collection="films", text=QUESTION, id=hit.id)
        )
        assert explained.matched
        assert explained.score == hit.score
        total = math.fsum(row.contribution for row in explained.terms)
        assert total == pytest.approx(hit.score, rel=1e-6)
        for row in explained.terms:
            assert row.contribution == row.query_weight * row.document_weight
        assert all(row.document_weight == 0 for row in explained.missing)


async def test_the_vector_of_a_text_finds_what_the_text_finds(wire: Wire) -> None:
    await load_movies(wire)
    encoded = await wire.encode.Encode(
        encode_pb2.EncodeRequest(
            mode=encode_pb2.ENCODE_MODE_QUERY, texts=[QUESTION], with_terms=True
        )
    )
    encoding = encoded.results[0].encoding
    assert encoding.tokens_used == 6
    assert len(encoding.terms) == len(encoding.vector.indices)
    request = search_pb2.SearchRequest(collection="films", limit=20, text=QUESTION)
    by_text = await wire.search.Search(request)
    request.vector.CopyFrom(encoding.vector)
    by_vector = await wire.search.Search(request)
    assert list(by_vector.hits) == list(by_text.hits)


async def test_encode_cuts_only_on_request(wire: Wire) -> None:
    request = encode_pb2.EncodeRequest(mode=encode_pb2.ENCODE_MODE_DOCUMENT, texts=[QUESTION])
    whole = (await wire.encode.Encode(request)).results[0].encoding.vector
    request.top_k = 3
    top = (await wire.encode.Encode(request)).results[0].encoding.vector
    assert sorted(top.values) == sorted(whole.values)[-3:]
    request.ClearField("top_k")
    request.threshold = 1.5
    above = (await wire.encode.Encode(request)).results[0].encoding.vector
    assert list(above.values) == [value for value in whole.values if value > 1.5]
    request.threshold = 1e9
    assert not (await wire.encode.Encode(request)).results[0].encoding.vector.indices


async def test_tokens_point_into_the_text(wire: Wire) -> None:
    text = "Naïve [MASK] cafés"
    reply = await wire.encode.Tokenize(encode_pb2.TokenizeRequest(texts=[text]))
    tokens = reply.texts[0].tokens
    assert [tokens[0].text, tokens[-1].text] == ["[CLS]", "[SEP]"]
    assert "".join(text[t.start : t.end] for t in tokens[1:-1]) == text.replace(" ", "")
    assert 103 not in {t.id for t in tokens}  # the vocabulary's [MASK]


async def test_a_document_is_replaced_whole_and_deleted_for_good(wire: Wire) -> None:
    await load_movies(wire)
    old = await wire.documents.Get(
        document_pb2.GetDocumentsRequest(collection="films", ids=[ID(number=18)])
    )
    assert old.documents[0].text.startswith("Spinal Tap")
    new = common_pb2.Document(id=ID(number=18), text="A recipe for pizza")
    reply = await wire.documents.Upsert(
        document_pb2.UpsertRequest(collection="films", documents=[new])
    )
    now = await wire.documents.Get(
        document_pb2.GetDocumentsRequest(collection="films", ids=[ID(number=18)])
    )
    assert now.documents[0] == new
    found = await wire.search.Search(
        search_pb2.SearchRequest(collection="films", text=QUESTION, limit=1)
    )
    assert found.hits[0].id.number != 18
    assert found.sequence == reply.sequence

    gone = await wire.documents.Delete(
        document_pb2.DeleteDocumentsRequest(
            collection="films", ids=[ID(number=18), ID(name="18"), ID(number=3)]
        )
    )
    assert gone.deleted == 2
    count = await wire.documents.Count(document_pb2.CountDocumentsRequest(collection="films"))
    assert count.count == len(FILMS) - 2


async def test_scroll_pages_through_everything_in_id_order(wire: Wire) -> None:
    await load_movies(wire)
    await wire.documents.Upsert(
        document_pb2.UpsertRequest(
            collection="films",
            documents=[common_pb2.Document(id=ID(name=n), text="band") for n in ("b", "10", "é")],
        )
    )
    request = document_pb2.ScrollDocumentsRequest(collection="films", limit=7)
    seen: list[object] = []
    while True:
        page = await wire.documents.Scroll(request)
        seen += [d.id.name or d.id.number for d in page.documents]
        if not page.HasField("next_after"):
            break
        request.after.CopyFrom(page.next_after)
    assert seen == [*range(20), "10", "b", "é"]


async def test_a_stream_acknowledges_batches_in_order(wire: Wire) -> None:
    await wire.create()
    documents = movie_documents()

    async def batches() -> AsyncIterator[document_pb2.UpsertStreamRequest]:
        for at in range(0, len(documents), 6):
            batch = documents[at : at + 6]
            if at == 6:
                batch = [*batch, common_pb2.Document(id=ID(number=99), text=" ")]
            yield document_pb2.UpsertStreamRequest(
                batch=at, upsert=document_pb2.UpsertRequest(collection="films", documents=batch)
            )

    replies = [reply async for reply in wire.documents.UpsertStream(batches())]
    assert [reply.batch for reply in replies] == [0, 6, 12, 18]
    assert [reply.upsert.applied for reply in replies] == [6, 6, 6, 2]
    assert replies[1].upsert.results[6].HasField("error")
    sequences = [reply.upsert.sequence for reply in replies]
    assert sequences == sorted(set(sequences))


async def test_a_stream_ends_with_the_error_of_a_broken_batch(wire: Wire) -> None:
    await wire.create()

    async def batches() -> AsyncIterator[document_pb2.UpsertStreamRequest]:
        for collection in ("films", "nope", "films"):
            document = common_pb2.Document(id=ID(name=collection), text="band")
            yield document_pb2.UpsertStreamRequest(
                upsert=document_pb2.UpsertRequest(collection=collection, documents=[document])
            )

    acknowledged: list[document_pb2.UpsertStreamResponse] = []
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await collect(wire.documents.UpsertStream(batches()), acknowledged)
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND
    assert len(acknowledged) == 1


async def test_a_fast_client_is_held_back(wire: Wire) -> None:
    """The client is asked for the next batch only as fast as batches are applied."""
    await wire.create()
    sent = 0

    async def batches() -> AsyncIterator[document_pb2.UpsertStreamRequest]:
        nonlocal sent
        for _ in range(16):
            sent += 1
            # Some take the model's time, the others fill the wire.
            slow = [common_pb2.Document(id=ID(number=n), text="band " * 600) for n in range(4)]
            large = [
                common_pb2.Document(
                    id=ID(number=n),
                    text="band " * 100_000,
                    vector=common_pb2.SparseVector(indices=[n], values=[1]),
                )
                for n in range(4, 20)
            ]
            yield document_pb2.UpsertStreamRequest(
                upsert=document_pb2.UpsertRequest(collection="films", documents=[*slow, *large])
            )

    ahead = []
    acknowledged = 0
    async for _ in wire.documents.UpsertStream(batches()):
        ahead.append(sent - acknowledged)
        acknowledged += 1
    assert acknowledged == 16
    # gRPC's windows on both sides hold a few batches of 8 MB; without them all would be under way.
    assert max(ahead) <= 8


async def test_payloads_come_back_exactly(wire: Wire) -> None:
    await wire.create()
    value = common_pb2.Value
    payload = {
        "int": value(int_value=2**53 + 1),
        "least": value(int_value=-(2**63)),
        "double": value(double_value=0.1),
        "whole double": value(double_value=3.0),
        "no": value(bool_value=False),
        "null": value(null_value=common_pb2.NULL_VALUE_UNSPECIFIED),
        "list": value(
            list_value=common_pb2.ListValue(
                values=[value(string_value=""), value(list_value=common_pb2.ListValue())]
            )
        ),
        "map": value(map_value=common_pb2.MapValue(fields={"é": value(int_value=0)})),
        "empty map": value(map_value=common_pb2.MapValue()),
    }
    document = common_pb2.Document(id=ID(number=1), text="band", payload=payload)
    await wire.documents.Upsert(
        document_pb2.UpsertRequest(collection="films", documents=[document])
    )
    got = await wire.documents.Get(
        document_pb2.GetDocumentsRequest(collection="films", ids=[document.id])
    )
    assert got.documents[0] == document


async def test_models_and_collections_describe_themselves(wire: Wire) -> None:
    (model,) = (await wire.models.List(model_pb2.ListModelsRequest())).models
    assert (model.name, model.family, model.backend) == ("splade-tiny", "splade", "onnx")
    assert model.ready
    assert model.vocabulary_size == 30522
    assert model.parameters > 4_000_000
    await load_movies(wire, shards=4)
    got = await wire.collections.Get(collection_pb2.GetCollectionRequest(name="films"))
    assert got.collection.fingerprint == model.fingerprint
    assert (got.collection.documents, got.collection.shards) == (20, 4)
    await wire.collections.Delete(collection_pb2.DeleteCollectionRequest(name="films"))
    every = await wire.collections.List(collection_pb2.ListCollectionsRequest())
    assert not every.collections


async def test_health_and_reflection_answer(wire: Wire) -> None:
    health = health_pb2_grpc.HealthStub(wire.channel)
    for service in ("", "sparsegate.v1.SearchService"):
        status = await health.Check(health_pb2.HealthCheckRequest(service=service))
        assert status.status == health_pb2.HealthCheckResponse.SERVING

    async def ask() -> AsyncIterator[reflection_pb2.ServerReflectionRequest]:
        yield reflection_pb2.ServerReflectionRequest(
            file_containing_symbol="sparsegate.v1.SearchService"
        )

    stub = reflection_pb2_grpc.ServerReflectionStub(wire.channel)
    async for answer in stub.ServerReflectionInfo(ask()):
        assert answer.file_descriptor_response.file_descriptor_proto


def in_flight(gateway: Gateway) -> float | None:
    return gateway.metrics.registry.get_sample_value("sparsegate_requests_in_flight")


async def collect(
    stream: AsyncIterator[document_pb2.UpsertStreamResponse],
    into: list[document_pb2.UpsertStreamResponse],
) -> None:
    async for reply in stream:
        into.append(reply)  # noqa: PERF401 - what came before an error must survive it


async def scrape(port: int) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /metrics HTTP/1.0\r\n\r\n")
    text = (await reader.read()).decode()
    writer.close()
    await writer.wait_closed()
    return text


async def test_metrics_count_what_happened(model_repository: Path) -> None:
    gateway = Gateway(settings_for(model_repository, server={"port": 0, "metrics_port": 0}))
    await gateway.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{gateway.port}") as channel:
        wire = Wire(channel, gateway)
        await load_movies(wire)
        search = search_pb2.SearchRequest(collection="films", text="band", limit=1)
        await wire.search.Search(search)
        search.limit = 0
        with pytest.raises(grpc.aio.AioRpcError):
            await wire.search.Search(search)
        text = await scrape(gateway.metrics_port)
    await gateway.stop()
    for line in (
        'sparsegate_requests_total{code="OK",method="SearchService/Search"} 1.0',
        'sparsegate_requests_total{code="INVALID_ARGUMENT",method="SearchService/Search"} 1.0',
        'sparsegate_texts_total{mode="document",model="splade-tiny"} 20.0',
        'sparsegate_documents{collection="films"} 20.0',
    ):
        assert line in text
    assert 'sparsegate_stage_seconds_count{method="SearchService/Search",stage="infer"} 1.0' in text
    assert 'sparsegate_inference_batch_size_bucket{le="+Inf",model="splade-tiny"}' in text
    assert 'sparsegate_tokens_total{mode="query",model="splade-tiny"} 3.0' in text
    assert 'sparsegate_postings_scored_total{collection="films"}' in text
    assert 'sparsegate_segments{collection="films"}' in text


async def test_the_request_id_of_the_caller_comes_back(wire: Wire) -> None:
    call = wire.models.List(model_pb2.ListModelsRequest(), metadata=(("x-request-id", "mine"),))
    await call
    assert dict(await call.trailing_metadata())["x-request-id"] == "mine"


async def test_overload_is_refused_early_with_a_hint(model_repository: Path) -> None:
    gateway = Gateway(
        settings_for(
            model_repository, server={"port": 0, "metrics_port": -1, "max_concurrent_requests": 1}
        )
    )
    await gateway.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{gateway.port}") as channel:
        wire = Wire(channel, gateway)
        request = encode_pb2.EncodeRequest(
            mode=encode_pb2.ENCODE_MODE_DOCUMENT, texts=["word " * 600] * 8
        )
        results = await asyncio.gather(
            *(wire.encode.Encode(request) for _ in range(4)), return_exceptions=True
        )
    await gateway.stop()
    refused = [r for r in results if isinstance(r, grpc.aio.AioRpcError)]
    assert len(refused) == 3
    for error in refused:
        assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert b"RetryInfo" in dict(error.trailing_metadata() or ())["grpc-status-details-bin"]


async def test_stopping_ends_a_stream_that_only_waits(model_repository: Path) -> None:
    gateway = Gateway(settings_for(model_repository, server={"port": 0, "metrics_port": -1}))
    await gateway.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{gateway.port}") as channel:
        wire = Wire(channel, gateway)
        await wire.create()
        stream = wire.documents.UpsertStream()
        upsert = document_pb2.UpsertRequest(collection="films", documents=movie_documents())
        await stream.write(document_pb2.UpsertStreamRequest(upsert=upsert, batch=1))
        assert (await stream.read()).batch == 1
        await asyncio.wait_for(gateway.stop(), timeout=10)
        assert await stream.code() == grpc.StatusCode.UNAVAILABLE
        assert "stopping" in (await stream.details() or "")


async def test_stopping_finishes_what_was_accepted(model_repository: Path) -> None:
    gateway = Gateway(settings_for(model_repository))
    await gateway.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{gateway.port}") as channel:
        wire = Wire(channel, gateway)
        await wire.create()
        upsert = document_pb2.UpsertRequest(collection="films", documents=movie_documents())
        accepted = asyncio.ensure_future(wire.documents.Upsert(upsert))
        while not in_flight(gateway):  # noqa: ASYNC110 - a gauge has no event to wait for
            await asyncio.sleep(0.001)
        await gateway.stop()
        assert (await accepted).applied == len(FILMS)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await wire.documents.Count(document_pb2.CountDocumentsRequest(collection="films"))
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
