"""The pure half of a bulk upload: documents to batches, answers to a summary."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from sparsegate import _replies, _requests
from sparsegate._messages import write_document
from sparsegate.errors import InvalidArgument, SparsegateError
from sparsegate.results import UploadProgress, UploadSummary
from sparsegate.types import Document, OnTruncation
from sparsegate.v1 import document_pb2 as pb

MAX_BATCH_BYTES = 16 * 2**20
"""A batch is closed beyond this size, well below the greatest message."""


@dataclass(slots=True)
class PendingBatch:
    """A batch on its way.

    Attributes:
        request: the documents that could be put on the wire.
        positions: where in the source they stood.
        refused: the documents that could not, by position.
        end: documents of the source read so far.
    """

    request: pb.UpsertStreamRequest
    end: int = 0
    positions: list[int] = field(default_factory=list)
    refused: dict[int, SparsegateError] = field(default_factory=dict)


class Batcher:
    """Fills batches with documents, one after the other, always in the same way.

    A batch's number is how many documents of the source were read when it was closed, so that the
    last one applied tells where to go on, whatever the size of the batches.

    Attributes:
        stream: the client's name for the stream that they go into.
        position: documents of the source that are passed over: an earlier upload of the stream had
            an answer to them.
    """

    def __init__(
        self,
        collection: str,
        size: int,
        on_truncation: OnTruncation,
        stream: str = "",
        position: int = 0,
    ) -> None:
        if size < 1:
            raise InvalidArgument(f"{size} is not a number of documents", field="batch_size")
        self.stream = stream
        self.position = position
        self._collection = collection
        self._size = size
        self._on_truncation = _requests.truncation(on_truncation)
        self._read = 0
        self._next()

    @property
    def resumed(self) -> bool:
        """Whether the last document read was the last one to pass over."""
        return 0 < self._read == self.position

    def add(self, document: Document) -> PendingBatch | None:
        """The batch, when this document fills it."""
        position, self._read = self._read, self._read + 1
        if position < self.position:
            return None
        try:
            message = write_document(document, f"documents[{position}]")
        except InvalidArgument as error:
            self._batch.refused[position] = error
            return None
        self._batch.request.upsert.documents.append(message)
        self._batch.positions.append(position)
        self._bytes += message.ByteSize()
        full = len(self._batch.positions) >= self._size or self._bytes >= MAX_BATCH_BYTES
        return self._close() if full else None

    def rest(self) -> PendingBatch:
        """The batch as it stands at the end of the source.

        Raises:
            InvalidArgument: the source ended among the documents to pass over.
        """
        if self._read < self.position:
            raise InvalidArgument(
                f"{self.stream!r} came to document {self.position} of its source, and this one has "
                f"{self._read}: it is another source, which needs another name",
                field="stream",
            )
        return self._close()

    def _close(self) -> PendingBatch:
        batch = self._batch
        batch.end = batch.request.batch = self._read
        self._next()
        return batch

    def _next(self) -> None:
        self._bytes = 0
        self._batch = PendingBatch(
            pb.UpsertStreamRequest(
                upsert=pb.UpsertRequest(
                    collection=self._collection, on_truncation=self._on_truncation
                ),
                stream=self.stream,
            )
        )


class Tally:
    """Counts what was acknowledged.

    Args:
        stream: the client's name for the stream.
        skipped: documents that are passed over.
    """

    def __init__(self, stream: str, skipped: int) -> None:
        self._stream = stream
        self._skipped = self._acknowledged = skipped
        self._applied = 0
        self._errors: dict[int, SparsegateError] = {}
        self._batches = 0
        self._sequence = 0
        self._truncated = 0
        self._capped = 0

    def acknowledge(self, batch: PendingBatch, reply: pb.UpsertResponse) -> None:
        result = _replies.upsert(reply)
        for at, error in result.errors.items():
            self._errors[batch.positions[at]] = _moved(error, batch.positions[at])
        self._applied += result.applied
        self._batches += 1
        self._sequence = result.sequence
        self._truncated += len(result.truncated)
        self._capped += len(result.capped)
        self.close(batch)

    def close(self, batch: PendingBatch) -> None:
        """Counts what never left: the refused documents of a batch."""
        self._errors.update(batch.refused)
        self._acknowledged = batch.end

    def progress(self) -> UploadProgress:
        return UploadProgress(
            acknowledged=self._acknowledged,
            applied=self._applied,
            failed=len(self._errors),
            batches=self._batches,
            skipped=self._skipped,
        )

    def summary(self) -> UploadSummary:
        return UploadSummary(
            acknowledged=self._acknowledged,
            applied=self._applied,
            errors=dict(sorted(self._errors.items())),
            batches=self._batches,
            sequence=self._sequence,
            truncated=self._truncated,
            capped=self._capped,
            skipped=self._skipped,
            stream=self._stream,
        )


def _moved(error: SparsegateError, position: int) -> SparsegateError:
    """Paths count from the start of the source, not of the batch that the caller never saw."""
    error.field = re.sub(r"^(upsert\.)?documents\[\d+\]", f"documents[{position}]", error.field)
    return error
