"""Bulk upload: batches out, answers in, a few of them under way, over as many connections as it
takes."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import NoReturn

import grpc

from sparsegate._batching import Batcher, PendingBatch, Tally
from sparsegate._runtime_async import (
    Documents,
    Queue,
    Stream,
    StreamStreamMultiCallable,
    each,
    sleep,
)
from sparsegate._status import error_from_call
from sparsegate.errors import (
    DeadlineExceeded,
    Internal,
    ResourceExhausted,
    SparsegateError,
    Unavailable,
    UploadInterrupted,
)
from sparsegate.results import UploadProgress, UploadSummary
from sparsegate.v1 import document_pb2 as pb

WINDOW = 4
"""Batches under way at once: enough to keep the gateway busy, few enough to bound memory."""

RECONNECTS = 8
"""Connections tried one after the other without an answer to a batch."""

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0
"""Seconds before the first of them; each pause is twice the one before, up to the longest."""


class Outbox:
    """The stream's requests. gRPC takes them out at its own pace, so that adding one never waits.

    Were sending to wait for the gateway, and the gateway for us to read its answers, both would
    wait for ever.
    """

    def __init__(self) -> None:
        self._queue: Queue[pb.UpsertStreamRequest | None] = Queue()

    async def put(self, request: pb.UpsertStreamRequest) -> None:
        await self._queue.put(request)

    async def close(self) -> None:
        await self._queue.put(None)

    def __aiter__(self) -> AsyncIterator[pb.UpsertStreamRequest]:
        return self

    async def __anext__(self) -> pb.UpsertStreamRequest:
        request = await self._queue.get()
        if request is None:
            raise StopAsyncIteration
        return request


class Upload:
    """One bulk upload. The source is read in the caller's own task or thread."""

    def __init__(
        self,
        method: StreamStreamMultiCallable[pb.UpsertStreamRequest, pb.UpsertStreamResponse],
        metadata: tuple[tuple[str, str], ...],
        request_id: str,
        patience: float,
        on_progress: Callable[[UploadProgress], object] | None,
        batcher: Batcher,
    ) -> None:
        self._method = method
        self._metadata = metadata
        self._request_id = request_id
        self._patience = patience
        self._on_progress = on_progress
        self._batcher = batcher
        self._tally = Tally(batcher.stream, batcher.position)
        self._under_way: deque[PendingBatch] = deque()
        self._all_sent = False
        self._outbox = Outbox()
        self._stream = Stream(method, self._outbox, metadata)

    async def run(self, documents: Documents) -> UploadSummary:
        """Raises:
        InvalidArgument: the source ended among the documents to pass over.
        UploadInterrupted: the stream broke.
        """
        try:
            async for document in each(documents):
                if batch := self._batcher.add(document):
                    await self._send(batch)
                elif self._batcher.resumed:
                    self._tell()
            await self._finish(self._batcher.rest())
        finally:
            # Whatever happened, neither the call nor whoever waits at the outbox may linger.
            await self._hang_up()
        return self._tally.summary()

    async def _send(self, batch: PendingBatch) -> None:
        if len(self._under_way) == WINDOW:
            await self._settle()
        self._under_way.append(batch)
        await self._outbox.put(batch.request)

    async def _finish(self, last: PendingBatch) -> None:
        if last.positions:
            await self._send(last)
        self._all_sent = True
        await self._outbox.close()
        while self._under_way:
            await self._settle()
        self._tally.close(last)
        await self._answer()  # the end of the stream, or the error that ended it

    async def _settle(self) -> None:
        """Waits for the answer to the oldest batch under way."""
        answer = await self._answer()
        batch = self._under_way.popleft()
        if answer is None or answer.batch != batch.request.batch:
            self._interrupt(Internal("the gateway skipped a batch in its answers"))
        self._tally.acknowledge(batch, answer.upsert)
        self._tell()

    def _tell(self) -> None:
        if self._on_progress is not None:
            self._on_progress(self._tally.progress())

    async def _answer(self) -> pb.UpsertStreamResponse | None:
        """The next answer, over a new connection if it must be; None at the end."""
        began = time.monotonic()
        pause = FIRST_PAUSE
        for left in range(RECONNECTS, -1, -1):
            try:
                return await self._stream.next_within(self._patience)
            except TimeoutError:
                self._interrupt(
                    DeadlineExceeded(f"no answer to a batch within {self._patience:g} s")
                )
            except grpc.RpcError as error:
                cause = error_from_call(error)
            if not _passes(cause):
                self._interrupt(cause)
            if not self._under_way:
                return None  # every batch has its answer: the end is all that was missing
            wait = max(pause, cause.retry_after or 0.0)
            if not left or time.monotonic() + wait - began > self._patience:
                self._interrupt(cause)
            await sleep(wait)
            pause = min(2 * pause, LONGEST_PAUSE)
            await self._reconnect()
        return None

    async def _reconnect(self) -> None:
        """Sends the batches without an answer over a new stream. The gateway knows those that it
        has applied by the name of the stream and their numbers."""
        await self._hang_up()
        self._outbox = Outbox()
        self._stream = Stream(self._method, self._outbox, self._metadata)
        for batch in self._under_way:
            await self._outbox.put(batch.request)
        if self._all_sent:
            await self._outbox.close()

    async def _hang_up(self) -> None:
        await self._outbox.close()
        self._stream.cancel()

    def _interrupt(self, cause: SparsegateError) -> NoReturn:
        cause.request_id = cause.request_id or self._request_id
        raise UploadInterrupted.of(cause, self._tally.summary()) from cause


def _passes(cause: SparsegateError) -> bool:
    """Whether the same batch may be taken later: the gateway was away, or had too much to do and
    says when to come again. What is too much for it at any time bears no such hint."""
    if isinstance(cause, ResourceExhausted):
        return cause.retry_after is not None
    return isinstance(cause, Unavailable)
