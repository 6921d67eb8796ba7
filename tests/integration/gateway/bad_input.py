"""What the tests of bad input send, and what must stay as it was."""

from __future__ import annotations

import grpc
import pytest
from google.protobuf.message import Message
from tests.integration.gateway.conftest import Wire, details

from sparsegate.v1 import collection_pb2, common_pb2, document_pb2, encode_pb2

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


async def state(wire: Wire) -> bytes:
    """All that a write could change."""
    every = await wire.collections.List(collection_pb2.ListCollectionsRequest())
    page = await wire.documents.Scroll(
        document_pb2.ScrollDocumentsRequest(collection="films", limit=20, with_vector=True)
    )
    return every.SerializeToString(deterministic=True) + page.SerializeToString(deterministic=True)


async def refusal(
    wire: Wire, path: str, request: Message
) -> tuple[grpc.StatusCode, str, list[str]]:
    """What a method of a service, as in `search.Search`, is refused with; nothing has changed."""
    service, method = path.split(".")
    before = await state(wire)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await getattr(getattr(wire, service), method)(request)
    assert await state(wire) == before
    return details(caught.value)
