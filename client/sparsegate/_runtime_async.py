"""What asyncio offers to the client. `_runtime_sync` offers the same, under the same names."""

from __future__ import annotations

import asyncio
from asyncio import Queue, sleep
from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Callable,
    Coroutine,
    Iterable,
    Sequence,
)
from typing import Any, Generic, TypeAlias, TypeVar

import grpc
import grpc.aio
from grpc.aio import (
    Call,
    Channel,
    StreamStreamMultiCallable,
    StreamUnaryMultiCallable,
    UnaryStreamMultiCallable,
    UnaryUnaryMultiCallable,
    insecure_channel,
    secure_channel,
)

from sparsegate._channel import Options
from sparsegate.types import Document

__all__ = [
    "Channel",
    "Documents",
    "Queue",
    "Stream",
    "StreamStreamMultiCallable",
    "StreamUnaryMultiCallable",
    "UnaryStreamMultiCallable",
    "UnaryUnaryMultiCallable",
    "each",
    "in_thread",
    "open_channel",
    "sleep",
]

Sent = TypeVar("Sent")
Received = TypeVar("Received")
Item = TypeVar("Item")

# What grpc.aio says of a call when a write failed, and how long the server's status may take then.
_WRITE_FAILED = "Internal error from Core"
_VERDICT_SECONDS = 1.0

Documents: TypeAlias = Iterable[Document] | AsyncIterable[Document]


def open_channel(
    address: str, credentials: grpc.ChannelCredentials | None, options: Options
) -> Channel:
    if credentials is None:
        return insecure_channel(address, options)
    return secure_channel(address, credentials, options)


async def each(documents: Documents) -> AsyncIterator[Document]:
    """Walks over either kind of iterable."""
    if isinstance(documents, AsyncIterable):
        async for document in documents:
            yield document
    else:
        for document in documents:
            yield document


async def in_thread(function: Callable[..., Item], *args: Any) -> Item:
    """Calls what would hold the event loop, as reading and writing files does."""
    return await asyncio.to_thread(function, *args)


class Stream(Generic[Sent, Received]):
    """A call whose requests and replies are both streams.

    Where the server ends a call while a request is being written, grpc.aio puts an error of its own
    over the server's (https://github.com/grpc/grpc/issues/36066). So the server's is noted as it
    comes, before or after.
    """

    def __init__(
        self,
        method: StreamStreamMultiCallable[Sent, Received],
        requests: AsyncIterator[Sent],
        metadata: Sequence[tuple[str, str]],
    ) -> None:
        self._verdict: asyncio.Future[grpc.aio.AioRpcError] = (
            asyncio.get_running_loop().create_future()
        )
        self._call = method(requests, metadata=metadata)
        self._call.add_done_callback(self._note)

    async def next_within(self, seconds: float) -> Received | None:
        """The next reply; None at the end.

        Raises:
            TimeoutError: none came in time. The call is cancelled.
            grpc.RpcError: the call failed.
        """
        try:
            async with asyncio.timeout(seconds):
                return await anext(aiter(self._call), None)
        except grpc.aio.AioRpcError as error:
            verdict = await self._servers(error)
        if verdict.code() is grpc.StatusCode.OK:
            return None
        raise verdict

    def cancel(self) -> None:
        self._call.cancel()

    def _note(self, _: object) -> None:
        status = _at_once(_status_of(self._call))
        if status.details() != _WRITE_FAILED and not self._verdict.done():
            self._verdict.set_result(status)

    async def _servers(self, error: grpc.aio.AioRpcError) -> grpc.aio.AioRpcError:
        try:
            async with asyncio.timeout(_VERDICT_SECONDS):
                return await self._verdict
        except TimeoutError:
            return error


async def _status_of(call: Call) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(
        await call.code(),
        trailing_metadata=await call.trailing_metadata(),
        details=await call.details(),
    )


def _at_once(coroutine: Coroutine[Any, Any, Item]) -> Item:
    """The result of a coroutine that has nothing to wait for, as with a finished call's status.

    A task of its own would run too late: by then the status may have been replaced.
    """
    try:
        coroutine.send(None)
    except StopIteration as finished:
        result: Item = finished.value
        return result
    raise RuntimeError("a finished call made its caller wait for its status")
