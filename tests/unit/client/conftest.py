"""A gateway of the test's own making, and one face for both clients."""

# ruff: noqa: N802 (the contract names the methods)

from __future__ import annotations

import inspect
import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import error_details_pb2 as details_pb
from google.rpc.status_pb2 import Status

import sparsegate
from sparsegate.v1 import document_pb2 as pb
from sparsegate.v1.document_pb2_grpc import (
    DocumentServiceServicer,
    add_DocumentServiceServicer_to_server,
)

SERVING = b"\x08\x01"


class FakeGateway(DocumentServiceServicer):
    """Answers as a test tells it to.

    Attributes:
        count: answers `Count`, as does `upsert` for `Upsert` and for each batch of a stream.
        calls: requests that arrived, retries included.
        metadata: headers of the last call.
        health: answers of the health check, the last one for ever; a code is a refusal.
        streams_open: streams that have not ended.
        ends_after: batches after which a stream ends by itself.
        batches: stream and number of each batch that arrived.
        position: number of the last applied batch of every stream.
        requests: the last request of each method that has nothing else to do.
    """

    def __init__(self) -> None:
        self.address = ""
        self.calls = 0
        self.metadata: dict[str, Any] = {}
        self.health: list[bytes | grpc.StatusCode] = [SERVING]
        self.streams_open = 0
        self.ends_after = 1000
        self.batches: list[tuple[str, int]] = []
        self.position = 0
        self.requests: dict[str, Any] = {}
        self.count: Callable[..., pb.CountDocumentsResponse] = lambda *_: pb.CountDocumentsResponse(
            count=3
        )
        self.upsert: Callable[..., pb.UpsertResponse] = lambda request, _: applied(request)

    def Count(self, request: Any, context: Any) -> Any:
        self.calls += 1
        self.requests["Count"] = request
        self.metadata = dict(context.invocation_metadata())
        return self.count(request, context)

    def Upsert(self, request: Any, context: Any) -> Any:
        self.calls += 1
        return self.upsert(request, context)

    def UpsertStream(self, request_iterator: Any, context: Any) -> Iterator[Any]:
        self.streams_open += 1
        context.add_callback(self._stream_ended)
        for request in itertools.islice(request_iterator, self.ends_after):
            self.calls += 1
            self.batches.append((request.stream, request.batch))
            yield pb.UpsertStreamResponse(
                upsert=self.upsert(request.upsert, context), batch=request.batch
            )

    def _stream_ended(self) -> None:
        self.streams_open -= 1

    def StreamPosition(self, _request: Any, _context: Any) -> Any:
        return pb.StreamPositionResponse(batch=self.position)

    def Get(self, request: Any, _: Any) -> Any:
        self.requests["Get"] = request
        return pb.GetDocumentsResponse(sequence=5)

    def Delete(self, request: Any, _: Any) -> Any:
        self.requests["Delete"] = request
        return pb.DeleteDocumentsResponse(deleted=1, sequence=2)

    def DeleteByFilter(self, request: Any, _: Any) -> Any:
        self.requests["DeleteByFilter"] = request
        return pb.DeleteByFilterResponse(deleted=2**31, sequence=3)

    def SetPayload(self, request: Any, _: Any) -> Any:
        self.requests["SetPayload"] = request
        return pb.SetPayloadResponse(affected=7, sequence=4)

    def Scroll(self, request: Any, _: Any) -> Any:
        """Ten documents, whose ids are 1 to 10."""
        self.calls += 1
        self.requests["Scroll"] = request
        first = request.after.number + 1
        ids = range(first, min(first + request.limit, 11))
        page = pb.ScrollDocumentsResponse(sequence=7)
        for number in ids:
            page.documents.add().id.number = number
        if ids and ids[-1] < 10:
            page.next_after.number = ids[-1]
        return page

    def check_health(self, _request: bytes, context: Any) -> bytes:
        answer = self.health.pop(0) if len(self.health) > 1 else self.health[0]
        if isinstance(answer, grpc.StatusCode):
            context.abort(answer, "not now")
        return answer


def applied(request: pb.UpsertRequest) -> pb.UpsertResponse:
    return pb.UpsertResponse(
        results=[pb.UpsertResult() for _ in request.documents],
        applied=len(request.documents),
        sequence=1,
    )


def make_status(code: grpc.StatusCode, message: str, *details: Any) -> Status:
    packed = []
    for detail in details:
        packed.append(AnyMessage())
        packed[-1].Pack(detail)
    return Status(code=code.value[0], message=message, details=packed)


@pytest.fixture
def refuse() -> Callable[..., None]:
    """Ends a call with a google.rpc.Status."""

    def refuse(context: Any, code: grpc.StatusCode, message: str, *details: Any) -> None:
        status = make_status(code, message, *details)
        context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
        context.abort(code, message)

    return refuse


@pytest.fixture
def status_of() -> Callable[..., Status]:
    return make_status


@pytest.fixture
def details() -> Any:
    """The messages of google.rpc's error details."""
    return details_pb


@pytest.fixture
def gateway() -> Iterator[FakeGateway]:
    fake = FakeGateway()
    with ThreadPoolExecutor(8) as threads:
        server = grpc.server(threads)
        add_DocumentServiceServicer_to_server(fake, server)
        health = grpc.method_handlers_generic_handler(
            "grpc.health.v1.Health",
            {"Check": grpc.unary_unary_rpc_method_handler(fake.check_health)},
        )
        server.add_generic_rpc_handlers((health,))
        fake.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        server.start()
        yield fake
        server.stop(None).wait()


class Either:
    """Either client; all its methods are awaited."""

    def __init__(self, client: sparsegate.Client | sparsegate.aio.Client) -> None:
        self.client = client

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.client, name)

        async def call(*args: Any, **kwargs: Any) -> Any:
            result = method(*args, **kwargs)
            return await result if inspect.isawaitable(result) else result

        return call


@pytest.fixture(params=[sparsegate.Client, sparsegate.aio.Client], ids=["sync", "aio"])
async def client(request: pytest.FixtureRequest, gateway: FakeGateway) -> AsyncIterator[Either]:
    either = Either(request.param(gateway.address))
    yield either
    await either.close()
