"""Writes that are sent again, streams that break off, and gateways that come back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import grpc
import pytest
from tests.integration.gateway.conftest import Wire, collect, details, serving
from tests.integration.gateway.movies import ID

import sparsegate
from sparsegate import Document, SparseVector
from sparsegate.v1 import common_pb2, document_pb2

VALUE = common_pb2.Value
AGAIN = (("x-request-id", "once"),)


def documents(numbers: Iterable[int]) -> list[common_pb2.Document]:
    vector = common_pb2.SparseVector(indices=[5], values=[1])
    return [common_pb2.Document(id=ID(number=number), vector=vector) for number in numbers]


def upsert(*numbers: int) -> document_pb2.UpsertRequest:
    return document_pb2.UpsertRequest(collection="films", documents=documents(numbers))


async def count(wire: Wire) -> document_pb2.CountDocumentsResponse:
    return await wire.documents.Count(document_pb2.CountDocumentsRequest(collection="films"))


async def test_a_request_that_is_sent_again_is_applied_once(wire: Wire) -> None:
    await wire.create()
    first = await wire.documents.Upsert(upsert(1, 2), metadata=AGAIN)
    await wire.documents.Delete(
        document_pb2.DeleteDocumentsRequest(collection="films", ids=[ID(number=1)])
    )
    again = await wire.documents.Upsert(upsert(1, 2), metadata=AGAIN)
    assert (first.repeated, again.repeated) == (False, True)
    assert (again.sequence, again.applied) == (first.sequence, 2)
    assert (await count(wire)).count == 1


async def test_an_id_that_we_made_up_means_nothing(wire: Wire) -> None:
    await wire.create()
    first, again = [await wire.documents.Upsert(upsert(1)) for _ in range(2)]
    assert again.sequence > first.sequence
    assert not again.repeated


async def test_other_writes_are_applied_once_too(wire: Wire) -> None:
    await wire.create()
    await wire.documents.Upsert(upsert(1, 2, 3))
    delete = document_pb2.DeleteDocumentsRequest(collection="films", ids=[ID(number=1)])
    first = await wire.documents.Delete(delete, metadata=AGAIN)
    await wire.documents.Upsert(upsert(1))
    assert await wire.documents.Delete(delete, metadata=AGAIN) == first
    assert (await count(wire)).count == 3
    change = document_pb2.SetPayloadRequest(
        collection="films",
        ids=common_pb2.DocumentIds(ids=[ID(number=2)]),
        mode=document_pb2.PAYLOAD_MODE_MERGE,
        payload={"a": VALUE(int_value=1)},
    )
    metadata = (("x-request-id", "twice"),)
    changed = await wire.documents.SetPayload(change, metadata=metadata)
    assert await wire.documents.SetPayload(change, metadata=metadata) == changed
    assert (await count(wire)).sequence == changed.sequence


async def test_an_id_of_another_write_is_refused(wire: Wire) -> None:
    await wire.create()
    await wire.documents.Upsert(upsert(1), metadata=AGAIN)
    others = [
        wire.documents.Upsert(upsert(2), metadata=AGAIN),
        wire.documents.Delete(
            document_pb2.DeleteDocumentsRequest(collection="films", ids=[ID(number=1)]),
            metadata=AGAIN,
        ),
    ]
    for other in others:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await other
        assert details(caught.value)[:2] == (
            grpc.StatusCode.INVALID_ARGUMENT,
            "INVALID_REQUEST",
        )
    assert (await count(wire)).count == 1


async def batches(*numbers: int, stream: str = "s") -> AsyncIterator[object]:
    for number in numbers:
        yield document_pb2.UpsertStreamRequest(upsert=upsert(number), batch=number, stream=stream)


async def position(wire: Wire, stream: str = "s") -> int:
    reply = await wire.documents.StreamPosition(
        document_pb2.StreamPositionRequest(collection="films", stream=stream)
    )
    return reply.batch


async def test_a_batch_that_is_sent_again_is_applied_once(wire: Wire) -> None:
    await wire.create()
    assert await position(wire) == 0
    replies = [reply async for reply in wire.documents.UpsertStream(batches(1, 2, 3))]
    assert [reply.upsert.repeated for reply in replies] == [False] * 3
    assert await position(wire) == 3
    sequence = (await count(wire)).sequence
    again = [reply async for reply in wire.documents.UpsertStream(batches(2, 3, 4))]
    assert [reply.batch for reply in again] == [2, 3, 4]
    assert [reply.upsert.repeated for reply in again] == [True, True, False]
    assert [reply.upsert.applied for reply in again] == [1, 1, 1]
    after = await count(wire)
    assert (after.count, after.sequence) == (4, sequence + 1)
    assert await position(wire, "other") == 0


@pytest.mark.parametrize(
    ("numbers", "field", "acknowledged"),
    [((0,), "batch", 0), ((1, 1), "batch", 1), ((1, 3, 2), "batch", 2)],
)
async def test_batches_that_do_not_ascend_are_refused(
    wire: Wire, numbers: tuple[int, ...], field: str, acknowledged: int
) -> None:
    await wire.create()
    replies: list[document_pb2.UpsertStreamResponse] = []
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await collect(wire.documents.UpsertStream(batches(*numbers)), replies)
    assert details(caught.value) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "INVALID_REQUEST",
        [field],
    )
    assert len(replies) == acknowledged
    assert (await count(wire)).count == acknowledged


async def test_an_upload_outlives_the_gateway(model_repository: Path) -> None:
    """The gateway stops in the middle of an upload and another one comes up at its address."""
    halted, back = asyncio.Event(), asyncio.Event()

    async def source() -> AsyncIterator[Document]:
        for number in range(100):
            if number == 60:
                halted.set()
                await back.wait()
            yield Document(number, vector=SparseVector([5], [1.0]))

    async with serving(model_repository) as wire:
        await wire.create()
        port = wire.gateway.port
        client = sparsegate.aio.Client(f"127.0.0.1:{port}")
        upload = asyncio.create_task(client.upload("films", source(), batch_size=10))
        await asyncio.wait_for(halted.wait(), 10)
    server = {"port": port, "metrics_port": -1}
    async with serving(model_repository, server=server) as wire:
        back.set()
        summary = await asyncio.wait_for(upload, 30)
        await client.close()
        counted = await count(wire)
        assert (summary.acknowledged, summary.applied, summary.errors) == (100, 100, {})
        assert (counted.count, counted.sequence) == (100, summary.sequence)
        assert await position(wire, summary.stream) == 100  # documents of the source
        assert counted.sequence == 10  # no batch was applied twice


async def test_what_was_acknowledged_is_there_after_a_restart(model_repository: Path) -> None:
    async with serving(model_repository) as wire:
        await wire.create()
        reply = await wire.documents.Upsert(upsert(1, 2), metadata=AGAIN)
    async with serving(model_repository) as wire:
        counted = await count(wire)
        assert (counted.count, counted.sequence) == (2, reply.sequence)
        again = await wire.documents.Upsert(upsert(1, 2), metadata=AGAIN)
        assert (again.repeated, again.sequence) == (True, reply.sequence)
        sample = wire.gateway.metrics.registry.get_sample_value
        assert sample("sparsegate_documents", {"collection": "films"}) == 2
