"""DocumentService."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping

from sparsegate.v1 import common_pb2, document_pb2, document_pb2_grpc
from sparsegate_server.backends.base import IndexBackend
from sparsegate_server.errors import InvalidFilter, SparsegateError
from sparsegate_server.filters import Filter
from sparsegate_server.operations import StreamBatch
from sparsegate_server.rpc import call as calls
from sparsegate_server.rpc import convert, replies, selection
from sparsegate_server.rpc.changes import change_from
from sparsegate_server.rpc.clauses import Clauses
from sparsegate_server.rpc.filters import filter_from
from sparsegate_server.rpc.ids import id_from
from sparsegate_server.rpc.interceptor import Context, offload
from sparsegate_server.rpc.sizes import check_size
from sparsegate_server.rpc.streams import BatchOrder, until
from sparsegate_server.search.collections import CollectionPlan
from sparsegate_server.search.ingest import Draft, IngestPlan
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
        call = calls.current()
        return await self._upsert(request, call.timings, request_id=call.repeatable_id)

    async def UpsertStream(
        self,
        request_iterator: AsyncIterator[document_pb2.UpsertStreamRequest],
        context: Context,
    ) -> AsyncIterator[document_pb2.UpsertStreamResponse]:
        """One batch is read only after the one before it was applied, so that flow control holds a
        fast client back."""
        order = BatchOrder()
        async for request in until(self._draining, request_iterator):
            reply = await self._upsert(request.upsert, Timings(), batch=order.next(request))
            yield document_pb2.UpsertStreamResponse(upsert=reply, batch=request.batch)

    async def StreamPosition(
        self, request: document_pb2.StreamPositionRequest, context: Context
    ) -> document_pb2.StreamPositionResponse:
        batch = await self._backend.stream_position(request.collection, request.stream)
        return document_pb2.StreamPositionResponse(batch=batch)

    async def Get(
        self, request: document_pb2.GetDocumentsRequest, context: Context
    ) -> document_pb2.GetDocumentsResponse:
        ids = self._ids(request.ids)
        config = self._backend.config(request.collection)
        select = selection.of_read(request)
        fetched = await self._backend.get(
            request.collection, ids, select=select, max_bytes=self._limits.max_reply_bytes
        )
        size = len(ids) * DOCUMENT_BYTES
        return await offload(size, replies.found, ids, fetched, config.fingerprint)

    async def Delete(
        self, request: document_pb2.DeleteDocumentsRequest, context: Context
    ) -> document_pb2.DeleteDocumentsResponse:
        ids = self._ids(request.ids)
        written = await self._collections.delete_documents(
            request.collection, ids, request_id=calls.current().repeatable_id
        )
        return document_pb2.DeleteDocumentsResponse(
            deleted=written.affected, sequence=written.sequence
        )

    async def DeleteByFilter(
        self, request: document_pb2.DeleteByFilterRequest, context: Context
    ) -> document_pb2.DeleteByFilterResponse:
        target = filter_from(request.filter)
        if target == Filter():
            raise InvalidFilter(
                "has no condition, and so would delete every document: delete the collection, or "
                "name what to delete",
                field="filter",
            )
        with Clauses(target).blaming():
            written = await self._collections.delete_documents(
                request.collection, target, request_id=calls.current().repeatable_id
            )
        return document_pb2.DeleteByFilterResponse(
            deleted=written.affected, sequence=written.sequence
        )

    async def SetPayload(
        self, request: document_pb2.SetPayloadRequest, context: Context
    ) -> document_pb2.SetPayloadResponse:
        if request.WhichOneof("target") == "ids":
            target: list[DocumentId] | Filter = self._ids(request.ids.ids, "ids.ids")
        else:
            target = filter_from(request.filter)
        change = change_from(request, self._limits)
        with Clauses(target if isinstance(target, Filter) else None).blaming():
            written = await self._backend.set_payload(
                request.collection, target, change, request_id=calls.current().repeatable_id
            )
        return document_pb2.SetPayloadResponse(affected=written.affected, sequence=written.sequence)

    async def Count(
        self, request: document_pb2.CountDocumentsRequest, context: Context
    ) -> document_pb2.CountDocumentsResponse:
        filter = _filter(request)
        with Clauses(filter).blaming():
            counted = await self._backend.count(request.collection, filter)
        return document_pb2.CountDocumentsResponse(
            count=counted.count, sequence=counted.sequence, unindexed=counted.unindexed
        )

    async def Scroll(
        self, request: document_pb2.ScrollDocumentsRequest, context: Context
    ) -> document_pb2.ScrollDocumentsResponse:
        check_size("limit", request.limit, self._limits.max_documents)
        config = self._backend.config(request.collection)
        filter = _filter(request)
        with Clauses(filter).blaming():
            page = await self._backend.scroll(
                request.collection,
                after=id_from(request.after) if request.HasField("after") else None,
                limit=request.limit,
                filter=filter,
                select=selection.of_read(request),
                max_bytes=self._limits.max_reply_bytes,
            )
        size = len(page.documents) * DOCUMENT_BYTES
        return await offload(size, replies.page, page, config.fingerprint)

    async def _upsert(
        self,
        request: document_pb2.UpsertRequest,
        timings: Timings,
        *,
        request_id: str = "",
        batch: StreamBatch | None = None,
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
            request_id=request_id,
            batch=batch,
        )
        return replies.upserted(done, timings)

    def _drafts(
        self, request: document_pb2.UpsertRequest, broken: Mapping[int, SparsegateError]
    ) -> list[Draft | SparsegateError]:
        drafts: list[Draft | SparsegateError] = []
        for at, document in enumerate(request.documents):
            try:
                drafts.append(broken.get(at) or convert.draft_from(document, self._limits))
            except SparsegateError as error:
                drafts.append(error)
        return drafts

    def _ids(
        self, messages: Iterable[common_pb2.DocumentId], field: str = "ids"
    ) -> list[DocumentId]:
        ids = [id_from(message) for message in messages]
        check_size(field, len(ids), self._limits.max_documents)
        return ids


def _filter(
    request: document_pb2.CountDocumentsRequest | document_pb2.ScrollDocumentsRequest,
) -> Filter | None:
    return filter_from(request.filter) if request.HasField("filter") else None
