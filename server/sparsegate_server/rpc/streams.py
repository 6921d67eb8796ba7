"""Upsert streams: until when they are read, in which order their batches come, and how many of
these are under way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from typing import Any, TypeVar

from sparsegate.v1 import document_pb2
from sparsegate_server.errors import InvalidRequest, ShuttingDown
from sparsegate_server.operations import StreamBatch

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


async def until(
    draining: asyncio.Event, requests: AsyncIterator[document_pb2.UpsertStreamRequest]
) -> AsyncIterator[document_pb2.UpsertStreamRequest]:
    """The requests of a stream, until the client ends it.

    Raises:
        ShuttingDown: the gateway drains; also a stream that is only waiting ends then.
    """
    stop = asyncio.ensure_future(draining.wait())
    request: asyncio.Future[document_pb2.UpsertStreamRequest | None] | None = None
    try:
        while not stop.done():
            request = asyncio.ensure_future(anext(requests, None))
            await asyncio.wait({request, stop}, return_when=asyncio.FIRST_COMPLETED)
            if not request.done():
                break
            if (received := request.result()) is None:
                return
            yield received
    finally:
        stop.cancel()
        if request is not None and not request.done():
            # Nobody waits for it any more, and nobody would hear of its end.
            request.cancel()
            await asyncio.gather(request, return_exceptions=True)
    raise ShuttingDown("the gateway is stopping: send the batches without an answer again")


async def ahead(
    items: AsyncIterator[_Item],
    begin: Callable[[_Item], Coroutine[Any, Any, _Result]],
    most: int,
) -> AsyncGenerator[_Result, None]:
    """What `begin` makes of each item, in order; up to `most` are under way at a time.

    An item is received only when there is room for it, so that flow control holds a fast sender
    back, and a result takes room until the next one is asked for. An error, of an item or of
    receiving one, is raised in its turn: what came before has been handed out by then.
    """
    room = asyncio.Semaphore(most)
    under_way: asyncio.Queue[asyncio.Task[_Result] | None] = asyncio.Queue()
    begun: set[asyncio.Task[_Result]] = set()

    async def receive() -> None:
        try:
            await room.acquire()
            async for item in items:
                task = asyncio.create_task(begin(item))
                begun.add(task)
                task.add_done_callback(begun.discard)
                under_way.put_nowait(task)
                await room.acquire()
        finally:
            under_way.put_nowait(None)

    receiving = asyncio.create_task(receive())
    try:
        while (task := await under_way.get()) is not None:
            yield await task
            room.release()
        await receiving
    finally:
        left = (receiving, *begun)
        for each in left:
            each.cancel()
        await asyncio.gather(*left, return_exceptions=True)


class BatchOrder:
    """Sees to it that the batches of a named stream ascend. One that did not would be taken for a
    batch that was applied before, and lost."""

    def __init__(self) -> None:
        self._stream: str | None = None
        self._last = 0

    def next(self, request: document_pb2.UpsertStreamRequest) -> StreamBatch | None:
        """The batch as the backend knows it; None where the stream has no name.

        Raises:
            InvalidRequest: another stream's name, or a number not above the one before.
        """
        if self._stream is None:
            self._stream = request.stream
        if request.stream != self._stream:
            raise InvalidRequest(
                f"the stream began as {self._stream!r}: use one name in all messages",
                field="stream",
            )
        if not request.stream:
            return None
        if request.batch <= self._last:
            raise InvalidRequest(
                f"{request.batch} is not above {self._last}: batches of a named stream ascend "
                "from 1 or more",
                field="batch",
            )
        self._last = request.batch
        return StreamBatch(request.stream, request.batch)
