"""Documents of a collection."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Unpack

from sparsegate import _replies, _requests
from sparsegate._async.connection import Connection
from sparsegate._filters import FilterLike
from sparsegate._messages import write_ids
from sparsegate.results import DeleteResult, GetResult, ScrollPage, UpsertResult
from sparsegate.types import CallOptions, Document, DocumentId, OnTruncation
from sparsegate.v1 import document_pb2 as pb


class DocumentCalls(Connection):
    async def upsert(
        self,
        collection: str,
        documents: Iterable[Document],
        *,
        on_truncation: OnTruncation = "flag",
        **options: Unpack[CallOptions],
    ) -> UpsertResult:
        """Inserts documents, or replaces those whose id exists.

        A document that the gateway refuses is an error at its position and does not fail the
        others, which become visible together. Of several documents with one id, the last wins.

        Raises:
            InvalidArgument: no documents, too many, or one that the wire cannot carry; nothing
                was applied.
            NotFound: no such collection.
            SparsegateError: any other failure of the whole call.
        """
        request = _requests.upsert(collection, documents, on_truncation)
        return _replies.upsert(await self._call(self._documents.Upsert, request, options))

    async def get(
        self,
        collection: str,
        ids: Iterable[DocumentId],
        *,
        with_text: bool = True,
        with_payload: bool = True,
        with_vector: bool = False,
        payload_include: Sequence[str] = (),
        payload_exclude: Sequence[str] = (),
        **options: Unpack[CallOptions],
    ) -> GetResult:
        """Returns documents by id, and the ids that have none.

        Args:
            collection: name of the collection.
            ids: of the documents.
            with_text: return their texts.
            with_payload: return their payloads.
            with_vector: also return the stored vectors.
            payload_include: only these top-level fields of payloads; none means all.
            payload_exclude: all top-level fields of payloads but these.

        Raises:
            InvalidArgument: no ids, too many, or an illegal one.
            NotFound: no such collection.
            SparsegateError: any other failure.
        """
        request = pb.GetDocumentsRequest(
            collection=collection,
            ids=write_ids(ids),
            with_text=with_text,
            with_payload=with_payload,
            with_vector=with_vector,
            payload_include=_requests.names(payload_include, "payload_include"),
            payload_exclude=_requests.names(payload_exclude, "payload_exclude"),
        )
        return _replies.get(await self._call(self._documents.Get, request, options))

    async def delete(
        self,
        collection: str,
        ids: Iterable[DocumentId] | None = None,
        *,
        filter: FilterLike | None = None,
        **options: Unpack[CallOptions],
    ) -> DeleteResult:
        """Deletes documents: by id, unknown ids passed over, or all that pass a filter.

        Raises:
            InvalidArgument: no ids, too many, or an illegal one; a bad filter, or one without any
                condition; both ids and a filter, or neither.
            NotFound: no such collection.
            FailedPrecondition: the filter needs an index.
            SparsegateError: any other failure.
        """
        if _requests.targets_ids(ids, filter):
            by_id = pb.DeleteDocumentsRequest(collection=collection, ids=write_ids(ids or ()))
            deleted = await self._call(self._documents.Delete, by_id, options)
            return _replies.delete(deleted)
        request = pb.DeleteByFilterRequest(
            collection=collection, filter=_requests.optional_filter(filter)
        )
        reply = await self._call(self._documents.DeleteByFilter, request, options)
        return _replies.delete(reply)

    async def count(
        self,
        collection: str,
        *,
        filter: FilterLike | None = None,
        **options: Unpack[CallOptions],
    ) -> int:
        """Number of live documents, or of those that pass a filter.

        Raises:
            InvalidArgument: a bad filter.
            NotFound: no such collection.
            FailedPrecondition: the filter needs an index.
            SparsegateError: any other failure.
        """
        request = pb.CountDocumentsRequest(
            collection=collection, filter=_requests.optional_filter(filter)
        )
        reply = await self._call(self._documents.Count, request, options)
        return reply.count

    async def scroll(
        self,
        collection: str,
        *,
        after: DocumentId | None = None,
        limit: int = 100,
        filter: FilterLike | None = None,
        with_text: bool = True,
        with_payload: bool = True,
        with_vector: bool = False,
        payload_include: Sequence[str] = (),
        payload_exclude: Sequence[str] = (),
        **options: Unpack[CallOptions],
    ) -> ScrollPage:
        """One page of the documents in ascending id order; integers come before strings.

        Args:
            collection: name of the collection.
            after: begin after this id; None for the first page.
            limit: greatest number of documents.
            filter: only documents that pass it; see `sparsegate.filters`.
            with_text: return their texts.
            with_payload: return their payloads.
            with_vector: also return the stored vectors.
            payload_include: only these top-level fields of payloads; none means all.
            payload_exclude: all top-level fields of payloads but these.

        Raises:
            InvalidArgument: an illegal limit or id, or a bad filter.
            NotFound: no such collection.
            FailedPrecondition: the filter needs an index.
            SparsegateError: any other failure.
        """
        request = _requests.scroll(
            collection,
            after,
            limit,
            filter,
            with_text,
            with_payload,
            with_vector,
            payload_include,
            payload_exclude,
        )
        return _replies.scroll(await self._call(self._documents.Scroll, request, options))

    async def scroll_all(
        self,
        collection: str,
        *,
        page_size: int = 100,
        filter: FilterLike | None = None,
        with_vector: bool = False,
        **options: Unpack[CallOptions],
    ) -> AsyncIterator[Document]:
        """All documents, or those that pass a filter, in ascending id order, page by page.

        Each page shows one instant; documents written meanwhile may or may not appear.

        Raises:
            InvalidArgument: a bad filter.
            NotFound: no such collection.
            FailedPrecondition: the filter needs an index.
            SparsegateError: any other failure.
        """
        after: DocumentId | None = None
        while True:
            page = await self.scroll(
                collection,
                after=after,
                limit=page_size,
                filter=filter,
                with_vector=with_vector,
                **options,
            )
            for document in page.documents:
                yield document
            if page.next_after is None:
                return
            after = page.next_after
