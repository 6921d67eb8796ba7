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
from tests.integration.gateway.conftest import Wire, serving
from tests.integration.gateway.movies import QUESTION, load_movies

from sparsegate.v1 import collection_pb2, encode_pb2, model_pb2, search_pb2


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


async def scrape(port: int) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /metrics HTTP/1.0\r\n\r\n")
    text = (await reader.read()).decode()
    writer.close()
    await writer.wait_closed()
    return text


async def test_metrics_count_what_happened(model_repository: Path) -> None:
    async with serving(model_repository, server={"port": 0, "metrics_port": 0}) as wire:
        await load_movies(wire)
        search = search_pb2.SearchRequest(collection="films", text="band", limit=1)
        await wire.search.Search(search)
        search.limit = 0
        with pytest.raises(grpc.aio.AioRpcError):
            await wire.search.Search(search)
        text = await scrape(wire.gateway.metrics_port)
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
