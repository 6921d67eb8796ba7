"""DocumentService."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from sparsegate.v1 import document_pb2, document_pb2_grpc
from sparsegate_server.backends.base import Fetched, IndexBackend, Page
from sparsegate_server.errors import ShuttingDown, SparsegateError
from sparsegate_server.rpc import call as calls
from sparsegate_server.rpc import convert
from sparsegate_server.rpc.interceptor import Context, offload
from sparsegate_server.rpc.sizes import check_size
from sparsegate_server.rpc.status import to_status
from sparsegate_server.search.collections import CollectionPlan
from sparsegate_server.search.ingest import Applied, Draft, IngestPlan, Upserted
from sparsegate_server.search.timing import Timings
from sparsegate_server.settings import Limits
from sparsegate_server.types import DocumentId

DOCUMENT_BYTES = 1_000
"""A guess, to tell long replies, which are built in a thread, from short ones."""


class DocumentServicer(document_pb2_grpc.DocumentServiceServicer):
    """`draining` is set when the gateway stops: streams end after the batch in hand."""

    def __init__(
        self,
        ingest: IngestPlan,
        collections: CollectionPlan,
        backend: IndexBackend,
        limits: Limits,
        draining: asyncio.Event,
    ) -> None:
        self._ingest = ingest
        self._collections = collections
        self._backend = backend
        self._limits = limits
        self._draining = draining

    async def Upsert(
        self, request: document_pb2.UpsertRequest, context: Context
    ) -> document_pb2.UpsertResponse:
        return await self._upsert(request, calls.current().timings)

    async def UpsertStream(
        self,
        request_iterator: AsyncIterator[document_pb2.UpsertStreamRequest],
        context: Context,
    ) -> AsyncIterator[document_pb2.UpsertStreamResponse]:
        """One batch is read only after the one before it was applied, so that flow control holds a
        fast client back."""
        async for request in _until(self._draining, request_iterator):
            reply = await self._upsert(request.upsert, Timings())
            yield document_pb2.UpsertStreamResponse(upsert=reply, batch=request.batch)

    async def Get(
        self, request: document_pb2.GetDocumentsRequest, context: Context
    ) -> document_pb2.GetDocumentsResponse:
        check_size("ids", len(request.ids), self._limits.max_documents)
        config = self._backend.config(request.collection)
        ids = [convert.id_from(id) for id in request.ids]
        found = await self._backend.get(request.collection, ids)
        size = len(ids) * DOCUMENT_BYTES
        return await offload(size, _found, ids, found, config.fingerprint, request.with_vector)

    async def Delete(
        self, request: document_pb2.DeleteDocumentsRequest, context: Context
    ) -> document_pb2.DeleteDocumentsResponse:
        check_size("ids", len(request.ids), self._limits.max_documents)
        ids = [convert.id_from(id) for id in request.ids]
        written = await self._collections.delete_documents(request.collection, ids)
        return document_pb2.DeleteDocumentsResponse(
            deleted=written.affected, sequence=written.sequence
        )

    async def Count(
        self, request: document_pb2.CountDocumentsRequest, context: Context
    ) -> document_pb2.CountDocumentsResponse:
        stats = await self._backend.get_collection(request.collection)
        return document_pb2.CountDocumentsResponse(count=stats.documents)

    async def Scroll(
        self, request: document_pb2.ScrollDocumentsRequest, context: Context
    ) -> document_pb2.ScrollDocumentsResponse:
        check_size("limit", request.limit, self._limits.max_documents)
        config = self._backend.config(request.collection)
        page = await self._backend.scroll(
            request.collection,
            after=convert.id_from(request.after) if request.HasField("after") else None,
            limit=request.limit,
        )
        size = len(page.documents) * DOCUMENT_BYTES
        return await offload(size, _page, page, config.fingerprint, request.with_vector)

    async def _upsert(
        self, request: document_pb2.UpsertRequest, timings: Timings
    ) -> document_pb2.UpsertResponse:
        check_size("documents", len(request.documents), self._limits.max_documents)
        call = calls.current()
        drafts = await offload(request.ByteSize(), self._drafts, request, call.item_errors)
        done = await self._ingest.upsert(
            request.collection,
            drafts,
            on_truncation=convert.on_truncation_from(request.on_truncation),
            timings=timings,
            timeout=call.timeout,
        )
        return _reply(done, timings)

    def _drafts(
        self, request: document_pb2.UpsertRequest, broken: dict[int, SparsegateError]
    ) -> list[Draft | SparsegateError]:
        drafts: list[Draft | SparsegateError] = []
        for at, document in enumerate(request.documents):
            try:
                drafts.append(broken.get(at) or convert.draft_from(document, self._limits))
            except SparsegateError as error:
                drafts.append(error)
        return drafts


async def _until(
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


def _found(
    ids: Sequence[DocumentId], found: Fetched, fingerprint: str, with_vector: bool
) -> document_pb2.GetDocumentsResponse:
    reply = document_pb2.GetDocumentsResponse()
    for id, document in zip(ids, found.documents, strict=True):
        if document is None:
            reply.missing.append(convert.id_to(id))
        else:
            message = reply.documents.add()
            convert.document_to(document, message, fingerprint, with_vector=with_vector)
    return reply


def _page(page: Page, fingerprint: str, with_vector: bool) -> document_pb2.ScrollDocumentsResponse:
    reply = document_pb2.ScrollDocumentsResponse(sequence=page.sequence)
    for document in page.documents:
        message = reply.documents.add()
        convert.document_to(document, message, fingerprint, with_vector=with_vector)
    if page.next_after is not None:
        reply.next_after.CopyFrom(convert.id_to(page.next_after))
    return reply


def _reply(done: Upserted, timings: Timings) -> document_pb2.UpsertResponse:
    reply = document_pb2.UpsertResponse(
        sequence=done.sequence,
        applied=sum(isinstance(item, Applied) for item in done.results),
        timings=convert.timings_to(timings),
    )
    for at, item in enumerate(done.results):
        result = reply.results.add()
        if isinstance(item, SparsegateError):
            result.error.CopyFrom(to_status(item.under(f"documents[{at}]")))
        else:
            result.truncated = item.truncated
            result.capped = item.capped
    return reply
