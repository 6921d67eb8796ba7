"""Documents of a collection."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Unpack

from sparsegate import _replies, _requests
from sparsegate._batching import Batcher
from sparsegate._messages import write_ids
from sparsegate._runtime_sync import Documents
from sparsegate._sync.connection import Connection
from sparsegate._sync.upload import Upload
from sparsegate.results import (
    DeleteResult,
    GetResult,
    ScrollPage,
    UploadProgress,
    UploadSummary,
    UpsertResult,
)
from sparsegate.types import CallOptions, Document, DocumentId, OnTruncation
from sparsegate.v1 import document_pb2 as pb


class DocumentCalls(Connection):
    def upsert(
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
        return _replies.upsert(self._call(self._documents.Upsert, request, options))

    def upload(
        self,
        collection: str,
        documents: Documents,
        *,
        batch_size: int = 256,
        on_truncation: OnTruncation = "flag",
        on_progress: Callable[[UploadProgress], object] | None = None,
        **options: Unpack[CallOptions],
    ) -> UploadSummary:
        """Upserts any number of documents over one stream, batch by batch.

        The source is read only as fast as the gateway applies, a few batches ahead. `timeout` is
        the longest wait for the answer to one batch, not for the whole.

        Args:
            collection: name of the collection.
            documents: where they come from; read once.
            batch_size: documents of a batch, at most what the gateway allows.
            on_truncation: what to do with texts that are too long.
            on_progress: called after each acknowledged batch.

        Returns:
            Counts, and the error of every refused document by its position in the source. One
            that the wire cannot carry is among them, and does not stop the upload.

        Raises:
            UploadInterrupted: the stream broke; its `summary` says how many documents were
                acknowledged.
        """
        request_id, metadata = self._headers(options)
        upload = Upload(
            self._documents.UpsertStream,
            metadata,
            request_id,
            options.get("timeout", self._timeout),
            on_progress,
        )
        return upload.run(Batcher(collection, batch_size, on_truncation), documents)

    def get(
        self,
        collection: str,
        ids: Iterable[DocumentId],
        *,
        with_vector: bool = False,
        **options: Unpack[CallOptions],
    ) -> GetResult:
        """Returns documents by id, and the ids that have none.

        Raises:
            InvalidArgument: no ids, too many, or an illegal one.
            NotFound: no such collection.
            SparsegateError: any other failure.
        """
        request = pb.GetDocumentsRequest(
            collection=collection, ids=write_ids(ids), with_vector=with_vector
        )
        return _replies.get(self._call(self._documents.Get, request, options))

    def delete(
        self, collection: str, ids: Iterable[DocumentId], **options: Unpack[CallOptions]
    ) -> DeleteResult:
        """Deletes documents by id; ids without a document are passed over.

        Raises:
            InvalidArgument: no ids, too many, or an illegal one.
            NotFound: no such collection.
            SparsegateError: any other failure.
        """
        request = pb.DeleteDocumentsRequest(collection=collection, ids=write_ids(ids))
        return _replies.delete(self._call(self._documents.Delete, request, options))

    def count(self, collection: str, **options: Unpack[CallOptions]) -> int:
        """Number of live documents.

        Raises:
            NotFound: no such collection.
            SparsegateError: any other failure.
        """
        request = pb.CountDocumentsRequest(collection=collection)
        reply = self._call(self._documents.Count, request, options)
        return reply.count

    def scroll(
        self,
        collection: str,
        *,
        after: DocumentId | None = None,
        limit: int = 100,
        with_vector: bool = False,
        **options: Unpack[CallOptions],
    ) -> ScrollPage:
        """One page of the documents in ascending id order; integers come before strings.

        Args:
            collection: name of the collection.
            after: begin after this id; None for the first page.
            limit: greatest number of documents.
            with_vector: also return the stored vectors.

        Raises:
            InvalidArgument: an illegal limit or id.
            NotFound: no such collection.
            SparsegateError: any other failure.
        """
        request = _requests.scroll(collection, after, limit, with_vector)
        return _replies.scroll(self._call(self._documents.Scroll, request, options))

    def scroll_all(
        self,
        collection: str,
        *,
        page_size: int = 100,
        with_vector: bool = False,
        **options: Unpack[CallOptions],
    ) -> Iterator[Document]:
        """All documents in ascending id order, fetched page by page.

        Each page shows one instant; documents written meanwhile may or may not appear.

        Raises:
            NotFound: no such collection.
            SparsegateError: any other failure.
        """
        after: DocumentId | None = None
        while True:
            page = self.scroll(
                collection, after=after, limit=page_size, with_vector=with_vector, **options
            )
            yield from page.documents
            if page.next_after is None:
                return
            after = page.next_after
