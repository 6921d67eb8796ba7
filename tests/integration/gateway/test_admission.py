"""A gateway that is full refuses early; one that stops finishes what it has accepted."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import pytest
from tests.golden import FILMS
from tests.integration.gateway.conftest import Wire, serving, settings_for
from tests.integration.gateway.movies import movie_documents

from sparsegate.v1 import document_pb2, encode_pb2
from sparsegate_server.app import Gateway


def in_flight(gateway: Gateway) -> float | None:
    return gateway.metrics.registry.get_sample_value("sparsegate_requests_in_flight")


async def test_overload_is_refused_early_with_a_hint(model_repository: Path) -> None:
    server = {"port": 0, "metrics_port": -1, "max_concurrent_requests": 1}
    async with serving(model_repository, server=server) as wire:
        request = encode_pb2.EncodeRequest(
            mode=encode_pb2.ENCODE_MODE_DOCUMENT, texts=["word " * 600] * 8
        )
        results = await asyncio.gather(
            *(wire.encode.Encode(request) for _ in range(4)), return_exceptions=True
        )
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
