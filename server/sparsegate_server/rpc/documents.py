"""DocumentService."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

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
from sparsegate_server.rpc.streams import BatchOrder, ahead, until
from sparsegate_server.search.collections import CollectionPlan
from sparsegate_server.search.ingest import Draft, Encoded, IngestPlan
from sparsegate_server.search.timing import Timings
from sparsegate_server.settings import Limits
from sparsegate_server.types import DocumentId

DOCUMENT_BYTES = 1_000
"""A guess, to tell long replies, which are built in a thread, from short ones."""

_UNDER_WAY = 4
"""Batches of a stream that have been read and not answered: as many as the client sends ahead."""


@dataclass(frozen=True, slots=True)
class _Batch:
    """A batch of a stream that is ready to be written.

    Attributes:
        number: that the client gave it.
        place: in the stream, if that has a name.
    """

    number: int
    place: StreamBatch | None
    encoded: Encoded
    timings: Timings


class DocumentServicer(document_pb2_grpc.DocumentServiceServicer):
    """`draining` is set when the gateway stops: streams end after the batches that have been
    read."""

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
        encoded = await self._encode(request, call.item_errors, call.timings)
        done = await self._ingest.write(
            encoded, timings=call.timings, request_id=call.repeatable_id
        )
        return replies.upserted(done, call.timings)

    async def UpsertStream(
        self,
        request_iterator: AsyncIterator[document_pb2.UpsertStreamRequest],
        context: Context,
    ) -> AsyncIterator[document_pb2.UpsertStreamResponse]:
        """While one batch is written, the next ones are read and encoded; they are written and
        answered in order."""
        order, call = BatchOrder(), calls.current()

        def begin(request: document_pb2.UpsertStreamRequest) -> Coroutine[Any, Any, _Batch]:
            # With the next message, the call has the broken items of that one.
            return self._encode_batch(request, order.next(request), call.item_errors)

        received = until(self._draining, request_iterator)
        async with aclosing(ahead(received, begin, _UNDER_WAY)) as batches:
            async for each in batches:
                done = await self._ingest.write(
                    each.encoded, timings=each.timings, batch=each.place
                )
                reply = replies.upserted(done, each.timings)
                yield document_pb2.UpsertStreamResponse(upsert=reply, batch=each.number)

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
        return await offload(size, replies.found, ids, fetched, config.own.fingerprint)

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
        return await offload(size, replies.page, page, config.own.fingerprint)

    async def _encode_batch(
        self,
        request: document_pb2.UpsertStreamRequest,
        place: StreamBatch | None,
        broken: Mapping[int, SparsegateError],
    ) -> _Batch:
        timings = Timings()
        encoded = await self._encode(request.upsert, broken, timings)
        return _Batch(request.batch, place, encoded, timings)

    async def _encode(
        self,
        request: document_pb2.UpsertRequest,
        broken: Mapping[int, SparsegateError],
        timings: Timings,
    ) -> Encoded:
        check_size("documents", len(request.documents), self._limits.max_documents)
        drafts = await offload(request.ByteSize(), self._drafts, request, broken)
        return await self._ingest.encode(
            request.collection,
            drafts,
            on_truncation=convert.on_truncation_from(request.on_truncation),
            timings=timings,
            caller=calls.current().caller,
        )

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
