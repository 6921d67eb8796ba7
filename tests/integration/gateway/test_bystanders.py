"""Callers that give up, go away or send nonsense change nothing and fail nobody else."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from tests.integration.gateway.bad_input import LONG, QUERY, document, state
from tests.integration.gateway.conftest import Wire
from tests.integration.gateway.movies import ID

from sparsegate.v1 import document_pb2, encode_pb2


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
