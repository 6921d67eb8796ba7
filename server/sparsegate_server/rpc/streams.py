"""Upsert streams: until when they are read, and in which order their batches come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from sparsegate.v1 import document_pb2
from sparsegate_server.errors import InvalidRequest, ShuttingDown
from sparsegate_server.operations import StreamBatch


async def until(
    draining: asyncio.Event, requests: AsyncIterator[document_pb2.UpsertStreamRequest]
) -> AsyncIterator[document_pb2.UpsertStreamRequest]:
    """The requests of a stream, until the client ends it.

    Raises:
        ShuttingDown: the gateway drains; also a stream that is only waiting ends then.
    """
    stop = asyncio.ensure_future(draining.wait())
    try:
        while not stop.done():
            request = asyncio.ensure_future(anext(requests, None))
            await asyncio.wait({request, stop}, return_when=asyncio.FIRST_COMPLETED)
            if not request.done():
                request.cancel()
                break
            if (received := request.result()) is None:
                return
            yield received
    finally:
        stop.cancel()
    raise ShuttingDown("the gateway is stopping: send the batches without an answer again")


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
