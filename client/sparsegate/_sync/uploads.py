"""Bulk upload, as a call."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Unpack

from sparsegate._batching import Batcher
from sparsegate._payload import check_text
from sparsegate._runtime_sync import Documents
from sparsegate._sync.connection import Connection
from sparsegate._sync.upload import Upload
from sparsegate.results import UploadProgress, UploadSummary
from sparsegate.types import CallOptions, OnTruncation
from sparsegate.v1 import document_pb2 as pb


class UploadCalls(Connection):
    def upload(
        self,
        collection: str,
        documents: Documents,
        *,
        batch_size: int = 256,
        on_truncation: OnTruncation = "flag",
        on_progress: Callable[[UploadProgress], object] | None = None,
        stream: str | None = None,
        **options: Unpack[CallOptions],
    ) -> UploadSummary:
        """Upserts any number of documents over one stream, batch by batch.

        The source is read only as fast as the gateway applies, a few batches ahead. `timeout` is
        the longest wait for the answer to one batch, not for the whole. Where the connection or the
        gateway goes away, the upload connects again, for up to eight times and within that time,
        and sends the batches without an answer once more; none is applied twice.

        Args:
            collection: name of the collection.
            documents: where they come from; read once.
            batch_size: documents of a batch, at most what the gateway allows.
            on_truncation: what to do with texts that are too long.
            on_progress: called after each acknowledged batch.
            stream: your own name for the upload, of up to 128 characters. An upload of that name
                that was interrupted goes on where it ended, if the source yields the same documents
                in the same order and `batch_size` is the same: the batches that were applied are
                read from the source, but not sent.

        Returns:
            Counts, and the error of every refused document by its position in the source. One
            that the wire cannot carry is among them, and does not stop the upload.

        Raises:
            UploadInterrupted: the stream broke; its `summary` says how many documents were
                acknowledged.
            SparsegateError: it did not begin: bad arguments, or `stream` cannot be looked up.
        """
        request_id, metadata = self._headers(options)
        name = uuid.uuid4().hex if stream is None else check_text(stream, "stream")
        applied = 0
        if stream is not None:
            applied = self.stream_position(collection, name, **options)
        upload = Upload(
            self._documents.UpsertStream,
            metadata,
            request_id,
            options.get("timeout", self._timeout),
            on_progress,
        )
        batcher = Batcher(collection, batch_size, on_truncation, name)
        return upload.run(batcher, documents, applied)

    def stream_position(self, collection: str, stream: str, **options: Unpack[CallOptions]) -> int:
        """Number of the last applied batch of a named upload; 0 if there is none.

        Raises:
            InvalidArgument: no name, or too long a one.
            NotFound: no such collection.
            SparsegateError: any other failure.
        """
        request = pb.StreamPositionRequest(
            collection=collection, stream=check_text(stream, "stream")
        )
        return (self._call(self._documents.StreamPosition, request, options)).batch
