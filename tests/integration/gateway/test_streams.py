"""Streams of batches: acknowledged in order, ended by an error, held back."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc
import pytest
from tests.integration.gateway.conftest import Wire, collect
from tests.integration.gateway.movies import ID, movie_documents

from sparsegate.v1 import common_pb2, document_pb2


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
    ahead: list[int] = []

    async def batches() -> AsyncIterator[document_pb2.UpsertStreamRequest]:
        for sent in range(1, 25):
            # What has been applied is what the gateway says: replies may lie here unread.
            ahead.append(sent - wire.gateway._index.counts("films").sequence)
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

    replies = [reply async for reply in wire.documents.UpsertStream(batches())]
    assert len(replies) == 24
    # gRPC's windows on both sides hold a few batches of 8 MB, on a busy machine up to ten; without
    # them nearly all would be under way.
    assert max(ahead) <= 12
