"""Bulk upload, as a call."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Unpack

from sparsegate._async.connection import Connection
from sparsegate._async.upload import Upload
from sparsegate._batching import Batcher
from sparsegate._payload import check_text
from sparsegate._runtime_async import Documents
from sparsegate.results import UploadProgress, UploadSummary
from sparsegate.types import CallOptions, OnTruncation
from sparsegate.v1 import document_pb2 as pb


class UploadCalls(Connection):
    async def upload(
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
        gateway goes away, or has too much to do and says when to come again, the upload connects
        again, for up to eight times and within that time, and sends the batches without an answer
        once more; none is applied twice.

        Args:
            collection: name of the collection.
            documents: where they come from; read once.
            batch_size: documents of a batch, at most what the gateway allows.
            on_truncation: what to do with texts that are too long.
            on_progress: called after each acknowledged batch, and once where documents were passed
                over.
            stream: your own name for the upload, of up to 128 characters. An upload of that name
                that was interrupted goes on where it ended, whatever `batch_size` is: as many
                documents of the source as had an answer are read, but not sent; nor are those among
                them that were refused. A name belongs to one source, which yields the same
                documents in the same order: give a corrected or other one another name.

        Returns:
            Counts, and the error of every refused document by its position in the source. One
            that the wire cannot carry is among them, and does not stop the upload.

        Raises:
            UploadInterrupted: the stream broke; its `summary` says how many documents were
                acknowledged.
            InvalidArgument: bad arguments, or the source ended before the position of `stream`, so
                that it is another source; nothing was sent.
            SparsegateError: it did not begin: `stream` cannot be looked up.
        """
        request_id, metadata = self._headers(options)
        name = uuid.uuid4().hex if stream is None else check_text(stream, "stream")
        position = 0
        if stream is not None:
            position = await self.stream_position(collection, name, **options)
        batcher = Batcher(collection, batch_size, on_truncation, name, position)
        upload = Upload(
            self._documents.UpsertStream,
            metadata,
            request_id,
            options.get("timeout", self._timeout),
            on_progress,
            batcher,
        )
        return await upload.run(documents)

    async def stream_position(
        self, collection: str, stream: str, **options: Unpack[CallOptions]
    ) -> int:
        """How many documents of its source a named upload has an answer to; 0 if there is none.

        It is the number of the last applied batch, which for another client may count otherwise.

        Raises:
            InvalidArgument: no name, or too long a one.
            NotFound: no such collection.
            SparsegateError: any other failure.
        """
        request = pb.StreamPositionRequest(
            collection=collection, stream=check_text(stream, "stream")
        )
        return (await self._call(self._documents.StreamPosition, request, options)).batch
